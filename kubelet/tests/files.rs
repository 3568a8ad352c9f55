//! What containers find in their files, against a real containerd: volumes of every kind and their updates, sub paths,
//! host names, resolver settings.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::PathBuf;

use serde_json::{Value, json};
use support::node::{Network, Node, unavailable, until};
use support::pods::{container, exec, gone, pod, ready, text};

/// Where a pod's volumes lie.
fn volumes_of(node: &Node, uid: &str) -> PathBuf {
    node.path("kubelet/pods").join(uid).join("volumes")
}

async fn read(node: &Node, pod: &str, path: &str) -> String {
    exec(node, pod, &["/bin/cat", path], None).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_hold_what_they_name_and_follow_it() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let map = |text: &str| json!({"metadata": {"name": "map", "namespace": "default"}, "data": {"key": text}});
    node.api.put("configmaps", map("from the map"));
    // "hidden" in base64.
    let secret = json!({"metadata": {"name": "secret", "namespace": "default"}, "data": {"word": "aGlkZGVu"}});
    node.api.put("secrets", secret);
    let labels = |path: &str| json!({"path": path, "fieldRef": {"fieldPath": "metadata.labels"}});
    let sources = json!([
        {"configMap": {"name": "map", "items": [{"key": "key", "path": "deep/key", "mode": 0o440}]}},
        {"secret": {"name": "secret"}},
        {"configMap": {"name": "none", "optional": true}},
        {"downwardAPI": {"items": [
            labels("labels"),
            {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
        ]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 600}},
    ]);
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    main["resources"] = json!({"limits": {"cpu": "250m"}});
    main["env"] = json!([
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "PLACE", "value": "$(NAME)-here"},
    ]);
    main["volumeMounts"] = json!([
        {"name": "all", "mountPath": "/all"},
        {"name": "all", "mountPath": "/one", "subPath": "word"},
        {"name": "own", "mountPath": "/own"},
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "scratch", "mountPath": "/below", "subPathExpr": "$(PLACE)/it"},
    ]);
    let spec = json!({
        "serviceAccountName": "robot", "containers": [main],
        "volumes": [
            {"name": "all", "projected": {"defaultMode": 0o400, "sources": sources}},
            {"name": "own", "downwardAPI": {"items": [labels("labels")]}},
            {"name": "scratch", "emptyDir": {}},
        ],
    });
    let mut object = pod("full", spec);
    object["metadata"]["labels"] = json!({"app": "full"});
    node.api.put("pods", object);
    let object = ready(&node, "full").await;
    assert_eq!(read(&node, "full", "/all/deep/key").await, "from the map");
    assert_eq!(read(&node, "full", "/all/word").await, "hidden");
    assert_eq!(read(&node, "full", "/one").await, "hidden");
    assert_eq!(read(&node, "full", "/all/labels").await, "app=\"full\"");
    assert_eq!(read(&node, "full", "/all/cpu").await, "250");
    let token = read(&node, "full", "/all/token").await;
    assert!(token.ends_with(" robot vault full 600"), "{token}");
    assert_eq!(exec(&node, "full", &["/bin/write", "/below/file", "x"], None).await.2, 0);
    assert_eq!(read(&node, "full", "/scratch/full-here/it/file").await.trim(), "x");
    assert_ne!(exec(&node, "full", &["/bin/write", "/all/word", "x"], None).await.2, 0, "such volumes are read-only");
    let folder =
        node.path("kubelet/pods").join(text(&object, "/metadata/uid")).join("volumes/kubernetes.io~projected/all");
    let mode = |name: &str| std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("deep/key"), mode("word")), (0o440, 0o400));

    // A changed map and a changed label arrive; a sub path keeps what it had.
    node.api.put("configmaps", map("another"));
    until("the map's change arrives", async || (read(&node, "full", "/all/deep/key").await == "another").then_some(()))
        .await;
    let mut object = node.api.get("pods", "default", "full").unwrap();
    object["metadata"]["labels"]["tier"] = json!("web");
    node.api.put("pods", object);
    for path in ["/own/labels", "/all/labels"] {
        until("the label arrives", async || {
            (read(&node, "full", path).await == "app=\"full\"\ntier=\"web\"").then_some(())
        })
        .await;
    }
    assert_eq!(read(&node, "full", "/one").await, "hidden");
    node.api.delete_gracefully("full", 1);
    gone(&node, "full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_come_from_files_that_init_containers_wrote() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let written = "# by the init container\nA='one'\nB='two # and\n  more' # a comment\n";
    let mut init = container("writes", &["/bin/write", "/data/vars.env", written]);
    init["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let from = |name: &str, path: &str, optional: bool| {
        let file = json!({"volumeName": "data", "path": path, "key": name, "optional": optional});
        json!({"name": name, "valueFrom": {"fileKeyRef": file}})
    };
    let spec = |env: Value| {
        let mut main = container("main", &["/bin/sleep", "infinity"]);
        main["env"] = env;
        json!({"initContainers": [init], "containers": [main], "volumes": [{"name": "data", "emptyDir": {}}]})
    };
    let all = json!([
        from("A", "vars.env", false), from("B", "vars.env", false), from("NONE", "vars.env", true),
        {"name": "BOTH", "value": "$(A) and $(NONE)"},
    ]);
    node.api.put("pods", pod("filled", spec(all)));
    ready(&node, "filled").await;
    let environment = exec(&node, "filled", &["/bin/env"], None).await.0;
    for wanted in ["A=one\n", "B=two # and\n  more\n", "BOTH=one and $(NONE)\n"] {
        assert!(environment.contains(wanted), "{wanted:?} is missing in:\n{environment}");
    }
    assert!(!environment.contains("\nNONE="), "{environment}");
    assert_ne!(exec(&node, "filled", &["/bin/ls", "/data"], None).await.2, 0, "the container has no such volume");

    for (name, variable, why) in [
        ("no-key", from("NONE", "vars.env", false), "environment variable key \"NONE\" not found in file \""),
        ("no-file", from("A", "other.env", true), "couldn't parse env file"),
    ] {
        node.api.put("pods", pod(name, spec(json!([variable]))));
        until("it waits", async || {
            let object = node.api.get("pods", "default", name)?;
            let waiting = object.pointer("/status/containerStatuses/0/state/waiting")?;
            (waiting["reason"] == "CreateContainerConfigError" && text(waiting, "/message").starts_with(why))
                .then_some(())
        })
        .await;
        until("it is told", async || {
            let events = node.api.list("events");
            let is_it = |it: &Value| {
                it["involvedObject"]["name"] == name
                    && it["reason"] == "Failed"
                    && text(it, "/message").starts_with(&format!("Error: {why}"))
            };
            events.iter().any(is_it).then_some(())
        })
        .await;
    }
    for name in ["filled", "no-key", "no-file"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_less_safe_than_it_looks_does_not_start() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    node.api.put("pods", pod("users", json!({"hostUsers": false, "hostNetwork": false, "containers": [main]})));
    main["volumeMounts"] = json!([{"name": "v", "mountPath": "/v", "readOnly": true, "recursiveReadOnly": "Enabled"}]);
    let volumes = json!([{"name": "v", "emptyDir": {}}]);
    node.api.put("pods", pod("recursive", json!({"containers": [main], "volumes": volumes})));
    for (name, reason, why) in [
        (
            "users",
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces",
        ),
        (
            "recursive",
            "Failed",
            "Error: failed to resolve recursive read-only mode: volume \"v\" requested recursive read-only mode, but it is \
             not supported by the runtime",
        ),
    ] {
        until("it is told", async || {
            let is_it = |it: &Value| {
                it["involvedObject"]["name"] == name && it["reason"] == reason && text(it, "/message") == why
            };
            node.api.list("events").iter().any(is_it).then_some(())
        })
        .await;
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_mounted_is_told_and_tried_again() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    main["volumeMounts"] = json!([{"name": "map", "mountPath": "/map"}]);
    let volumes = json!([{"name": "map", "configMap": {"name": "late"}}]);
    node.api.put("pods", pod("late", json!({"containers": [main], "volumes": volumes})));
    let told = async |reason: &str, what: &str| {
        until(what, async || {
            let events = node.api.list("events");
            events.iter().any(|it| text(it, "/reason") == reason && text(it, "/message").contains(what)).then_some(())
        })
        .await;
    };
    told("FailedMount", "configmap \"late\" not found").await;
    let data = json!({"metadata": {"name": "late", "namespace": "default"}, "data": {"k": "v"}});
    node.api.put("configmaps", data);
    ready(&node, "late").await;

    // Sub paths that have no value, or lead out.
    for (name, expression, why) in [
        ("empty", "$(NOTHING)", "missing value for NOTHING"),
        ("out", "../x", "unable to provision SubPath `../x`: must not contain '..'"),
    ] {
        let mut main = container("main", &["/bin/sleep", "infinity"]);
        main["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch", "subPathExpr": expression}]);
        let spec = json!({"containers": [main], "volumes": [{"name": "scratch", "emptyDir": {}}]});
        node.api.put("pods", pod(name, spec));
        let waiting: Value = until("the sub path is refused", async || {
            let object = node.api.get("pods", "default", name)?;
            object.pointer("/status/containerStatuses/0/state/waiting").filter(|it| it["message"].is_string()).cloned()
        })
        .await;
        assert_eq!(text(&waiting, "/reason"), "CreateContainerConfigError");
        assert!(text(&waiting, "/message").contains(why), "{waiting}");
    }
    for name in ["late", "empty", "out"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_stay_in_memory_and_tokens_are_for_their_pod_alone() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let metadata = |name: &str| json!({"name": name, "namespace": "default"});
    node.api.put("secrets", json!({"metadata": metadata("secret"), "data": {"word": "aGlkZGVu"}}));
    let token = |audience: &str| json!({"sources": [{"serviceAccountToken": {"path": "token", "audience": audience}}]});
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    let names = ["secret", "left", "right", "short", "memory"];
    main["volumeMounts"] = names.iter().map(|name| json!({"name": name, "mountPath": format!("/{name}")})).collect();
    main["resources"] = json!({"limits": {"memory": "64Mi"}});
    let volumes = json!([
        {"name": "secret", "secret": {"secretName": "secret", "defaultMode": 0o400}},
        {"name": "left", "projected": token("left")},
        {"name": "right", "projected": token("right")},
        {"name": "short", "projected": token("short")},
        {"name": "memory", "emptyDir": {"medium": "Memory"}},
    ]);
    let context = json!({"runAsUser": 1000, "fsGroup": 2000});
    node.api.put("pods", pod("private", json!({"securityContext": context, "containers": [main], "volumes": volumes})));
    let object = ready(&node, "private").await;
    let mounts = read(&node, "private", "/proc/mounts").await;
    let line = |name: &str| mounts.lines().find(|it| it.split(' ').nth(1) == Some(name)).unwrap_or_default();
    for name in names {
        let line = line(&format!("/{name}"));
        assert!(line.starts_with("tmpfs ") && line.contains("size=65536k"), "{name}: {line:?}");
    }
    assert!(line("/memory").contains(" rw,") && line("/secret").contains(" ro,"), "{mounts}");
    let volumes = volumes_of(&node, text(&object, "/metadata/uid"));
    let seen = |path: &str| {
        let found = std::fs::metadata(volumes.join(path)).unwrap();
        (found.permissions().mode() & 0o7777, found.uid(), found.gid())
    };
    assert_eq!(seen("kubernetes.io~secret/secret/word"), (0o440, 0, 2000));
    assert_eq!(seen("kubernetes.io~projected/left/token"), (0o640, 1000, 2000));
    assert_eq!(seen("kubernetes.io~empty-dir/memory"), (0o3777, 0, 2000));
    for side in ["left", "right"] {
        let token = read(&node, "private", &format!("/{side}/token")).await;
        assert!(token.contains(&format!(" {side} private ")), "{token}");
    }
    // The server gave one of them less time than it was asked for: that one is renewed, the others stay.
    let tokens = async || {
        let mut all = Vec::new();
        for name in ["left", "right", "short"] {
            all.push(read(&node, "private", &format!("/{name}/token")).await);
        }
        all
    };
    let before = tokens().await;
    until("the short token is renewed", async || (tokens().await[2] != before[2]).then_some(())).await;
    assert_eq!(tokens().await[..2], before[..2]);
    node.api.delete_gracefully("private", 1);
    gone(&node, "private").await;
    assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&volumes.display().to_string()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_running_pod_has_of_its_volumes_stays() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let metadata = |name: &str| json!({"name": name, "namespace": "default"});
    let map = |text: &str| json!({"metadata": metadata("map"), "data": {"key": text}});
    node.api.put("configmaps", map("one"));
    node.api.put("secrets", json!({"metadata": metadata("secret"), "data": {"word": "aGlkZGVu"}}));
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    let names = ["map", "secret", "scratch"];
    main["volumeMounts"] = names.iter().map(|name| json!({"name": name, "mountPath": format!("/{name}")})).collect();
    let volumes = json!([
        {"name": "map", "configMap": {"name": "map"}},
        {"name": "secret", "secret": {"secretName": "secret"}},
        {"name": "scratch", "emptyDir": {}},
    ]);
    node.api.put("pods", pod("lasting", json!({"containers": [main], "volumes": volumes})));
    let object = ready(&node, "lasting").await;
    let uid = text(&object, "/metadata/uid").to_owned();
    let scratch = volumes_of(&node, &uid).join("kubernetes.io~empty-dir/scratch");
    // As its owner in the container would.
    std::fs::set_permissions(&scratch, PermissionsExt::from_mode(0o700)).unwrap();
    node.api.remove("secrets", "default", "secret");
    let missing = "MountVolume.SetUp failed for volume \"secret\" : secret \"secret\" not found";
    until(missing, async || node.api.list("events").iter().any(|it| text(it, "/message") == missing).then_some(()))
        .await;
    node.api.put("configmaps", map("two"));
    until("the map's change arrives", async || (read(&node, "lasting", "/map/key").await == "two").then_some(())).await;
    assert_eq!(read(&node, "lasting", "/secret/word").await, "hidden");
    // Nor does it keep a container from starting again.
    let id = text(&object, "/status/containerStatuses/0/containerID").rsplit('/').next().unwrap().to_owned();
    node.ctr(&["tasks", "kill", "--signal", "SIGKILL", &id]);
    until("the container runs again", async || {
        let object = node.api.get("pods", "default", "lasting")?;
        let status = object.pointer("/status/containerStatuses/0")?;
        (status["restartCount"] == 1 && status["ready"] == true).then_some(())
    })
    .await;
    assert_eq!(read(&node, "lasting", "/secret/word").await, "hidden");
    // Another kubelet goes on with what is there.
    node.kill_kubelet();
    node.api.put("configmaps", map("three"));
    node.start_kubelet();
    let followed = volumes_of(&node, &uid).join("kubernetes.io~configmap/map/key");
    let arrived = async || std::fs::read_to_string(&followed).is_ok_and(|it| it == "three").then_some(());
    until("the other kubelet follows the map", arrived).await;
    assert_eq!(std::fs::metadata(&scratch).unwrap().permissions().mode() & 0o7777, 0o700);
    node.api.delete_gracefully("lasting", 1);
    gone(&node, "lasting").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_annotation_mends_a_sub_path_at_once() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    node.start_kubelet();
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    let annotation = json!({"fieldRef": {"fieldPath": "metadata.annotations['place']"}});
    main["env"] = json!([{"name": "PLACE", "valueFrom": annotation}]);
    main["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch", "subPathExpr": "$(PLACE)/it"}]);
    let spec = json!({"containers": [main], "volumes": [{"name": "scratch", "emptyDir": {}}]});
    node.api.put("pods", pod("mended", spec));
    // An empty value is none. The tries become rare.
    until("it is tried in vain", async || {
        let events = node.api.list("events");
        let failed = events.iter().find(|it| text(it, "/message").ends_with("missing value for PLACE"))?;
        let count = failed["count"].as_i64().or_else(|| failed.pointer("/series/count")?.as_i64());
        count.filter(|count| *count >= 5)
    })
    .await;
    let mut object = node.api.get("pods", "default", "mended").unwrap();
    object["metadata"]["annotations"] = json!({"place": "here"});
    let began = std::time::Instant::now();
    node.api.put("pods", object);
    ready(&node, "mended").await;
    assert!(began.elapsed() < std::time::Duration::from_secs(7), "the next try alone would come after 8 s");
    node.api.delete_gracefully("mended", 1);
    gone(&node, "mended").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_resolvers_are_as_the_spec_says() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::with(Network::Bridge).await;
    node.start_kubelet();
    let spec = json!({
        "hostNetwork": false, "hostname": "web-0", "subdomain": "web", "setHostnameAsFQDN": true, "hostPID": true,
        "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["seven", "sieben"]}],
        "dnsConfig": {"searches": ["example.org"], "options": [{"name": "ndots", "value": "2"}]},
        "containers": [container("main", &["/bin/sleep", "infinity"])],
    });
    node.api.put("pods", pod("named", spec));
    let object = ready(&node, "named").await;
    let ip = text(&object, "/status/podIP").to_owned();
    assert_eq!(exec(&node, "named", &["/bin/hostname"], None).await.0.trim(), "web-0.web.default.svc.cluster.local");
    let hosts = read(&node, "named", "/etc/hosts").await;
    assert!(hosts.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"), "{hosts}");
    assert!(hosts.contains(&format!("{ip}\tweb-0.web.default.svc.cluster.local\tweb-0\n")), "{hosts}");
    assert!(hosts.ends_with("# Entries added by HostAliases.\n192.0.2.7\tseven\tsieben\n"), "{hosts}");
    let resolver = read(&node, "named", "/etc/resolv.conf").await;
    let line = |name: &str| resolver.lines().find_map(|it| it.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    assert_eq!(line("nameserver"), "10.96.0.10");
    let search = line("search");
    assert!(search.starts_with("default.svc.cluster.local svc.cluster.local cluster.local"), "{search}");
    assert!(search.ends_with("example.org"), "{search}");
    assert_eq!(line("options"), "ndots:2");
    // The node's processes: the first of them is not the container's.
    assert_ne!(read(&node, "named", "/proc/1/comm").await.trim(), "sleep");

    // On the node's network the host's file is taken, and says so.
    node.api.put("pods", pod("host", json!({"containers": [container("main", &["/bin/sleep", "infinity"])]})));
    ready(&node, "host").await;
    let hosts = read(&node, "host", "/etc/hosts").await;
    assert!(hosts.starts_with("# Kubernetes-managed hosts file (host network).\n"), "{hosts}");
    for name in ["named", "host"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
}
