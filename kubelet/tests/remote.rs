//! Volumes that other machines hold: the node's `mount` is asked as it has to be, a server that does not answer holds
//! nothing else up, and nothing stays mounted, also of pods that went while no kubelet ran. `mount` is a stand-in here,
//! which writes down what it is asked and mounts something else.
//!
//! Needs root, containerd and runc; says so and passes where they are missing.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::node::{Node, unavailable, until};
use support::pods::{container, exec, gone, pod, ready, text};

/// How long the stand-in takes for a server that is called `slow`.
const SLOW: Duration = Duration::from_secs(5);

/// A `mount` that mounts a file system in memory where NFS is asked for, and knows servers that are slow or absent.
fn stand_in(node: &mut Node) {
    let (folder, asked) = (node.path("programs"), node.path("asked"));
    std::fs::create_dir(&folder).unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nfor place; do :; done\ncase \"$*\" in\n*slow:*) sleep {}; echo 'slow: timed out' >&2; exit 32;;\n*absent:*) echo 'absent: no route to host' >&2; exit 32;;\nesac\nPATH=/usr/bin:/bin exec mount -t tmpfs other-machine \"$place\"\n",
        asked.display(),
        SLOW.as_secs()
    );
    std::fs::write(folder.join("mount"), script).unwrap();
    std::fs::set_permissions(folder.join("mount"), std::fs::Permissions::from_mode(0o755)).unwrap();
    node.programs = Some(folder);
}

fn asked(node: &Node) -> Vec<String> {
    let text = std::fs::read_to_string(node.path("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What is mounted below the kubelet's folder.
fn mounted(node: &Node) -> Vec<String> {
    let root = node.path("kubelet").display().to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| point.starts_with(&root)).map(str::to_owned).collect()
}

fn share(server: &str, read_only: bool) -> Value {
    json!({"name": server, "nfs": {"server": server, "path": "/exports", "readOnly": read_only}})
}

/// A pod with a share of each server, mounted at its name.
fn with_shares(name: &str, volumes: &[Value]) -> Value {
    let mut main = container("main", &["/bin/sleep", "infinity"]);
    let mount = |it: &Value| json!({"name": it["name"], "mountPath": format!("/{}", text(it, "/name"))});
    main["volumeMounts"] = volumes.iter().map(mount).collect();
    pod(name, json!({"containers": [main], "volumes": volumes}))
}

async fn told(node: &Node, what: &str) -> String {
    until(what, async || {
        let events = node.api.list("events");
        let found = events.iter().find(|it| text(it, "/message").contains(what))?;
        assert_eq!(text(found, "/reason"), "FailedMount");
        Some(text(found, "/message").to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_mounted_once_and_taken_away() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    stand_in(&mut node);
    node.start_kubelet();
    let mut object = with_shares("shared", &[share("files", false), share("archive", true)]);
    let below = json!({"name": "files", "mountPath": "/below", "subPath": "deep/er"});
    object["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap().push(below);
    // What no container mounts is not mounted for any.
    object["spec"]["volumes"].as_array_mut().unwrap().push(share("unused", false));
    node.api.put("pods", object);
    let object = ready(&node, "shared").await;
    let folder = node.path("kubelet/pods").join(text(&object, "/metadata/uid")).join("volumes/kubernetes.io~nfs");
    let expected = [
        format!("-t nfs files:/exports {}/files", folder.display()),
        format!("-t nfs -o ro archive:/exports {}/archive", folder.display()),
    ];
    assert_eq!(asked(&node), expected);
    assert_eq!(exec(&node, "shared", &["/bin/write", "/below/file", "x"], None).await.2, 0);
    assert_eq!(std::fs::read_to_string(folder.join("files/deep/er/file")).unwrap().trim(), "x");
    assert_ne!(exec(&node, "shared", &["/bin/write", "/archive/file", "x"], None).await.2, 0, "it is read-only");

    // Another kubelet finds them mounted.
    node.kill_kubelet();
    node.start_kubelet();
    node.api.put("pods", pod("next", json!({"containers": [container("main", &["/bin/sleep", "infinity"])]})));
    ready(&node, "next").await;
    assert_eq!(asked(&node), expected);
    assert_eq!(mounted(&node).len(), 3, "{:?}", mounted(&node));
    for name in ["shared", "next"] {
        node.api.delete_gracefully(name, 1);
        gone(&node, name).await;
    }
    assert_eq!(mounted(&node), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(node.path("kubelet/pods")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_does_not_come_holds_nothing_up_and_leaves_nothing() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let mut node = Node::new().await;
    stand_in(&mut node);
    node.start_kubelet();
    node.api.put("pods", with_shares("waits", &[share("slow", false)]));
    until("the slow server is asked", async || (asked(&node).len() == 1).then_some(())).await;
    let began = Instant::now();
    node.api.put("pods", pod("other", json!({"containers": [container("main", &["/bin/sleep", "infinity"])]})));
    ready(&node, "other").await;
    assert!(began.elapsed() < SLOW, "the other pod waited for the slow server: {:?}", began.elapsed());

    // One of two comes: the pod waits for the other, and says why.
    node.api.put("pods", with_shares("halfway", &[share("files", false), share("absent", true)]));
    let message = told(&node, "absent: no route to host").await;
    let form = "MountVolume.SetUp failed for volume \"absent\" : mount failed: exit status 32\nMounting command: mount\nMounting arguments: -t nfs -o ro absent:/exports ";
    assert!(message.starts_with(form), "{message}");
    assert_eq!(mounted(&node).len(), 1, "{:?}", mounted(&node));

    // They go while no kubelet runs, before the runtime had anything of them: their files are all that is left.
    node.kill_kubelet();
    for name in ["waits", "halfway"] {
        node.api.remove("pods", "default", name);
    }
    node.start_kubelet();
    until("nothing is left mounted", async || mounted(&node).is_empty().then_some(())).await;
    let other = ready(&node, "other").await;
    let left = || std::fs::read_dir(node.path("kubelet/pods")).unwrap().flatten().map(|it| it.file_name());
    until("only the other pod's files are left", async || {
        left().eq([std::ffi::OsString::from(text(&other, "/metadata/uid"))]).then_some(())
    })
    .await;
    node.api.delete_gracefully("other", 1);
    gone(&node, "other").await;
}
