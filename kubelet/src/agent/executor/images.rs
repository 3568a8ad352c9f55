//! Containers' images: the pull policy, pulls and their credentials.

use std::sync::Arc;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use reeve_client::EventType;

use super::{Done, Executor, Subject};
use crate::pod::user::{ImageUser, PresentImage};
use crate::pod::{env, spec};

impl Executor {
    pub(super) async fn ensure_image(&self, subject: &Subject, pod: &Pod, container: &Container) -> Done {
        let image = container.image.clone().unwrap_or_default();
        let name = Some(container.name.as_str());
        let present = match self.runtime.image(&image).await {
            Ok(present) => present,
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {error}");
                self.event(subject, name, EventType::Warning, "InspectFailed", &message);
                return Done::Failed { reason: "ImageInspectError", message };
            }
        };
        let policy = container.image_pull_policy.as_deref().unwrap_or(default_pull_policy(&image));
        match (policy, present) {
            ("Never" | "IfNotPresent", Some(found)) => {
                let message = format!("Container image \"{image}\" already present on machine");
                self.event(subject, name, EventType::Normal, "Pulled", &message);
                Done::Image(described(found))
            }
            ("Never", None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.event(subject, name, EventType::Warning, "ErrImageNeverPull", &message);
                Done::Failed { reason: "ErrImageNeverPull", message }
            }
            _ => self.pull(subject, pod, container, &image).await,
        }
    }

    pub(super) async fn pull(&self, subject: &Subject, pod: &Pod, container: &Container, image: &str) -> Done {
        let name = Some(container.name.as_str());
        self.event(subject, name, EventType::Normal, "Pulling", &format!("Pulling image \"{image}\""));
        let began = std::time::Instant::now();
        let references = self.references.of(pod).await;
        let secrets: Vec<Arc<Secret>> = spec::spec(pod)
            .image_pull_secrets
            .iter()
            .flatten()
            .filter_map(|it| env::References::secret(&references, &it.name))
            .collect();
        match self.runtime.pull_image(image, pull_credentials(&secrets, image)).await {
            Ok(resolved) => {
                let message = format!("Successfully pulled image \"{image}\" in {} ms", began.elapsed().as_millis());
                self.event(subject, name, EventType::Normal, "Pulled", &message);
                match self.runtime.image(&resolved).await {
                    Ok(Some(found)) => Done::Image(PresentImage { reference: resolved, ..described(found) }),
                    Ok(None) => Done::Image(PresentImage { reference: resolved, ..PresentImage::default() }),
                    Err(error) => {
                        let message = format!("Failed to inspect image \"{image}\": {error}");
                        self.event(subject, name, EventType::Warning, "InspectFailed", &message);
                        Done::Failed { reason: "ImageInspectError", message }
                    }
                }
            }
            Err(error) => {
                let message = format!("Failed to pull image \"{image}\": {error}");
                self.event(subject, name, EventType::Warning, "Failed", &message);
                self.event(subject, name, EventType::Warning, "Failed", "Error: ErrImagePull");
                Done::Failed { reason: "ErrImagePull", message: error.to_string() }
            }
        }
    }
}

/// An image as the runtime shows it.
fn described(image: cri::Image) -> PresentImage {
    let user = ImageUser { uid: image.uid.map(|it| it.value), name: image.username };
    PresentImage { reference: image.id, user }
}

/// Upstream's default: always for `:latest` and names without a tag, else when the image is not present.
fn default_pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest") {
        "IfNotPresent"
    } else {
        "Always"
    }
}

/// The credentials for an image's registry among pull secrets of type `kubernetes.io/dockerconfigjson`.
fn pull_credentials(secrets: &[Arc<Secret>], image: &str) -> Option<cri::AuthConfig> {
    use base64::Engine as _;
    let first = image.split('/').next().unwrap_or_default();
    let registry =
        if image.contains('/') && (first.contains(['.', ':']) || first == "localhost") { first } else { "docker.io" };
    for secret in secrets {
        let raw = secret.data.as_ref().and_then(|data| data.get(".dockerconfigjson"));
        let Some(config) = raw.and_then(|raw| serde_json::from_slice::<serde_json::Value>(&raw.0).ok()) else {
            continue;
        };
        let Some(auths) = config.get("auths").and_then(|it| it.as_object()) else { continue };
        for (server, auth) in auths {
            let host = server
                .trim_start_matches("https://")
                .trim_start_matches("http://")
                .split('/')
                .next()
                .unwrap_or_default();
            if host != registry && !(registry == "docker.io" && host.ends_with("docker.io")) {
                continue;
            }
            let text = |field: &str| auth.get(field).and_then(|it| it.as_str()).map(str::to_owned);
            let packed = text("auth").and_then(|it| base64::engine::general_purpose::STANDARD.decode(it).ok());
            let packed = packed.and_then(|it| String::from_utf8(it).ok());
            let (user, password) = match packed.as_deref().and_then(|it| it.split_once(':')) {
                Some((user, password)) => (user.to_owned(), password.to_owned()),
                None => (text("username")?, text("password")?),
            };
            return Some(cri::AuthConfig {
                username: user,
                password,
                server_address: server.clone(),
                ..Default::default()
            });
        }
    }
    None
}
