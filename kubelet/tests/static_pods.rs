//! Static pods against a real containerd: they run before the API answers, their mirror pods follow, and files decide.
//! And pods that the node refuses.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use serde_json::json;
use support::node::{Node, unavailable, until};
use support::pods::{container, exec, gone, pod, ready, text};

fn write(node: &Node, name: &str, command: &[&str]) {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"hostNetwork": true, "terminationGracePeriodSeconds": 1, "containers": [container("main", command)]},
    });
    std::fs::write(node.path("manifests").join(name), manifest.to_string()).unwrap();
}

fn running(node: &Node) -> usize {
    node.ctr(&["tasks", "list"]).lines().filter(|line| line.contains("RUNNING")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_decide_with_and_without_the_api() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    std::fs::create_dir(node.path("manifests")).unwrap();
    std::fs::write(node.path("manifests/.hidden"), "no manifest").unwrap();
    std::fs::write(node.path("manifests/broken.yaml"), "kind: Service").unwrap();
    write(&node, "web.json", &["/bin/sleep", "1000"]);
    node.api.set_absent(true);
    let flag = format!("--pod-manifest-path={}", node.path("manifests").display());
    let flags = [flag.as_str(), "--allowed-unsafe-sysctls=kernel.msg*", "--kube-reserved=cpu=100m"];
    node.start_kubelet_with(&flags);
    until("the static pod runs before the API answers", async || (running(&node) == 2).then_some(())).await;

    // The API comes: the mirror pod shows it.
    node.api.set_absent(false);
    let mirror = ready(&node, "web-test").await;
    let annotation =
        |name: &str| text(&mirror, &format!("/metadata/annotations/kubernetes.io~1config.{name}")).to_owned();
    assert_eq!(annotation("source"), "file");
    assert_eq!((annotation("mirror"), annotation("hash").len()), (annotation("hash"), 32));
    assert_eq!(text(&mirror, "/metadata/ownerReferences/0/name"), "test");
    assert_ne!(text(&mirror, "/metadata/uid"), annotation("hash"));
    assert_eq!(exec(&node, "web-test", &["/bin/true"], None).await.2, 0);
    let id = text(&mirror, "/status/containerStatuses/0/containerID").to_owned();
    let object = node.api.get("nodes", "", "test").unwrap();
    assert_ne!(object.pointer("/status/capacity/cpu"), object.pointer("/status/allocatable/cpu"));

    // A mirror pod that somebody deletes comes back, the pod goes on; so it does over a restart of the kubelet.
    node.api.delete_gracefully("web-test", 30);
    until("another mirror pod is made", async || {
        let object = node.api.get("pods", "default", "web-test")?;
        let other = object["metadata"]["uid"] != mirror["metadata"]["uid"];
        (other && text(&object, "/status/containerStatuses/0/containerID") == id).then_some(())
    })
    .await;
    node.kill_kubelet();
    node.start_kubelet_with(&flags);
    until("the new kubelet answers", async || {
        (ready(&node, "web-test").await["status"]["containerStatuses"][0]["containerID"] == id).then_some(())
    })
    .await;

    // A changed file is another pod: the old one ends first.
    write(&node, "web.json", &["/bin/sleep", "2000"]);
    until("the changed pod runs", async || {
        let object = node.api.get("pods", "default", "web-test")?;
        let other = text(&object, "/metadata/annotations/kubernetes.io~1config.hash") != annotation("hash");
        let status = object.pointer("/status/containerStatuses/0")?;
        (other && status["ready"] == true && status["containerID"] != id).then_some(())
    })
    .await;
    assert_eq!(running(&node), 2);

    // Pods that the node does not take.
    let mut elsewhere = pod("elsewhere", json!({"containers": [container("main", &["/bin/true"])]}));
    elsewhere["spec"]["nodeSelector"] = json!({"disk": "ssd"});
    node.api.put("pods", elsewhere);
    let object = until("the pod is refused", async || {
        node.api.get("pods", "default", "elsewhere").filter(|it| text(it, "/status/phase") == "Failed")
    })
    .await;
    assert_eq!(text(&object, "/status/reason"), "NodeAffinity");
    assert!(
        text(&object, "/status/message").starts_with("Pod was rejected: Predicate NodeAffinity failed"),
        "{object}"
    );
    assert!(object.pointer("/status/containerStatuses").is_none());
    node.api.delete_gracefully("elsewhere", 1);
    gone(&node, "elsewhere").await;

    std::fs::remove_file(node.path("manifests/web.json")).unwrap();
    gone(&node, "web-test").await;
    until("nothing is left", async || node.ctr(&["containers", "list", "--quiet"]).trim().is_empty().then_some(()))
        .await;
    until("nothing is left on the disk", async || {
        (std::fs::read_dir(node.path("kubelet/pods")).ok()?.count() == 0).then_some(())
    })
    .await;
}
