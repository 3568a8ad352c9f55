//! Pods that the cluster ends: for a taint of their node, and when their time is over.

use std::time::{Duration, Instant};

use anyhow::Result;
use reeve_integration_tests::{
    bed::bed,
    kubectl::{Kubectl, contains},
};
use serde_json::{Value, json};

/// A node without a kubelet, with a taint of the user's own, which does not tell when it came.
const NODE: &str = "
apiVersion: v1
kind: Node
metadata: {name: tainted}
spec:
  taints: [{key: example.com/out, value: now, effect: NoExecute}]
";

fn pod(name: &str, tolerations: Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"nodeName": "tainted", "tolerations": tolerations, "terminationGracePeriodSeconds": 600,
                 "containers": [{"name": "main", "image": "reeve.local/demo:1"}]},
    })
    .to_string()
}

#[test]
fn evictions_for_taints_wait_as_long_as_they_are_tolerated() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "evictions")?;
    let _node = bed.keep_applied(NODE)?;
    let tolerates = |seconds: Option<u32>| {
        let mut it = json!({"key": "example.com/out", "value": "now", "effect": "NoExecute"});
        if let Some(seconds) = seconds {
            it["tolerationSeconds"] = seconds.into();
        }
        json!([it])
    };
    let began = Instant::now();
    let pods = [("for-ever", tolerates(None)), ("for-a-while", tolerates(Some(5))), ("never", json!([]))];
    for (name, tolerations) in &pods {
        kubectl.feed(&["create", "-f", "-"], &pod(name, tolerations.clone()))?;
    }
    let deleted = |name: &'static str| {
        let told = move |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
        bed.wait_for(&["pod", name, "-n", "evictions"], "it is told to go", told)
    };
    let never = deleted("never")?;
    let conditions = never["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let disrupted = conditions.iter().find(|it| it["type"] == "DisruptionTarget");
    assert!(disrupted.is_some_and(|it| it["reason"] == "DeletionByTaintManager"), "{conditions:?}");
    deleted("for-a-while")?;
    assert!(began.elapsed() >= Duration::from_secs(4), "gone after {:?}", began.elapsed());
    let all = kubectl.run(&["get", "pod", "for-ever", "-o", "jsonpath={.metadata.deletionTimestamp}"])?;
    assert_eq!(all, "", "tolerated for ever");
    // Nobody else ends pods of a node that does not exist.
    kubectl.run(&["delete", "pods", "--all", "--force"])?;
    Ok(())
}

#[test]
fn evictions_of_pods_whose_time_is_over_say_so() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "deadlines")?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"},
        "spec": {"activeDeadlineSeconds": 600, "terminationGracePeriodSeconds": 1,
                 "containers": [{"name": "main", "image": "reeve.local/demo:1"}]},
    });
    kubectl.feed(&["create", "-f", "-"], &pod.to_string())?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/late", "--timeout=120s"])?;
    kubectl.run(&["patch", "pod", "late", "-p", r#"{"spec":{"activeDeadlineSeconds":1}}"#])?;
    let late =
        bed.wait_for(&["pod", "late", "-n", "deadlines"], "it has failed", |pod| pod["status"]["phase"] == "Failed")?;
    assert_eq!(late["status"]["reason"], "DeadlineExceeded", "{late}");
    bed.wait_for(&["events", "-n", "deadlines"], "it was told", |list| {
        list["items"].as_array().into_iter().flatten().any(|it| it["reason"] == "DeadlineExceeded")
    })?;
    let described = kubectl.run(&["describe", "pod", "late"])?;
    contains(&described, &["Pod was active on the node longer than the specified deadline"])
}
