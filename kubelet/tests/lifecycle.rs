//! What happens around a container's life, against a real containerd: hooks, sidecars, termination messages; and what
//! its security context and resources come to.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use reeve_proto::v1::LogsRequest;
use serde_json::{Value, json};
use support::node::{Node, unavailable, until};
use support::pods::{condition, container, exec, gone, pod, ready, text};

fn file(node: &Node, name: &str) -> Option<String> {
    std::fs::read_to_string(node.path("host").join(name)).ok()
}

/// The events' reasons and messages.
fn events(node: &Node) -> Vec<(String, String)> {
    let events = node.api.list("events");
    events.iter().map(|it| (text(it, "/reason").to_owned(), text(it, "/message").to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_and_sidecars_go_last() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    std::fs::create_dir(node.path("host")).unwrap();
    let mounts = json!([{"name": "host", "mountPath": "/host"}]);
    let mut side = container("side", &["/bin/sh", "-c", "write /host/side up; sleep infinity"]);
    side["restartPolicy"] = json!("Always");
    side["startupProbe"] = json!({"exec": {"command": ["/bin/cat", "/host/side"]}, "periodSeconds": 1});
    // Runs when the app has ended: it finds what the app's hook wrote.
    side["lifecycle"] =
        json!({"preStop": {"exec": {"command": ["/bin/sh", "-c", "cat /host/app-stop > /host/side-stop"]}}});
    let mut init = container("init", &["/bin/sh", "-c", "cat /host/side > /host/init"]);
    let mut app = container("app", &["/bin/sh", "-c", "cat /host/init > /host/app; sleep infinity"]);
    app["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["/bin/write", "/host/app-start", "started"]}},
        "preStop": {"exec": {"command": ["/bin/write", "/host/app-stop", "stopped"]}},
    });
    for it in [&mut side, &mut init, &mut app] {
        it["volumeMounts"] = mounts.clone();
    }
    let volumes = json!([{"name": "host", "hostPath": {"path": node.path("host"), "type": "Directory"}}]);
    let spec = json!({"initContainers": [side, init], "containers": [app], "volumes": volumes});
    node.api.put("pods", pod("hooked", spec));
    let object = ready(&node, "hooked").await;
    assert_eq!(object.pointer("/status/initContainerStatuses/0/started"), Some(&json!(true)));
    assert_eq!(text(&object, "/status/initContainerStatuses/1/state/terminated/reason"), "Completed");
    until("the app found what init left", async || file(&node, "app").filter(|it| it.starts_with("up"))).await;
    assert_eq!(file(&node, "app-start").as_deref().map(str::trim), Some("started"));

    // The sidecar is restarted alone.
    let id =
        text(&object, "/status/initContainerStatuses/0/containerID").trim_start_matches("containerd://").to_owned();
    node.ctr(&["tasks", "kill", "--signal", "SIGKILL", &id]);
    let object = until("the sidecar is restarted", async || {
        let object = node.api.get("pods", "default", "hooked")?;
        (object.pointer("/status/initContainerStatuses/0/restartCount")? == &json!(1)).then_some(object)
    })
    .await;
    assert_eq!(object.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(0)));
    ready(&node, "hooked").await;

    // A kubelet that starts anew runs no hook again.
    std::fs::remove_file(node.path("host/app-start")).unwrap();
    node.kill_kubelet();
    node.start_kubelet();
    until("the new kubelet answers", async || {
        let (namespace, pod, container) = ("default".into(), "hooked".into(), "app".into());
        let request = LogsRequest { namespace, pod, container, ..Default::default() };
        node.streams().await.logs(request).await.ok().map(|_| ())
    })
    .await;
    assert_eq!(exec(&node, "hooked", &["/bin/true"], None).await.2, 0);
    node.api.delete_gracefully("hooked", 6);
    gone(&node, "hooked").await;
    assert_eq!(file(&node, "app-start"), None);
    assert_eq!(file(&node, "side-stop").as_deref().map(str::trim), Some("stopped"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_hooks_and_last_words_are_told() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let mut bad = container("bad", &["/bin/sleep", "infinity"]);
    bad["lifecycle"] =
        json!({"postStart": {"exec": {"command": ["/bin/false"]}}, "preStop": {"sleep": {"seconds": 1}}});
    node.api.put("pods", pod("bad", json!({"containers": [bad]})));
    until("the container is ended for its hook", async || {
        let object = node.api.get("pods", "default", "bad")?;
        object.pointer("/status/containerStatuses/0/restartCount")?.as_i64().filter(|count| *count >= 1)
    })
    .await;
    until("the failed hook is told", async || {
        events(&node).contains(&("FailedPostStartHook".into(), "PostStartHook failed".into())).then_some(())
    })
    .await;
    assert!(events(&node).contains(&("Killing".into(), "FailedPostStartHook".into())), "{:?}", events(&node));

    // Last words from the log, where the file has none and the process failed.
    let mut talker = container("talker", &["/bin/sh", "-c", "echo first; echo last words; false"]);
    talker["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let mut writer = container("writer", &["/bin/write", "/words", "from the file"]);
    writer["terminationMessagePath"] = json!("/words");
    node.api.put("pods", pod("talker", json!({"restartPolicy": "Never", "containers": [talker, writer]})));
    let object = until("the pod failed", async || {
        node.api.get("pods", "default", "talker").filter(|it| text(it, "/status/phase") == "Failed")
    })
    .await;
    let ended = |index: usize| object.pointer(&format!("/status/containerStatuses/{index}/state/terminated")).unwrap();
    assert_eq!((ended(0)["exitCode"].as_i64(), text(ended(0), "/message")), (Some(1), "first\nlast words"));
    assert_eq!((ended(1)["exitCode"].as_i64(), text(ended(1), "/message").trim()), (Some(0), "from the file"));
    for name in ["bad", "talker"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_may_be_a_request() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut web = container("web", &["/bin/demo", "serve", "--port", &port.to_string()]);
    web["readinessProbe"] =
        json!({"httpGet": {"path": "/ready", "port": port}, "periodSeconds": 1, "failureThreshold": 1});
    node.api.put("pods", pod("web", json!({"containers": [web]})));
    ready(&node, "web").await;
    let mut client = container("client", &["/bin/sleep", "infinity"]);
    client["lifecycle"] = json!({"preStop": {"httpGet": {"path": "/ready/off", "host": "127.0.0.1", "port": port}}});
    node.api.put("pods", pod("client", json!({"containers": [client]})));
    ready(&node, "client").await;
    node.api.delete_gracefully("client", 5);
    gone(&node, "client").await;
    until("the request took the server out", async || {
        node.api.get("pods", "default", "web").filter(|it| condition(it, "Ready") == "False").map(|_| ())
    })
    .await;
    node.api.delete_gracefully("web", 1);
    gone(&node, "web").await;
}

/// A field of `/proc/self/status` as the container's process sees it.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn security_contexts_and_resources_reach_the_kernel() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let mut plain = container("plain", &["/bin/sleep", "infinity"]);
    plain["securityContext"] = json!({
        "runAsUser": 1000, "runAsGroup": 2000, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    plain["resources"] =
        json!({"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}});
    plain["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    // A group without a user: the image's user, which is root here.
    let mut group = container("group", &["/bin/sleep", "infinity"]);
    group["securityContext"] = json!({"runAsGroup": 77});
    let spec = json!({
        "containers": [plain, group], "volumes": [{"name": "scratch", "emptyDir": {}}],
        "securityContext": {"fsGroup": 3000, "supplementalGroups": [4000]},
    });
    node.api.put("pods", pod("plain", spec));
    let object = ready(&node, "plain").await;
    assert_eq!(text(&object, "/status/qosClass"), "Burstable");
    let inside = async |container: &str, command: &[&str]| -> (String, i32) {
        let (out, _, code) = support::pods::exec_in(&node, "plain", container, command, None).await;
        (out, code)
    };
    let status = inside("plain", &["/bin/cat", "/proc/self/status"]).await.0;
    assert_eq!(field(&status, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&status, "Gid"), "2000\t2000\t2000\t2000");
    let groups: Vec<&str> = field(&status, "Groups").split_whitespace().collect();
    assert!(groups.contains(&"3000") && groups.contains(&"4000"), "{groups:?}");
    assert_eq!(field(&status, "CapBnd"), "0000000000000400");
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
    assert_ne!(inside("plain", &["/bin/write", "/file", "x"]).await.1, 0, "the root is read-only");
    assert_eq!(inside("plain", &["/bin/write", "/scratch/file", "x"]).await.1, 0, "the volume belongs to the group");
    let status = inside("group", &["/bin/cat", "/proc/self/status"]).await.0;
    assert_eq!((field(&status, "Uid"), field(&status, "Gid")), ("0\t0\t0\t0", "77\t77\t77\t77"));
    assert_eq!(field(&status, "Seccomp"), "0");

    // Limits in the container's cgroup, below its class and pod.
    let id = text(&object, "/status/containerStatuses/0/containerID").trim_start_matches("containerd://").to_owned();
    let uid = text(&object, "/metadata/uid");
    let of = |controller: &str, file: &str| {
        let below = format!("{}/kubepods/burstable/pod{uid}/{file}", node.cgroup.trim_start_matches('/'));
        let first = std::path::Path::new("/sys/fs/cgroup").join(controller).join(below);
        std::fs::read_to_string(&first).unwrap_or_else(|error| panic!("{}: {error}", first.display())).trim().to_owned()
    };
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert_eq!(of("", &format!("{id}/cpu.max")), "50000 100000");
        assert_eq!(of("", &format!("{id}/memory.max")), "67108864");
        // The second container has no limits, so the pod has none.
        assert_eq!((of("", "cpu.max").as_str(), of("", "memory.max").as_str()), ("max 100000", "max"));
        assert_eq!((of("", "cpu.weight").as_str(), of("", "../cpu.weight").as_str()), ("4", "4"));
    } else {
        assert_eq!(of("cpu", &format!("{id}/cpu.cfs_quota_us")), "50000");
        assert_eq!(of("cpu", &format!("{id}/cpu.shares")), "102");
        assert_eq!(of("memory", &format!("{id}/memory.limit_in_bytes")), "67108864");
        assert_eq!(of("cpu", "cpu.cfs_quota_us"), "-1");
        assert_eq!((of("cpu", "cpu.shares").as_str(), of("cpu", "../cpu.shares").as_str()), ("102", "102"));
        assert_eq!(of("cpu", "../../besteffort/cpu.shares"), "2");
    }

    // Other resources are given to the running container.
    let mut resized = node.api.get("pods", "default", "plain").unwrap();
    resized["spec"]["containers"][0]["resources"]["limits"] = json!({"cpu": "250m", "memory": "96Mi"});
    node.api.put("pods", resized);
    let object = until("the status shows the new resources", async || {
        let object = node.api.get("pods", "default", "plain")?;
        (text(&object, "/status/containerStatuses/0/resources/limits/memory") == "96Mi"
            && condition(&object, "PodResizeInProgress").is_empty())
        .then_some(object)
    })
    .await;
    assert_eq!(object.pointer("/status/containerStatuses/0/restartCount"), Some(&json!(0)));
    assert!(text(&object, "/status/containerStatuses/0/containerID").ends_with(&id));
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert_eq!(of("", &format!("{id}/cpu.max")), "25000 100000");
    } else {
        assert_eq!(of("cpu", &format!("{id}/cpu.cfs_quota_us")), "25000");
        assert_eq!(of("memory", &format!("{id}/memory.limit_in_bytes")), "100663296");
    }
    // More than the node has.
    let mut resized = object;
    resized["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "10000", "memory": "32Mi"});
    node.api.put("pods", resized);
    until("what cannot be is told", async || {
        let object = node.api.get("pods", "default", "plain")?;
        (condition(&object, "PodResizePending") == "True").then_some(())
    })
    .await;
    assert_eq!(inside("plain", &["/bin/true"]).await.1, 0);

    // Root is refused where the pod says so.
    let spec = json!({
        "containers": [container("root", &["/bin/sleep", "infinity"])], "securityContext": {"runAsNonRoot": true},
    });
    node.api.put("pods", pod("root", spec));
    let waiting: Value = until("root is refused", async || {
        let object = node.api.get("pods", "default", "root")?;
        object.pointer("/status/containerStatuses/0/state/waiting").filter(|it| it["message"].is_string()).cloned()
    })
    .await;
    assert_eq!(text(&waiting, "/reason"), "CreateContainerConfigError");
    assert!(
        text(&waiting, "/message").starts_with("container has runAsNonRoot and image will run as root"),
        "{waiting}"
    );
    for name in ["plain", "root"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
}
