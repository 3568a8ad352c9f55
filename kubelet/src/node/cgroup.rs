//! The pods' cgroups. The runtime makes them, on cgroup v1 and v2, as the parents of its containers'; it does not
//! remove them.

use std::io;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";
/// The quality of service classes' folders below `kubepods`.
const CLASSES: [&str; 3] = ["", "besteffort", "burstable"];

/// Removes what is left of a pod's cgroups in every hierarchy. A pod without any is clean.
pub fn remove_pod(cgroup_root: &str, uid: &str) -> io::Result<()> {
    for hierarchy in hierarchies(Path::new(MOUNT))? {
        let kubepods = hierarchy.join(cgroup_root.trim_start_matches('/')).join("kubepods");
        for class in CLASSES {
            remove_empty(&kubepods.join(class).join(format!("pod{uid}")))?;
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

/// Removes a cgroup and its empty children, the deepest first.
fn remove_empty(cgroup: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(cgroup) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    match std::fs::remove_dir(cgroup) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
