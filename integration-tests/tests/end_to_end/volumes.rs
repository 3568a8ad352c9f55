//! Volumes beyond configuration: the node's own paths, limits of the pod's own, and what cannot be mounted.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::FileTypeExt, net::UnixListener},
    path::Path,
};

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{bed, is_serving};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::Value;
use xtask::command;

/// A pod of the first node that sleeps, with these volumes, each mounted at its name.
fn pod(name: &str, volumes: &[(&str, String)]) -> String {
    let mounts = volumes.iter().map(|(name, _)| format!("{{name: {name}, mountPath: /{name}}}"));
    let listed = volumes.iter().map(|(name, source)| format!("  - {{name: {name}, {source}}}\n"));
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  nodeSelector: {{kubernetes.io/hostname: node-1}}
  containers:
  - {{name: main, image: 'reeve.local/demo:1', args: [sleep, infinity], volumeMounts: [{}]}}
  volumes:
{}",
        mounts.collect::<Vec<_>>().join(", "),
        listed.collect::<String>()
    )
}

/// A path of the node with a type.
fn host_path(path: &Path, kind: &str) -> String {
    format!("hostPath: {{path: '{}', type: '{kind}'}}", path.display())
}

#[test]
fn volumes_of_the_node_are_found_or_made_by_their_type() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("kept"))?;
    fs::write(at("kept/note"), "of the node\n")?;
    let _socket = UnixListener::bind(at("socket"))?;
    // A block device that nobody opens.
    mknodat(CWD, at("disk"), FileType::BlockDevice, Mode::from_raw_mode(0o600), makedev(7, 4000))?;
    assert!(fs::metadata(at("disk"))?.file_type().is_block_device());
    let volumes = [
        ("kept", host_path(&at("kept"), "Directory")),
        ("note", host_path(&at("kept/note"), "File")),
        ("made", host_path(&at("new/below"), "DirectoryOrCreate")),
        ("written", host_path(&at("new/file"), "FileOrCreate")),
        ("socket", host_path(&at("socket"), "Socket")),
        ("device", host_path(Path::new("/dev/null"), "CharDevice")),
        ("disk", host_path(&at("disk"), "BlockDevice")),
        ("loose", host_path(&at("loose"), "")),
    ];
    let _pod = bed.keep_applied(&pod("of-the-node", &volumes))?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/of-the-node", "--timeout=120s"])?;
    let inside = |words: &[&str]| bed.rctl(&[&["exec", "of-the-node", "--"], words].concat());
    for file in ["/kept/note", "/note"] {
        assert_eq!(inside(&["cat", file])?, "of the node\n");
    }
    inside(&["write", "/made/file", "made by the pod"])?;
    assert_eq!(fs::read_to_string(at("new/below/file"))?, "made by the pod\n");
    inside(&["write", "/written", "written by the pod"])?;
    assert_eq!(fs::read_to_string(at("new/file"))?, "written by the pod\n");
    assert!(at("loose").is_dir());
    bed.rctl(&["delete", "pod", "of-the-node"])?;
    assert_eq!(fs::read_to_string(at("new/file"))?, "written by the pod\n", "they outlive the pod");
    Ok(())
}

#[test]
fn volumes_that_cannot_be_mounted_say_why_and_are_tried_again() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "")?;
    let none = ("none", host_path(&at("none"), "Directory"));
    let volumes = [
        none.clone(),
        ("absent", host_path(&at("absent"), "File")),
        ("socket", host_path(&at("file"), "Socket")),
        ("device", host_path(&at("file"), "CharDevice")),
        ("disk", host_path(&at("file"), "BlockDevice")),
        ("folder", host_path(&at("file"), "DirectoryOrCreate")),
        ("repository", "gitRepo: {repository: 'https://example.com/some.git'}".to_owned()),
        ("target", "iscsi: {targetPortal: 10.0.0.9, iqn: 'iqn.2001-04.com.example:disk', lun: 0}".to_owned()),
        ("cloud", "awsElasticBlockStore: {volumeID: vol-1}".to_owned()),
        ("huge", "emptyDir: {medium: HugePages}".to_owned()),
        ("share", "nfs: {server: 127.0.0.1, path: /exports, readOnly: true}".to_owned()),
    ];
    let _pod = bed.keep_applied(&pod("unmountable", &volumes))?;
    let path = |name: &str| at(name).display().to_string();
    let checked = |name: &str, wanted: &str| format!("hostPath type check failed: {} is not {wanted}", path(name));
    let expected = [
        ("none", checked("none", "a directory")),
        ("absent", checked("absent", "a file")),
        ("socket", checked("file", "a socket file")),
        ("device", checked("file", "a character device")),
        ("disk", checked("file", "a block device")),
        ("folder", checked("file", "a directory")),
        ("repository", "git-repo volume plugin has been disabled".to_owned()),
        ("target", "no volume plugin matched: iscsi is not supported".to_owned()),
        ("cloud", "no volume plugin matched: awsElasticBlockStore is not supported".to_owned()),
        ("huge", "unknown storage medium \"HugePages\"".to_owned()),
        ("share", "mount failed: ".to_owned()),
    ];
    for (volume, why) in &expected {
        let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {why}");
        bed.wait_for_event("unmountable", "FailedMount", &message)?;
    }
    bed.wait_for_event("unmountable", "FailedMount", "Mounting arguments: -t nfs -o ro 127.0.0.1:/exports ")?;
    let pod_of = |name: &str| bed.rctl(&["get", "pod", name]);
    assert!(pod_of("unmountable")?.contains("ContainerCreating"));
    let why = bed.rctl(&["why", "pod/unmountable"])?;
    assert!(why.contains("MountVolume.SetUp failed"), "{why}");
    bed.rctl(&["delete", "pod", "unmountable"])?;

    // What comes later is found.
    let _waiting = bed.keep_applied(&pod("waits-for-it", &[none]))?;
    bed.wait_for_event("waits-for-it", "FailedMount", &checked("none", "a directory"))?;
    fs::create_dir(at("none"))?;
    bed.wait_for(&["pod", "waits-for-it"], "it serves", is_serving).map(drop)
}

#[test]
fn volumes_of_the_pod_hold_no_more_than_they_may() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let volumes = [
        ("memory", "emptyDir: {medium: Memory, sizeLimit: 1Mi}".to_owned()),
        ("small", "emptyDir: {sizeLimit: 1Mi}".to_owned()),
    ];
    let _pod = bed.keep_applied(&pod("holding", &volumes))?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/holding", "--timeout=120s"])?;
    let inside = |words: &[&str]| bed.rctl(&[&["exec", "holding", "--"], words].concat());
    let mounts = inside(&["cat", "/proc/mounts"])?;
    let memory = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/memory")).context("/memory is mounted")?;
    assert!(memory.starts_with("tmpfs ") && memory.contains("size=1024k"), "{memory}");
    // The program itself is larger than that.
    let full = inside(&["sh", "-c", "cat /bin/demo > /memory/all"]).err().map(|error| error.to_string());
    let full = full.context("more than the limit was written")?;
    assert!(full.contains("No space left on device"), "{full}");
    inside(&["sh", "-c", "cat /bin/demo > /small/all"])?;
    let ended = bed.wait_for(&["pod", "holding"], "it is evicted", |pod| pod["status"]["phase"] == "Failed")?;
    assert_eq!(ended["status"]["reason"], "Evicted");
    let message = "Usage of EmptyDir volume \"small\" exceeds the limit \"1Mi\". ";
    assert_eq!(ended["status"]["message"], message);
    let disrupted = |condition: &Value| condition["type"] == "DisruptionTarget" && condition["status"] == "True";
    let conditions = ended["status"]["conditions"].as_array();
    assert!(conditions.is_some_and(|all| all.iter().any(disrupted)), "{ended}");
    bed.wait_for_event("holding", "Evicted", message.trim_end())
}

#[test]
fn volumes_of_images_show_their_files_and_leave_nothing() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: with-image}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 1
  volumes: [{name: tools, image: {reference: 'reeve.local/demo:2', pullPolicy: IfNotPresent}}]
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    volumeMounts: [{name: tools, mountPath: /tools}, {name: tools, mountPath: /settings, subPath: etc}]
";
    let _pod = bed.keep_applied(manifest)?;
    let pod = bed.wait_for(&["pod", "with-image"], "it serves", is_serving)?;
    let key = format!("reeve-image-volume-{}-tools", pod["metadata"]["uid"].as_str().context("a uid")?);
    let views = || -> Result<bool> {
        let words = bed.node(1)?.command(&bed.testbed.daemons, "ctr")?;
        let (program, rest) = words.split_first().context("a command")?;
        let listed = command::run(command::system(program).args(rest).args(["-n", "k8s.io", "snapshots", "ls"]))?;
        Ok(listed.contains(&key))
    };
    assert!(views()?, "the view is there");
    let run = |command: &str| bed.rctl(&["exec", "with-image", "--", "sh", "-c", command]);
    for file in ["/tools/etc/passwd", "/settings/passwd"] {
        assert!(run(&format!("cat {file}"))?.contains("nobody:x:65534"), "{file}");
    }
    let refused = run("write /tools/etc/new text").expect_err("image volumes are read-only");
    assert!(format!("{refused:#}").contains("Read-only file system"), "{refused:#}");
    bed.rctl(&["delete", "pod", "with-image"])?;
    assert!(!views()?, "the view is gone with its pod");
    Ok(())
}

#[test]
fn volumes_are_counted_and_probes_too() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let volumes = [
        ("disk", "emptyDir: {}".to_owned()),
        ("memory", "emptyDir: {medium: Memory, sizeLimit: 1Mi}".to_owned()),
        ("node", "hostPath: {path: /}".to_owned()),
    ];
    let probed = "{name: main, readinessProbe: {exec: {command: ['true']}, periodSeconds: 1}, ";
    let _pod = bed.keep_applied(&pod("counted", &volumes).replace("{name: main, ", probed))?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/counted", "--timeout=120s"])?;
    bed.rctl(&["exec", "counted", "--", "sh", "-c", "cat /bin/demo > /disk/all; echo x > /memory/x"])?;
    let page = |path: &str| bed.rctl(&["get", "--raw", &format!("/api/v1/nodes/node-1/proxy/{path}")]);
    let summary: Value = serde_json::from_str(&page("stats/summary")?)?;
    let pods = summary["pods"].as_array().context("pods")?;
    let counted = pods.iter().find(|pod| pod["podRef"]["name"] == "counted").context("the pod")?;
    let told: BTreeMap<&str, &Value> =
        counted["volume"].as_array().into_iter().flatten().filter_map(|it| Some((it["name"].as_str()?, it))).collect();
    let used = |of: &Value| of["usedBytes"].as_u64().unwrap_or_default();
    let (disk, memory) = (told.get("disk").context("disk")?, told.get("memory").context("memory")?);
    assert!(used(disk) > 100_000 && disk["inodesUsed"] == 2, "{disk}");
    assert!(used(memory) > 0 && memory["capacityBytes"] == 1024 * 1024, "{memory}");
    assert!(used(&counted["ephemeral-storage"]) >= used(disk), "{counted}");
    assert!(!told.contains_key("node"), "what the node holds is not the pod's: {told:?}");
    let probes = page("metrics/probes")?;
    let line = probes.lines().find(|it| it.starts_with("prober_probe_total{") && it.contains("pod=\"counted\""));
    let line = line.with_context(|| format!("the pod's probes in:\n{probes}"))?;
    assert!(
        line.contains("container=\"main\",namespace=\"default\"") && line.contains("probe_type=\"Readiness\""),
        "{line}"
    );
    assert!(line.contains("result=\"successful\"") && !line.ends_with(" 0"), "{line}");
    Ok(())
}
