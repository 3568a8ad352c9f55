//! Containers' images: the pull policy, pulls and their credentials.

use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use reeve_client::EventType;

use super::{Done, Executor, Subject};
use crate::pod::image::{self, Credentials, CredentialsError};
use crate::pod::user::{ImageUser, PresentImage};
use crate::pod::{env, spec};
use crate::pulled::PullSecret;
use crate::runtime::RuntimeError;

impl Executor {
    pub(super) async fn ensure_image(&self, subject: &Subject, pod: &Pod, container: &Container) -> Done {
        let image = container.image.clone().unwrap_or_default();
        let name = Some(container.name.as_str()).filter(|it| !it.is_empty());
        if let Some(why) = image::invalid(&image) {
            let message = format!("Failed to apply default image tag \"{image}\": {why}");
            self.event(subject, name, EventType::Warning, "InspectFailed", &message);
            return self.no_image(subject, name, "InvalidImageName", message);
        }
        let policy = container.image_pull_policy.as_deref().unwrap_or(default_pull_policy(&image));
        if policy == "Always" {
            return self.pull(subject, pod, container, &image).await;
        }
        let present = match self.runtime.image(&image).await {
            Ok(present) => present,
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {}", error.words());
                self.event(subject, name, EventType::Warning, "InspectFailed", &message);
                return self.no_image(subject, name, "ImageInspectError", message);
            }
        };
        match (policy, present) {
            (policy, Some(found)) => {
                match self.may_use(subject, pod, &image, &found.id).await {
                    Ok(true) => {}
                    Ok(false) if policy == "Never" => return self.never_pulled(subject, name, &image),
                    Ok(false) => return self.pull(subject, pod, container, &image).await,
                    Err(error) => return self.not_pulled(subject, name, &image, error.to_string()),
                }
                let message =
                    format!("Container image \"{image}\" already present on machine and can be accessed by the pod");
                self.event(subject, name, EventType::Normal, "Pulled", &message);
                Done::Image(described(found))
            }
            ("Never", None) => self.never_pulled(subject, name, &image),
            (_, None) => self.pull(subject, pod, container, &image).await,
        }
    }

    /// Whether the pod may use an image that is there without a pull.
    async fn may_use(
        &self,
        subject: &Subject,
        pod: &Pod,
        image: &str,
        image_ref: &str,
    ) -> Result<bool, CredentialsError> {
        if !self.pulled.verifies(image, image_ref) {
            return Ok(true);
        }
        let secrets = self.pull_secrets(subject, pod).await;
        let credentials = image::credentials(&secrets, image)?;
        let secrets: Vec<PullSecret> = credentials.iter().map(|it| self.pulled.secret(it)).collect();
        Ok(self.pulled.grants(image, image_ref, &secrets).unwrap_or_else(|error| {
            tracing::warn!(image, %error, "what is known of a pulled image could not be written: it is pulled again");
            false
        }))
    }

    fn never_pulled(&self, subject: &Subject, container: Option<&str>, image: &str) -> Done {
        let message = format!("Container image \"{image}\" is not present with pull policy of Never");
        self.event(subject, container, EventType::Warning, "ErrImageNeverPull", &message);
        self.no_image(subject, container, "ErrImageNeverPull", message)
    }

    fn not_pulled(&self, subject: &Subject, container: Option<&str>, image: &str, message: String) -> Done {
        let told = format!("Failed to pull image \"{image}\": {message}");
        self.event(subject, container, EventType::Warning, "Failed", &told);
        self.no_image(subject, container, "ErrImagePull", message)
    }

    /// Tells that a container cannot have its image, as upstream does after each cause.
    fn no_image(&self, subject: &Subject, container: Option<&str>, reason: &'static str, message: String) -> Done {
        self.event(subject, container, EventType::Warning, "Failed", &format!("Error: {reason}"));
        Done::Failed { reason, message }
    }

    /// The pull secrets of a pod that are there; those that are not are told.
    async fn pull_secrets(&self, subject: &Subject, pod: &Pod) -> Vec<Arc<Secret>> {
        let references = self.references.of(pod).await;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        let names = spec::spec(pod).image_pull_secrets.iter().flatten().map(|it| it.name.as_str());
        for name in names.filter(|it| !it.is_empty()) {
            match env::References::secret(&references, name) {
                Some(secret) => found.push(secret),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.event(subject, None, EventType::Warning, "FailedToRetrieveImagePullSecret", &message);
        }
        found
    }

    /// Pulls an image with each of the credentials until one will do; without any where there are none. Returns what the
    /// image resolves to, and the credentials that got it.
    async fn pull_as_any(
        &self,
        image: &str,
        credentials: Vec<Credentials>,
    ) -> Result<(String, Option<Credentials>), RuntimeError> {
        let mut last = None;
        for it in credentials {
            // Without the server: the runtime would compare it with the registry's host and port as a URL, which a
            // secret's server need not be, and keep the credentials to itself.
            let (username, password) = (it.user.clone(), it.password.clone());
            let auth = cri::AuthConfig { username, password, ..Default::default() };
            match self.runtime.pull_image(image, Some(auth)).await {
                Ok(resolved) => return Ok((resolved, Some(it))),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error),
            None => self.runtime.pull_image(image, None).await.map(|resolved| (resolved, None)),
        }
    }

    pub(super) async fn pull(&self, subject: &Subject, pod: &Pod, container: &Container, image: &str) -> Done {
        let name = Some(container.name.as_str()).filter(|it| !it.is_empty());
        let secrets = self.pull_secrets(subject, pod).await;
        let credentials = match image::credentials(&secrets, image) {
            Ok(credentials) => credentials,
            Err(error) => return self.not_pulled(subject, name, image, error.to_string()),
        };
        if let Err(error) = self.pulled.begin(image) {
            let why = format!("Failed to record image pull intent for container image \"{image}\": {error}");
            return self.not_pulled(subject, name, image, why);
        }
        self.event(subject, name, EventType::Normal, "Pulling", &format!("Pulling image \"{image}\""));
        let began = std::time::Instant::now();
        let (resolved, used) = match self.pull_as_any(image, credentials).await {
            Ok(pulled) => pulled,
            Err(error) => {
                self.pull_ended(image, None);
                return self.not_pulled(subject, name, image, error.words());
            }
        };
        let took = go_duration(began.elapsed());
        let found = self.runtime.image(&resolved).await;
        let image_ref =
            found.as_ref().ok().and_then(|it| Some(it.as_ref()?.id.clone())).unwrap_or_else(|| resolved.clone());
        self.pull_ended(image, Some((&image_ref, used.map(|it| self.pulled.secret(&it)))));
        match found {
            Ok(found) => {
                let size = found.as_ref().map_or(0, |it| it.size);
                let message = format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {size} bytes."
                );
                self.event(subject, name, EventType::Normal, "Pulled", &message);
                let image = found.map(described).unwrap_or_default();
                Done::Image(PresentImage { reference: resolved, ..image })
            }
            Err(error) => {
                let message = format!("Failed to inspect image \"{image}\": {}", error.words());
                self.event(subject, name, EventType::Warning, "InspectFailed", &message);
                self.no_image(subject, name, "ImageInspectError", message)
            }
        }
    }

    fn pull_ended(&self, image: &str, pulled: Option<(&str, Option<PullSecret>)>) {
        if let Err(error) = self.pulled.end(image, pulled) {
            tracing::warn!(image, %error, "a pull could not be recorded: the image needs credentials until it is pulled again");
        }
    }
}

/// A time as Go writes it, in milliseconds: `850ms`, `2.5s`, `1m2.5s`.
fn go_duration(time: Duration) -> String {
    let millis = time.as_millis();
    let seconds = |millis: u128| format!("{}s", millis as f64 / 1000.0);
    match millis {
        0 => "0s".into(),
        1..1000 => format!("{millis}ms"),
        1000..60_000 => seconds(millis),
        _ => format!("{}m{}", millis / 60_000, seconds(millis % 60_000)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_does() {
        let words: Vec<String> =
            [0, 850, 2500, 62_500].into_iter().map(|it| go_duration(Duration::from_millis(it))).collect();
        assert_eq!(words, ["0s", "850ms", "2.5s", "1m2.5s"]);
    }

    #[test]
    fn a_refusal_names_its_code_unless_it_is_unknown() {
        let refused = |code| {
            RuntimeError::Refused { call: "PullImage", code, message: "failed to pull and unpack".into() }.words()
        };
        assert_eq!(refused(tonic::Code::Unknown), "failed to pull and unpack");
        assert_eq!(refused(tonic::Code::NotFound), "rpc error: code = NotFound desc = failed to pull and unpack");
    }

    #[test]
    fn only_latest_and_untagged_images_are_always_pulled() {
        let policy = |image| default_pull_policy(image);
        assert_eq!((policy("web"), policy("web:latest"), policy("host:5000/web")), ("Always", "Always", "Always"));
        assert_eq!((policy("web:1"), policy("host:5000/web@sha256:0")), ("IfNotPresent", "IfNotPresent"));
    }
}
