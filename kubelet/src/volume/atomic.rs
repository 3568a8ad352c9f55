//! A folder of files that changes all at once.
//!
//! Upstream's layout: the files lie in a folder `..TIME`, `..data` links to it, and each visible name links
//! into `..data`. Renaming a new `..data` over the old one changes every file at the same moment.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// One file: its bytes, its mode, its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The content.
    pub data: Vec<u8>,
    /// The permission bits.
    pub mode: u32,
    /// The user that it belongs to, if not root.
    pub owner: Option<u32>,
}

/// Files by their path below the volume.
pub type Files = BTreeMap<String, File>;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes the folder hold exactly these files. Nothing is touched when it does already.
pub fn write(folder: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let current = std::fs::read_link(folder.join(DATA)).ok().map(|link| folder.join(link));
    if let Some(current) = &current
        && holds(current, files)?
    {
        return Ok(());
    }
    let fresh_name = format!("..{}", uuid::Uuid::new_v4().simple());
    let fresh = folder.join(&fresh_name);
    std::fs::create_dir(&fresh)?;
    if let Err(error) = fill(&fresh, files, group) {
        // A full file system stays full with what was written of it; the error that is told is the first one.
        if let Err(error) = std::fs::remove_dir_all(&fresh) {
            tracing::warn!(folder = %fresh.display(), %error, "what was written in vain could not be removed");
        }
        return Err(error);
    }
    let link = folder.join(NEW_DATA);
    remove_if_there(&link)?;
    symlink(&fresh_name, &link)?;
    std::fs::rename(&link, folder.join(DATA))?;

    let visible: std::collections::BTreeSet<&str> = files.keys().filter_map(|name| name.split('/').next()).collect();
    for name in &visible {
        let path = folder.join(name);
        if std::fs::read_link(&path).is_err() {
            // A sub path of a file that was missing is an empty folder.
            remove_if_there(&path)?;
            symlink(Path::new(DATA).join(name), &path)?;
        }
    }
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with("..") && !visible.contains(name) {
            remove_if_there(&folder.join(name))?;
        }
    }
    match current {
        Some(old) if old.try_exists()? => std::fs::remove_dir_all(old),
        _ => Ok(()),
    }
}

/// Writes the files into an empty folder. A group may read all of it, and what is made in it later is the group's too.
fn fill(fresh: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let group = group.map(rustix::fs::Gid::from_raw);
    let give = |path: &Path, owner: Option<u32>, mode: u32, of_group: u32| {
        let owner = owner.map(rustix::fs::Uid::from_raw);
        if owner.is_some() || group.is_some() {
            rustix::fs::chown(path, owner, group)?;
        }
        let mode = if group.is_some() { mode | of_group } else { mode };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    give(fresh, None, 0o755, 0o2550)?;
    for (name, file) in files {
        let path = fresh.join(name);
        let mut above: Vec<&Path> = Path::new(name).ancestors().skip(1).collect();
        // The last one is the folder itself.
        above.pop();
        for parent in above.into_iter().rev().map(|it| fresh.join(it)) {
            match std::fs::create_dir(&parent) {
                Ok(()) => give(&parent, None, 0o755, 0o2550)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        std::fs::write(&path, &file.data)?;
        give(&path, file.owner, file.mode, 0o440)?;
    }
    Ok(())
}

/// Whether a folder holds these files and no others.
fn holds(folder: &Path, files: &Files) -> io::Result<bool> {
    let mut count = 0;
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = match std::fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    Ok(count == files.len()
        && files.iter().all(|(name, file)| std::fs::read(folder.join(name)).is_ok_and(|data| data == file.data)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        pairs
            .iter()
            .map(|(name, data)| ((*name).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o644, owner: None }))
            .collect()
    }

    #[test]
    fn an_update_swaps_the_link_and_removes_what_went() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        write(folder.path(), &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!((read("a"), read("sub/b")), (Some("1".into()), Some("2".into())));
        let first = std::fs::read_link(folder.path().join(DATA)).unwrap();
        write(folder.path(), &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_link(folder.path().join(DATA)).unwrap(), first, "the same files are not rewritten");
        write(folder.path(), &files(&[("a", "3"), ("c", "4")]), None).unwrap();
        assert_eq!((read("a"), read("sub/b"), read("c")), (Some("3".into()), None, Some("4".into())));
        let hidden = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(hidden, 4, "..data, one dated folder, a, c");
    }

    #[test]
    fn a_group_may_read_whatever_the_modes_say() {
        use std::os::unix::fs::MetadataExt as _;
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut wanted = files(&[("a/b/open", "1")]);
        wanted.insert("closed".into(), File { data: vec![2], mode: 0o000, owner: Some(1000) });
        write(folder.path(), &wanted, Some(2000)).unwrap();
        let seen = |name: &str| {
            let found = std::fs::metadata(folder.path().join(name)).unwrap();
            (found.uid(), found.gid(), found.mode() & 0o7777)
        };
        assert_eq!(seen("a/b/open"), (0, 2000, 0o644));
        assert_eq!(seen("closed"), (1000, 2000, 0o440));
        assert_eq!((seen("a"), seen("a/b")), ((0, 2000, 0o2755), (0, 2000, 0o2755)));
    }

    #[test]
    fn folders_that_sub_paths_made_make_way() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files(&[("a", "1")]), None).unwrap();
        for name in ["b/c", "d"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        write(folder.path(), &files(&[("a", "1"), ("b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("b")).unwrap(), "2");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "..data, one dated folder, a, b");
    }

    #[test]
    fn nothing_is_left_of_what_could_not_be_written() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &files(&[("a", "1")]), None).unwrap();
        // A file where another one needs a folder.
        assert!(write(folder.path(), &files(&[("a", "2"), ("a/b", "3")]), None).is_err());
        assert_eq!(std::fs::read_to_string(folder.path().join("a")).unwrap(), "1");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "..data, one dated folder, a");
    }
}
