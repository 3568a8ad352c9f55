//! Volumes: what they hold (pure, `content`), how files are replaced at once (`atomic`), their folders and what of them
//! containers see (`sub_path`).

pub mod atomic;
pub mod content;
mod sub_path;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::config::Config;
use crate::pod::{env, spec};
use crate::quantity;
use crate::runtime::convert::Mount;

/// Why a volume cannot be made; the text of a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Its files cannot be decided.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Content {
        /// The volume's name.
        volume: String,
        /// Why.
        source: content::ContentError,
    },
    /// The system refused.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {path}: {source}")]
    Io {
        /// The volume's name.
        volume: String,
        /// The path that was worked on.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A host path is not what the volume says it is.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : hostPath type check failed: {path} is not {wanted}")]
    HostPathType {
        /// The volume's name.
        volume: String,
        /// The path.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// A kind of volume that this kubelet does not know.
    #[error(
        "MountVolume.SetUp failed for volume \"{volume}\" : this kind of volume is not supported; use configMap, secret, projected, downwardAPI, emptyDir or hostPath"
    )]
    Unsupported {
        /// The volume's name.
        volume: String,
    },
    /// A mount names a volume that the pod does not have.
    #[error("volume mount \"{volume}\" of container \"{container}\" names no volume of the pod")]
    NoVolume {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
    },
    /// The expression of a sub path cannot be expanded.
    #[error("failed to expand subPathExpr of volume \"{volume}\": {source}")]
    Expression {
        /// The volume's name.
        volume: String,
        /// Why.
        source: env::EnvError,
    },
    /// A sub path leads out of its volume.
    #[error("subPath \"{sub_path}\" of volume \"{volume}\" leads out of the volume")]
    Escapes {
        /// The volume's name.
        volume: String,
        /// The sub path.
        sub_path: String,
    },
}

/// The folder of a volume on the node, as upstream names it; the path itself for a host path.
pub fn path(config: &Config, uid: &str, volume: &Volume) -> Option<PathBuf> {
    let plugin = if let Some(host) = &volume.host_path {
        return Some(PathBuf::from(&host.path));
    } else if volume.empty_dir.is_some() {
        "kubernetes.io~empty-dir"
    } else if volume.config_map.is_some() {
        "kubernetes.io~configmap"
    } else if volume.secret.is_some() {
        "kubernetes.io~secret"
    } else if volume.downward_api.is_some() {
        "kubernetes.io~downward-api"
    } else if volume.projected.is_some() {
        "kubernetes.io~projected"
    } else {
        return None;
    };
    Some(config.pod_dir(uid).join("volumes").join(plugin).join(&volume.name))
}

/// Makes or refreshes all volumes of a pod. Blocking: small files and mounts only.
pub fn prepare(
    pod: &Pod,
    config: &Config,
    references: &dyn env::References,
    tokens: &content::Tokens,
    addresses: &env::Addresses,
) -> Result<(), VolumeError> {
    let uid = spec::uid(pod);
    let pod_dir = config.pod_dir(uid);
    create_dir(&pod_dir, 0o750).map_err(|source| VolumeError::Io { volume: String::new(), path: pod_dir, source })?;
    for volume in spec::spec(pod).volumes.iter().flatten() {
        let name = volume.name.clone();
        let path = path(config, uid, volume).ok_or_else(|| VolumeError::Unsupported { volume: name.clone() })?;
        let io = |source| VolumeError::Io { volume: name.clone(), path: path.clone(), source };
        if let Some(host) = &volume.host_path {
            host_path(&name, &path, host.type_.as_deref().unwrap_or_default())?;
        } else if let Some(empty) = &volume.empty_dir {
            create_dir(&path, 0o777).map_err(io)?;
            if empty.medium.as_deref() == Some("Memory") && !is_mount_point(&path).map_err(io)? {
                let limit = empty.size_limit.as_ref().and_then(|it| quantity::whole(&it.0)).filter(|it| *it > 0);
                let options = limit.map(|it| format!("size={it},mode=777")).unwrap_or_else(|| "mode=777".into());
                let options = std::ffi::CString::new(options).map_err(|error| io(std::io::Error::other(error)))?;
                mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options.as_c_str())
                    .map_err(|error| io(error.into()))?;
            }
        } else {
            let content = content::files(pod, volume, references, tokens, addresses)
                .map_err(|source| VolumeError::Content { volume: name.clone(), source })?;
            create_dir(&path, 0o755).map_err(io)?;
            atomic::write(&path, &content, spec_group(pod)).map_err(io)?;
        }
        if let Some(group) = spec_group(pod).filter(|_| volume.empty_dir.is_some()) {
            let group = rustix::fs::Gid::from_raw(group);
            rustix::fs::chown(&path, None, Some(group)).map_err(|error| io(error.into()))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o2777)).map_err(io)?;
        }
    }
    Ok(())
}

fn spec_group(pod: &Pod) -> Option<u32> {
    spec::spec(pod).security_context.as_ref().and_then(|it| it.fs_group).and_then(|it| u32::try_from(it).ok())
}

fn host_path(volume: &str, path: &Path, kind: &str) -> Result<(), VolumeError> {
    use std::os::unix::fs::FileTypeExt as _;
    let io = |source| VolumeError::Io { volume: volume.to_owned(), path: path.to_owned(), source };
    match kind {
        "DirectoryOrCreate" => return std::fs::create_dir_all(path).map_err(io),
        "FileOrCreate" => {
            return std::fs::OpenOptions::new().create(true).append(true).open(path).map(|_| ()).map_err(io);
        }
        // Without a type nothing is checked; the runtime makes a folder where there is nothing.
        "" => return Ok(()),
        _ => {}
    }
    let found = std::fs::metadata(path).map_err(io)?.file_type();
    let (matches, wanted) = match kind {
        "Directory" => (found.is_dir(), "a directory"),
        "File" => (found.is_file(), "a file"),
        "Socket" => (found.is_socket(), "a socket"),
        "CharDevice" => (found.is_char_device(), "a character device"),
        "BlockDevice" => (found.is_block_device(), "a block device"),
        _ => (false, "of a known type"),
    };
    if matches { Ok(()) } else { Err(VolumeError::HostPathType { volume: volume.into(), path: path.into(), wanted }) }
}

/// The mounts of a container, its sub paths made and checked.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    config: &Config,
    environment: &[(String, String)],
) -> Result<Vec<Mount>, VolumeError> {
    let known = environment.iter().cloned().collect();
    let mut mounts = Vec::new();
    for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = spec::spec(pod).volumes.iter().flatten().find(|it| it.name == wanted.name);
        let volume = volume
            .ok_or_else(|| VolumeError::NoVolume { volume: wanted.name.clone(), container: container.name.clone() })?;
        let base = path(config, spec::uid(pod), volume)
            .ok_or_else(|| VolumeError::Unsupported { volume: volume.name.clone() })?;
        let sub_path = match (&wanted.sub_path, &wanted.sub_path_expr) {
            (_, Some(expression)) if !expression.is_empty() => env::expand_known(expression, &known)
                .map_err(|source| VolumeError::Expression { volume: wanted.name.clone(), source })?,
            (Some(path), _) => path.clone(),
            _ => String::new(),
        };
        let host_path = if sub_path.is_empty() {
            base
        } else {
            let target = sub_path::target(&config.pod_dir(spec::uid(pod)), &volume.name, &container.name, index);
            sub_path::bind(&base, &sub_path, &target).map_err(|error| match error {
                sub_path::SubPathError::Escapes => {
                    VolumeError::Escapes { volume: volume.name.clone(), sub_path: sub_path.clone() }
                }
                sub_path::SubPathError::Io(source) => {
                    VolumeError::Io { volume: volume.name.clone(), path: base.join(&sub_path), source }
                }
            })?;
            target
        };
        let always_read_only = volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.projected.is_some()
            || volume.downward_api.is_some();
        mounts.push(Mount {
            container_path: wanted.mount_path.clone(),
            host_path: host_path.display().to_string(),
            read_only: always_read_only || wanted.read_only == Some(true),
            propagation: wanted.mount_propagation.clone(),
        });
    }
    Ok(mounts)
}

/// Removes the pod's mounts and folders. A pod without any is clean.
pub fn clean_up(config: &Config, uid: &str) -> std::io::Result<()> {
    let pod_dir = config.pod_dir(uid);
    if !pod_dir.try_exists()? {
        return Ok(());
    }
    let below = || -> std::io::Result<Vec<PathBuf>> {
        let mut points = mount_points()?;
        points.retain(|point| point.starts_with(&pod_dir));
        // The deepest first.
        points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
        Ok(points)
    };
    for point in below()? {
        unmount(&point, UnmountFlags::DETACH)?;
    }
    // Through a mount that is still there the removal would reach files that are not the pod's own.
    if let Some(left) = below()?.first() {
        return Err(std::io::Error::other(format!("{} is still mounted", left.display())));
    }
    std::fs::remove_dir_all(&pod_dir)
}

/// Makes a folder with exactly this mode, whatever the umask.
pub fn create_dir(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn is_mount_point(path: &Path) -> std::io::Result<bool> {
    Ok(mount_points()?.iter().any(|point| point == path))
}

fn mount_points() -> std::io::Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect())
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

/// Gives a file exactly this mode, whatever the umask.
pub fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape("/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert_eq!(unescape("/plain\\x"), PathBuf::from("/plain\\x"));
    }
}
