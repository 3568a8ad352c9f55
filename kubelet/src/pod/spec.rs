//! Questions about a pod's specification that several decisions ask.

use std::borrow::Cow;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, ContainerRestartRule, Pod, PodSpec, ResourceRequirements, Volume};
use reeve_api::ObjectKey;
use sha2::{Digest as _, Sha256};

/// `spec.restartPolicy`, and what it means for a container that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Start again whatever the exit code.
    Always,
    /// Start again after a non-zero exit code.
    OnFailure,
    /// Never start again.
    Never,
}

impl RestartPolicy {
    /// Whether a container that ended with this code is started again.
    pub fn restarts(self, exit_code: i32) -> bool {
        match self {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => exit_code != 0,
            RestartPolicy::Never => false,
        }
    }
}

/// The grace period of pods that name none, in seconds.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;

/// The pod's spec; an empty one for a pod without.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// The pod's restart policy; `Always` is the default.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match spec(pod).restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// The init containers, in order of their start.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

/// The app containers.
pub fn containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// All containers, init containers first.
pub fn all_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    init_containers(pod).iter().chain(containers(pod))
}

/// The container of that name, ephemeral ones aside.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    all_containers(pod).find(|container| container.name == name)
}

/// The ephemeral containers, which users put into a running pod to look at it, as if they were others: never started
/// again, without probes.
pub fn ephemeral_containers(pod: &Pod) -> impl Iterator<Item = Container> {
    spec(pod).ephemeral_containers.iter().flatten().map(|it| Container {
        name: it.name.clone(),
        image: it.image.clone(),
        command: it.command.clone(),
        args: it.args.clone(),
        working_dir: it.working_dir.clone(),
        env: it.env.clone(),
        env_from: it.env_from.clone(),
        image_pull_policy: it.image_pull_policy.clone(),
        security_context: it.security_context.clone(),
        stdin: it.stdin,
        stdin_once: it.stdin_once,
        tty: it.tty,
        termination_message_path: it.termination_message_path.clone(),
        termination_message_policy: it.termination_message_policy.clone(),
        volume_mounts: it.volume_mounts.clone(),
        volume_devices: it.volume_devices.clone(),
        ..Container::default()
    })
}

/// The container of that name, whichever kind it is of.
pub fn any_container<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let ephemeral = || ephemeral_containers(pod).find(|it| it.name == name).map(Cow::Owned);
    container(pod, name).map(Cow::Borrowed).or_else(ephemeral)
}

/// The container whose processes an ephemeral container sees.
pub fn ephemeral_target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let own = spec(pod).ephemeral_containers.iter().flatten().find(|it| it.name == name)?;
    own.target_container_name.as_deref().filter(|it| !it.is_empty())
}

/// Whether the container of that name is an ephemeral one.
pub fn is_ephemeral(pod: &Pod, name: &str) -> bool {
    spec(pod).ephemeral_containers.iter().flatten().any(|it| it.name == name)
}

/// Whether an init container is a sidecar: it is not waited for, and runs as long as the pod.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that ended with this code is started again: its own rules come before its own policy, and that
/// before the pod's. Init containers of pods that always restart do so after a failure only.
pub fn restarts(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    if let Some("Restart" | RESTART_ALL) = rule(container, exit_code) {
        return true;
    }
    match container.restart_policy.as_deref() {
        Some("Always") => return true,
        Some("OnFailure") => return exit_code != 0,
        Some("Never") => return false,
        _ => {}
    }
    let is_init = init_containers(pod).iter().any(|it| it.name == container.name);
    match restart_policy(pod) {
        RestartPolicy::Always if is_init => exit_code != 0,
        policy => policy.restarts(exit_code),
    }
}

/// The action that restarts all containers of a pod.
const RESTART_ALL: &str = "RestartAllContainers";

/// The action of the first of a container's own rules that this code meets.
fn rule(container: &Container, exit_code: i32) -> Option<&str> {
    let meets = |rule: &&ContainerRestartRule| {
        let Some(codes) = &rule.exit_codes else { return false };
        let listed = codes.values.iter().flatten().any(|it| *it == exit_code);
        if codes.operator == "In" { listed } else { !listed }
    };
    container.restart_policy_rules.iter().flatten().find(meets).map(|it| it.action.as_str())
}

/// Whether all containers of the pod start anew when this one ends with this code.
pub fn restarts_all(container: &Container, exit_code: i32) -> bool {
    rule(container, exit_code) == Some(RESTART_ALL)
}

/// Whether some end of a container starts all of them anew.
pub fn may_restart_all(pod: &Pod) -> bool {
    all_containers(pod).flat_map(|it| it.restart_policy_rules.iter().flatten()).any(|it| it.action == RESTART_ALL)
}

/// Whether something is done in a container before it counts as running.
pub fn has_post_start(container: &Container) -> bool {
    container.lifecycle.as_ref().is_some_and(|it| it.post_start.is_some())
}

/// The volumes that a container mounts; upstream makes no others.
pub fn mounted_volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let of_ephemeral = spec(pod).ephemeral_containers.iter().flatten().flat_map(|it| it.volume_mounts.iter().flatten());
    let mounts = all_containers(pod).flat_map(|it| it.volume_mounts.iter().flatten()).chain(of_ephemeral);
    let names: BTreeSet<&str> = mounts.map(|it| it.name.as_str()).collect();
    spec(pod).volumes.iter().flatten().filter(move |it| names.contains(it.name.as_str()))
}

/// Whether a volume of the pod shows fields of the pod itself.
pub fn shows_itself(pod: &Pod) -> bool {
    spec(pod).volumes.iter().flatten().any(|volume| {
        let projected = volume.projected.iter().flat_map(|it| it.sources.iter().flatten());
        volume.downward_api.is_some() || projected.into_iter().any(|source| source.downward_api.is_some())
    })
}

/// Whether the pod uses the node's network.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

/// The pod's UID; empty where the API gave none, which it never does.
pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Where a pod comes from, in its annotations: `api` or absent for the API, `file` for static pods.
pub const SOURCE_ANNOTATION: &str = "kubernetes.io/config.source";
/// On the API's image of a static pod: the UID of the pod that it shows.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Whether the pod comes from the node's own files.
pub fn is_static(pod: &Pod) -> bool {
    let source = pod.metadata.annotations.as_ref().and_then(|it| it.get(SOURCE_ANNOTATION));
    source.is_some_and(|it| it != "api") && mirrored(pod).is_none()
}

/// The UID of the static pod that this pod of the API is the image of.
pub fn mirrored(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(MIRROR_ANNOTATION).map(String::as_str)
}

/// The UID that the runtime knows the pod by.
pub fn runtime_uid(pod: &Pod) -> &str {
    mirrored(pod).unwrap_or_else(|| uid(pod))
}

/// Namespace and name.
pub fn key(pod: &Pod) -> ObjectKey {
    ObjectKey::of(&pod.metadata)
}

/// Seconds between the request to stop and the kill, as upstream computes it: what the deletion
/// asks for, else what the spec asks for; at least one.
pub fn grace_seconds(pod: &Pod) -> i64 {
    pod.metadata
        .deletion_timestamp
        .as_ref()
        .and(pod.metadata.deletion_grace_period_seconds)
        .or(spec(pod).termination_grace_period_seconds)
        .unwrap_or(DEFAULT_GRACE_SECONDS)
        .max(1)
}

/// Whether the API says that the pod has ended for good.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// A hash of the part of a container's definition whose change restarts it. Upstream's choice: name and
/// image, nothing else can change in place.
pub fn hash(container: &Container) -> String {
    let mut hasher = Sha256::new();
    hasher.update(container.name.as_bytes());
    hasher.update([0]);
    hasher.update(container.image.as_deref().unwrap_or_default().as_bytes());
    hasher.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The quality of service class: the one that the API has told, for it never changes; before that by upstream's rule.
/// `Guaranteed` where every container has equal, non-zero requests and limits of CPU and memory, `BestEffort` where none
/// has any, `Burstable` otherwise; what the pod asks for as a whole comes before what its containers do.
pub fn qos_class(pod: &Pod) -> &'static str {
    let told = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    if let Some(class) = QOS_CLASSES.into_iter().find(|class| told == Some(*class)) {
        return class;
    }
    let none = ResourceRequirements::default();
    let whole = spec(pod).resources.as_ref().filter(|it| it.requests.is_some() || it.limits.is_some());
    let said: Vec<&ResourceRequirements> = match whole {
        Some(whole) => vec![whole],
        None => all_containers(pod).map(|it| it.resources.as_ref().unwrap_or(&none)).collect(),
    };
    let (mut any, mut guaranteed) = (false, true);
    for resources in said {
        for resource in ["cpu", "memory"] {
            let limit = resources.limits.as_ref().and_then(|limits| limits.get(resource));
            let request = resources.requests.as_ref().and_then(|requests| requests.get(resource));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && (request.is_none() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

const QOS_CLASSES: [&str; 3] = ["Guaranteed", "Burstable", "BestEffort"];
