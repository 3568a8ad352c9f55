//! Takes a testbed down, also one whose `up` did not end well: what it left is found by its
//! records, and by the names in cgroups, links, namespaces, rules and mounts.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    mount::{UnmountFlags, unmount},
    process::Signal,
};

use crate::{
    cgroup,
    instance::{Instance, Settings, id_of},
    network,
    processes::ProcessRecord,
    progress::Progress,
};

/// Rounds of killing: a process may start another one before it is gone.
const ROUNDS: usize = 50;
/// How long one killed process may take to be gone.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// How often an emptied cgroup is tried: the kernel clears it shortly after the last process.
const CGROUP_TRIES: usize = 100;
const CGROUP_PAUSE: Duration = Duration::from_millis(20);

/// Removes everything of the testbed in `dir`. Without one there, still looks for leftovers of
/// that name. May be repeated.
///
/// # Errors
/// Something cannot be removed: what and why.
pub fn down(dir: &Path, progress: &Progress) -> Result<()> {
    let (instance, owned) = find(dir)?;
    progress.step("processes and containers", || end_processes(&instance))?;
    if rustix::process::geteuid().is_root() {
        progress.step("links, namespaces, rules", || network::remove(&instance))?;
        progress.step("mounts", || unmount_below(&instance.dir))?;
        progress.step("cgroups", || remove_cgroups(&instance.name()))?;
        remove_made_folders(&instance.settings.made_folders, progress);
    }
    if owned {
        progress.step("files", || remove_files(&instance.dir))?;
    } else if instance.dir.exists() {
        progress.line(&format!("{} holds no testbed; it is left as it is", instance.dir.display()));
    }
    Ok(())
}

/// The testbed, and whether the folder is its own. A damaged or missing `testbed.json` leaves what
/// derives from the folder's path.
fn find(dir: &Path) -> Result<(Instance, bool)> {
    match Instance::open(dir) {
        Ok(Some(instance)) => return Ok((instance, true)),
        Ok(None) => {}
        Err(error) => eprintln!("{error:#}"),
    }
    let absolute = fs::canonicalize(dir).or_else(|_| std::path::absolute(dir))?;
    let settings = Settings {
        network: None,
        etcd_client_port: 0,
        etcd_peer_port: 0,
        api_port: 0,
        made_folders: Vec::new(),
        enabled_forwarding: false,
        controller_manager_flags: Vec::new(),
        kubelet_flags: Vec::new(),
    };
    let marked = absolute.join(crate::instance::MARKER).exists();
    Ok((Instance { id: id_of(&absolute), dir: absolute, settings }, marked))
}

/// The processes of a testbed: those in its cgroups and those of its records.
///
/// # Errors
/// `/proc` cannot be read.
pub fn processes(instance: &Instance) -> Result<BTreeMap<i32, ProcessRecord>> {
    let mut found: BTreeMap<i32, ProcessRecord> = cgroup::processes(&instance.name())?
        .into_iter()
        .filter_map(ProcessRecord::of)
        .map(|record| (record.pid, record))
        .collect();
    let records = match fs::read_dir(instance.path("run")) {
        Ok(records) => records,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error.into()),
    };
    for entry in records {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if let Ok(record) = serde_json::from_slice::<ProcessRecord>(&fs::read(&path)?)
            && record.is_alive()
        {
            found.insert(record.pid, record);
        }
    }
    Ok(found)
}

fn end_processes(instance: &Instance) -> Result<()> {
    for _ in 0..ROUNDS {
        let living = processes(instance)?;
        if living.is_empty() {
            return Ok(());
        }
        for record in living.values() {
            record.signal(Signal::KILL)?;
        }
        for record in living.values() {
            if !record.wait_ended(ENDED_WITHIN)? {
                bail!("process {} does not end although it was killed", record.pid);
            }
        }
    }
    bail!("processes of the testbed keep coming back")
}

#[expect(clippy::disallowed_methods, reason = "version 1 has no event for a cgroup that became empty")]
fn remove_cgroups(name: &str) -> Result<()> {
    let mut tries = 0;
    loop {
        match cgroup::remove(name) {
            Ok(()) => return Ok(()),
            Err(error) if tries == CGROUP_TRIES => return Err(error),
            Err(_) => thread::sleep(CGROUP_PAUSE),
        }
        tries += 1;
    }
}

/// Mount points at or below `dir`, the deepest first, from the text of `/proc/self/mountinfo`.
fn mounts_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| path.starts_with(dir))
        .collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}

fn unmount_below(dir: &Path) -> Result<()> {
    for mount in mounts_below(&fs::read_to_string("/proc/self/mountinfo")?, dir) {
        unmount(&mount, UnmountFlags::DETACH).with_context(|| format!("cannot unmount {}", mount.display()))?;
    }
    Ok(())
}

fn remove_made_folders(folders: &[PathBuf], progress: &Progress) {
    for folder in folders {
        match fs::remove_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => progress.line(&format!("{} is in use by others and stays: {error}", folder.display())),
        }
    }
}

fn remove_files(dir: &Path) -> Result<()> {
    // Removing through a mount would remove what is not ours.
    if let Some(mount) = mounts_below(&fs::read_to_string("/proc/self/mountinfo")?, dir).first() {
        bail!("{} is still mounted; nothing below {} was removed", mount.display(), dir.display());
    }
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_comes_first_and_neighbours_stay() {
        let text = "1 0 8:1 / / rw - ext4 x rw\n2 1 0:5 / /var/lib/reeve/a rw - tmpfs x rw\n\
                    3 2 0:6 / /var/lib/reeve/a/b\\040c rw - tmpfs x rw\n4 1 0:7 / /var/lib/reeve2 rw - tmpfs x rw\n";
        let expected = [PathBuf::from("/var/lib/reeve/a/b c"), PathBuf::from("/var/lib/reeve/a")];
        assert_eq!(mounts_below(text, Path::new("/var/lib/reeve")), expected);
    }

    #[test]
    fn a_control_plane_folder_goes_and_a_strangers_folder_stays() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let bed = folder.path().join("bed");
        Instance::open_or_create(&bed, false)?;
        down(&bed, &Progress::new())?;
        assert!(!bed.exists());
        down(&bed, &Progress::new())?;

        let strangers = folder.path().join("home");
        fs::create_dir(&strangers)?;
        fs::write(strangers.join("letter"), "dear")?;
        down(&strangers, &Progress::new())?;
        assert!(strangers.join("letter").exists());
        Ok(())
    }
}
