//! Volumes: what they hold (pure, `content`), how files are replaced at once (`atomic`), paths of the node (`host_path`),
//! what other machines hold (`nfs`), what images hold (`image`), their folders and what of them containers see (`sub_path`).

pub mod atomic;
pub mod content;
pub mod host_path;
pub mod image;
mod mounted;
pub mod nfs;
mod removal;
pub mod sub_path;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::config::Config;
use crate::pod::{env, resources, spec};
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
    /// A path of the node is not what the volume says it is.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    HostPath {
        /// The volume's name.
        volume: String,
        /// Why.
        source: host_path::HostPathError,
    },
    /// What another machine holds is not mounted.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Nfs {
        /// The volume's name.
        volume: String,
        /// Why.
        source: nfs::MountError,
    },
    /// What an image holds cannot be shown.
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {why}")]
    Image {
        /// The volume's name.
        volume: String,
        /// Why.
        why: String,
    },
    /// What another machine holds does not answer.
    #[error("the pod's volumes cannot be looked at: {0}")]
    Silent(std::io::Error),
    /// Repositories are not cloned any more, as upstream has it since 1.33 and for good since 1.36.
    #[error(
        "MountVolume.SetUp failed for volume \"{volume}\" : git-repo volume plugin has been disabled; clone the repository in an init container into an emptyDir volume"
    )]
    GitRepo {
        /// The volume's name.
        volume: String,
    },
    /// Something else than disk or memory is to hold it.
    #[error(
        "MountVolume.SetUp failed for volume \"{volume}\" : unknown storage medium \"{medium}\"; use Memory, or none for the disk"
    )]
    Medium {
        /// The volume's name.
        volume: String,
        /// What is to hold it.
        medium: String,
    },
    /// A kind of volume that this kubelet does not know.
    #[error(
        "MountVolume.SetUp failed for volume \"{volume}\" : no volume plugin matched: {kind} is not supported; use configMap, secret, projected, downwardAPI, emptyDir, hostPath, image or nfs"
    )]
    Unsupported {
        /// The volume's name.
        volume: String,
        /// Its kind, the field's name.
        kind: String,
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
    /// A mount must be read-only with all that is mounted in it, which the runtimes' interface of today cannot say.
    #[error(
        "failed to resolve recursive read-only mode: volume \"{0}\" requested recursive read-only mode, but it is not supported by the runtime"
    )]
    Recursive(String),
    /// A sub path begins at the root.
    #[error("error SubPath `{0}` must not be an absolute path")]
    Absolute(String),
    /// A sub path has steps back.
    #[error("unable to provision SubPath `{0}`: must not contain '..'")]
    Backsteps(String),
    /// A sub path cannot be had.
    #[error("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\": {sub_path}: {why}")]
    SubPath {
        /// The volume's name.
        volume: String,
        /// The container's name.
        container: String,
        /// The sub path.
        sub_path: String,
        /// Why.
        why: sub_path::SubPathError,
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
    } else if volume.nfs.is_some() {
        "kubernetes.io~nfs"
    } else if volume.image.is_some() {
        image::PLUGIN
    } else {
        return None;
    };
    Some(config.pod_dir(uid).join("volumes").join(plugin).join(&volume.name))
}

/// Makes or refreshes the volumes that a pod's containers mount, but those that other machines or images hold; returns what failed.
/// Blocking: small files and mounts only.
pub fn prepare(
    pod: &Pod,
    config: &Config,
    references: &dyn env::References,
    tokens: &content::Tokens,
    addresses: &env::Addresses,
) -> Vec<VolumeError> {
    let pod_dir = config.pod_dir(spec::uid(pod));
    if let Err(source) = create_dir(&pod_dir, 0o750) {
        return vec![VolumeError::Io { volume: String::new(), path: pod_dir, source }];
    }
    let volumes = spec::mounted_volumes(pod);
    volumes.filter_map(|volume| prepare_one(pod, volume, config, references, tokens, addresses).err()).collect()
}

fn prepare_one(
    pod: &Pod,
    volume: &Volume,
    config: &Config,
    references: &dyn env::References,
    tokens: &content::Tokens,
    addresses: &env::Addresses,
) -> Result<(), VolumeError> {
    let name = &volume.name;
    let path = path(config, spec::uid(pod), volume).ok_or_else(|| unsupported(volume))?;
    let io = |source| VolumeError::Io { volume: name.clone(), path: path.clone(), source };
    if let Some(host) = &volume.host_path {
        let kind = host.type_.as_deref().unwrap_or_default();
        return host_path::prepare(&path, kind)
            .map_err(|source| VolumeError::HostPath { volume: name.clone(), source });
    }
    if volume.nfs.is_some() || volume.image.is_some() {
        return Ok(());
    }
    // What pods may use of the memory together bounds each of them.
    let memory = addresses.allocatable.get("memory").copied().filter(|it| *it > 0);
    let memory = memory.into_iter().chain(resources::memory_limits(pod)).min();
    if let Some(empty) = &volume.empty_dir {
        return empty_dir(pod, volume, empty, &path, config, memory);
    }
    let content = content::files(pod, volume, references, tokens, addresses)
        .map_err(|source| VolumeError::Content { volume: name.clone(), source })?;
    // Nobody but the root changes what is in it: containers have it read-only.
    if !path.exists() {
        create_dir(&path, 0o777).map_err(io)?;
    }
    // Secrets are never written to a disk. A folder that an earlier kubelet filled is in use as it is.
    let empty = std::fs::read_dir(&path).map_err(io)?.next().is_none();
    if volume.config_map.is_none() && empty && !mounted::is_local_mount_point(&path).map_err(io)? {
        mount_memory(&path, memory).map_err(io)?;
    }
    atomic::write(&path, &content, spec_group(pod)).map_err(io)
}

/// Makes an empty folder once. Later its modes are the containers' own.
fn empty_dir(
    pod: &Pod,
    volume: &Volume,
    empty: &EmptyDirVolumeSource,
    path: &Path,
    config: &Config,
    memory: Option<i64>,
) -> Result<(), VolumeError> {
    let io = |source| VolumeError::Io { volume: volume.name.clone(), path: path.to_owned(), source };
    let in_memory = match empty.medium.as_deref().unwrap_or_default() {
        "" => false,
        "Memory" => true,
        other => return Err(VolumeError::Medium { volume: volume.name.clone(), medium: other.to_owned() }),
    };
    let missing = in_memory && !(path.exists() && mounted::is_local_mount_point(path).map_err(io)?);
    // Upstream's place of it.
    let made = config.pod_dir(spec::uid(pod)).join("plugins/kubernetes.io~empty-dir").join(&volume.name).join("ready");
    if !missing && made.exists() {
        return Ok(());
    }
    create_dir(path, 0o777).map_err(io)?;
    if missing {
        let limit = empty.size_limit.as_ref().and_then(|it| quantity::whole(&it.0)).filter(|it| *it > 0);
        mount_memory(path, limit.into_iter().chain(memory).min()).map_err(io)?;
    }
    if let Some(group) = spec_group(pod) {
        let group = rustix::fs::Gid::from_raw(group);
        rustix::fs::chown(path, None, Some(group)).map_err(|error| io(error.into()))?;
        let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
        set_mode(path, (mode & 0o7777) | 0o2770).map_err(io)?;
    }
    let folder = made.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&made, "")).map_err(io)
}

/// Mounts memory on a folder, of at most so many bytes, and where the kernel can, such that it is never swapped.
fn mount_memory(path: &Path, size: Option<i64>) -> std::io::Result<()> {
    let size = size.map(|it| format!("size={it}")).unwrap_or_default();
    let mount = |options: String| {
        let options = std::ffi::CString::new(options).map_err(std::io::Error::other)?;
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str()).map_err(std::io::Error::from)
    };
    // A kernel that does not know the option (it came with 6.4) complains in its log: it is asked once.
    static KNOWS_NOSWAP: AtomicBool = AtomicBool::new(true);
    if KNOWS_NOSWAP.load(Ordering::Relaxed) {
        match mount(format!("{size},noswap").trim_start_matches(',').to_owned()) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                KNOWS_NOSWAP.store(false, Ordering::Relaxed);
            }
            mounted => return mounted,
        }
    }
    mount(size)
}

/// Why a volume of a kind without a folder is refused.
fn unsupported(volume: &Volume) -> VolumeError {
    if volume.git_repo.is_some() {
        return VolumeError::GitRepo { volume: volume.name.clone() };
    }
    // The kind is the one field beside the name.
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let kind = fields.as_object().and_then(|fields| fields.keys().find(|it| *it != "name").cloned());
    VolumeError::Unsupported { volume: volume.name.clone(), kind: kind.unwrap_or_else(|| "this kind".into()) }
}

fn spec_group(pod: &Pod) -> Option<u32> {
    spec::spec(pod).security_context.as_ref().and_then(|it| it.fs_group).and_then(|it| u32::try_from(it).ok())
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
        let base = path(config, spec::uid(pod), volume).ok_or_else(|| unsupported(volume))?;
        if wanted.recursive_read_only.as_deref() == Some("Enabled") {
            return Err(VolumeError::Recursive(wanted.name.clone()));
        }
        let sub_path = match (&wanted.sub_path, &wanted.sub_path_expr) {
            (_, Some(expression)) if !expression.is_empty() => env::expand_known(expression, &known)
                .map_err(|source| VolumeError::Expression { volume: wanted.name.clone(), source })?,
            (Some(path), _) => path.clone(),
            _ => String::new(),
        };
        if sub_path.starts_with('/') {
            return Err(VolumeError::Absolute(sub_path));
        }
        if sub_path.split('/').any(|part| part == "..") {
            return Err(VolumeError::Backsteps(sub_path));
        }
        let host_path = if sub_path.is_empty() {
            base
        } else {
            let target = sub_path::target(&config.pod_dir(spec::uid(pod)), &volume.name, &container.name, index);
            sub_path::bind(&base, &sub_path, &target).map_err(|why| VolumeError::SubPath {
                volume: volume.name.clone(),
                container: container.name.clone(),
                sub_path: sub_path.clone(),
                why,
            })?;
            target
        };
        let always_read_only = volume.nfs.as_ref().is_some_and(|it| it.read_only == Some(true))
            || volume.image.is_some()
            || volume.config_map.is_some()
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

/// What is mounted for a pod.
pub struct Mounted(Vec<mounted::MountPoint>);

impl Mounted {
    /// What the kernel's table has below the pod's folder; no file system is asked.
    pub fn of(config: &Config, uid: &str) -> std::io::Result<Self> {
        Ok(Self(mounted::below(&config.pod_dir(uid))?))
    }

    /// Whether another machine holds some of it.
    pub fn is_remote(&self) -> bool {
        self.0.iter().any(mounted::MountPoint::is_remote)
    }
}

/// Removes the pod's mounts and folders. A pod without any is clean.
pub fn clean_up(config: &Config, uid: &str, mounted: &Mounted) -> std::io::Result<()> {
    let pod_dir = config.pod_dir(uid);
    for point in &mounted.0 {
        unmount(&point.path, UnmountFlags::DETACH)?;
    }
    // Through a mount that is still there the removal would reach files that are not the pod's own.
    if !mounted.0.is_empty()
        && let Some(left) = mounted::below(&pod_dir)?.first()
    {
        return Err(std::io::Error::other(format!("{} is still mounted", left.path.display())));
    }
    removal::remove(&pod_dir)
}

/// Makes a folder with exactly this mode, whatever the umask.
pub fn create_dir(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Gives a file exactly this mode, whatever the umask.
pub fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{AWSElasticBlockStoreVolumeSource, GitRepoVolumeSource, ISCSIVolumeSource};

    use super::*;

    #[test]
    fn kinds_that_are_not_supported_are_named() {
        let named = || Volume { name: "v".into(), ..Volume::default() };
        let told = |volume: Volume| unsupported(&volume).to_string();
        let begin = "MountVolume.SetUp failed for volume \"v\" : ";
        let text = told(Volume { iscsi: Some(ISCSIVolumeSource::default()), ..named() });
        assert!(text.starts_with(&format!("{begin}no volume plugin matched: iscsi is not supported; use ")), "{text}");
        let disk = Some(AWSElasticBlockStoreVolumeSource::default());
        let text = told(Volume { aws_elastic_block_store: disk, ..named() });
        assert!(text.contains(": awsElasticBlockStore is not supported"), "{text}");
        let text = told(Volume { git_repo: Some(GitRepoVolumeSource::default()), ..named() });
        assert!(text.starts_with(&format!("{begin}git-repo volume plugin has been disabled; ")), "{text}");
        assert!(told(named()).contains("this kind is not supported"));
    }
}
