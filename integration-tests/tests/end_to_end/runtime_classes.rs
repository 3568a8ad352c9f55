//! Runtime classes: what they add to pods, where they send them, and what is not there.

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{bed, is_serving},
    kubectl::{Kubectl, contains},
};
use serde_json::json;

const CLASSES: &str = "
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: costly}
handler: runc
overhead: {podFixed: {cpu: 10m, memory: 1Mi}}
scheduling:
  nodeSelector: {kubernetes.io/hostname: node-2}
  tolerations: [{key: costly, operator: Exists, effect: NoSchedule}]
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: unconfigured}
handler: nowhere
";

#[test]
fn runtime_classes_reach_the_scheduler_and_the_runtime() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _classes = bed.keep_applied(CLASSES)?;
    let kubectl = Kubectl::new(&bed, "runtime-classes")?;
    let pod = |class: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": class},
            "spec": {"runtimeClassName": class, "terminationGracePeriodSeconds": 1,
                     "containers": [{"name": "main", "image": "reeve.local/demo:1"}]},
        })
        .to_string()
    };
    for class in ["costly", "unconfigured"] {
        kubectl.feed(&["apply", "-f", "-"], &pod(class))?;
    }
    let costly = bed.wait_for(&["pod", "costly", "-n", "runtime-classes"], "it serves", is_serving)?;
    let spec = &costly["spec"];
    assert_eq!(spec["overhead"], json!({"cpu": "10m", "memory": "1Mi"}), "{spec}");
    assert_eq!(spec["nodeName"], "node-2", "{spec}");
    assert!(spec["tolerations"].as_array().context("tolerations")?.iter().any(|it| it["key"] == "costly"), "{spec}");

    bed.wait_for(&["events", "-n", "runtime-classes"], "the runtime knows no such handler", |list| {
        let mut events = list["items"].as_array().into_iter().flatten();
        let words = "no runtime for \"nowhere\" is configured";
        events.any(|it| {
            it["reason"] == "FailedCreatePodSandBox" && it["message"].as_str().is_some_and(|it| it.contains(words))
        })
    })?;
    kubectl.feed(&["create", "-f", "-"], &pod("no-such")).err().map_or_else(
        || anyhow::bail!("a pod of a class that does not exist was taken"),
        |error| contains(&format!("{error:#}"), &["pod rejected: RuntimeClass \"no-such\" not found"]),
    )
}
