//! Restarts in the midst of many starts, on every node in another way: all pods come, and what they leave behind when
//! they are gone is nothing.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{Bed, bed, is_serving},
    engine::until,
};
use xtask::command;

const PODS: usize = 30;
/// What a pod holds of a node.
const KINDS: [&str; 8] =
    ["folder ", "log ", "address ", "network namespace ", "link ", "mount ", "container ", "cgroup "];

/// What a node holds for pods, each thing by a name of its own.
fn held(bed: &Bed, index: usize) -> Result<BTreeSet<String>> {
    let node = bed.node(index)?;
    let mut held = BTreeSet::new();
    let mut add = |what: &str, names: Vec<String>| held.extend(names.into_iter().map(|name| format!("{what} {name}")));
    let listed = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    add("folder", listed(&node.dir.join("kubelet/pods")));
    add("log", listed(&node.dir.join("pod-logs")));
    for network in listed(&node.dir.join("cni-state/networks")) {
        let addresses = listed(&node.dir.join("cni-state/networks").join(network));
        add("address", addresses.into_iter().filter(|name| name.starts_with("10.")).collect());
    }
    add("network namespace", words(&bed.from_node(index, &["ls", "/run/netns"])?));
    let links = bed.from_node(index, &["cat", "/proc/net/dev"])?;
    add("link", words(&links).into_iter().filter(|word| word.starts_with("veth")).collect());
    let mounts = bed.from_node(index, &["cat", "/proc/mounts"])?;
    let of_pods =
        |line: &&str| line.contains("/kubelet/pods/") || line.contains("/run/netns/") || line.contains("/shm ");
    add("mount", mounts.lines().filter(of_pods).map(str::to_owned).collect());
    let ctr = node.command(&bed.testbed.daemons, "ctr")?;
    let (program, rest) = ctr.split_first().context("a command")?;
    let mut ctr = command::system(program);
    ctr.args(rest).args(["--namespace", "k8s.io", "containers", "list", "--quiet"]);
    add("container", words(&command::run(&mut ctr)?));
    let below = format!("{}/{}/kubepods", bed.testbed.instance.name(), node.name);
    let mut hierarchies = listed(Path::new("/sys/fs/cgroup"));
    hierarchies.push(String::new());
    for hierarchy in hierarchies {
        for class in ["", "burstable", "besteffort"] {
            let pods = listed(&Path::new("/sys/fs/cgroup").join(&hierarchy).join(&below).join(class));
            let pods = pods.into_iter().filter(|name| name.starts_with("pod"));
            add("cgroup", pods.map(|name| format!("{hierarchy}/{class}/{name}")).collect());
        }
    }
    Ok(held)
}

#[test]
fn storms_of_restarts_leave_nothing() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("stormed")?;
    let before = (1..=3).map(|node| held(&bed, node)).collect::<Result<Vec<_>>>()?;
    bed.rctl(&["scale", "deployment/stormed", &format!("--replicas={PODS}")])?;
    let serving = |pods: &[serde_json::Value]| pods.iter().filter(|pod| is_serving(pod)).count();
    deployed.wait_pods("some have come", |pods| serving(pods) > 5)?;
    for process in ["node-1-kubelet", "node-2-containerd", "node-3-kubelet", "node-3-containerd"] {
        bed.testbed.kill(process)?;
    }
    for index in 1..=3 {
        bed.testbed.start_killed_node(&bed.node(index)?)?;
    }
    deployed.wait_pods("all have come", |pods| pods.len() == PODS && serving(pods) == PODS)?;
    // Each kind of thing is seen while the pods are there, or the comparison would say nothing.
    for (index, before) in (1..=3).zip(&before) {
        let held = held(&bed, index)?;
        for kind in KINDS {
            let new = held.difference(before).any(|it| it.starts_with(kind));
            assert!(new, "node {index} holds no {kind} for {PODS} pods: {held:#?}");
        }
    }
    bed.rctl(&["delete", "deployment", "stormed"])?;
    deployed.wait_pods("no pod is left", <[_]>::is_empty)?;
    for (index, before) in (1..=3).zip(&before) {
        until(&format!("nothing is left on node {index}"), || {
            let held = held(&bed, index)?;
            let left: Vec<&String> = held.difference(before).collect();
            left.is_empty().then_some(()).with_context(|| format!("{left:#?}"))
        })?;
    }
    Ok(())
}
