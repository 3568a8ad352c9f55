//! Does what the pure core asked for: the one place that changes the runtime, the node's files and, for a
//! pod's end, the API.

mod allocations;
mod env_files;
mod files;
mod hooks;
mod image_volumes;
mod images;
mod tokens;
mod volumes;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use reeve_api::ObjectKey;
use reeve_client::{Client, DeleteOptions, EventRecorder, EventType, Store};

use tokio::sync::watch;

use self::env_files::FilesOf;
pub use self::tokens::TokenCache;
use super::references::References;
use super::services::{self, ServiceView};
use crate::config::Config;
use crate::node::allocatable::Amounts;
use crate::node::cgroup::{self, Extent};
use crate::node::view::NodeView;
use crate::pod::observed::PodObserved;
use crate::pod::plan::Action;
use crate::pod::user::{PresentImage, run_as};
use crate::pod::{env, resize, resources, spec};
use crate::pressure::thresholds::Pressure;
use crate::pressure::usage::working_set;
use crate::pulled::PulledImages;
use crate::runtime::Runtime;
use crate::runtime::convert::{self, ContainerInput, HostDns, Mount};
use crate::static_pods::StaticPods;
use crate::stats::probes::ProbeFigures;

/// What an action came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// It is done.
    Ok,
    /// The image is there.
    Image(PresentImage),
    /// The volumes are filled; at this time they have to be filled again (a token ends).
    Volumes(Option<jiff::Timestamp>),
    /// The container has these resources now.
    Resized(String),
    /// The container's `postStart` hook failed: the container has to end.
    HookFailed {
        /// What went wrong.
        message: String,
    },
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
    /// Service account tokens.
    pub tokens: TokenCache,
    /// What probes came to.
    pub probes: ProbeFigures,
    /// Whose credentials have pulled which image.
    pub pulled: PulledImages,
    /// The node's pods, for what they ask for together.
    pub pods: Store<Pod>,
    /// Services, for environment variables.
    pub services: Store<ServiceView>,
    /// Events.
    pub recorder: EventRecorder,
    /// The host's resolver settings.
    pub host_dns: HostDns,
    /// The static pods.
    pub fixed: StaticPods,
    /// The node's own object.
    pub nodes: Store<NodeView>,
    /// The node's memory in bytes.
    pub memory: i64,
    /// What pods may ask for together.
    pub allocatable: Amounts,
    /// Whether the kernel enforces AppArmor profiles.
    pub app_armor: bool,
    /// What the node is short of.
    pub pressure: watch::Receiver<BTreeSet<Pressure>>,
    /// The sandboxes' image, which stays.
    pub sandbox_image: Option<String>,
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
    /// The images of the containers.
    pub images: std::collections::BTreeMap<String, PresentImage>,
}

impl Executor {
    /// Performs one action to its end.
    pub async fn perform(&self, subject: &Subject, action: &Action) -> Done {
        match action {
            Action::StopContainer { id, container, grace_seconds, hook, message, .. } => {
                self.event(subject, Some(container), EventType::Normal, "Killing", message);
                let grace_seconds =
                    if *hook { self.pre_stop(subject, id, container, *grace_seconds).await } else { *grace_seconds };
                let result = self.runtime.stop_container(id, grace_seconds).await;
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
                    && let Err(error) = crate::log_rotation::remove(log.as_ref())
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
                Some((pod, container)) => self.ensure_image(subject, pod, &container).await,
                None => Done::Ok,
            },
            Action::StartContainer { container, sandbox_id, attempt } => match find(subject, container) {
                Some((pod, container)) => self.start_container(subject, pod, &container, sandbox_id, *attempt).await,
                None => Done::Ok,
            },
            Action::Resize { id, container, .. } => match find(subject, container) {
                Some((pod, container)) => self.resize(subject, pod, id, &container).await,
                None => Done::Ok,
            },
            Action::ResizePod { .. } => match &subject.pod {
                Some(pod) => self.resize_pod(subject, pod),
                None => Done::Ok,
            },
            Action::PostStart { id, container } => self.post_start(subject, id, container).await,
            Action::Forget | Action::WakeAt(_) => Done::Ok,
        }
    }

    /// Records an event about the pod, or about one of its containers.
    pub fn event(&self, subject: &Subject, container: Option<&str>, kind: EventType, reason: &str, message: &str) {
        let is_init = subject
            .pod
            .as_ref()
            .is_some_and(|pod| spec::init_containers(pod).iter().any(|it| Some(it.name.as_str()) == container));
        let is_ephemeral = subject.pod.as_ref().zip(container).is_some_and(|(pod, name)| spec::is_ephemeral(pod, name));
        let list = match (is_init, is_ephemeral) {
            (true, _) => "initContainers",
            (_, true) => "ephemeralContainers",
            _ => "containers",
        };
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
        let (node_name, allocatable) = (self.config.node_name.clone(), self.allocatable.clone());
        env::Addresses { pod_ips, host_ip, node_name, allocatable }
    }

    async fn create_sandbox(&self, subject: &Subject, pod: &Pod, attempt: u32) -> Done {
        let fail = |why: String| {
            let message = format!("Failed to create pod sandbox: {why}");
            self.event(subject, None, EventType::Warning, "FailedCreatePodSandBox", &message);
            Done::Failed { reason: "CreatePodSandboxError", message }
        };
        if let Some(why) = convert::domain_name_problem(pod, &self.config.cluster_domain) {
            return fail(why);
        }
        let config = convert::sandbox_config(pod, attempt, &self.config, &self.host_dns);
        if let Err(error) = std::fs::create_dir_all(&config.log_directory) {
            return fail(format!("log directory {}: {error}", config.log_directory));
        }
        if let Err(error) = self.ensure_cgroup(pod, Extent::Exactly) {
            let message = format!("error making pod data directories and cgroups: {error}");
            self.event(subject, None, EventType::Warning, "FailedCreatePodContainer", &message);
            return Done::Failed { reason: "CreatePodSandboxError", message };
        }
        let handler = match self.runtime_handler(pod).await {
            Ok(handler) => handler,
            Err(error) => return fail(error.to_string()),
        };
        if let Some(why) = convert::users_problem(pod, &handler) {
            return fail(why);
        }
        match self.runtime.run_sandbox(config, handler).await {
            Ok(id) => {
                tracing::info!(pod = %subject.key, uid = %subject.uid, sandbox = %id, attempt, "sandbox runs");
                if !spec::is_static(pod) {
                    self.keep_allocation(pod);
                }
                Done::Ok
            }
            Err(error) => {
                tracing::warn!(pod = %subject.key, %error, "sandbox could not be made");
                fail(error.as_rpc())
            }
        }
    }

    /// What the runtime calls the pod's runtime class; nothing for its default.
    async fn runtime_handler(&self, pod: &Pod) -> Result<String, reeve_client::Error> {
        match spec::spec(pod).runtime_class_name.as_deref().filter(|it| !it.is_empty()) {
            Some(name) => Ok(self.client.all::<RuntimeClass>().get(name).await?.handler),
            None => Ok(String::new()),
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
        // A static pod does not wait for the API.
        if !spec::is_static(pod) {
            self.services.wait_synced().await;
        }
        let references = self.references.of(pod).await;
        let services = services::visible(&self.services, pod);
        let addresses = self.addresses(subject, pod);
        let env_files = FilesOf { pod, config: &self.config };
        let environment = match env::environment(pod, container, &services, &references, &env_files, &addresses) {
            Ok(environment) => environment,
            Err(error) => return fail("CreateContainerConfigError", error.to_string()),
        };
        let files = match self.container_files(subject, pod, container, attempt, &addresses) {
            Ok(files) => files,
            Err((path, error)) => return fail("CreateContainerConfigError", format!("{}: {error}", path.display())),
        };
        let mut mounts = match self.mounts(pod, container, &environment).await {
            Ok(mounts) => mounts,
            Err(error) => return fail("CreateContainerConfigError", error.to_string()),
        };
        let mounted = |mounts: &[Mount], path: &str| mounts.iter().any(|it| it.container_path == path);
        for mount in files.mounts {
            if !mounted(&mounts, &mount.container_path) {
                mounts.push(mount);
            }
        }
        let image = subject.images.get(&container.name).cloned().unwrap_or_default();
        let run_as = match run_as(pod, container, &image.user) {
            Ok(run_as) => run_as,
            Err(error) => return fail("CreateContainerConfigError", error.to_string()),
        };
        let input = ContainerInput {
            attempt,
            env: environment,
            mounts,
            image: &image.reference,
            run_as,
            pid_target: spec::ephemeral_target(pod, &container.name)
                .and_then(|target| subject.observed.latest(target))
                .map(|it| it.id.as_str()),
            seccomp_dir: &self.config.root_dir.join("seccomp"),
            termination_file: Some(&files.termination),
            node_memory: self.memory,
        };
        let config = convert::container_config(pod, container, input);
        // The pod's own cgroup is as large as the container that goes; the one that comes may need more.
        let resized =
            subject.observed.latest(&container.name).is_some_and(|it| it.resources != resize::mark(pod, container));
        if resized && let Err(error) = self.ensure_cgroup(pod, Extent::AtLeast) {
            tracing::warn!(pod = %subject.key, %error, "the pod's cgroup does not grow for its container");
        }
        let sandbox_attempt = subject.observed.sandbox().map_or(0, |it| it.attempt);
        let sandbox = convert::sandbox_config(pod, sandbox_attempt, &self.config, &self.host_dns);
        let id = match self.runtime.create_container(sandbox_id, config, sandbox).await {
            Ok(id) => id,
            Err(error) => return fail("CreateContainerError", error.words()),
        };
        self.event(subject, name, EventType::Normal, "Created", "Container created");
        if let Err(error) = self.runtime.start_container(&id).await {
            return fail("RunContainerError", error.words());
        }
        self.event(subject, name, EventType::Normal, "Started", "Container started");
        tracing::info!(pod = %subject.key, container = %container.name, %id, attempt, "container runs");
        Done::Ok
    }

    /// Writes a container's resources. The pod's own cgroup must be large enough before; it is made smaller after all
    /// of its containers are.
    async fn resize(&self, subject: &Subject, pod: &Pod, id: &str, container: &Container) -> Done {
        let used = self.memory_used(pod, id);
        if let Some(why) = resize::too_small(pod, self.memory_used(pod, ""), Some((container, used))) {
            return self.not_resized(subject, pod, why);
        }
        if let Err(error) = self.ensure_cgroup(pod, Extent::AtLeast) {
            return self.not_resized(subject, pod, error.to_string());
        }
        let values = convert::container_resources(pod, container, self.memory);
        if let Err(error) = self.runtime.update_resources(id, values).await {
            return self.not_resized(subject, pod, error.to_string());
        }
        tracing::info!(pod = %subject.key, container = %container.name, "the container is resized");
        Done::Ok
    }

    /// Gives the pod's own cgroup the limits that the pod has now.
    fn resize_pod(&self, subject: &Subject, pod: &Pod) -> Done {
        if let Some(why) = resize::too_small(pod, self.memory_used(pod, ""), None) {
            return self.not_resized(subject, pod, why);
        }
        match self.ensure_cgroup(pod, Extent::Exactly) {
            Ok(()) => {
                tracing::info!(pod = %subject.key, "the pod's cgroup is resized");
                Done::Ok
            }
            Err(error) => self.not_resized(subject, pod, error.to_string()),
        }
    }

    fn not_resized(&self, subject: &Subject, pod: &Pod, message: String) -> Done {
        let told = resize::message("Pod resize error", pod, &message);
        self.event(subject, None, EventType::Warning, "ResizeError", &told);
        Done::Failed { reason: "", message }
    }

    /// The memory that a pod uses, or its container of this id.
    fn memory_used(&self, pod: &Pod, id: &str) -> Option<i64> {
        working_set(&format!("{}/{id}", cgroup::pod_path(&self.config.cgroup_root, pod))).ok()
    }

    /// Makes the pod's own cgroup, or gives it the limits that the pod has now.
    fn ensure_cgroup(&self, pod: &Pod, extent: Extent) -> std::io::Result<()> {
        let burstable = resources::burstable_shares(self.pods.list().iter().map(Arc::as_ref));
        cgroup::ensure_pod(&self.config.cgroup_root, pod, resources::pod_limits(pod), burstable, extent)
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

fn done(result: Result<(), crate::runtime::RuntimeError>, reason: &'static str) -> Done {
    match result {
        Ok(()) => Done::Ok,
        Err(error) => Done::Failed { reason, message: error.to_string() },
    }
}

fn find<'a>(subject: &'a Subject, name: &str) -> Option<(&'a Arc<Pod>, Cow<'a, Container>)> {
    let pod = subject.pod.as_ref()?;
    Some((pod, spec::any_container(pod, name)?))
}
