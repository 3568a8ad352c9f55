//! The kubelet's program against a real containerd: a pod's whole life, and a restart of the kubelet within it.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use reeve_proto::v1::LogsRequest;
use serde_json::json;
use support::node::{Node, unavailable, until};
use support::pods::{condition, container, exec, gone, logs, pod, ready, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_a_pod() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.api
        .put("configmaps", json!({"metadata": {"name": "words", "namespace": "default"}, "data": {"word": "first"}}));
    node.start_kubelet();

    // The node registers, becomes ready and keeps a lease.
    until("the node is ready", async || {
        let object = node.api.get("nodes", "", "test")?;
        (condition(&object, "Ready") == "True").then_some(())
    })
    .await;
    until("the lease is there", async || node.api.get("leases", "kube-node-lease", "test")).await;

    // Starts: volumes, environment, image, sandbox, container.
    let mut main = container("main", &["/bin/demo", "sh", "-c", "echo hello from $WORD; sleep infinity"]);
    main["env"] = json!([{"name": "WORD", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "word"}}}]);
    main["volumeMounts"] = json!([
        {"name": "words", "mountPath": "/words"},
        {"name": "scratch", "mountPath": "/scratch"},
    ]);
    let spec = json!({
        "containers": [main],
        "volumes": [{"name": "words", "configMap": {"name": "words"}}, {"name": "scratch", "emptyDir": {}}],
    });
    let began = std::time::Instant::now();
    node.api.put("pods", pod("life", spec));
    let object = ready(&node, "life").await;
    eprintln!("create to ready: {} ms", began.elapsed().as_millis());
    assert_eq!(text(&object, "/status/phase"), "Running");
    assert_eq!(text(&object, "/status/podIP"), "127.0.0.1");
    assert_eq!(condition(&object, "PodReadyToStartContainers"), "True");
    assert_eq!(text(&object, "/status/qosClass"), "BestEffort");
    assert_eq!(object.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(0)));

    // Logs and exec, with input, its end, and an exit code.
    assert_eq!(
        until("the log has a line", async || Some(logs(&node, "life", false).await).filter(|it| !it.is_empty())).await,
        "hello from first\n"
    );
    assert_eq!(exec(&node, "life", &["/bin/cat", "/words/word"], None).await, ("first".into(), String::new(), 0));
    assert_eq!(exec(&node, "life", &["/bin/cat"], Some("typed")).await.0, "typed");
    assert_eq!(exec(&node, "life", &["/bin/crash", "7"], None).await.2, 7);

    // A changed ConfigMap reaches the volume.
    node.api
        .put("configmaps", json!({"metadata": {"name": "words", "namespace": "default"}, "data": {"word": "second"}}));
    until("the volume follows the ConfigMap", async || {
        (exec(&node, "life", &["/bin/cat", "/words/word"], None).await.0 == "second").then_some(())
    })
    .await;

    // A kubelet that was killed takes the pod over: nothing is started again.
    let before = text(&ready(&node, "life").await, "/status/containerStatuses/0/containerID").to_owned();
    node.kill_kubelet();
    node.start_kubelet();
    until("the new kubelet answers", async || {
        let request = LogsRequest { namespace: "default".into(), pod: "life".into(), ..Default::default() };
        node.streams().await.logs(request).await.ok().map(|_| ())
    })
    .await;
    assert_eq!(exec(&node, "life", &["/bin/true"], None).await.2, 0);
    assert_eq!(text(&ready(&node, "life").await, "/status/containerStatuses/0/containerID"), before);

    // The process is killed: a new one comes, the old one's log and state stay.
    let id = before.trim_start_matches("containerd://").to_owned();
    node.ctr(&["tasks", "kill", "--signal", "SIGKILL", &id]);
    let object = until("the container is restarted", async || {
        let object = node.api.get("pods", "default", "life")?;
        (object.pointer("/status/containerStatuses/0/restartCount") == Some(&json!(1))
            && condition(&object, "Ready") == "True")
            .then_some(object)
    })
    .await;
    assert_eq!(object.pointer("/status/containerStatuses/0/lastState/terminated/exitCode"), Some(&json!(137)));
    assert_eq!(logs(&node, "life", true).await, "hello from first\n");

    // A second kill waits for the back-off.
    let id = text(&object, "/status/containerStatuses/0/containerID").trim_start_matches("containerd://").to_owned();
    node.ctr(&["tasks", "kill", "--signal", "SIGKILL", &id]);
    until("the back-off shows", async || {
        let object = node.api.get("pods", "default", "life")?;
        (text(&object, "/status/containerStatuses/0/state/waiting/reason") == "CrashLoopBackOff").then_some(())
    })
    .await;

    // A graceful end, and nothing left.
    node.api.delete_gracefully("life", 5);
    gone(&node, "life").await;
    assert_eq!(node.ctr(&["containers", "list", "--quiet"]).trim(), "");
    let left: Vec<_> = std::fs::read_dir(node.path("kubelet/pods")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(node.cgroups(), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(node.path("logs")).unwrap().count(), 0);
    let reasons: std::collections::BTreeSet<String> =
        node.api.list("events").iter().map(|it| text(it, "/reason").to_owned()).collect();
    for reason in ["Created", "Started", "Pulled", "BackOff", "Starting"] {
        assert!(reasons.contains(reason), "no event {reason} in {reasons:?}");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.kubelet_pid())).unwrap();
    let memory = status.lines().filter(|it| it.starts_with("VmRSS") || it.starts_with("RssAnon"));
    eprintln!("kubelet: {}", memory.collect::<Vec<_>>().join(" "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_containers_probes_and_ends() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();

    // Init containers run in order before the app; a pod that ends is Succeeded with its message.
    let mut app = container("app", &["/bin/write", "/dev/termination-log", "done well"]);
    app["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    let mut init = container("init", &["/bin/write", "/shared/file", "ready"]);
    init["volumeMounts"] = app["volumeMounts"].clone();
    let spec = json!({
        "restartPolicy": "Never", "initContainers": [init], "containers": [app],
        "volumes": [{"name": "shared", "emptyDir": {"medium": "Memory"}}],
    });
    node.api.put("pods", pod("job", spec));
    let object = until("the job succeeds", async || {
        node.api.get("pods", "default", "job").filter(|pod| text(pod, "/status/phase") == "Succeeded")
    })
    .await;
    assert_eq!(text(&object, "/status/containerStatuses/0/state/terminated/message").trim(), "done well");
    assert_eq!(text(&object, "/status/containerStatuses/0/state/terminated/reason"), "Completed");
    assert_eq!(condition(&object, "Initialized"), "True");

    // A liveness probe that fails restarts the container.
    let mut sick = container("sick", &["/bin/sleep", "infinity"]);
    sick["livenessProbe"] = json!({"exec": {"command": ["/bin/false"]}, "periodSeconds": 1, "failureThreshold": 1});
    node.api.put("pods", pod("sick", json!({"containers": [sick]})));
    until("the sick container is restarted", async || {
        let object = node.api.get("pods", "default", "sick")?;
        object.pointer("/status/containerStatuses/0/restartCount")?.as_i64().filter(|count| *count >= 1)
    })
    .await;

    // An image that nobody has.
    let mut missing = container("missing", &["/bin/true"]);
    missing["image"] = json!("127.0.0.1:1/none:1");
    node.api.put("pods", pod("missing", json!({"containers": [missing]})));
    until("the missing image is told", async || {
        let object = node.api.get("pods", "default", "missing")?;
        (text(&object, "/status/containerStatuses/0/state/waiting/reason") == "ErrImagePull").then_some(())
    })
    .await;

    // A pod that is removed from the API while the kubelet is down is ended when it returns.
    node.api.put("pods", pod("orphan", json!({"containers": [container("main", &["/bin/sleep", "infinity"])]})));
    ready(&node, "orphan").await;
    node.kill_kubelet();
    node.api.remove("pods", "default", "orphan");
    node.start_kubelet();
    for name in ["job", "sick", "missing"] {
        node.api.delete_gracefully(name, 1);
    }
    for name in ["job", "sick", "missing"] {
        gone(&node, name).await;
    }
    until("nothing is left in the runtime", async || {
        node.ctr(&["containers", "list", "--quiet"]).trim().is_empty().then_some(())
    })
    .await;
    until("nothing is left on the disk", async || {
        (std::fs::read_dir(node.path("kubelet/pods")).ok()?.count() == 0).then_some(())
    })
    .await;
}
