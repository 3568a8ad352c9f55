//! Removes a folder with all that is in it, and nothing of any other file system: what is mounted below it, even at that
//! moment, is not the pod's own.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, unlinkat};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes a folder; one that is not there is removed.
///
/// # Errors
/// The system refuses it, or something is mounted below: then that, and what leads to it, stays.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    let opened = match openat2(CWD, folder, FOLDER, Mode::empty(), ResolveFlags::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        opened => opened?,
    };
    empty(&opened)?;
    std::fs::remove_dir(folder)
}

/// Removes what is in an open folder. The kernel refuses to open what is mounted in it.
fn empty(folder: &OwnedFd) -> io::Result<()> {
    let mut entries: Vec<(CString, FileType)> = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            entries.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in entries {
        // A file system that does not tell kinds tells by the error.
        let known_folder = kind == FileType::Directory;
        match if known_folder { Err(Errno::ISDIR) } else { unlinkat(folder, &name, AtFlags::empty()) } {
            Err(Errno::ISDIR) => {}
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(error) => return Err(of(&name, error)),
        }
        let inner = openat2(folder, &name, FOLDER, Mode::empty(), ResolveFlags::NO_XDEV);
        empty(&inner.map_err(|error| of(&name, error))?)?;
        unlinkat(folder, &name, AtFlags::REMOVEDIR).map_err(|error| of(&name, error))?;
    }
    Ok(())
}

fn of(name: &CString, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{}: {error}", name.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use rustix::mount::{UnmountFlags, mount_bind, unmount};

    use super::*;

    #[test]
    fn all_of_a_folder_goes_and_nothing_that_it_leads_to() {
        let place = tempfile::tempdir().unwrap();
        let (folder, other) = (place.path().join("folder"), place.path().join("other"));
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("kept"), "").unwrap();
        std::fs::write(folder.join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink(&other, folder.join("a/link")).unwrap();
        remove(&folder).unwrap();
        assert!(!folder.exists() && other.join("kept").exists());
        remove(&folder).unwrap();
    }

    #[test]
    fn what_is_mounted_below_is_spared() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let (folder, other) = (place.path().join("folder"), place.path().join("other"));
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("kept"), "").unwrap();
        mount_bind(&other, folder.join("a/b")).unwrap();
        let refused = remove(&folder);
        let kept = other.join("kept").exists();
        unmount(folder.join("a/b"), UnmountFlags::DETACH).unwrap();
        assert!(refused.is_err() && kept);
        remove(&folder).unwrap();
        assert!(!folder.exists());
    }
}
