//! When the node is ready: at the kubelet's start, as the network's configuration comes and goes, and as the
//! runtime ends, hangs and returns. Nothing of it may wait for a timer.

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::node::{Network, Node, unavailable, until};

/// The node's `Ready` condition and its message.
fn ready(node: &Node) -> Option<(bool, String)> {
    let object = node.api.get("nodes", "", "test")?;
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?.clone();
    let ready = conditions.into_iter().find(|it| it["type"] == "Ready")?;
    Some((ready["status"] == "True", ready["message"].as_str().unwrap_or_default().to_owned()))
}

async fn until_ready(node: &Node, what: &str, wanted: bool) -> (Duration, String) {
    let began = Instant::now();
    let message =
        until(what, async || ready(node).filter(|(is_ready, _)| *is_ready == wanted).map(|(_, message)| message)).await;
    (began.elapsed(), message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_the_runtime_and_its_network() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::with(Network::None).await;
    node.start_kubelet();
    let (registered, message) = until_ready(&node, "the node is registered, not ready", false).await;
    eprintln!("start to registered: {} ms", registered.as_millis());
    until("the network is said to be missing", async || {
        ready(&node).filter(|(_, message)| message.contains("NetworkReady=false")).map(|_| ())
    })
    .await;
    assert!(!message.is_empty());

    for turn in 0..3 {
        // Others write to the node as well.
        let mut object = node.api.get("nodes", "", "test").unwrap();
        object["metadata"]["annotations"]["turn"] = json!(turn.to_string());
        node.api.put("nodes", object);
        node.write_network();
        let (took, _) = until_ready(&node, "ready with a network", true).await;
        eprintln!("network written to Ready: {} ms", took.as_millis());
        node.remove_network();
        let (took, message) = until_ready(&node, "not ready without a network", false).await;
        eprintln!("network removed to not Ready: {} ms", took.as_millis());
        assert!(message.contains("NetworkReady=false"), "{message}");
    }
    node.write_network();
    until_ready(&node, "ready again", true).await;

    // A new kubelet finds all as it is.
    node.kill_kubelet();
    let before = node.api.get("nodes", "", "test").unwrap();
    node.api.remove("nodes", "", "test");
    node.start_kubelet();
    let (took, _) = until_ready(&node, "ready after a start", true).await;
    eprintln!("kubelet start to Ready: {} ms", took.as_millis());
    assert_ne!(before.pointer("/metadata/resourceVersion"), None);

    // The runtime goes and comes back.
    node.stop_containerd();
    let (took, message) = until_ready(&node, "not ready without a runtime", false).await;
    eprintln!("runtime ended to not Ready: {} ms; {message}", took.as_millis());
    node.start_containerd();
    let (took, _) = until_ready(&node, "ready with the runtime", true).await;
    eprintln!("runtime started to Ready: {} ms", took.as_millis());

    // None of that was a conflict to be told.
    let log = std::fs::read_to_string(node.path("kubelet.log")).unwrap();
    let complaints: Vec<&str> = log.lines().filter(|line| line.contains("a key failed")).collect();
    assert_eq!(complaints, Vec::<&str>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_hangs_is_told_and_survived() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    until_ready(&node, "ready", true).await;
    node.freeze_containerd(true);
    // Something is wanted of the runtime: it does not answer in time.
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default", "uid": uuid::Uuid::new_v4().to_string()},
        "spec": {
            "nodeName": "test", "hostNetwork": true, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": xtask::images::DEMO_1, "command": ["/bin/sleep", "infinity"]}],
        },
        "status": {"phase": "Pending"},
    });
    node.api.put("pods", pod);
    let (_, message) = until_ready(&node, "not ready while the runtime hangs", false).await;
    assert!(message.contains("no answer from the container runtime"), "{message}");
    node.freeze_containerd(false);
    let (took, _) = until_ready(&node, "ready as the runtime goes on", true).await;
    eprintln!("runtime goes on to Ready: {} ms", took.as_millis());
    until("the pod runs", async || {
        let pod = node.api.get("pods", "default", "p")?;
        (pod.pointer("/status/phase")? == "Running").then_some(())
    })
    .await;
}
