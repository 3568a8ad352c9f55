//! The kernel's table of what is mounted where, and how mounts are taken away.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{UnmountFlags, unmount};

/// A line of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MountPoint {
    /// Where it is.
    pub path: PathBuf,
    /// What kind of file system it is (`tmpfs`, `nfs4`).
    pub kind: String,
}

impl MountPoint {
    /// Whether another machine holds the files: one that may not answer.
    pub fn is_remote(&self) -> bool {
        self.kind.starts_with("nfs")
    }
}

/// All of this process's mount namespace. Asks no file system.
pub(super) fn table() -> io::Result<Vec<MountPoint>> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?))
}

/// What is mounted at or below a folder, the deepest first.
pub(super) fn below(folder: &Path) -> io::Result<Vec<MountPoint>> {
    let mut points = table()?;
    points.retain(|point| point.path.starts_with(folder));
    points.sort_by_key(|point| std::cmp::Reverse(point.path.components().count()));
    Ok(points)
}

/// Whether a file system of this machine's own is mounted at exactly this path, which must exist. It asks that file
/// system; to write the whole table down takes the kernel a hundred times as long on a node with many pods.
pub(super) fn is_local_mount_point(path: &Path) -> io::Result<bool> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    // Kernels before 5.8 do not tell.
    if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    is_mount_point(path)
}

/// Whether something is mounted at exactly this path. Asks no file system: one of another machine may not answer.
pub(super) fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(table()?.iter().any(|point| point.path == path))
}

/// Takes away what is mounted at a path, and the file or empty folder there. What is not there is gone.
pub(super) fn release(path: &Path) -> io::Result<()> {
    while is_mount_point(path)? {
        unmount(path, UnmountFlags::DETACH)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The lines of `mountinfo`: the path is the fifth word, the kind the first after a lone dash.
fn parse(table: &str) -> Vec<MountPoint> {
    let point = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let path = unescape(before.split(' ').nth(4)?);
        Some(MountPoint { path, kind: after.split(' ').next().unwrap_or_default().to_owned() })
    };
    table.lines().filter_map(point).collect()
}

/// A path as `mountinfo` writes it: blanks, tabs, line breaks and backslashes are three octal digits.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        match digits.and_then(|it| u8::from_str_radix(it, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_told_from_folders_in_them() {
        for path in ["/proc", "/proc/sys", "/"] {
            let path = Path::new(path);
            assert_eq!(is_local_mount_point(path).unwrap(), is_mount_point(path).unwrap(), "{}", path.display());
        }
        assert!(is_local_mount_point(Path::new("/proc")).unwrap());
        assert!(is_local_mount_point(Path::new("/no such folder")).is_err());
    }

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape("/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert_eq!(unescape("/plain\\x"), PathBuf::from("/plain\\x"));
        let lines =
            "36 35 98:0 / /a\\040b rw,noatime shared:1 master:2 - nfs4 host:/x rw\n37 35 0:1 / /c rw - tmpfs t rw\n";
        let points = parse(lines);
        assert_eq!(points[0], MountPoint { path: "/a b".into(), kind: "nfs4".into() });
        assert!(points[0].is_remote() && !points[1].is_remote());
        assert_eq!(parse("no such line\n"), []);
    }
}
