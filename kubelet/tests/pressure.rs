//! What is done before the node runs out, against a real containerd: logs are rotated while they are followed, pods that
//! hold too much are evicted, a node under pressure says so, images that nobody uses go.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use reeve_proto::v1::LogsRequest;
use serde_json::json;
use support::node::{Node, in_time, unavailable, until};
use support::pods::{condition, container, exec, gone, pod, ready, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_turn_and_pods_that_hold_too_much_go() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet_with(&["--container-log-max-size=1Ki", "--container-log-max-files=2"]);
    let mut hog = container("hog", &["/bin/sleep", "infinity"]);
    hog["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    let volumes = json!([{"name": "scratch", "emptyDir": {"sizeLimit": "4Ki"}}]);
    node.api.put("pods", pod("hog", json!({"containers": [hog], "volumes": volumes})));
    let words = "word".repeat(400);
    let talker = container("talker", &["/bin/sh", "-c", "echo begin; sleep infinity"]);
    node.api.put("pods", pod("talker", json!({"containers": [talker]})));
    let object = ready(&node, "talker").await;
    ready(&node, "hog").await;

    // The log is put aside; whoever follows it goes on.
    let request = LogsRequest { namespace: "default".into(), pod: "talker".into(), follow: true, ..Default::default() };
    let mut followed = node.streams().await.logs(request).await.unwrap().into_inner();
    let mut next = async || in_time("the log goes on", followed.message()).await.unwrap().unwrap().data;
    assert_eq!(next().await, "begin\n");
    // More than a file may hold.
    let script = format!("write /proc/1/fd/1 {words}");
    assert_eq!(exec(&node, "talker", &["/bin/sh", "-c", &script], None).await.2, 0);
    assert!(next().await.starts_with(b"wordword"));
    let folder = node.path("logs").join(format!("default_talker_{}/talker", text(&object, "/metadata/uid")));
    let files = || std::fs::read_dir(&folder).map(|it| it.flatten().count()).unwrap_or_default();
    until("the log is rotated", async || (files() == 2).then_some(())).await;
    assert_eq!(std::fs::metadata(folder.join("0.log")).unwrap().len(), 0);
    let pid = node.ctr(&["tasks", "list"]);
    assert!(pid.contains("RUNNING"));

    let script = format!("write /scratch/file {words}{words}{words}");
    assert_eq!(exec(&node, "hog", &["/bin/sh", "-c", &script], None).await.2, 0);
    let object = until("the hog is evicted", async || {
        node.api.get("pods", "default", "hog").filter(|it| text(it, "/status/phase") == "Failed")
    })
    .await;
    assert_eq!(text(&object, "/status/reason"), "Evicted");
    assert_eq!(text(&object, "/status/message"), "Usage of EmptyDir volume \"scratch\" exceeds the limit \"4Ki\". ");
    assert_eq!(condition(&object, "DisruptionTarget"), "True");
    for name in ["hog", "talker"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
    drop(followed);
    assert_eq!(std::fs::read_dir(node.path("logs")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_under_pressure_says_so_and_frees_what_nobody_uses() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    node.api.put("pods", pod("small", json!({"containers": [container("main", &["/bin/sleep", "infinity"])]})));
    ready(&node, "small").await;
    let object = node.api.get("nodes", "", "test").unwrap();
    assert_eq!(condition(&object, "DiskPressure"), "False");
    node.kill_kubelet();

    // Everything that the disk has is asked for.
    node.start_kubelet_with(&["--eviction-hard=nodefs.available<100%", "--minimum-image-ttl-duration=1ms"]);
    until("the node says that it is under pressure", async || {
        node.api.get("nodes", "", "test").filter(|it| condition(it, "DiskPressure") == "True").map(|_| ())
    })
    .await;
    let object = until("the pod is evicted", async || {
        node.api.get("pods", "default", "small").filter(|it| text(it, "/status/reason") == "Evicted")
    })
    .await;
    let message = text(&object, "/status/message");
    assert!(message.starts_with("The node was low on resource: ephemeral-storage. Threshold quantity: "), "{message}");
    // The demo's second version is used by nobody.
    until("an unused image goes", async || {
        (!node.ctr(&["images", "list", "--quiet"]).contains(xtask::images::DEMO_2)).then_some(())
    })
    .await;
    assert!(node.ctr(&["images", "list", "--quiet"]).contains(xtask::images::PAUSE));

    // And it takes no other.
    node.api.put("pods", pod("next", json!({"containers": [container("main", &["/bin/true"])]})));
    let object = until("the next pod is refused", async || {
        node.api.get("pods", "default", "next").filter(|it| text(it, "/status/phase") == "Failed")
    })
    .await;
    assert_eq!(text(&object, "/status/message"), "Pod was rejected: The node had condition: [DiskPressure]. ");
    for name in ["small", "next"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
}
