//! Pods' volumes, and what is removed at a pod's end.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use reeve_client::EventType;

use super::{Done, Executor, Subject};
use crate::runtime::convert::Mount;
use crate::volume::{self, VolumeError};

impl Executor {
    pub(super) async fn prepare_volumes(&self, subject: &Subject, pod: &Arc<Pod>) -> Done {
        let references = self.references.of(pod).await;
        let (tokens, refresh_at) = self.tokens(subject, pod).await;
        let addresses = self.addresses(subject, pod);
        let mut errors = volume::prepare(pod, &self.config, &references, &tokens, &addresses);
        errors.extend(volume::nfs::mount_missing(pod, &self.config).await);
        errors.extend(self.mount_images(subject, pod).await);
        for error in &errors {
            self.event(subject, None, EventType::Warning, "FailedMount", &error.to_string());
        }
        match errors.first() {
            None => Done::Volumes(refresh_at),
            Some(first) => Done::Failed { reason: "", message: first.to_string() },
        }
    }

    /// What a container sees of the pod's volumes. Sub paths of what other machines hold are looked up beside the loop.
    pub(super) async fn mounts(
        &self,
        pod: &Arc<Pod>,
        container: &Container,
        environment: &[(String, String)],
    ) -> Result<Vec<Mount>, VolumeError> {
        if !volume::nfs::is_used(pod) {
            return volume::mounts(pod, container, &self.config, environment);
        }
        let (pod, container) = (pod.clone(), container.clone());
        let (config, environment) = (self.config.clone(), environment.to_vec());
        let limit = config.tuning.mount_timeout;
        let found = volume::nfs::beside(limit, move || volume::mounts(&pod, &container, &config, &environment)).await;
        found.map_err(VolumeError::Silent)?
    }

    /// Unmounts and removes a pod's volumes; what other machines hold beside the loop, for as long as a mount may take.
    async fn remove_volumes(&self, uid: &str) -> std::io::Result<()> {
        self.remove_views(uid).await?;
        let mounted = volume::Mounted::of(&self.config, uid)?;
        if !mounted.is_remote() {
            return volume::clean_up(&self.config, uid, &mounted);
        }
        let (config, uid) = (self.config.clone(), uid.to_owned());
        let limit = config.tuning.mount_timeout;
        volume::nfs::beside(limit, move || volume::clean_up(&config, &uid, &mounted)).await?
    }

    pub(super) async fn clean_up(&self, subject: &Subject) -> Done {
        self.references.release(&subject.uid);
        self.tokens.forget(&subject.uid);
        let logs = self.config.pod_log_dir(&subject.key.namespace, &subject.key.name, &subject.uid);
        let volumes = self.remove_volumes(&subject.uid).await;
        let result = volumes
            .and_then(|()| match std::fs::remove_dir_all(&logs) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            })
            .and_then(|()| crate::node::cgroup::remove_pod(&self.config.cgroup_root, &subject.uid));
        match result {
            Ok(()) => Done::Ok,
            Err(error) => {
                tracing::warn!(pod = %subject.key, uid = %subject.uid, %error, "a pod's files could not be removed");
                Done::Failed { reason: "", message: error.to_string() }
            }
        }
    }
}
