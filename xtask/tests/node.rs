//! A node with real parts: namespaces, containerd, the project's images, a container from each;
//! and `down`, which leaves nothing of it. Needs root and the distribution's packages.

use anyhow::{Context, Result};
use xtask::{
    cargo::Workspace, cgroup, command, down, images, instance::Instance, network, node, node::Node, pki::Pki,
    processes::Daemons, progress::Progress,
};

#[test]
fn a_node_runs_our_images_and_leaves_nothing_behind() -> Result<()> {
    if !rustix::process::geteuid().is_root() || command::find("containerd").is_none() {
        eprintln!("skipped: needs root and containerd");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("bed");
    let result = run(&dir);
    let instance = Instance::open(&dir)?.context("the testbed exists")?;
    down::down(&dir, &Progress::new())?;
    result?;
    assert!(!dir.exists());
    assert!(!cgroup::exists(&instance.name())?);
    assert_eq!(network::existing(&instance)?, network::Existing::default());
    assert!(down::processes(&instance)?.is_empty());
    Ok(())
}

fn run(dir: &std::path::Path) -> Result<()> {
    let workspace = Workspace::locate()?;
    workspace.build_static()?;
    let programs = workspace.static_programs()?;
    let mut instance = Instance::open_or_create(dir, true)?;
    node::make_mount_points(&mut instance)?;
    network::create_bridge(&mut instance)?;
    let (pki, daemons) = (Pki::new(&instance), Daemons::new(&instance));
    pki.issue_control_plane()?;
    let archive = instance.path("images/reeve.tar");
    images::write_archive(&programs.join("reeve-pause"), &programs.join("reeve-demo"), &archive)?;
    let node = Node::new(&instance, 1);
    node.prepare(&pki, &programs.join("reeve-pause"), &archive, &daemons)?;
    // Once more: nothing is started twice.
    let containerd = daemons.running(&node.process("containerd"));
    node.prepare(&pki, &programs.join("reeve-pause"), &archive, &daemons)?;
    assert_eq!(daemons.running(&node.process("containerd")), containerd);

    let ctr = |arguments: &[&str]| -> Result<String> {
        let words = node.command(&daemons, "ctr")?;
        let (program, rest) = words.split_first().context("a command")?;
        command::run(command::system(program).args(rest).args(["--namespace", "k8s.io"]).args(arguments))
    };
    let listed = ctr(&["images", "list", "--quiet"])?;
    for name in [images::PAUSE, images::DEMO_1, images::DEMO_2] {
        assert!(listed.lines().any(|line| line == name), "{name} is missing in:\n{listed}");
    }
    let group = format!("/{}/{}/test", instance.name(), node.name);
    let run = ["run", "--rm", "--cgroup", &group];
    let with = |image: &str, id: &str, words: &[&str]| ctr(&[&run[..], &[image, id], words].concat());
    assert_eq!(with(images::DEMO_1, "echo", &["/bin/echo", "hello"])?.trim(), "hello");
    let versions = with(images::DEMO_2, "shell", &["/bin/sh", "-c", "env && exit 0"])?;
    assert!(versions.contains("DEMO_VERSION=2"), "{versions}");
    assert!(with(images::DEMO_1, "crash", &["/bin/demo", "crash", "3"]).is_err());
    ctr(&["run", "--detach", "--cgroup", &group, images::PAUSE, "pause"])?;

    // From the host over the bridge into the node.
    let address = format!("{}:8099", instance.node_address(1));
    ctr(&[
        "run",
        "--detach",
        "--net-host",
        "--cgroup",
        &group,
        images::DEMO_1,
        "web",
        "/bin/demo",
        "serve",
        "--port",
        "8099",
    ])?;
    let demo = programs.join("reeve-demo");
    let answer = command::run(command::system(&demo).args(["get", &format!("http://{address}/"), "--retry", "5"]))?;
    assert!(answer.contains("version=1"), "{answer}");
    Ok(())
}
