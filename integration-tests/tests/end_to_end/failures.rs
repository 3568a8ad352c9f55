//! What breaks: components and nodes are killed, under load, and nothing that was acknowledged is
//! lost. Each test leaves the cluster whole.

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{bed, is_serving},
    load::Load,
};
use xtask::instance::node_name;

#[test]
fn failures_killed_components_lose_nothing() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("survivor")?;
    let load = Load::from_node(&bed, &deployed.cluster_url()?)?;
    for process in
        ["scheduler", "controller-manager", "apiserver", "etcd", "node-2-kubelet", "node-2-proxy", "node-1-containerd"]
    {
        bed.rctl(&["create", "configmap", &format!("before-{process}"), "--from-literal=written=yes"])?;
        bed.testbed.kill(process)?;
        if process == "node-1-containerd" {
            bed.testbed.start_killed_node(&bed.testbed.nodes()?[0])?;
        } else {
            bed.testbed.ensure(process)?;
        }
        let kept = bed.rctl(&["get", "configmap", &format!("before-{process}"), "-o", "name"])?;
        assert!(kept.contains("before-"), "{process}: {kept}");
        bed.rctl(&["delete", "configmap", &format!("before-{process}")])?;
    }
    // All of them work again: new pods are made, placed, started and answered by.
    bed.rctl(&["scale", "deployment/survivor", "--replicas=6"])?;
    deployed.wait_pods("six pods serve", |pods| pods.len() == 6 && pods.iter().all(is_serving))?;
    load.finish().map(drop)
}

#[test]
fn failures_lost_node_gives_its_pods_to_others() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("mover")?;
    let lost = node_name(3);
    bed.testbed.kill_node(&lost)?;
    let moved = deployed.wait_pods("three pods serve on other nodes", |pods| {
        pods.iter().filter(|pod| is_serving(pod) && pod["spec"]["nodeName"] != lost.as_str()).count() == 3
    });
    let nodes = bed.testbed.nodes()?;
    let node = nodes.iter().find(|node| node.name == lost).context("the lost node")?;
    bed.testbed.start_killed_node(node)?;
    moved?;
    bed.wait_for(&["node", &lost], "the node is Ready again", xtask::rctl::is_ready).map(drop)
}
