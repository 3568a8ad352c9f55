//! What breaks: components and nodes are killed, under load, and nothing that was acknowledged is
//! lost. Each test leaves the cluster whole.

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{Bed, bed, is_serving, name},
    load::Load,
};
use serde_json::Value;
use xtask::{cargo::Profile, cgroup, demo, instance::node_name, processes::KILLED_WITHIN, progress::Progress, up};

/// Requests that are made while something is down.
const MEANWHILE: usize = 100;

#[test]
fn failures_killed_components_lose_nothing() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("survivor")?;
    let load = Load::from_node(&bed, 1, &deployed.cluster_url()?)?;
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

/// What is the same about a pod for as long as its containers are: their ids and how often they were restarted.
fn containers(pod: &Value) -> Vec<(&Value, &Value)> {
    let statuses = pod["status"]["containerStatuses"].as_array();
    statuses.into_iter().flatten().map(|status| (&status["containerID"], &status["restartCount"])).collect()
}

fn is_on(pod: &Value, node: &str) -> bool {
    pod["spec"]["nodeName"] == node
}

/// A pod of the Deployment on a node.
fn pod_on(pods: &[Value], node: &str) -> Result<Value> {
    pods.iter().find(|pod| is_on(pod, node) && is_serving(pod)).cloned().with_context(|| format!("a pod on {node}"))
}

#[test]
fn failures_killed_proxy_leaves_no_gap() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("forwarded")?;
    let node = node_name(2);
    let _asker = bed.keep_applied(&format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: asker}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  containers: [{{name: main, image: 'reeve.local/demo:1', args: [sleep, infinity]}}]
"
    ))?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/asker", "--timeout=120s"])?;
    let (cluster, node_port) = (deployed.cluster_url()?, deployed.node_port_url(2)?);
    let loads = [
        Load::from_host(&bed, &node_port)?,
        Load::from_node(&bed, 2, &cluster)?,
        Load::from_pod(&bed, "asker", &cluster)?,
    ];
    Load::burst(&bed, &node_port, MEANWHILE)?;
    bed.testbed.kill("node-2-proxy")?;
    Load::burst(&bed, &node_port, MEANWHILE).context("while the proxy is dead")?;
    bed.testbed.ensure("node-2-proxy")?;
    // The new one works: the old pods are gone, and their successors answer by way of its node.
    bed.rctl(&["set", "image", "deployment/forwarded", "forwarded=reeve.local/demo:2"])?;
    deployed.rolled_out()?;
    deployed.wait_pods("only the successors exist", |pods| pods.len() == 3 && pods.iter().all(is_serving))?;
    assert!(bed.from_node(2, &["get", &cluster])?.contains("version=2"));
    for load in loads {
        let summary = load.finish()?;
        assert!(summary.contains("version=1:") && summary.contains("version=2:"), "{summary}");
    }
    Ok(())
}

#[test]
fn failures_killed_containerd_keeps_pods_running() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("carried")?;
    let node = node_name(1);
    let pods = deployed.wait_pods("a pod serves on the node", |pods| {
        pods.len() == 3 && pods.iter().all(is_serving) && pods.iter().any(|pod| is_on(pod, &node))
    })?;
    let before = pod_on(&pods, &node)?;
    let pod_url = format!("http://{}:8080/", before["status"]["podIP"].as_str().context("an address")?);
    let loads = [
        Load::from_node(&bed, 1, &deployed.cluster_url()?)?,
        Load::from_host(&bed, &deployed.node_port_url(1)?)?,
        Load::from_node(&bed, 2, &pod_url)?,
    ];
    bed.testbed.kill("node-1-containerd")?;
    Load::burst(&bed, &deployed.node_port_url(1)?, MEANWHILE).context("while containerd is dead")?;
    bed.testbed.start_killed_node(&bed.node(1)?)?;
    // The node told at once that it had no runtime, and takes pods again.
    let takes_pods = |node: &Value| xtask::rctl::is_ready(node) && node["spec"]["taints"].is_null();
    bed.wait_for(&["node", &node], "the node takes pods again", takes_pods)?;
    // It works: it starts what comes to it, and ends what is to go.
    bed.rctl(&["scale", "deployment/carried", "--replicas=6"])?;
    let pods = deployed.wait_pods("six pods serve, two a node", |pods| {
        pods.len() == 6 && pods.iter().all(is_serving) && pods.iter().filter(|pod| is_on(pod, &node)).count() == 2
    })?;
    let after = pods.iter().find(|pod| name(pod) == name(&before)).context("the pod is still there")?;
    assert_eq!(containers(after), containers(&before), "the same containers, not restarted");
    let echoed = bed.rctl(&["exec", name(after), "--", "hostname"])?;
    assert_eq!(echoed.trim(), name(after));
    for load in loads {
        load.finish()?;
    }
    bed.rctl(&["delete", "deployment", "carried"])?;
    deployed.wait_pods("no pod is left", <[_]>::is_empty).map(drop)
}

#[test]
fn failures_power_cut_of_everything_is_survived() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let before = bed.testbed.rctl.json(&["get", "pods", "-l", "app=web"])?;
    let ids: Vec<Value> = before["items"].as_array().into_iter().flatten().map(uid).collect();
    assert_eq!(ids.len(), 3, "the demo's pods");
    cgroup::end(&bed.testbed.instance.name(), KILLED_WITHIN)?;
    start_again(&bed)?;
    let same_pods_run_again = |list: &Value| {
        list["items"].as_array().is_some_and(|pods| {
            let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] != 0;
            pods.len() == 3 && pods.iter().all(|pod| ids.contains(&uid(pod)) && is_serving(pod) && restarted(pod))
        })
    };
    bed.wait_for(&["pods", "-l", "app=web"], "the same three pods serve again", same_pods_run_again)?;
    let shown = demo::show(&bed.testbed.instance, &bed.testbed.demo, &bed.testbed.rctl, &bed.testbed.daemons)?;
    assert!(shown.iter().all(|shown| shown.answer.starts_with("web-")));
    Ok(())
}

fn uid(object: &Value) -> Value {
    object["metadata"]["uid"].clone()
}

/// Starts what does not run, as a second `up` does.
fn start_again(bed: &Bed) -> Result<()> {
    let options = up::Options {
        dir: bed.testbed.instance.dir.clone(),
        nodes: bed.testbed.nodes()?.len(),
        demo: false,
        controller_manager_flags: Vec::new(),
        kubelet_flags: Vec::new(),
        profile: Profile::Release,
        build: false,
    };
    up::start(&options, &bed.workspace, &Progress::new()).map(drop)
}
