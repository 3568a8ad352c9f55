//! What containers find in their files, against a real containerd: volumes of every kind and their updates, sub paths,
//! host names, resolver settings.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use support::node::{Network, Node, unavailable, until};
use support::pods::{container, exec, gone, pod, ready, text};

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
    for (name, expression, why) in
        [("empty", "$(NOTHING)", "missing value for \"NOTHING\""), ("out", "../x", "leads out of the volume")]
    {
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
