//! The main job: a Deployment and its Services.

use anyhow::Result;
use reeve_integration_tests::{
    bed::{bed, is_serving, name},
    load::Load,
};
use xtask::demo;

#[test]
fn demo_answers_on_every_way_in() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let shown = demo::show(&bed.testbed.instance, &bed.testbed.demo, &bed.testbed.rctl, &bed.testbed.daemons)?;
    // One node, one pod, each node's port, one name.
    assert_eq!(shown.len(), 3 + bed.testbed.nodes()?.len());
    for demo::Shown { way, answer } in shown {
        assert!(answer.starts_with("web-") && answer.contains("version=1"), "{way}: {answer}");
    }
    Ok(())
}

#[test]
fn demo_scales_up_and_down() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("scaled")?;
    for replicas in [5, 1] {
        bed.rctl(&["scale", "deployment/scaled", &format!("--replicas={replicas}")])?;
        deployed.wait_pods(&format!("{replicas} pods serve, no other exists"), |pods| {
            pods.len() == replicas && pods.iter().all(is_serving)
        })?;
    }
    Ok(())
}

#[test]
fn demo_update_fails_no_request() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("updated")?;
    let by_cluster_ip = Load::from_node(&bed, 1, &deployed.cluster_url()?)?;
    let by_node_port = Load::from_host(&bed, &deployed.node_port_url(2)?)?;
    bed.rctl(&["set", "image", "deployment/updated", "updated=reeve.local/demo:2"])?;
    deployed.rolled_out()?;
    deployed.wait_pods("only new pods exist", |pods| {
        pods.len() == 3
            && pods.iter().all(|pod| is_serving(pod) && pod["spec"]["containers"][0]["image"] == "reeve.local/demo:2")
    })?;
    for load in [by_cluster_ip, by_node_port] {
        let summary = load.finish()?;
        assert!(summary.contains("version=1:") && summary.contains("version=2:"), "{summary}");
    }
    Ok(())
}

#[test]
fn demo_fewer_pods_fail_no_request() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("shrunk")?;
    bed.rctl(&["scale", "deployment/shrunk", "--replicas=6"])?;
    deployed.wait_pods("six pods serve", |pods| {
        pods.len() == 6 && pods.iter().filter(|pod| is_serving(pod)).count() == 6
    })?;
    let by_cluster_ip = Load::from_node(&bed, 1, &deployed.cluster_url()?)?;
    let by_node_port = Load::from_host(&bed, &deployed.node_port_url(3)?)?;
    bed.rctl(&["scale", "deployment/shrunk", "--replicas=1"])?;
    deployed.wait_pods("one pod is left", |pods| pods.len() == 1 && pods.iter().all(is_serving))?;
    for load in [by_cluster_ip, by_node_port] {
        load.finish()?;
    }
    Ok(())
}

#[test]
fn demo_pod_that_is_deleted_is_replaced() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("replaced")?;
    let pods = deployed.wait_pods("three pods serve", |pods| pods.iter().filter(|pod| is_serving(pod)).count() == 3)?;
    let victim = name(&pods[0]).to_owned();
    bed.rctl(&["delete", "pod", &victim, "--wait=false"])?;
    deployed.wait_pods("three others serve", |pods| {
        pods.len() == 3 && pods.iter().all(|pod| is_serving(pod) && name(pod) != victim)
    })?;
    bed.rctl(&["delete", "deployment", "replaced"])?;
    deployed.wait_pods("no pod is left", <[_]>::is_empty)?;
    Ok(())
}
