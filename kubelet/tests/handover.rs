//! A pod that ends serves until the proxies have dropped it, and no longer than it is patient. And containers that users
//! put into a running pod. Against a real containerd.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use std::time::{Duration, Instant};

use reeve_api::handover::{ENDPOINTS_DROPPED, patience};
use serde_json::json;
use support::node::{Node, unavailable, until};
use support::pods::{container, exec, exec_in, gone, pod, ready, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_signal_comes_after_the_proxies() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.9", "selector": {"app": "web"}, "ports": [{"port": 80}]},
    });
    node.api.put("services", service);
    node.start_kubelet();
    for name in ["told", "forgotten", "alone"] {
        let mut object = pod(name, json!({"containers": [container("main", &["/bin/sleep", "infinity"])]}));
        object["metadata"]["labels"] = json!({"app": if name == "alone" { "other" } else { "web" }});
        node.api.put("pods", object);
        ready(&node, name).await;
    }
    let patience = patience(Duration::from_secs(10));
    // Nobody sends to it: it goes at once.
    let began = Instant::now();
    node.api.delete_gracefully("alone", 10);
    gone(&node, "alone").await;
    assert!(began.elapsed() < patience, "{:?}", began.elapsed());

    let began = Instant::now();
    node.api.delete_gracefully("told", 10);
    node.api.delete_gracefully("forgotten", 10);
    // The kubelet has seen the deletion, and the process goes on.
    until("the pod serves while it is held", async || {
        (exec(&node, "told", &["/bin/true"], None).await.2 == 0 && began.elapsed() > Duration::from_millis(500))
            .then_some(())
    })
    .await;
    let mut object = node.api.get("pods", "default", "told").unwrap();
    object["metadata"]["annotations"] = json!({ENDPOINTS_DROPPED: "7"});
    node.api.put("pods", object);
    gone(&node, "told").await;
    let told = began.elapsed();
    // The proxies of this one never answer.
    gone(&node, "forgotten").await;
    let forgotten = began.elapsed();
    eprintln!("gone after {} and {} ms", told.as_millis(), forgotten.as_millis());
    assert!(forgotten >= patience, "{forgotten:?}");
    assert!(told < forgotten, "{told:?} {forgotten:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemeral_containers_look_at_a_running_pod() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    node.api.put("pods", pod("seen", json!({"containers": [container("main", &["/bin/sleep", "infinity"])]})));
    let mut object = ready(&node, "seen").await;
    let mut debugger = container("debugger", &["/bin/sleep", "infinity"]);
    debugger["targetContainerName"] = json!("main");
    let once = container("once", &["/bin/crash", "3"]);
    object["spec"]["ephemeralContainers"] = json!([debugger, once]);
    node.api.put("pods", object);
    let object = until("one runs, the other has ended", async || {
        let object = node.api.get("pods", "default", "seen")?;
        let status = |index: usize, what: &str| {
            object.pointer(&format!("/status/ephemeralContainerStatuses/{index}/state/{what}")).cloned()
        };
        (status(0, "running").is_some() && status(1, "terminated")?["exitCode"] == 3).then_some(object)
    })
    .await;
    assert_eq!(text(&object, "/status/phase"), "Running");
    assert_eq!(object.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(0)));
    // The first process that it sees is the target's.
    let (out, _, code) = exec_in(&node, "seen", "debugger", &["/bin/cat", "/proc/1/comm"], None).await;
    assert_eq!(code, 0);
    assert_eq!(out.trim(), "sleep");
    let (out, _, _) = exec_in(&node, "seen", "debugger", &["/bin/cat", "/proc/self/status"], None).await;
    let pid = out.lines().find_map(|it| it.strip_prefix("Pid:")).unwrap().trim();
    assert!(pid.parse::<u32>().unwrap() > 2, "{pid}");
    node.api.delete_gracefully("seen", 1);
    gone(&node, "seen").await;
}
