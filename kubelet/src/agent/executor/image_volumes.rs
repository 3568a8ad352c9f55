//! Image volumes: the image is brought, a view of its content mounted, and both given up at the pod's end.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod};

use super::{Done, Executor, Subject};
use crate::pod::spec;
use crate::runtime::RuntimeError;
use crate::volume::{self, VolumeError, image};

impl Executor {
    /// Mounts those of a pod's image volumes that are not mounted yet; returns what failed.
    pub(super) async fn mount_images(&self, subject: &Subject, pod: &Pod) -> Vec<VolumeError> {
        let mut errors = Vec::new();
        for volume in spec::mounted_volumes(pod) {
            let (Some(source), Some(target)) = (&volume.image, volume::path(&self.config, spec::uid(pod), volume))
            else {
                continue;
            };
            if let Err(why) = self.mount_image(subject, pod, &volume.name, source, &target).await {
                errors.push(VolumeError::Image { volume: volume.name.clone(), why });
            }
        }
        errors
    }

    async fn mount_image(
        &self,
        subject: &Subject,
        pod: &Pod,
        name: &str,
        source: &ImageVolumeSource,
        target: &Path,
    ) -> Result<(), String> {
        let io = |error: std::io::Error| format!("{}: {error}", target.display());
        if !image::is_missing(target).map_err(io)? {
            return Ok(());
        }
        // Brought as that of a container without a name: by the same policy, with the same secrets and events.
        let wanted = Container {
            image: source.reference.clone(),
            image_pull_policy: source.pull_policy.clone(),
            ..Container::default()
        };
        let found = match self.ensure_image(subject, pod, &wanted).await {
            Done::Image(found) => found,
            Done::Failed { reason, message } => return Err(format!("{reason}: {message}")),
            _ => return Err("the image is not there".to_owned()),
        };
        let key = image::view_key(spec::uid(pod), name);
        let view = self.runtime.view_image(&found.reference, &key).await.map_err(|error| error.to_string())?;
        image::mount_view(&view, target).map_err(io)
    }

    /// Removes the views that a pod's volumes showed. What they show stays until nothing uses it.
    pub(super) async fn remove_views(&self, uid: &str) -> std::io::Result<()> {
        for key in image::view_keys(&self.config.pod_dir(uid), uid)? {
            let removed: Result<(), RuntimeError> = self.runtime.remove_view(&key).await;
            removed.map_err(std::io::Error::other)?;
        }
        Ok(())
    }
}
