//! A folder of files that changes all at once.
//!
//! Upstream's layout: the files lie in a folder `..TIME`, `..data` links to it, and each visible name links
//! into `..data`. Renaming a new `..data` over the old one changes every file at the same moment.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// One file: its bytes and its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The content.
    pub data: Vec<u8>,
    /// The permission bits.
    pub mode: u32,
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
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (name, file) in files {
        let path = fresh.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, &file.data)?;
        let mut mode = file.mode;
        if let Some(group) = group {
            rustix::fs::chown(&path, None, Some(rustix::fs::Gid::from_raw(group)))?;
            mode |= 0o040;
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    let link = folder.join(NEW_DATA);
    remove_if_there(&link)?;
    symlink(&fresh_name, &link)?;
    std::fs::rename(&link, folder.join(DATA))?;

    let visible: std::collections::BTreeSet<&str> = files.keys().filter_map(|name| name.split('/').next()).collect();
    for name in &visible {
        let path = folder.join(name);
        if std::fs::symlink_metadata(&path).is_err() {
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
    match std::fs::remove_file(path) {
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
            .map(|(name, data)| ((*name).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o644 }))
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
}
