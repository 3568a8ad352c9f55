//! Pods' volumes and the service account tokens in them; and what is removed at a pod's end.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ServiceAccount};
use reeve_client::EventType;
use serde_json::json;

use super::{Done, Executor, Subject};
use crate::pod::spec;
use crate::runtime::convert::Mount;
use crate::volume::content::Tokens;
use crate::volume::{self, VolumeError};

/// How long a service account token lasts where the projection names no time, upstream's default in seconds.
const TOKEN_SECONDS: i64 = 3600;

impl Executor {
    pub(super) async fn prepare_volumes(&self, subject: &Subject, pod: &Arc<Pod>) -> Done {
        let references = self.references.of(pod).await;
        let (tokens, refresh_at) = match self.tokens(subject, pod).await {
            Ok(tokens) => tokens,
            Err(error) => {
                let message = format!("MountVolume.SetUp failed : failed to fetch token: {error}");
                self.event(subject, None, EventType::Warning, "FailedMount", &message);
                return Done::Failed { reason: "", message };
            }
        };
        let addresses = self.addresses(subject, pod);
        let mut errors = volume::prepare(pod, &self.config, &references, &tokens, &addresses);
        errors.extend(volume::nfs::mount_missing(pod, &self.config).await);
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
        let mounted = volume::Mounted::of(&self.config, uid)?;
        if !mounted.is_remote() {
            return volume::clean_up(&self.config, uid, &mounted);
        }
        let (config, uid) = (self.config.clone(), uid.to_owned());
        let limit = config.tuning.mount_timeout;
        volume::nfs::beside(limit, move || volume::clean_up(&config, &uid, &mounted)).await?
    }

    /// Asks for the service account tokens that the pod's projections name, and when they have to be renewed.
    pub(super) async fn tokens(
        &self,
        subject: &Subject,
        pod: &Pod,
    ) -> Result<(Tokens, Option<jiff::Timestamp>), reeve_client::Error> {
        let mut tokens = Tokens::new();
        let mut refresh_at: Option<jiff::Timestamp> = None;
        let pod_spec = spec::spec(pod);
        let account =
            pod_spec.service_account_name.clone().filter(|it| !it.is_empty()).unwrap_or_else(|| "default".into());
        let sources = pod_spec.volumes.iter().flatten().filter_map(|it| it.projected.as_ref());
        for projection in
            sources.flat_map(|it| it.sources.iter().flatten()).filter_map(|it| it.service_account_token.as_ref())
        {
            let seconds = projection.expiration_seconds.unwrap_or(TOKEN_SECONDS);
            let audiences: Vec<&String> = projection.audience.iter().collect();
            let request = json!({
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {
                    "audiences": audiences,
                    "expirationSeconds": seconds,
                    "boundObjectRef": {
                        "apiVersion": "v1", "kind": "Pod", "name": subject.key.name, "uid": subject.uid,
                    },
                },
            });
            let accounts = self.client.namespaced::<ServiceAccount>(&subject.key.namespace);
            let token = match accounts.create_subresource(&account, "token", &request).await {
                Ok(answer) => answer.pointer("/status/token").and_then(|it| it.as_str()).map(str::to_owned),
                Err(error) if offers_no_tokens(&error) => {
                    let message = format!(
                        "The API server offers no service account tokens ({error}); the volume comes without {}",
                        projection.path
                    );
                    self.event(subject, None, EventType::Warning, "NoServiceAccountToken", &message);
                    None
                }
                Err(error) => return Err(error),
            };
            if token.is_some() {
                // Upstream renews after four fifths of the token's life.
                let renew = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_secs(seconds * 4 / 5)).ok();
                refresh_at = [refresh_at, renew].into_iter().flatten().min();
            }
            tokens.insert(projection.path.clone(), token);
        }
        Ok((tokens, refresh_at))
    }

    pub(super) async fn clean_up(&self, subject: &Subject) -> Done {
        self.references.release(&subject.uid);
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

fn offers_no_tokens(error: &reeve_client::Error) -> bool {
    use reeve_api::status::Reason;
    error.is_not_found() || matches!(error.reason(), Some(Reason::MethodNotAllowed))
}
