//! The kubelet, containerd and both end and return in the midst of many pods: what runs goes on, what has ended is counted
//! once, nothing is started twice, and nothing is left in the end. `REEVE_PODS` says how many pods.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::{Value, json};
use support::node::{Network, Node, unavailable, until};
use support::pods::{condition, container, pod, text};

const PODS: usize = 100;

/// The pods that run for good: their containers' ids.
fn running(node: &Node) -> BTreeMap<String, String> {
    let pods = node.api.list("pods");
    let ready =
        pods.iter().filter(|it| text(it, "/metadata/name").starts_with("long") && condition(it, "Ready") == "True");
    ready
        .map(|it| {
            let id = text(it, "/status/containerStatuses/0/containerID");
            (text(it, "/metadata/name").to_owned(), id.to_owned())
        })
        .collect()
}

fn ended(node: &Node) -> usize {
    let pods = node.api.list("pods");
    // One whose start was broken off has failed.
    pods.iter().filter(|it| matches!(text(it, "/status/phase"), "Succeeded" | "Failed")).count()
}

/// Pods that run for good, and some that end.
fn put(node: &Node, numbers: std::ops::Range<usize>, with_ends: bool) {
    for number in numbers {
        let spec = |command: &[&str]| json!({"hostNetwork": false, "containers": [container("main", command)]});
        node.api.put("pods", pod(&format!("long{number}"), spec(&["/bin/sleep", "infinity"])));
        if with_ends && number % 3 == 0 {
            let mut once = spec(&["/bin/sleep", "1"]);
            once["restartPolicy"] = json!("Never");
            node.api.put("pods", pod(&format!("once{number}"), once));
        }
    }
}

fn folders(path: &Path) -> usize {
    std::fs::read_dir(path).into_iter().flatten().count()
}

/// The processes that work in this test's cgroups, by their network namespaces.
fn namespaces(node: &Node) -> BTreeSet<u64> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|it| it.path());
    let ours =
        processes.filter(|it| std::fs::read_to_string(it.join("cgroup")).is_ok_and(|text| text.contains(&node.cgroup)));
    ours.filter_map(|it| std::fs::metadata(it.join("ns/net")).ok().map(|it| it.ino())).collect()
}

fn mounted(node: &Node) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(&node.folder.path().display().to_string())).count()
}

/// The processes of the runtime that hold containers of this node's pods. One that holds none is the runtime's own
/// matter: a containerd that was killed right after it had started one knows nothing of it.
fn shims(node: &Node) -> usize {
    let socket = node.path("").display().to_string();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered: Vec<u32> = all.filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
    // The fourth word; the second, a name in brackets, may hold blanks.
    let parent = |process: &u32| -> Option<u32> {
        let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        line.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let parents: std::collections::BTreeSet<u32> = numbered.iter().filter_map(parent).collect();
    let ours = |process: &&u32| {
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("shim") && line.contains(&socket)
    };
    numbered.iter().filter(|process| parents.contains(process)).filter(ours).count()
}

async fn until_all(node: &Node, what: &str, long: usize, once: usize) -> BTreeMap<String, String> {
    until(what, async || (running(node).len() == long && ended(node) == once).then_some(())).await;
    running(node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_lose_nothing_and_leave_nothing() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let pods = std::env::var("REEVE_PODS").ok().and_then(|it| it.parse().ok()).unwrap_or(PODS);
    let mut node = Node::with(Network::Bridge).await;
    let (mounts, processes) = (mounted(&node), shims(&node));
    node.start_kubelet();
    let goes_on = |before: &BTreeMap<String, String>, after: &BTreeMap<String, String>| {
        for (name, id) in before {
            assert_eq!(after.get(name), Some(id), "{name} was started again");
        }
    };

    // The kubelet, in the midst of starts.
    put(&node, 0..pods / 3, true);
    until("some run", async || (running(&node).len() >= pods / 12).then_some(())).await;
    let before = running(&node);
    node.kill_kubelet();
    node.start_kubelet();
    let once = (pods / 3).div_ceil(3);
    let after = until_all(&node, "all run after the kubelet's end", pods / 3, once).await;
    goes_on(&before, &after);

    // containerd, while others start.
    put(&node, pods / 3..2 * (pods / 3), false);
    until("more run", async || (running(&node).len() > after.len()).then_some(())).await;
    let before = running(&node);
    node.stop_containerd();
    node.start_containerd();
    let after = until_all(&node, "all run after containerd's end", 2 * (pods / 3), once).await;
    goes_on(&before, &after);

    // Both.
    put(&node, 2 * (pods / 3)..pods, false);
    until("more run", async || (running(&node).len() > after.len()).then_some(())).await;
    let before = running(&node);
    node.kill_kubelet();
    node.stop_containerd();
    node.start_containerd();
    node.start_kubelet();
    let after = until_all(&node, "all run after the end of both", pods, once).await;
    goes_on(&before, &after);

    // Nothing ran twice. Only a start that an end broke off was made anew, and counts.
    for object in node.api.list("pods") {
        let (name, uid) = (text(&object, "/metadata/name"), text(&object, "/metadata/uid"));
        let restarts = object.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_i64).unwrap();
        let logs = folders(&node.path("logs").join(format!("default_{name}_{uid}/main")));
        let most = if name.starts_with("once") { 0 } else { 1 };
        assert!(restarts <= most && logs <= most as usize + 1, "{name}: {restarts} restarts, {logs} logs");
    }
    let pods_list = node.api.list("pods");
    let long = pods_list.iter().filter(|it| text(it, "/metadata/name").starts_with("long"));
    let addresses: BTreeSet<&str> = long.map(|it| text(it, "/status/podIP")).collect();
    assert_eq!(addresses.len(), pods);
    assert!(shims(&node) > processes, "pods run without processes of the runtime");
    let inhabited = namespaces(&node);
    assert!(inhabited.len() >= pods);
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.kubelet_pid())).unwrap();
    let memory = status.lines().filter(|it| it.starts_with("VmRSS") || it.starts_with("RssAnon"));
    eprintln!("kubelet with {pods} pods: {}", memory.collect::<Vec<_>>().join(" "));

    for object in &pods_list {
        node.api.delete_gracefully(text(object, "/metadata/name"), 1);
    }
    until("all pods are gone", async || node.api.list("pods").is_empty().then_some(())).await;
    until("no container is left", async || {
        node.ctr(&["containers", "list", "--quiet"]).trim().is_empty().then_some(())
    })
    .await;
    assert_eq!(folders(&node.path("kubelet/pods")), 0);
    assert_eq!(folders(&node.path("logs")), 0);
    assert_eq!(node.cgroups(), Vec::<String>::new());
    let reserved = std::fs::read_dir(node.path("addresses/test")).into_iter().flatten().flatten();
    let reserved: Vec<_> =
        reserved.map(|it| it.file_name()).filter(|it| it.to_string_lossy().starts_with("10.")).collect();
    assert!(reserved.is_empty(), "{reserved:?}");
    until("no process of the runtime is left", async || (shims(&node) == processes).then_some(())).await;
    until("no mount is left", async || (mounted(&node) == mounts).then_some(())).await;
    let left: Vec<_> = std::fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|it| it.path()).collect();
    let left: Vec<_> =
        left.into_iter().filter(|it| std::fs::metadata(it).is_ok_and(|it| inhabited.contains(&it.ino()))).collect();
    // The node's own is no pod's: it has no place among them.
    assert!(left.is_empty(), "{left:?}");
}
