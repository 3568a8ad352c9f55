//! Image volumes: where the views of images' contents are mounted, always read-only, and what the views are called.
//!
//! A view's key follows from the folder that it is mounted on, and the folder is there before it: whatever is left of a
//! pod on the disk tells which views have to be removed with it.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind_recursive, mount_remount};

use super::{create_dir, mounted};
use crate::runtime::image_view::View;

/// The folder of image volumes below a pod's `volumes`.
pub(super) const PLUGIN: &str = "kubernetes.io~image";

/// The key of the view that a pod's volume shows.
pub fn view_key(uid: &str, volume: &str) -> String {
    format!("reeve-image-volume-{uid}-{volume}")
}

/// The keys of all views of a pod, by the folders that are left of them.
pub fn view_keys(pod_dir: &Path, uid: &str) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder(pod_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    entries.map(|entry| Ok(view_key(uid, &entry?.file_name().to_string_lossy()))).collect()
}

fn folder(pod_dir: &Path) -> PathBuf {
    pod_dir.join("volumes").join(PLUGIN)
}

/// Makes the folder of a volume; says whether its view has to be mounted on it.
pub fn is_missing(target: &Path) -> io::Result<bool> {
    create_dir(target, 0o755)?;
    Ok(!mounted::is_local_mount_point(target)?)
}

/// Mounts a view.
pub fn mount_view(view: &View, target: &Path) -> io::Result<()> {
    let read_only = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    if view.kind == "bind" {
        mount_bind_recursive(view.source.as_str(), target)?;
        return Ok(mount_remount(target, MountFlags::BIND | read_only, "")?);
    }
    // These are flags of the call; all else is the file system's own business.
    let data: Vec<&str> =
        view.options.iter().map(String::as_str).filter(|it| !matches!(*it, "ro" | "rbind" | "bind")).collect();
    let data = CString::new(data.join(",")).map_err(io::Error::other)?;
    Ok(mount(view.source.as_str(), target, view.kind.as_str(), read_only, data.as_c_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_on_the_disk_names_the_views() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(view_keys(root.path(), "u").unwrap(), Vec::<String>::new());
        assert!(is_missing(&folder(root.path()).join("models")).unwrap());
        assert_eq!(view_keys(root.path(), "u").unwrap(), ["reeve-image-volume-u-models"]);
    }
}
