//! `cargo xtask machine`: the end-to-end tests on another kernel than this host's, in an emulated machine.
//!
//! Hosts differ in what a node stands on: cgroups of version 1 or 2, NFS, SCTP. The machine is Debian's, with cgroups
//! of version 2 alone, a server and a client of NFS, and sockets of SCTP. It has no network to the outside, and
//! nothing in it outlives it: its disks are written to copies in memory.

mod base;
mod cargo_tests;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};

use self::base::Base;
use crate::{cargo::Workspace, command, packages, progress::Progress, stage, test::Tally};

/// The end-to-end tests that run by default: those which depend on the kernel, by parts of their names.
pub const TESTS: [&str; 4] = ["machine::", "resources::", "volumes::", "services::"];
/// The kubelet's tests that run then, too, against a containerd of their own.
const KUBELET_TESTS: [&str; 3] = ["containerd", "lifecycle", "pressure"];
/// Emulation is some ten times slower than the host.
const LIMIT_SECONDS: u32 = 1500;
const MEMORY_MIB: u32 = 4096;
/// Of the disk that holds the programs under test.
const STAGE_MIB: u32 = 2048;
/// Where that disk is mounted.
const ROOT: &str = "/reeve";
/// What the machine does once its kernel runs.
const INIT: &str = include_str!("init.sh");
/// The line by which the machine tells how the tests ended.
const ENDED: &str = "machine: the tests ended with ";

/// Runs end-to-end tests in the machine; `only` are parts of their names, [`TESTS`] if there are none. The release
/// build is what they test.
///
/// # Errors
/// The machine cannot be made, or does not tell how the tests ended.
pub fn run(workspace: &Workspace, only: &[String], progress: &Progress) -> Result<Tally> {
    packages::ensure_for_machine()?;
    ensure!(cfg!(target_arch = "x86_64"), "the emulated machine is made for x86_64 alone");
    let base = progress.step("a machine of Debian's", || Base::open_or_make(&workspace.target.join("machine")))?;
    let folder = tempfile::tempdir_in(&workspace.target).context("cannot make a folder for the machine's disk")?;
    let disk = folder.path().join("reeve.img");
    progress.step("the programs on its disk", || {
        let stage = folder.path().join("stage");
        stage_programs(workspace, &stage, only)?;
        base::write_disk(&stage, STAGE_MIB, &disk)?;
        Ok(fs::remove_dir_all(&stage)?)
    })?;
    start(&base, &disk)
}

/// Lays out what [`Workspace::locate`] finds in the machine, and what it runs.
fn stage_programs(workspace: &Workspace, stage: &Path, only: &[String]) -> Result<()> {
    let moved = workspace.moved(Path::new(ROOT))?;
    let inside = |path: &Path| -> Result<_> { Ok(stage.join(path.strip_prefix(ROOT)?)) };
    let copy = |from: &Path, to: &Path| -> Result<()> {
        let to = inside(to)?;
        fs::create_dir_all(to.parent().unwrap_or(stage))?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    };
    for program in stage::PROGRAMS {
        copy(&workspace.programs().join(program), &moved.programs().join(program))?;
    }
    for program in ["reeve-pause", "reeve-demo"] {
        copy(&workspace.static_programs()?.join(program), &moved.static_programs()?.join(program))?;
    }
    for manifest in fs::read_dir(workspace.file("deploy/examples"))? {
        let manifest = manifest?;
        if manifest.file_type()?.is_file() {
            copy(&manifest.path(), &moved.file("deploy/examples").join(manifest.file_name()))?;
        }
    }
    // By this name it is found also where a build has put another in its place meanwhile.
    copy(Path::new("/proc/self/exe"), &moved.root.join("xtask"))?;
    for program in cargo_tests::build(workspace, "reeve-integration-tests", &["end_to_end"])? {
        copy(&program.path, &moved.root.join(&program.name))?;
    }
    if only.is_empty() {
        stage_kubelet_tests(workspace, stage)?;
    }
    fs::write(stage.join("workspace.json"), serde_json::to_vec(&moved.description()?)?)?;
    let only: Vec<&str> = if only.is_empty() { TESTS.to_vec() } else { only.iter().map(String::as_str).collect() };
    fs::write(stage.join("tests"), only.join("\n") + "\n")?;
    let init = stage.join("init");
    fs::write(&init, INIT)?;
    Ok(fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?)
}

/// Lays out tests of the kubelet, and the kubelet that they start from where cargo put it.
fn stage_kubelet_tests(workspace: &Workspace, stage: &Path) -> Result<()> {
    let folder = stage.join("tests-of-kubelet");
    fs::create_dir_all(&folder)?;
    for program in cargo_tests::build(workspace, "reeve-kubelet", &KUBELET_TESTS)? {
        let to = if program.is_test {
            folder.join(&program.name)
        } else {
            fs::write(stage.join("kubelet-path"), program.path.as_os_str().as_encoded_bytes())?;
            stage.join("kubelet-under-test")
        };
        // Without what only a debugger reads: it is nine tenths of them.
        command::run(command::system("strip").arg("-o").arg(to).arg(&program.path))?;
    }
    Ok(())
}

/// How a run of the machine ended.
enum Outcome {
    /// The tests ran, and their command ended with this code.
    Ended(String, Tally),
    /// The kernel gave itself up, with these words.
    Panicked(String),
}

/// Runs the machine to its end. One whose kernel gave up is started once more: a kernel that stood still tells of the
/// emulator and nothing of the tests.
fn start(base: &Base, disk: &Path) -> Result<Tally> {
    let mut outcome = run_once(base, disk)?;
    if let Outcome::Panicked(why) = &outcome {
        eprintln!("\nthe machine's kernel gave up ({why}): it is started once more");
        outcome = run_once(base, disk)?;
    }
    match outcome {
        Outcome::Ended(code, tally) if code == "0" || tally.failed() > 0 => Ok(tally),
        Outcome::Ended(code, _) => {
            bail!("the tests in the machine ended with {code} without a failed test: they did not begin")
        }
        Outcome::Panicked(why) => bail!("the machine's kernel gave up twice: {why}"),
    }
}

/// Runs the machine once, shows what it prints, and adds up the tests' results.
fn run_once(base: &Base, disk: &Path) -> Result<Outcome> {
    // Its own time limit: a machine that hangs prints nothing that could be waited for.
    let mut machine = command::system("timeout");
    machine.args(["--kill-after=5", &LIMIT_SECONDS.to_string(), "qemu-system-x86_64"]);
    // One processor: of several that are emulated side by side, two have waited for each other for ever.
    machine.args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", &MEMORY_MIB.to_string()]);
    machine.args(["-nographic", "-no-reboot", "-nic", "none", "-snapshot"]);
    // Both on one controller: two would be found in any order.
    machine.args(["-device", "nvme,id=disks,serial=disks"]);
    for (name, file) in [("base", base.disk.as_path()), ("reeve", disk)] {
        machine.arg("-drive").arg(format!("file={},format=raw,if=none,id={name},cache=unsafe", file.display()));
    }
    machine.args(["-device", "nvme-ns,bus=disks,drive=base,nsid=1", "-device", "nvme-ns,bus=disks,drive=reeve,nsid=2"]);
    machine.arg("-kernel").arg(&base.kernel);
    // A kernel that stands still for two minutes ends the machine.
    let watchdog = "watchdog_thresh=60 softlockup_panic=1 panic=-1";
    machine.arg("-append").arg(format!("console=ttyS0 {watchdog} quiet root=/dev/nvme0n1 rw init=/init"));
    eprintln!("\n$ {}", command::line(&machine));
    let mut child = machine.stdout(Stdio::piped()).spawn().context("cannot start the machine")?;
    let console = child.stdout.take().context("the machine has a console")?;
    let (mut tally, mut ended, mut panicked) = (Tally::default(), None, None);
    for line in BufReader::new(console).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        println!("{line}");
        tally.add(Tally::parse(line).unwrap_or_default());
        ended = line.strip_prefix(ENDED).map(str::to_owned).or(ended);
        panicked = line.split_once("Kernel panic - ").map(|(_, why)| why.to_owned()).or(panicked);
    }
    let status = child.wait()?;
    match (ended, panicked) {
        (Some(code), _) => Ok(Outcome::Ended(code, tally)),
        (None, Some(why)) => Ok(Outcome::Panicked(why)),
        (None, None) => bail!("the machine ended ({status}) before its tests, or after {LIMIT_SECONDS} s"),
    }
}
