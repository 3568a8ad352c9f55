//! Does what the pure core asked for: the one place that changes the runtime, the node's files and, for a
//! pod's end, the API.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Secret, ServiceAccount};
use reeve_api::ObjectKey;
use reeve_client::{Client, DeleteOptions, EventRecorder, EventType, Store};
use serde_json::json;

use super::references::References;
use super::services::{self, ServiceView};
use crate::config::Config;
use crate::pod::observed::PodObserved;
use crate::pod::plan::Action;
use crate::pod::{env, spec};
use crate::runtime::Runtime;
use crate::runtime::convert::{self, ContainerInput, HostDns, Mount};
use crate::volume::{self, content::Tokens};

/// What an action came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// It is done.
    Ok,
    /// The image is there, under this resolved name.
    Image(String),
    /// The volumes are filled; at this time they have to be filled again (a token ends).
    Volumes(Option<jiff::Timestamp>),
    /// It failed; the reason is that of the container's waiting state, or empty.
    Failed {
        /// The reason.
        reason: &'static str,
        /// What went wrong.
        message: String,
    },
}

/// What every action needs. Shared by all of them.
pub struct Executor {
    /// The container runtime.
    pub runtime: Runtime,
    /// The API.
    pub client: Client,
    /// The node's settings.
    pub config: Config,
    /// ConfigMaps and Secrets.
    pub references: References,
    /// Services, for environment variables.
    pub services: Store<ServiceView>,
    /// Events.
    pub recorder: EventRecorder,
    /// The host's resolver settings.
    pub host_dns: HostDns,
    /// The node's CPU in millicores and memory in bytes.
    pub capacity: (i64, i64),
}

/// The pod that an action is for.
#[derive(Clone)]
pub struct Subject {
    /// The pod's UID.
    pub uid: String,
    /// Namespace and name.
    pub key: ObjectKey,
    /// The pod as the API has it; absent for orphans.
    pub pod: Option<Arc<Pod>>,
    /// What the runtime showed when the action was decided.
    pub observed: PodObserved,
    /// The resolved images of the containers.
    pub images: std::collections::BTreeMap<String, String>,
}

/// How long a service account token lasts where the projection names no time, upstream's default in seconds.
const TOKEN_SECONDS: i64 = 3600;

impl Executor {
    /// Performs one action to its end.
    pub async fn perform(&self, subject: &Subject, action: &Action) -> Done {
        match action {
            Action::StopContainer { id, container, grace_seconds, message, .. } => {
                self.event(subject, Some(container), EventType::Normal, "Killing", message);
                let result = self.runtime.stop_container(id, *grace_seconds).await;
                done(result, "KillContainerError")
            }
            Action::StopSandbox { id } => {
                let result = self.runtime.stop_sandbox(id).await;
                if let Err(error) = &result {
                    self.event(
                        subject,
                        None,
                        EventType::Warning,
                        "FailedKillPod",
                        &format!("error killing pod: {error}"),
                    );
                }
                done(result, "KillPodSandboxError")
            }
            Action::RemoveSandbox { id } => done(self.runtime.remove_sandbox(id).await, ""),
            Action::RemoveContainer { id } => {
                let log = subject.observed.containers.iter().find(|it| it.id == *id).map(|it| it.log_path.clone());
                let result = self.runtime.remove_container(id).await;
                if let Some(log) = log.filter(|_| result.is_ok())
                    && let Err(error) = std::fs::remove_file(&log)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(%log, %error, "a dead container's log could not be removed");
                }
                done(result, "")
            }
            Action::Cleanup => self.clean_up(subject).await,
            Action::DeleteObject => self.delete_object(subject).await,
            Action::PrepareVolumes => match &subject.pod {
                Some(pod) => self.prepare_volumes(subject, pod).await,
                None => Done::Ok,
            },
            Action::CreateSandbox { attempt } => match &subject.pod {
                Some(pod) => self.create_sandbox(subject, pod, *attempt).await,
                None => Done::Ok,
            },
            Action::EnsureImage { container } => match find(subject, container) {
                Some((pod, container)) => self.ensure_image(subject, pod, container).await,
                None => Done::Ok,
            },
            Action::StartContainer { container, sandbox_id, attempt } => match find(subject, container) {
                Some((pod, container)) => self.start_container(subject, pod, container, sandbox_id, *attempt).await,
                None => Done::Ok,
            },
            Action::Forget | Action::WakeAt(_) => Done::Ok,
        }
    }

    /// Records an event about the pod, or about one of its containers.
    pub fn event(&self, subject: &Subject, container: Option<&str>, kind: EventType, reason: &str, message: &str) {
        let is_init = subject
            .pod
            .as_ref()
            .is_some_and(|pod| spec::init_containers(pod).iter().any(|it| Some(it.name.as_str()) == container));
        let list = if is_init { "initContainers" } else { "containers" };
        let reference = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(subject.key.namespace.clone()),
            name: Some(subject.key.name.clone()),
            uid: Some(subject.uid.clone()),
            field_path: container.map(|name| format!("spec.{list}{{{name}}}")),
            resource_version: subject.pod.as_ref().and_then(|pod| pod.metadata.resource_version.clone()),
        };
        self.recorder.event(&reference, kind, reason, message);
    }

    fn addresses(&self, subject: &Subject, pod: &Pod) -> env::Addresses {
        let host_ip = self.config.node_ip.to_string();
        let pod_ips = if spec::host_network(pod) {
            vec![host_ip.clone()]
        } else {
            subject.observed.ready_sandbox().map(|it| it.ips.clone()).unwrap_or_default()
        };
        env::Addresses { pod_ips, host_ip, node_name: self.config.node_name.clone(), allocatable: self.capacity }
    }

    async fn prepare_volumes(&self, subject: &Subject, pod: &Arc<Pod>) -> Done {
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
        match volume::prepare(pod, &self.config, &references, &tokens, &addresses) {
            Ok(()) => Done::Volumes(refresh_at),
            Err(error) => {
                self.event(subject, None, EventType::Warning, "FailedMount", &error.to_string());
                Done::Failed { reason: "", message: error.to_string() }
            }
        }
    }

    /// Asks for the service account tokens that the pod's projections name, and when they have to be renewed.
    async fn tokens(
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

    async fn create_sandbox(&self, subject: &Subject, pod: &Pod, attempt: u32) -> Done {
        let config = convert::sandbox_config(pod, attempt, &self.config, &self.host_dns);
        if let Err(error) = std::fs::create_dir_all(&config.log_directory) {
            let message = format!("Failed to create pod sandbox: log directory {}: {error}", config.log_directory);
            self.event(subject, None, EventType::Warning, "FailedCreatePodSandBox", &message);
            return Done::Failed { reason: "CreatePodSandboxError", message };
        }
        match self.runtime.run_sandbox(config).await {
            Ok(id) => {
                tracing::info!(pod = %subject.key, uid = %subject.uid, sandbox = %id, attempt, "sandbox runs");
                Done::Ok
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                tracing::warn!(pod = %subject.key, %error, "sandbox could not be made");
                self.event(subject, None, EventType::Warning, "FailedCreatePodSandBox", &message);
                Done::Failed { reason: "CreatePodSandboxError", message }
            }
        }
    }

    async fn ensure_image(&self, subject: &Subject, pod: &Pod, container: &Container) -> Done {
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
                Done::Image(found.id)
            }
            ("Never", None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.event(subject, name, EventType::Warning, "ErrImageNeverPull", &message);
                Done::Failed { reason: "ErrImageNeverPull", message }
            }
            _ => self.pull(subject, pod, container, &image).await,
        }
    }

    async fn pull(&self, subject: &Subject, pod: &Pod, container: &Container, image: &str) -> Done {
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
                Done::Image(resolved)
            }
            Err(error) => {
                let message = format!("Failed to pull image \"{image}\": {error}");
                self.event(subject, name, EventType::Warning, "Failed", &message);
                self.event(subject, name, EventType::Warning, "Failed", "Error: ErrImagePull");
                Done::Failed { reason: "ErrImagePull", message: error.to_string() }
            }
        }
    }

    async fn start_container(
        &self,
        subject: &Subject,
        pod: &Arc<Pod>,
        container: &Container,
        sandbox_id: &str,
        attempt: u32,
    ) -> Done {
        let name = Some(container.name.as_str());
        let fail = |reason: &'static str, message: String| {
            self.event(subject, name, EventType::Warning, "Failed", &format!("Error: {message}"));
            Done::Failed { reason, message }
        };
        self.services.wait_synced().await;
        let references = self.references.of(pod).await;
        let services = services::visible(&self.services, pod);
        let addresses = self.addresses(subject, pod);
        let environment = match env::environment(pod, container, &services, &references, &addresses) {
            Ok(environment) => environment,
            Err(error) => return fail("CreateContainerConfigError", error.to_string()),
        };
        let files = match self.container_files(subject, pod, container, attempt, &addresses) {
            Ok(files) => files,
            Err((path, error)) => return fail("CreateContainerConfigError", format!("{}: {error}", path.display())),
        };
        let mut mounts = match volume::mounts(pod, container, &self.config, &environment) {
            Ok(mounts) => mounts,
            Err(error) => return fail("CreateContainerConfigError", error.to_string()),
        };
        let mounted = |mounts: &[Mount], path: &str| mounts.iter().any(|it| it.container_path == path);
        for mount in files.mounts {
            if !mounted(&mounts, &mount.container_path) {
                mounts.push(mount);
            }
        }
        if let Err(message) = check_user(container, pod) {
            return fail("CreateContainerConfigError", message);
        }
        let image = subject.images.get(&container.name).cloned().unwrap_or_default();
        let input = ContainerInput {
            attempt,
            env: environment,
            mounts,
            image: &image,
            termination_file: Some(&files.termination),
            node_memory: self.capacity.1,
        };
        let config = convert::container_config(pod, container, input);
        let sandbox_attempt = subject.observed.sandbox().map_or(0, |it| it.attempt);
        let sandbox = convert::sandbox_config(pod, sandbox_attempt, &self.config, &self.host_dns);
        let id = match self.runtime.create_container(sandbox_id, config, sandbox).await {
            Ok(id) => id,
            Err(error) => return fail("CreateContainerError", error.to_string()),
        };
        self.event(subject, name, EventType::Normal, "Created", &format!("Container created: {}", container.name));
        if let Err(error) = self.runtime.start_container(&id).await {
            return fail("RunContainerError", error.to_string());
        }
        self.event(subject, name, EventType::Normal, "Started", &format!("Container started: {}", container.name));
        tracing::info!(pod = %subject.key, container = %container.name, %id, attempt, "container runs");
        Done::Ok
    }

    /// The files that the kubelet gives every container: the termination message's and `/etc/hosts`.
    fn container_files(
        &self,
        subject: &Subject,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        addresses: &env::Addresses,
    ) -> Result<ContainerFiles, (PathBuf, std::io::Error)> {
        let pod_dir = self.config.pod_dir(&subject.uid);
        let folder = pod_dir.join("containers").join(&container.name);
        volume::create_dir(&folder, 0o750).map_err(|error| (folder.clone(), error))?;
        let termination = folder.join(attempt.to_string());
        std::fs::write(&termination, "").map_err(|error| (termination.clone(), error))?;
        // The process may run as any user.
        volume::set_mode(&termination, 0o666).map_err(|error| (termination.clone(), error))?;
        let inside = container.termination_message_path.clone().filter(|it| !it.is_empty());
        let mount = |container_path: String, host: &PathBuf| Mount {
            container_path,
            host_path: host.display().to_string(),
            read_only: false,
            propagation: None,
        };
        let mut mounts = vec![mount(inside.unwrap_or_else(|| "/dev/termination-log".into()), &termination)];
        let hosts = pod_dir.join("etc-hosts");
        let text = hosts_file(pod, addresses, &self.config.cluster_domain);
        std::fs::write(&hosts, text).map_err(|error| (hosts.clone(), error))?;
        volume::set_mode(&hosts, 0o644).map_err(|error| (hosts.clone(), error))?;
        mounts.push(mount("/etc/hosts".into(), &hosts));
        Ok(ContainerFiles { termination, mounts })
    }

    async fn clean_up(&self, subject: &Subject) -> Done {
        self.references.release(&subject.uid);
        let logs = self.config.pod_log_dir(&subject.key.namespace, &subject.key.name, &subject.uid);
        let result = volume::clean_up(&self.config, &subject.uid)
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

    async fn delete_object(&self, subject: &Subject) -> Done {
        let options =
            DeleteOptions { grace_period_seconds: Some(0), uid: subject.uid.clone(), ..DeleteOptions::default() };
        match self.client.namespaced::<Pod>(&subject.key.namespace).delete(&subject.key.name, &options).await {
            Ok(_) => Done::Ok,
            // Another pod has the name now, or none: this one is gone.
            Err(error) if error.is_not_found() || error.is_conflict() => Done::Ok,
            Err(error) => Done::Failed { reason: "", message: error.to_string() },
        }
    }
}

struct ContainerFiles {
    termination: PathBuf,
    mounts: Vec<Mount>,
}

fn done(result: Result<(), crate::runtime::RuntimeError>, reason: &'static str) -> Done {
    match result {
        Ok(()) => Done::Ok,
        Err(error) => Done::Failed { reason, message: error.to_string() },
    }
}

fn find<'a>(subject: &'a Subject, name: &str) -> Option<(&'a Arc<Pod>, &'a Container)> {
    let pod = subject.pod.as_ref()?;
    Some((pod, spec::container(pod, name)?))
}

fn offers_no_tokens(error: &reeve_client::Error) -> bool {
    use reeve_api::status::Reason;
    error.is_not_found() || matches!(error.reason(), Some(Reason::MethodNotAllowed))
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

/// `runAsNonRoot` with a user that is root.
fn check_user(container: &Container, pod: &Pod) -> Result<(), String> {
    let of_pod = spec::spec(pod).security_context.as_ref();
    let own = container.security_context.as_ref();
    let non_root = own.and_then(|it| it.run_as_non_root).or(of_pod.and_then(|it| it.run_as_non_root)) == Some(true);
    let user = own.and_then(|it| it.run_as_user).or(of_pod.and_then(|it| it.run_as_user));
    match user {
        Some(0) if non_root => Err("container's runAsUser breaks non-root policy".into()),
        _ => Ok(()),
    }
}

fn hosts_file(pod: &Pod, addresses: &env::Addresses, cluster_domain: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("# Kubernetes-managed hosts file.\n");
    if spec::host_network(pod) {
        text.push_str(&std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    } else {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n");
        text.push_str("fe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let host = convert::hostname(pod);
        let namespace = spec::key(pod).namespace;
        for ip in &addresses.pod_ips {
            // Writing to a String cannot fail.
            let line = match spec::spec(pod).subdomain.as_deref().filter(|it| !it.is_empty()) {
                Some(subdomain) => format!("{ip}\t{host}.{subdomain}.{namespace}.svc.{cluster_domain}\t{host}"),
                None => format!("{ip}\t{host}"),
            };
            text.push_str(&line);
            text.push('\n');
        }
    }
    let aliases = spec::spec(pod).host_aliases.iter().flatten();
    let lines: Vec<String> =
        aliases.map(|it| format!("{}\t{}", it.ip, it.hostnames.clone().unwrap_or_default().join("\t"))).collect();
    if !lines.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for line in lines {
            if writeln!(text, "{line}").is_err() {
                break;
            }
        }
    }
    text
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
