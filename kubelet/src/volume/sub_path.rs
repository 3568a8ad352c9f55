//! Sub paths of volumes, safe from what a container may do to its volume meanwhile.
//!
//! A path is looked up beneath the volume's root by the kernel (`openat2` with `RESOLVE_BENEATH`), so no link leads out
//! of it, whenever it is put there. What was found is bound by its descriptor to a place of the kubelet's own below
//! the pod's folder (`volume-subpaths/VOLUME/CONTAINER/INDEX`), and that place is what the runtime mounts.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::mount::mount_bind;

use super::mounted;

/// The folder of a pod in which its sub paths are bound.
const FOLDER: &str = "volume-subpaths";

/// Why a sub path cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SubPathError {
    /// It leads out of the volume.
    #[error("it leads out of the volume")]
    Escapes,
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<rustix::io::Errno> for SubPathError {
    fn from(error: rustix::io::Errno) -> Self {
        match error {
            // A link that leads out, or one too many.
            rustix::io::Errno::XDEV | rustix::io::Errno::LOOP => SubPathError::Escapes,
            error => SubPathError::Io(error.into()),
        }
    }
}

/// Where a mount of a container is bound.
pub(super) fn target(pod_dir: &Path, volume: &str, container: &str, index: usize) -> PathBuf {
    pod_dir.join(FOLDER).join(volume).join(container).join(index.to_string())
}

/// Finds (or makes) the path below the volume's root and binds it to `target`; what was bound there before goes.
pub(super) fn bind(root: &Path, sub_path: &str, target: &Path) -> Result<(), SubPathError> {
    let found = open(root, Path::new(sub_path))?;
    let source = proc_path(&found);
    let is_folder = std::fs::metadata(&source)?.is_dir();
    mounted::release(target)?;
    if let Some(parent) = target.parent() {
        super::create_dir(parent, 0o750)?;
    }
    if is_folder {
        std::fs::create_dir(target)?;
    } else {
        std::fs::File::create_new(target)?;
    }
    mount_bind(&source, target).map_err(io::Error::from)?;
    Ok(())
}

fn proc_path(found: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

/// Opens a path beneath a folder; folders that are missing are made with the root's mode.
fn open(root: &Path, sub_path: &Path) -> Result<OwnedFd, SubPathError> {
    if sub_path.components().any(|it| !matches!(it, Component::Normal(_) | Component::CurDir)) {
        return Err(SubPathError::Escapes);
    }
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(io::Error::from)?;
    let beneath =
        |path: &Path| openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::BENEATH);
    match beneath(sub_path) {
        Err(rustix::io::Errno::NOENT) => {}
        found => return Ok(found?),
    }
    let mode = std::fs::metadata(proc_path(&root))?.mode() & 0o7777;
    let mut made = PathBuf::new();
    for name in sub_path.components().filter(|it| matches!(it, Component::Normal(_))) {
        let parent = if made.as_os_str().is_empty() { beneath(Path::new("."))? } else { beneath(&made)? };
        made.push(name);
        match mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(mode)) {
            Ok(()) => {
                // Whatever the umask; the descriptor is of what was just made or the kernel refuses it.
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let folder = openat2(&parent, name.as_os_str(), flags, Mode::empty(), ResolveFlags::BENEATH)?;
                std::fs::set_permissions(proc_path(&folder), std::fs::Permissions::from_mode(mode))?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(beneath(&made)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(root: &Path, sub_path: &str) -> Result<PathBuf, SubPathError> {
        Ok(std::fs::read_link(proc_path(&open(root, Path::new(sub_path))?))?)
    }

    #[test]
    fn what_is_missing_is_made_with_the_mode_of_the_volume() {
        let volume = tempfile::tempdir().unwrap();
        let root = volume.path().canonicalize().unwrap();
        super::super::set_mode(&root, 0o777).unwrap();
        assert_eq!(named(&root, "a/b").unwrap(), root.join("a/b"));
        for name in ["a", "a/b"] {
            assert_eq!(std::fs::metadata(root.join(name)).unwrap().mode() & 0o777, 0o777, "{name}");
        }
        std::fs::write(root.join("a/file"), "x").unwrap();
        assert_eq!(named(&root, "a/file").unwrap(), root.join("a/file"));
        std::os::unix::fs::symlink("b", root.join("a/link")).unwrap();
        assert_eq!(named(&root, "a/link").unwrap(), root.join("a/b"));
    }

    #[test]
    fn nothing_leads_out() {
        let volume = tempfile::tempdir().unwrap();
        let root = volume.path().join("volume");
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(volume.path().join("other")).unwrap();
        std::os::unix::fs::symlink("../other", root.join("relative")).unwrap();
        std::os::unix::fs::symlink(volume.path().join("other"), root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("relative", root.join("chain")).unwrap();
        for path in ["../other", "/other", "relative", "absolute", "chain", "relative/new", "absolute/new", "loop"] {
            std::os::unix::fs::symlink("loop", root.join("loop")).ok();
            assert!(matches!(named(&root, path), Err(SubPathError::Escapes)), "{path}");
        }
        assert_eq!(std::fs::read_dir(volume.path().join("other")).unwrap().count(), 0);
    }
}
