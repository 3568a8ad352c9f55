//! Volumes: what they hold (pure, `content`), how files are replaced at once (`atomic`), paths of the node (`host_path`),
//! what other machines hold (`nfs`), their folders and what of them containers see (`sub_path`).

pub mod atomic;
pub mod content;
pub mod host_path;
mod mounted;
pub mod nfs;
mod removal;
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
        "MountVolume.SetUp failed for volume \"{volume}\" : no volume plugin matched: {kind} is not supported; use configMap, secret, projected, downwardAPI, emptyDir, hostPath or nfs"
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
    } else if volume.nfs.is_some() {
        "kubernetes.io~nfs"
    } else {
        return None;
    };
    Some(config.pod_dir(uid).join("volumes").join(plugin).join(&volume.name))
}

/// Makes or refreshes the volumes that a pod's containers mount, but those that other machines hold; returns what failed.
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
    if volume.nfs.is_some() {
        return Ok(());
    }
    let Some(empty) = &volume.empty_dir else {
        let content = content::files(pod, volume, references, tokens, addresses)
            .map_err(|source| VolumeError::Content { volume: name.clone(), source })?;
        create_dir(&path, 0o755).map_err(io)?;
        return atomic::write(&path, &content, spec_group(pod)).map_err(io);
    };
    let in_memory = match empty.medium.as_deref().unwrap_or_default() {
        "" => false,
        "Memory" => true,
        other => return Err(VolumeError::Medium { volume: name.clone(), medium: other.to_owned() }),
    };
    create_dir(&path, 0o777).map_err(io)?;
    if in_memory && !mounted::is_mount_point(&path).map_err(io)? {
        let limit = empty.size_limit.as_ref().and_then(|it| quantity::whole(&it.0)).filter(|it| *it > 0);
        let options = limit.map(|it| format!("size={it},mode=777")).unwrap_or_else(|| "mode=777".into());
        let options = std::ffi::CString::new(options).map_err(|error| io(std::io::Error::other(error)))?;
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options.as_c_str()).map_err(|error| io(error.into()))?;
    }
    if let Some(group) = spec_group(pod) {
        let group = rustix::fs::Gid::from_raw(group);
        rustix::fs::chown(&path, None, Some(group)).map_err(|error| io(error.into()))?;
        set_mode(&path, 0o2777).map_err(io)?;
    }
    Ok(())
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
        let always_read_only = volume.nfs.as_ref().is_some_and(|it| it.read_only == Some(true))
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
