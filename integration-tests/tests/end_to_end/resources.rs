//! Requests and limits, as the kernel has them.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use reeve_integration_tests::bed::bed;

fn pod(name: &str, resources: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {{kubernetes.io/hostname: node-1}}
  containers: [{{name: main, image: 'reeve.local/demo:1', args: [sleep, infinity], resources: {{{resources}}}}}]
---"
    )
}

/// A pod's class, where its cgroup is below the node's, and what its container may use.
struct Expected {
    pod: &'static str,
    class: &'static str,
    folder: &'static str,
    /// Microseconds in each tenth of a second.
    cpu: Option<u64>,
    memory: Option<u64>,
    /// Of version 1 alone.
    shares: u64,
}

const EXPECTED: [Expected; 3] = [
    Expected {
        pod: "guaranteed",
        class: "Guaranteed",
        folder: "",
        cpu: Some(10_000),
        memory: Some(32 << 20),
        shares: 102,
    },
    Expected {
        pod: "burstable",
        class: "Burstable",
        folder: "burstable/",
        cpu: Some(20_000),
        memory: Some(48 << 20),
        shares: 51,
    },
    Expected { pod: "best-effort", class: "BestEffort", folder: "besteffort/", cpu: None, memory: None, shares: 2 },
];

#[test]
fn resources_reach_the_cgroups_by_class() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let manifest = [
        pod("guaranteed", "limits: {cpu: 100m, memory: 32Mi}"),
        pod("burstable", "requests: {cpu: 50m, memory: 16Mi}, limits: {cpu: 200m, memory: 48Mi}"),
        pod("best-effort", ""),
    ];
    let _pods = bed.keep_applied(&manifest.concat())?;
    let names = EXPECTED.map(|it| format!("pod/{}", it.pod));
    let ready = ["wait", "--for=condition=Ready", "--timeout=120s"];
    bed.rctl(&[&ready[..], &names.each_ref().map(String::as_str)].concat())?;
    let node = format!("{}/node-1/kubepods", bed.testbed.instance.name());
    let mount = PathBuf::from("/sys/fs/cgroup");
    let unified = mount.join("cgroup.controllers").exists();
    for expected in EXPECTED {
        let pod = bed.testbed.rctl.json(&["get", "pod", expected.pod])?;
        assert_eq!(pod["status"]["qosClass"], expected.class);
        let uid = pod["metadata"]["uid"].as_str().context("a uid")?;
        let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().context("a container")?;
        let id = id.trim_start_matches("containerd://");
        let below = format!("{node}/{}pod{uid}", expected.folder);
        let read = |controller: &str, file: &str| -> Result<String> {
            let path = mount.join(if unified { "" } else { controller }).join(&below).join(file);
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(text.trim().to_owned())
        };
        // The pod's own limits are those of its one container.
        for of in ["".to_owned(), format!("{id}/")] {
            if unified {
                let quota = expected.cpu.map_or("max".to_owned(), |it| it.to_string());
                assert_eq!(read("", &format!("{of}cpu.max"))?, format!("{quota} 100000"), "{}", expected.pod);
                let memory = expected.memory.map_or("max".to_owned(), |it| it.to_string());
                assert_eq!(read("", &format!("{of}memory.max"))?, memory, "{}", expected.pod);
            } else {
                let quota = expected.cpu.map_or("-1".to_owned(), |it| it.to_string());
                assert_eq!(read("cpu", &format!("{of}cpu.cfs_quota_us"))?, quota, "{}", expected.pod);
                assert_eq!(read("cpu", &format!("{of}cpu.shares"))?, expected.shares.to_string(), "{}", expected.pod);
                let memory: u64 = read("memory", &format!("{of}memory.limit_in_bytes"))?.parse()?;
                // Without a limit the kernel shows a very large number.
                assert_eq!(Some(memory).filter(|it| *it < 1 << 50), expected.memory, "{}", expected.pod);
            }
        }
    }
    let described = bed.rctl(&["describe", "node", "node-1"])?;
    let row = described.lines().find(|line| line.contains(" burstable ")).context("the node lists its pods")?;
    for amount in ["50m (", "200m (", "16Mi (", "48Mi ("] {
        assert!(row.contains(amount), "{amount:?} is missing in {row:?}");
    }
    let described = bed.rctl(&["describe", "pod", "guaranteed"])?;
    assert!(
        described.lines().any(|line| line.starts_with("QoS Class:") && line.ends_with("Guaranteed")),
        "{described}"
    );
    Ok(())
}
