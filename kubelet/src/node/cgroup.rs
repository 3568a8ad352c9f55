//! The pods' cgroups, on version 1, version 2 and the hybrid layout: `ROOT/kubepods[/CLASS]/podUID`. The runtime makes
//! the containers' below them.

use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::pod::resources::{CgroupLimits, MAX_SHARES, MIN_SHARES, QUOTA_PERIOD};
use crate::pod::spec;

const MOUNT: &str = "/sys/fs/cgroup";
/// The quality of service classes' folders below `kubepods`.
const CLASSES: [&str; 3] = ["", "besteffort", "burstable"];
/// What version 2 must hand down to a pod's cgroup.
const CONTROLLERS: &str = "+cpu +memory +pids";

/// The path of a pod's cgroup, from the hierarchy's mount.
pub fn pod_path(cgroup_root: &str, pod: &Pod) -> String {
    let class = match spec::qos_class(pod) {
        "Burstable" => "/burstable",
        "BestEffort" => "/besteffort",
        _ => "",
    };
    format!("{cgroup_root}/kubepods{class}/pod{}", spec::uid(pod))
}

/// How limits are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// As they are.
    Exactly,
    /// A cgroup that has more keeps it.
    AtLeast,
}

/// Makes a pod's cgroup with its limits, and gives the classes their weights.
pub fn ensure_pod(
    cgroup_root: &str,
    pod: &Pod,
    limits: CgroupLimits,
    burstable_shares: i64,
    extent: Extent,
) -> io::Result<()> {
    ensure_below(Path::new(MOUNT), cgroup_root, pod, limits, burstable_shares, extent)
}

/// Whether a pod's cgroup has these limits.
pub fn pod_has(cgroup_root: &str, pod: &Pod, limits: CgroupLimits) -> io::Result<bool> {
    has_below(Path::new(MOUNT), cgroup_root, pod, limits)
}

fn has_below(mount: &Path, cgroup_root: &str, pod: &Pod, limits: CgroupLimits) -> io::Result<bool> {
    for hierarchy in hierarchies(mount)? {
        let Some(layout) = layout(&hierarchy)? else { continue };
        let folder = hierarchy.join(pod_path(cgroup_root, pod).trim_start_matches('/'));
        for (file, value) in settings(layout, limits) {
            let path = folder.join(file);
            if path.exists() && amount(file, &std::fs::read_to_string(&path)?) != amount(file, &value) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The number in a setting's file. Memory is counted in pages; no limit is the largest number.
fn amount(file: &str, text: &str) -> i64 {
    const PAGE: i64 = 4096;
    let word = text.split_whitespace().next().unwrap_or_default();
    let number = word.parse().unwrap_or(i64::MAX);
    match file {
        _ if number < 0 => i64::MAX,
        // Version 1 shows the largest number of pages for no limit.
        "memory.limit_in_bytes" | "memory.max" if number / PAGE == i64::MAX / PAGE => i64::MAX,
        "memory.limit_in_bytes" | "memory.max" => number / PAGE * PAGE,
        _ => number,
    }
}

/// What limits are written to in a hierarchy; `None` where none are.
fn layout(hierarchy: &Path) -> io::Result<Option<Layout>> {
    let has = |file: &str| hierarchy.join(file).exists();
    Ok(if has("cgroup.controllers") {
        // The hybrid layout's version 2 holds no controllers.
        controls(hierarchy, "cpu")?.then_some(Layout::Unified)
    } else if has("cpu.shares") {
        Some(Layout::Cpu)
    } else if has("memory.limit_in_bytes") {
        Some(Layout::Memory)
    } else {
        None
    })
}

fn ensure_below(
    mount: &Path,
    cgroup_root: &str,
    pod: &Pod,
    limits: CgroupLimits,
    burstable_shares: i64,
    extent: Extent,
) -> io::Result<()> {
    let path = pod_path(cgroup_root, pod);
    let class = |name: &str| format!("{cgroup_root}/kubepods/{name}");
    for hierarchy in hierarchies(mount)? {
        let Some(layout) = layout(&hierarchy)? else { continue };
        let own = make(&hierarchy, &path, layout)?;
        let best_effort = make(&hierarchy, &class("besteffort"), layout)?;
        let burstable = make(&hierarchy, &class("burstable"), layout)?;
        let class_of = |cpu_shares| CgroupLimits { cpu_shares, cpu_quota: None, memory: None };
        for (folder, limits, extent) in [
            (own, limits, extent),
            (best_effort, class_of(MIN_SHARES), Extent::Exactly),
            (burstable, class_of(burstable_shares), Extent::Exactly),
        ] {
            for (file, value) in settings(layout, limits) {
                let path = folder.join(file);
                // A controller that was not handed down has no files: `make` has told.
                let is_enough = || -> io::Result<bool> {
                    let has = std::fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
                    Ok(!has.is_empty() && amount(file, &has) >= amount(file, &value))
                };
                if path.exists() && !(extent == Extent::AtLeast && is_enough()?) {
                    std::fs::write(&path, value).map_err(|error| at(&path, &error))?;
                }
            }
        }
    }
    Ok(())
}

/// The kinds of hierarchies that limits are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Version 2.
    Unified,
    /// Version 1's CPU.
    Cpu,
    /// Version 1's memory.
    Memory,
}

/// The files of a cgroup and what is written to them.
fn settings(layout: Layout, limits: CgroupLimits) -> Vec<(&'static str, String)> {
    match layout {
        Layout::Unified => {
            let quota = limits.cpu_quota.map_or("max".to_owned(), |it| it.to_string());
            vec![
                ("cpu.weight", weight(limits.cpu_shares).to_string()),
                ("cpu.max", format!("{quota} {QUOTA_PERIOD}")),
                ("memory.max", limits.memory.map_or("max".to_owned(), |it| it.to_string())),
            ]
        }
        Layout::Cpu => vec![
            ("cpu.shares", limits.cpu_shares.to_string()),
            ("cpu.cfs_period_us", QUOTA_PERIOD.to_string()),
            ("cpu.cfs_quota_us", limits.cpu_quota.unwrap_or(-1).to_string()),
        ],
        Layout::Memory => vec![("memory.limit_in_bytes", limits.memory.unwrap_or(-1).to_string())],
    }
}

/// Version 2's weight for version 1's shares, by the sum that upstream and runc use.
fn weight(shares: i64) -> i64 {
    1 + (shares.clamp(MIN_SHARES, MAX_SHARES) - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES)
}

fn controls(hierarchy: &Path, controller: &str) -> io::Result<bool> {
    let all = std::fs::read_to_string(hierarchy.join("cgroup.controllers"))?;
    Ok(all.split_whitespace().any(|it| it == controller))
}

/// Hands a cgroup's controllers down to those below it. One that cannot be (a process lives in the cgroup itself, or the
/// cgroup was not given it) leaves what it controls without limits, which is told.
fn hand_down(cgroup: &Path) {
    let file = cgroup.join("cgroup.subtree_control");
    let handed = std::fs::read_to_string(&file).unwrap_or_default();
    for controller in CONTROLLERS.split(' ').filter(|it| !handed.split_whitespace().any(|has| has == &it[1..])) {
        if let Err(error) = std::fs::write(&file, controller) {
            tracing::warn!(cgroup = %cgroup.display(), controller, %error, "limits below this cgroup do not hold");
        }
    }
}

/// An error with the path that it is about.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes a cgroup and those above it; in version 2 each hands its controllers down.
fn make(hierarchy: &Path, path: &str, layout: Layout) -> io::Result<PathBuf> {
    let mut folder = hierarchy.to_owned();
    for name in path.split('/').filter(|it| !it.is_empty()) {
        if layout == Layout::Unified {
            hand_down(&folder);
        }
        folder.push(name);
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(at(&folder, &error));
            }
            _ => {}
        }
    }
    Ok(folder)
}

/// Removes what is left of a pod's cgroups in every hierarchy. A pod without any is clean.
pub fn remove_pod(cgroup_root: &str, uid: &str) -> io::Result<()> {
    for hierarchy in hierarchies(Path::new(MOUNT))? {
        let kubepods = hierarchy.join(cgroup_root.trim_start_matches('/')).join("kubepods");
        for class in CLASSES {
            remove(&kubepods.join(class).join(format!("pod{uid}")))?;
        }
    }
    Ok(())
}

/// The unified mount, or each controller's on version 1 and the hybrid layout.
fn hierarchies(mount: &Path) -> io::Result<Vec<PathBuf>> {
    if mount.join("cgroup.controllers").exists() {
        return Ok(vec![mount.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(mount)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes a cgroup and its children, the deepest first. What still runs in them is told to end, and the removal fails:
/// it has to be asked for again.
fn remove(cgroup: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(cgroup) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    match std::fs::remove_dir(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            kill_all(cgroup)?;
            Err(error)
        }
        result => result,
    }
}

/// Ends the processes of a cgroup. A runtime that was killed while it started a container may know nothing of it
/// afterwards; nobody else would end it then.
fn kill_all(cgroup: &Path) -> io::Result<()> {
    for line in std::fs::read_to_string(cgroup.join("cgroup.procs"))?.lines() {
        // Processes of other namespaces are shown as 0.
        let Some(process) = line.parse().ok().and_then(Pid::from_raw) else { continue };
        match kill_process(process, Signal::KILL) {
            Ok(()) => tracing::warn!(
                process = process.as_raw_nonzero(),
                cgroup = %cgroup.display(),
                "ended a process that the runtime has left behind in a pod's cgroup"
            ),
            Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_in_the_words_of_each_version() {
        let limits = CgroupLimits { cpu_shares: 1024, cpu_quota: Some(50_000), memory: None };
        let words = |layout| {
            let settings: Vec<String> =
                settings(layout, limits).into_iter().map(|(file, value)| format!("{file}={value}")).collect();
            settings.join(" ")
        };
        assert_eq!(words(Layout::Unified), "cpu.weight=39 cpu.max=50000 100000 memory.max=max");
        assert_eq!(words(Layout::Cpu), "cpu.shares=1024 cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000");
        assert_eq!(words(Layout::Memory), "memory.limit_in_bytes=-1");
        assert_eq!((weight(MIN_SHARES), weight(MAX_SHARES)), (1, 10_000));
    }

    #[test]
    fn what_the_runtime_left_in_a_pods_cgroup_is_ended() {
        let name = format!("reeve-test-{}", uuid::Uuid::new_v4());
        let made = |hierarchy: &PathBuf| std::fs::create_dir_all(hierarchy.join(&name).join("inner")).is_ok();
        let Some(hierarchy) = hierarchies(Path::new(MOUNT)).unwrap_or_default().into_iter().find(made) else {
            eprintln!("skipped: no cgroup can be made");
            return;
        };
        let cgroup = hierarchy.join(&name);
        let mut left = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        if let Err(error) = std::fs::write(cgroup.join("inner/cgroup.procs"), left.id().to_string()) {
            left.kill().unwrap();
            left.wait().unwrap();
            remove(&cgroup).unwrap();
            eprintln!("skipped: {error}");
            return;
        }
        assert_eq!(remove(&cgroup).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert!(!left.wait().unwrap().success());
        remove(&cgroup).unwrap();
        assert!(!cgroup.exists());
    }

    #[test]
    fn a_pod_gets_its_limits_and_its_class_a_weight() {
        let mount = tempfile::tempdir().unwrap();
        let at = |name: &str| mount.path().join(name);
        std::fs::write(at("cgroup.controllers"), "cpu memory pids").unwrap();
        // The kernel puts these files there; a folder of the test's own has to have them before.
        for folder in ["r/kubepods/burstable/podu", "r/kubepods/besteffort"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for folder in ["r/kubepods/burstable/podu", "r/kubepods/burstable", "r/kubepods/besteffort"] {
            for file in ["cpu.weight", "cpu.max", "memory.max"] {
                std::fs::write(at(folder).join(file), "").unwrap();
            }
        }
        let pod = serde_json::from_value(serde_json::json!({
            "metadata": {"uid": "u"},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
        }));
        let limits = CgroupLimits { cpu_shares: 1024, cpu_quota: None, memory: Some(4096) };
        let pod = pod.unwrap();
        ensure_below(mount.path(), "/r", &pod, limits, 2048, Extent::Exactly).unwrap();
        let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
        assert_eq!(read("r/kubepods/burstable/podu/cpu.weight"), "39");
        assert_eq!(read("r/kubepods/burstable/podu/cpu.max"), "max 100000");
        assert_eq!(read("r/kubepods/burstable/podu/memory.max"), "4096");
        assert_eq!(read("r/kubepods/burstable/cpu.weight"), "79");
        assert_eq!(read("r/kubepods/besteffort/cpu.weight"), "1");
        // Larger limits come at once, smaller ones only where that is wanted.
        assert!(has_below(mount.path(), "/r", &pod, limits).unwrap());
        let other = CgroupLimits { cpu_shares: 2, cpu_quota: Some(50_000), memory: Some(8192 + 1) };
        assert!(!has_below(mount.path(), "/r", &pod, other).unwrap());
        ensure_below(mount.path(), "/r", &pod, other, 2048, Extent::AtLeast).unwrap();
        assert_eq!(read("r/kubepods/burstable/podu/cpu.weight"), "39");
        assert_eq!(read("r/kubepods/burstable/podu/cpu.max"), "max 100000");
        assert_eq!(read("r/kubepods/burstable/podu/memory.max"), "8193");
        ensure_below(mount.path(), "/r", &pod, other, 2048, Extent::Exactly).unwrap();
        std::fs::write(at("r/kubepods/burstable/podu/memory.max"), "8192\n").unwrap();
        assert!(has_below(mount.path(), "/r", &pod, other).unwrap(), "the kernel counts pages");
        assert_eq!(amount("memory.limit_in_bytes", "9223372036854771712\n"), amount("memory.limit_in_bytes", "-1"));
        assert_eq!(amount("cpu.max", "max 100000"), amount("cpu.cfs_quota_us", "-1"));
        // In a folder of the test's own each write replaces the one before.
        assert_eq!(read("r/cgroup.subtree_control"), "+pids");
    }
}
