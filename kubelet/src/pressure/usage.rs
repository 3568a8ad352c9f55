//! What pods use: memory from their cgroups, disk from their volumes and logs.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The memory that a cgroup cannot give back at once: its use without what is cached and inactive.
pub fn working_set(cgroup: &str) -> io::Result<i64> {
    let below = cgroup.trim_start_matches('/');
    let unified = Path::new("/sys/fs/cgroup").join(below);
    let (folder, usage, inactive) = if unified.join("memory.current").exists() {
        (unified, "memory.current", "inactive_file")
    } else {
        (Path::new("/sys/fs/cgroup/memory").join(below), "memory.usage_in_bytes", "total_inactive_file")
    };
    let used = std::fs::read_to_string(folder.join(usage))?;
    let stat = std::fs::read_to_string(folder.join("memory.stat"))?;
    let cached = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse::<i64>().ok());
    Ok((used.trim().parse::<i64>().unwrap_or_default() - cached.unwrap_or_default()).max(0))
}

/// The bytes and inodes below a folder on its own file system; what goes meanwhile does not count.
pub fn disk(folder: &Path) -> io::Result<(i64, i64)> {
    let root = match std::fs::symlink_metadata(folder) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(error),
    };
    let (mut blocks, mut inodes) = (root.blocks(), 1);
    let mut folders: Vec<PathBuf> = if root.is_dir() { vec![folder.to_owned()] } else { Vec::new() };
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != root.dev() {
                continue;
            }
            blocks += found.blocks();
            inodes += 1;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    // The kernel counts blocks of 512 bytes whatever the file system's are.
    Ok((i64::try_from(blocks.saturating_mul(512)).unwrap_or(i64::MAX), inodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_summed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/file"), vec![1; 100_000]).unwrap();
        let (bytes, inodes) = disk(folder.path()).unwrap();
        assert!((100_000..200_000).contains(&bytes), "{bytes}");
        assert_eq!(inodes, 3);
        assert_eq!(disk(&folder.path().join("none")).unwrap(), (0, 0));
    }
}
