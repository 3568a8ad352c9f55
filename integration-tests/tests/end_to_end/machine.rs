//! What a kernel with NFS and SCTP can show: runs in `cargo xtask machine`, which has one.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use reeve_integration_tests::{
    bed::{Bed, bed, is_serving},
    wait::ask_until,
};
use xtask::command;

/// The testbed and the folder that the machine's NFS server shares.
fn machine() -> Result<Option<(Bed, PathBuf)>> {
    let Some(share) = std::env::var_os("REEVE_E2E_MACHINE") else {
        eprintln!("skipped: runs in `cargo xtask machine`, whose kernel has what this needs");
        return Ok(None);
    };
    Ok(bed()?.map(|bed| (bed, PathBuf::from(share))))
}

fn pod_with_share(name: &str, node: &str, server: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: shared}}}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  containers:
  - name: main
    image: reeve.local/demo:1
    args: [sleep, infinity]
    volumeMounts:
    - {{name: share, mountPath: /share}}
    - {{name: archive, mountPath: /archive}}
    - {{name: share, mountPath: /part, subPath: part}}
  volumes:
  - {{name: share, nfs: {{server: {server}, path: /export}}}}
  - {{name: archive, nfs: {{server: {server}, path: /export, readOnly: true}}}}
---"
    )
}

/// The mounts of a kind that a node has.
fn mounts(bed: &Bed, node: usize, kind: &str) -> Result<Vec<String>> {
    let words = bed.node(node)?.command(&bed.testbed.daemons, "cat")?;
    let (program, rest) = words.split_first().context("a command")?;
    let listed = command::run(command::system(program).args(rest).arg("/proc/self/mounts"))?;
    Ok(listed.lines().filter(|line| line.split(' ').nth(2) == Some(kind)).map(str::to_owned).collect())
}

#[test]
fn machine_nfs_is_shared_by_pods_of_two_nodes_and_unmounted_with_them() -> Result<()> {
    let Some((bed, share)) = machine()? else { return Ok(()) };
    let server = bed.testbed.instance.host_address().to_string();
    fs::write(share.join("note"), "of the server\n")?;
    let manifest = ["node-1", "node-2"].map(|node| pod_with_share(&format!("shared-{node}"), node, &server)).concat();
    let _pods = bed.keep_applied(&manifest)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod", "-l", "app=shared", "--timeout=120s"])?;
    let inside = |node: usize, words: &[&str]| {
        let pod = format!("shared-node-{node}");
        bed.rctl(&[&["exec", pod.as_str(), "--"], words].concat())
    };
    for node in 1..=2 {
        assert_eq!(inside(node, &["cat", "/share/note", "/archive/note"])?, "of the server\n".repeat(2));
        assert_eq!(mounts(&bed, node, "nfs4")?.len(), 3, "two volumes, and a part of one for the container");
    }
    inside(1, &["write", "/share/message", "from node 1"])?;
    inside(2, &["write", "/part/answer", "from node 2"])?;
    assert_eq!(fs::read_to_string(share.join("message"))?, "from node 1\n");
    assert_eq!(fs::read_to_string(share.join("part/answer"))?, "from node 2\n");
    assert_eq!(inside(1, &["cat", "/part/answer"])?, "from node 2\n");
    let refused = inside(1, &["write", "/archive/message", "no"]);
    assert!(refused.as_ref().is_err_and(|error| format!("{error:#}").contains("Read-only")), "{refused:?}");

    bed.rctl(&["delete", "pod", "-l", "app=shared"])?;
    for node in 1..=2 {
        assert_eq!(mounts(&bed, node, "nfs4")?, Vec::<String>::new(), "node {node}");
    }
    assert_eq!(fs::read_to_string(share.join("message"))?, "from node 1\n", "what was written stays");
    Ok(())
}

const SIGNALLING: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: diameter}
spec:
  replicas: 2
  selector: {matchLabels: {app: diameter}}
  template:
    metadata: {labels: {app: diameter}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: reeve.local/demo:1
        args: [serve, --sctp-port, '3868']
        ports: [{name: diameter, containerPort: 3868, protocol: SCTP}]
---
apiVersion: v1
kind: Service
metadata: {name: diameter}
spec: {type: NodePort, selector: {app: diameter}, ports: [{port: 7, targetPort: diameter, protocol: SCTP}]}
";

#[test]
fn machine_sctp_associations_reach_every_pod_on_every_way_in() -> Result<()> {
    let Some((bed, _)) = machine()? else { return Ok(()) };
    let _signalling = bed.keep_applied(SIGNALLING)?;
    bed.rctl(&["rollout", "status", "deployment/diameter", "--timeout=120s"])?;
    let list = bed.wait_for(&["pods", "-l", "app=diameter"], "two pods serve", |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 2 && pods.iter().all(is_serving))
    })?;
    let pods: BTreeSet<String> =
        list["items"].as_array().into_iter().flatten().map(|pod| pod["metadata"]["name"].to_string()).collect();
    let pods: BTreeSet<&str> = pods.iter().map(|name| name.trim_matches('"')).collect();
    let cluster = format!("{}:7", bed.cluster_ip("diameter")?);
    let node_port = bed.node_port("diameter")?;
    let asking = *pods.iter().next().context("a pod")?;
    for node in 1..=3 {
        let outside = format!("{}:{node_port}", bed.testbed.instance.node_address(node));
        let ways: [(&str, &dyn Fn() -> Result<String>); 3] = [
            ("the cluster address from the node", &|| bed.from_node(node, &["sctp", &cluster, "hello"])),
            ("the node port from outside", &|| bed.from_host(&["sctp", &outside, "hello"])),
            ("the name from a pod", &|| bed.rctl(&["exec", asking, "--", "demo", "sctp", "diameter:7", "hello"])),
        ];
        for (way, ask) in ways {
            let mut answered = BTreeSet::new();
            let asked = || -> Result<BTreeSet<String>> {
                let answer = ask()?;
                let (pod, text) = answer.trim().split_once(' ').context("an answer has two parts")?;
                ensure!(text == "hello", "{text} came back");
                answered.insert(pod.to_owned());
                Ok(answered.clone())
            };
            // Each association goes to a pod by chance: all have answered soon.
            ask_until(&format!("node {node}: by {way}, all pods answer"), asked, |answered| {
                answered.as_ref().is_ok_and(|all| all.iter().map(String::as_str).eq(pods.iter().copied()))
            })??;
        }
    }
    Ok(())
}
