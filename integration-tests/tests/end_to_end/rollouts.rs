//! How Deployments change: all at once, not at all, back again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{bed, is_serving},
    follow::Follow,
};
use serde_json::Value;

const TWO: &str = "reeve.local/demo:2";

fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default()
}

fn all_serve(pods: &[Value], count: usize, wanted: &str) -> bool {
    pods.len() == count && pods.iter().all(|pod| is_serving(pod) && image(pod) == wanted)
}

#[test]
fn rollouts_recreate_never_runs_old_and_new_together() -> Result<()> {
    const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: at-once}
spec:
  replicas: 3
  strategy: {type: Recreate}
  selector: {matchLabels: {app: at-once}}
  template:
    metadata: {labels: {app: at-once}}
    spec: {containers: [{name: main, image: 'reeve.local/demo:1'}]}
";
    let Some(bed) = bed()? else { return Ok(()) };
    let _deployment = bed.keep_applied(MANIFEST)?;
    bed.rctl(&["rollout", "status", "deployment/at-once", "--timeout=120s"])?;

    // Every change of a pod, one a line: what happened, whose, which image, whether it has ended.
    let line =
        r#"jsonpath={.type} {.object.metadata.name} {.object.spec.containers[0].image} {.object.status.phase}{"\n"}"#;
    let watch = ["get", "pods", "-l", "app=at-once", "--watch", "--output-watch-events", "-o", line];
    let mut changes = Follow::start(bed.testbed.rctl.command(&watch))?;
    let mut alive = BTreeMap::new();
    let mut images_seen = BTreeSet::new();
    let mut follow_until = |wanted: &dyn Fn(&BTreeMap<String, String>) -> bool| -> Result<()> {
        loop {
            let change = changes.wait_for("a change of a pod", |_| true)?;
            let words: Vec<&str> = change.split_whitespace().collect();
            let [happened, name, image, rest @ ..] = words.as_slice() else { continue };
            if *happened == "DELETED" || matches!(rest, ["Succeeded" | "Failed"]) {
                alive.remove(*name);
            } else {
                alive.insert((*name).to_owned(), (*image).to_owned());
            }
            let images: BTreeSet<&String> = alive.values().collect();
            assert!(images.len() <= 1, "old and new together: {alive:?}");
            images_seen.extend(images.into_iter().cloned());
            if wanted(&alive) {
                return Ok(());
            }
        }
    };
    follow_until(&|alive| alive.len() == 3)?;
    bed.rctl(&["set", "image", "deployment/at-once", &format!("main={TWO}")])?;
    follow_until(&|alive| alive.is_empty())?;
    follow_until(&|alive| alive.len() == 3)?;
    bed.rctl(&["rollout", "status", "deployment/at-once", "--timeout=120s"])?;
    assert_eq!(images_seen.len(), 2, "{images_seen:?}");
    Ok(())
}

#[test]
fn rollouts_pause_resume_and_undo() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("paused")?;
    let one = "reeve.local/demo:1";
    bed.rctl(&["rollout", "pause", "deployment/paused"])?;
    bed.rctl(&["set", "image", "deployment/paused", &format!("paused={TWO}")])?;
    // Sizes change also while paused. So when the new size is there, the new image was seen, and left alone.
    bed.rctl(&["scale", "deployment/paused", "--replicas=2"])?;
    deployed.wait_pods("two pods serve, of the old image", |pods| all_serve(pods, 2, one))?;
    let state = bed.wait_for(&["deployment", "paused"], "it says that it is paused", |deployment| {
        let conditions = deployment["status"]["conditions"].as_array();
        deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
            && conditions.is_some_and(|all| all.iter().any(|condition| condition["reason"] == "DeploymentPaused"))
    })?;
    assert_eq!(state["spec"]["template"]["spec"]["containers"][0]["image"], TWO);
    let sets = bed.testbed.rctl.json(&["get", "replicasets", "-l", "app=paused"])?;
    assert_eq!(sets["items"].as_array().map(Vec::len), Some(1), "no ReplicaSet of the new template");

    bed.rctl(&["rollout", "resume", "deployment/paused"])?;
    deployed.rolled_out()?;
    deployed.wait_pods("two pods serve, of the new image", |pods| all_serve(pods, 2, TWO))?;

    bed.rctl(&["rollout", "undo", "deployment/paused"])?;
    deployed.rolled_out()?;
    deployed.wait_pods("two pods serve, of the old image again", |pods| all_serve(pods, 2, one))?;
    let history = bed.rctl(&["rollout", "history", "deployment/paused"])?;
    let revisions: Vec<&str> = history.lines().skip(2).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(revisions, ["2", "3"], "the first revision became the third:\n{history}");
    bed.rctl(&["rollout", "undo", "deployment/paused", "--to-revision=2"])?;
    deployed.rolled_out()?;
    deployed.wait_pods("two pods serve, of the second revision", |pods| all_serve(pods, 2, TWO))?;
    let deployment = bed.testbed.rctl.json(&["get", "deployment", "paused"])?;
    let revision = deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
    assert_eq!(revision.context("a revision")?, "4");
    Ok(())
}
