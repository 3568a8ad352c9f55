//! The testbed's cgroups. Every process that it starts is put below `reeve-ID`, so that all of
//! them are found again; pods live below `reeve-ID/NODE` in every hierarchy. Works with version 2
//! alone and with version 1 and 2 side by side.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::processes::ProcessRecord;

/// Rounds of killing: a process may start another one before it is gone.
const ROUNDS: usize = 50;

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Whether it is a version 2 hierarchy.
    pub unified: bool,
}

/// The hierarchies of this machine, from the text of `/proc/self/mounts`.
pub fn hierarchies(mounts: &str) -> Vec<Hierarchy> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (mount, kind) = (words.next()?, words.next()?);
            let unified = match kind {
                "cgroup2" => true,
                "cgroup" => false,
                _ => return None,
            };
            Some(Hierarchy { mount: PathBuf::from(mount), unified })
        })
        .collect()
}

fn system_hierarchies() -> Result<Vec<Hierarchy>> {
    Ok(hierarchies(&fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?))
}

/// The hierarchy in which processes are kept track of: version 2 where there is one.
fn tracking(hierarchies: &[Hierarchy]) -> Option<&Hierarchy> {
    hierarchies.iter().find(|it| it.unified).or_else(|| hierarchies.first())
}

/// Makes the cgroup of a process below the testbed's and returns its folder; `None` where cgroups
/// cannot be made (a control plane that runs without root).
///
/// # Errors
/// The mounts of this machine cannot be read.
pub fn prepare(instance: &str, group: &str) -> Result<Option<PathBuf>> {
    let hierarchies = system_hierarchies()?;
    let Some(hierarchy) = tracking(&hierarchies) else { return Ok(None) };
    let folder = hierarchy.mount.join(instance).join(group);
    match fs::create_dir_all(&folder) {
        Ok(()) => Ok(Some(folder)),
        Err(_) if !rustix::process::geteuid().is_root() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot make the cgroup {}", folder.display())),
    }
}

/// The processes that live below the testbed's cgroup in any hierarchy.
///
/// # Errors
/// `/proc` cannot be read.
pub fn processes(instance: &str) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let Some(pid) = entry.ok().and_then(|it| it.file_name().to_str().and_then(|name| name.parse::<i32>().ok()))
        else {
            continue;
        };
        // A process that ends meanwhile is not there any more: that is what the caller wants.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { continue };
        if is_below(&text, instance) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Whether the text of a `/proc/PID/cgroup` names the testbed's cgroup or one below it.
fn is_below(text: &str, instance: &str) -> bool {
    let wanted = format!("/{instance}/");
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| format!("{path}/").contains(&wanted))
}

/// Kills all that lives at or below a cgroup, such as a whole testbed's or a node's.
///
/// # Errors
/// A process does not end within `limit`, or new ones keep coming.
pub fn end(group: &str, limit: Duration) -> Result<()> {
    for _ in 0..ROUNDS {
        let living: Vec<ProcessRecord> = processes(group)?.into_iter().filter_map(ProcessRecord::of).collect();
        if living.is_empty() {
            return Ok(());
        }
        for record in &living {
            record.signal(Signal::KILL)?;
        }
        for record in &living {
            if !record.wait_ended(limit)? {
                bail!("process {} does not end although it was killed", record.pid);
            }
        }
    }
    bail!("processes of {group} keep coming back")
}

/// Removes the testbed's cgroups from every hierarchy.
///
/// # Errors
/// A cgroup still holds a process.
pub fn remove(instance: &str) -> Result<()> {
    for hierarchy in system_hierarchies()? {
        let top = hierarchy.mount.join(instance);
        remove_tree(&top).with_context(|| format!("cannot remove the cgroup {}", top.display()))?;
    }
    Ok(())
}

/// Whether any hierarchy has a cgroup of the testbed.
///
/// # Errors
/// The mounts of this machine cannot be read.
pub fn exists(instance: &str) -> Result<bool> {
    Ok(system_hierarchies()?.iter().any(|it| it.mount.join(instance).exists()))
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let hybrid = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let found = hierarchies(hybrid);
        assert_eq!(found.len(), 2);
        assert_eq!(tracking(&found).map(|it| it.mount.clone()), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let version_1 = hierarchies("cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n");
        assert_eq!(tracking(&version_1).map(|it| it.unified), Some(false));
    }

    #[test]
    fn only_whole_names_count() {
        let text = "5:memory:/reeve-aabbcc/node-1/kubepods\n0::/user.slice\n";
        assert!(is_below(text, "reeve-aabbcc"));
        assert!(!is_below(text, "reeve-aabbc"));
        assert!(!is_below("0::/\n", "reeve-aabbcc"));
    }
}
