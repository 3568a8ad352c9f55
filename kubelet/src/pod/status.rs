//! What to say about a pod: its `status`, as a pure function of the spec, the runtime's state, what the
//! worker remembers, the probes' results and the time.
//!
//! Fields, reasons and phases are upstream's (`pkg/kubelet/status/generate.go`, `kubelet_pods.go`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements,
    VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::observed::{Container, ContainerState, PodObserved};
use super::plan::{Intent, NodeFacts, Outcome, Target, WorkerState, outcome, rounds};
use super::{resize, resources, spec};

/// Everything that a status is made of.
#[derive(Clone, Copy)]
pub struct StatusInput<'a> {
    /// The pod, with the status that the API has.
    pub pod: &'a Pod,
    /// What the runtime shows.
    pub observed: &'a PodObserved,
    /// What the worker remembers.
    pub worker: &'a WorkerState,
    /// Containers (by id) whose readiness probe succeeds, or that have none.
    pub ready: &'a BTreeSet<String>,
    /// Facts about the node.
    pub node: NodeFacts<'a>,
    /// The node's address.
    pub host_ip: &'a str,
    /// The node did not take the pod.
    pub rejected: bool,
    /// Why the kubelet ended the pod, as reason and message, where it did.
    pub failure: Option<(&'a str, &'a str)>,
}

const CONTAINER_RUNTIME_SCHEME: &str = "containerd://";

/// The exit code of a container that the runtime lost.
const EXIT_CODE_UNKNOWN: i32 = 137;

/// The pod's status at `now`. Conditions that the kubelet does not own are kept as they are.
pub fn status(input: StatusInput<'_>, now: Timestamp) -> PodStatus {
    let StatusInput { pod, observed, worker, .. } = input;
    let old = pod.status.clone().unwrap_or_default();
    if input.rejected {
        return refused(pod, old, input.failure, now);
    }
    let terminating = matches!(worker.intent, Intent::Terminate(_));
    let init = statuses(input, spec::init_containers(pod), old.init_container_statuses.as_deref(), true, now);
    let apps = statuses(input, spec::containers(pod), old.container_statuses.as_deref(), false, now);
    let ephemeral: Vec<ContainerSpec> = spec::ephemeral_containers(pod).collect();
    let ephemeral = statuses(input, &ephemeral, old.ephemeral_container_statuses.as_deref(), false, now);
    let phase = phase(input, &old, &init, &apps);
    let terminal = matches!(phase, "Succeeded" | "Failed");

    let initialized = initialized(pod, &init) || apps.iter().any(has_run);
    let sandbox_ready = observed.ready_sandbox().is_some() && !terminal;
    let unready: Vec<&str> = apps.iter().filter(|it| !it.ready).map(|it| it.name.as_str()).collect();
    let (ready, reason, message) = if phase == "Succeeded" {
        (false, "PodCompleted", String::new())
    } else if phase == "Failed" {
        (false, "PodFailed", String::new())
    } else if unready.is_empty() {
        (true, "", String::new())
    } else {
        (false, "ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
    };
    let (init_reason, init_message) = if initialized {
        (if phase == "Succeeded" { "PodCompleted" } else { "" }, String::new())
    } else {
        let waiting: Vec<&str> = init.iter().filter(|it| !init_done(pod, it)).map(|it| it.name.as_str()).collect();
        ("ContainersNotInitialized", format!("containers with incomplete status: [{}]", waiting.join(" ")))
    };
    let gates = readiness_gates(pod, &old);
    let (pod_ready, ready_reason, ready_message) = match &gates {
        Some(message) if ready => (false, "ReadinessGatesNotReady", message.clone()),
        _ => (ready, reason, message.clone()),
    };
    let mut own = vec![
        condition("PodReadyToStartContainers", sandbox_ready, "", String::new()),
        condition("Initialized", initialized, init_reason, init_message),
        condition("Ready", pod_ready, ready_reason, ready_message),
        condition("ContainersReady", ready, reason, message),
        condition("PodScheduled", true, "", String::new()),
    ];
    if let Some((_, message)) = input.failure.filter(|(reason, _)| *reason == "Evicted") {
        own.push(condition("DisruptionTarget", true, "TerminationByKubelet", message.to_owned()));
    }

    own.extend(resize_conditions(input));
    if spec::may_restart_all(pod) {
        let restarting = !terminal && rounds::is_ending(pod, observed);
        let (reason, message) = match (restarting, phase) {
            (true, _) => ("RestartAllContainersStarted", "container exited with restart policy rule"),
            (false, "Succeeded") => ("PodCompleted", ""),
            (false, "Failed") => ("PodFailed", ""),
            (false, _) => ("", ""),
        };
        own.push(condition("AllContainersRestarting", restarting, reason, message.to_owned()));
    }
    let mut ips: Vec<String> =
        observed.sandbox().filter(|_| !terminal || terminating).map(|it| it.ips.clone()).unwrap_or_default();
    if spec::host_network(pod) {
        ips = if observed.sandbox().is_some() || old.pod_ip.is_some() {
            vec![input.host_ip.to_owned()]
        } else {
            Vec::new()
        };
    } else if ips.is_empty() {
        // The address stays in the status after the sandbox went, as upstream keeps it.
        ips = old.pod_ips.clone().unwrap_or_default().into_iter().map(|it| it.ip).collect();
    }
    let (reason, message) = match input.failure {
        Some((reason, message)) => (Some(reason.to_owned()), Some(message.to_owned())),
        None => (old.reason.clone(), old.message.clone()),
    };
    let (resources, allocated_resources) = resources_as_a_whole(input, &old);
    PodStatus {
        resources,
        allocated_resources,
        phase: Some(phase.into()),
        conditions: Some(merge_conditions(old.conditions.as_deref().unwrap_or_default(), &own, pod, now)),
        container_statuses: Some(apps).filter(|it| !it.is_empty()),
        init_container_statuses: Some(init).filter(|it| !it.is_empty()),
        ephemeral_container_statuses: Some(ephemeral).filter(|it| !it.is_empty()),
        host_ip: Some(input.host_ip.into()),
        host_ips: Some(vec![HostIP { ip: input.host_ip.into() }]),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect::<Vec<_>>()).filter(|it| !it.is_empty()),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| spec::qos_class(pod).into())),
        start_time: old.start_time.clone().or(Some(Time(now))),
        observed_generation: pod.metadata.generation,
        reason,
        message,
        ..old
    }
}

/// Conditions that are there only while they hold.
const PASSING: [&str; 2] = ["PodResizePending", "PodResizeInProgress"];

/// What becomes of resources that the spec says and containers do not have yet.
fn resize_conditions(input: StatusInput<'_>) -> Vec<PodCondition> {
    let StatusInput { pod, observed, worker, .. } = input;
    let mut conditions = Vec::new();
    if let Some((reason, message)) = &worker.resize_pending {
        conditions.push(condition(PASSING[0], true, reason, message.clone()));
    }
    if resize::is_due(pod, observed, worker) {
        let failure = worker.failures.iter().find(|(it, _)| matches!(it, Target::Resize(_) | Target::ResizePod));
        let (reason, message) = failure.map_or(("", String::new()), |(_, it)| ("Error", it.message.clone()));
        conditions.push(condition(PASSING[1], true, reason, message));
    }
    conditions
}

/// The resources that the pod has as a whole, and those that the node has given it; none where nothing is said of any.
fn resources_as_a_whole(input: StatusInput<'_>, old: &PodStatus) -> (Option<ResourceRequirements>, Option<Amounts>) {
    let StatusInput { pod, observed, worker, .. } = input;
    let some = |amounts: Amounts| Some(amounts).filter(|it| !it.is_empty());
    let requests = some(resources::in_all(pod, false));
    let limits = some(resources::in_all(pod, true));
    if requests.is_none() && limits.is_none() {
        return (None, None);
    }
    let all = ResourceRequirements { requests: requests.clone(), limits, ..ResourceRequirements::default() };
    // While the pod has what it had before, its status says so.
    let kept = old.resources.clone().filter(|_| resize::is_due(pod, observed, worker));
    (kept.or(Some(all)), requests)
}

type Amounts = BTreeMap<String, Quantity>;

/// The status of a pod that the node did not take.
fn refused(pod: &Pod, old: PodStatus, why: Option<(&str, &str)>, now: Timestamp) -> PodStatus {
    PodStatus {
        phase: Some("Failed".into()),
        reason: why.map(|(reason, _)| reason.to_owned()),
        message: why.map(|(_, message)| message.to_owned()),
        qos_class: Some(old.qos_class.clone().unwrap_or_else(|| spec::qos_class(pod).into())),
        start_time: old.start_time.clone().or(Some(Time(now))),
        observed_generation: pod.metadata.generation,
        ..old
    }
}

fn phase(input: StatusInput<'_>, old: &PodStatus, init: &[ContainerStatus], apps: &[ContainerStatus]) -> &'static str {
    match old.phase.as_deref() {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ => {}
    }
    let terminated = |it: &&ContainerStatus| it.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let terminating = matches!(input.worker.intent, Intent::Terminate(_));
    let stopped = input.observed.live().next().is_none()
        && input.worker.in_flight.iter().all(|it| !matches!(it, Target::Start(_) | Target::Sandbox));
    if terminating && stopped {
        if input.failure.is_some() {
            return "Failed";
        }
        let all_zero = apps.iter().all(|it| {
            it.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|it| it.exit_code == 0)
        });
        if apps.iter().all(|it| terminated(&it)) {
            return if all_zero { "Succeeded" } else { "Failed" };
        }
        return "Failed";
    }
    match outcome(input.pod, input.observed) {
        Some(_) if input.observed.live().next().is_some() => "Running",
        Some(Outcome::Succeeded) => "Succeeded",
        Some(Outcome::Failed) => "Failed",
        None if !initialized(input.pod, init) && !apps.iter().any(has_run) => "Pending",
        None if apps.iter().all(has_run) => "Running",
        None => "Pending",
    }
}

/// Whether a container has run at least once.
fn has_run(status: &ContainerStatus) -> bool {
    let started = |state: &Option<ApiState>| {
        state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    started(&status.state) || started(&status.last_state)
}

fn init_done(pod: &Pod, status: &ContainerStatus) -> bool {
    let sidecar = spec::container(pod, &status.name).is_some_and(spec::is_sidecar);
    if sidecar {
        return status.started == Some(true);
    }
    status.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|it| it.exit_code == 0)
}

fn initialized(pod: &Pod, init: &[ContainerStatus]) -> bool {
    init.iter().all(|status| init_done(pod, status))
}

fn readiness_gates(pod: &Pod, old: &PodStatus) -> Option<String> {
    let conditions = old.conditions.as_deref().unwrap_or_default();
    let missing: Vec<String> = spec::spec(pod)
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match conditions.iter().find(|it| it.type_ == *kind) {
                None => Some(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
                Some(it) if it.status != "True" => {
                    Some(format!("the status of pod readiness gate \"{kind}\" is not \"True\", but {}", it.status))
                }
                Some(_) => None,
            }
        })
        .collect();
    Some(missing.join(", ")).filter(|message| !message.is_empty())
}

fn condition(kind: &str, status: bool, reason: &str, message: String) -> PodCondition {
    PodCondition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: Some(reason.to_owned()).filter(|it| !it.is_empty()),
        message: Some(message).filter(|it| !it.is_empty()),
        ..PodCondition::default()
    }
}

/// Puts the kubelet's conditions among the others; the transition time changes with the status only.
fn merge_conditions(old: &[PodCondition], own: &[PodCondition], pod: &Pod, now: Timestamp) -> Vec<PodCondition> {
    let mut merged: Vec<PodCondition> =
        old.iter().filter(|it| !own.iter().any(|mine| mine.type_ == it.type_)).cloned().collect();
    merged.retain(|it| !PASSING.contains(&it.type_.as_str()));
    for mine in own {
        let mut mine = mine.clone();
        let before = old.iter().find(|it| it.type_ == mine.type_);
        mine.last_transition_time = before
            .filter(|it| it.status == mine.status)
            .and_then(|it| it.last_transition_time.clone())
            .or(Some(Time(now)));
        mine.observed_generation = pod.metadata.generation;
        merged.push(mine);
    }
    merged
}

fn statuses(
    input: StatusInput<'_>,
    containers: &[ContainerSpec],
    old: Option<&[ContainerStatus]>,
    init: bool,
    now: Timestamp,
) -> Vec<ContainerStatus> {
    containers
        .iter()
        .map(|container| {
            let old = old.unwrap_or_default().iter().find(|it| it.name == container.name);
            container_status(input, container, old, init, now)
        })
        .collect()
}

fn container_status(
    input: StatusInput<'_>,
    container: &ContainerSpec,
    old: Option<&ContainerStatus>,
    init: bool,
    now: Timestamp,
) -> ContainerStatus {
    let StatusInput { pod, observed, worker, .. } = input;
    let terminating = matches!(worker.intent, Intent::Terminate(_));
    let base = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        last_state: Some(ApiState::default()),
        ..ContainerStatus::default()
    };
    // The runtime may have forgotten a container that the API knows: its end stays told.
    let Some(latest) = observed.latest(&container.name) else {
        return match old {
            Some(old) if terminating || spec::is_terminal(pod) => ended_unseen(old, now),
            _ => {
                ContainerStatus { state: Some(waiting(pending_reason(input, container))), started: Some(false), ..base }
            }
        };
    };
    let previous = observed.before(&container.name, latest.attempt).filter(|it| it.state == ContainerState::Exited);
    let mut status = ContainerStatus {
        image: if latest.image.is_empty() { base.image } else { latest.image.clone() },
        image_id: latest.image_id.clone(),
        container_id: Some(format!("{CONTAINER_RUNTIME_SCHEME}{}", latest.id)),
        restart_count: latest.restart_count,
        last_state: previous
            .map(terminated)
            .or_else(|| old.filter(|it| it.restart_count == latest.restart_count).and_then(|it| it.last_state.clone()))
            .or(base.last_state),
        started: Some(false),
        allocated_resources: container.resources.as_ref().and_then(|it| it.requests.clone()),
        resources: Some(container.resources.clone().unwrap_or_default()),
        volume_mounts: mounted(container),
        ..ContainerStatus { name: container.name.clone(), ..ContainerStatus::default() }
    };
    // While a container has what it had before, its status says so.
    if latest.state == ContainerState::Running
        && resize::way(pod, container, latest, &worker.resized).is_some()
        && let Some(old) = old
    {
        status.resources.clone_from(&old.resources);
        status.allocated_resources.clone_from(&old.allocated_resources);
    }
    match latest.state {
        // It counts as running when its hook has succeeded.
        ContainerState::Running
            if spec::has_post_start(container) && !terminating && !worker.post_started.contains(&latest.id) =>
        {
            status.state = Some(waiting(pending_reason(input, container)));
        }
        ContainerState::Running => {
            let started = worker.started.contains(&latest.id);
            status.started = Some(started);
            status.ready = if init && !spec::is_sidecar(container) {
                false
            } else {
                started && !worker.unhealthy.contains_key(&latest.id) && input.ready.contains(&latest.id)
            };
            status.state = Some(ApiState {
                running: Some(ContainerStateRunning { started_at: latest.started_at.map(Time) }),
                ..ApiState::default()
            });
        }
        ContainerState::Exited => {
            let again = !terminating
                && !spec::is_terminal(pod)
                && outcome(pod, observed).is_none()
                && (will_restart(pod, container, latest)
                    || rounds::is_outdated(pod, latest, rounds::last_call(pod, observed)));
            if again {
                status.last_state = Some(terminated(latest));
                status.state = Some(waiting(restart_reason(input, container, latest, now)));
            } else {
                status.ready = init && latest.exit_code == 0;
                status.state = Some(terminated(latest));
            }
        }
        ContainerState::Created | ContainerState::Unknown => {
            status.state = Some(waiting(pending_reason(input, container)));
        }
    }
    status
}

fn will_restart(pod: &Pod, container: &ContainerSpec, latest: &Container) -> bool {
    !spec::is_ephemeral(pod, &container.name) && spec::restarts(pod, container, latest.exit_code)
}

/// The volumes that a container has, as its status shows them.
fn mounted(container: &ContainerSpec) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|it| !it.is_empty())?;
    let describe = |mount: &VolumeMount| {
        let read_only = mount.read_only.filter(|it| *it);
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| "Disabled".to_owned()),
            ..VolumeMountStatus::default()
        }
    };
    Some(mounts.iter().map(describe).collect())
}

fn terminated(container: &Container) -> ApiState {
    let reason = match (container.reason.as_str(), container.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    ApiState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(format!("{CONTAINER_RUNTIME_SCHEME}{}", container.id)),
            exit_code: container.exit_code,
            started_at: container.started_at.map(Time),
            finished_at: container.finished_at.map(Time),
            reason: Some(reason.into()),
            message: Some(container.message.clone()).filter(|it| !it.is_empty()),
            signal: None,
        }),
        ..ApiState::default()
    }
}

fn ended_unseen(old: &ContainerStatus, now: Timestamp) -> ContainerStatus {
    let mut status = old.clone();
    status.ready = false;
    status.started = Some(false);
    let ended = status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let running = status.state.as_ref().is_some_and(|state| state.running.is_some());
    if running && !ended {
        status.state = Some(ApiState {
            terminated: Some(ContainerStateTerminated {
                container_id: old.container_id.clone(),
                exit_code: EXIT_CODE_UNKNOWN,
                reason: Some("ContainerStatusUnknown".into()),
                message: Some("The container could not be located when the pod was terminated".into()),
                finished_at: Some(Time(now)),
                ..ContainerStateTerminated::default()
            }),
            ..ApiState::default()
        });
    }
    status
}

fn waiting((reason, message): (String, String)) -> ApiState {
    ApiState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason),
            message: Some(message).filter(|it| !it.is_empty()),
        }),
        ..ApiState::default()
    }
}

/// Why a container does not run yet.
fn pending_reason(input: StatusInput<'_>, container: &ContainerSpec) -> (String, String) {
    if let Some(failed) = start_failure(input, container) {
        return failed;
    }
    // Upstream's words for every container of a pod that has init containers, those themselves included.
    let initializes = !spec::init_containers(input.pod).is_empty();
    (if initializes { "PodInitializing" } else { "ContainerCreating" }.into(), String::new())
}

/// Why an ended container does not run again yet. While it waits, that is the reason; how it ended, its last state says.
fn restart_reason(
    input: StatusInput<'_>,
    container: &ContainerSpec,
    latest: &Container,
    now: Timestamp,
) -> (String, String) {
    let starting = input.worker.in_flight.contains(&Target::Start(container.name.clone()));
    let tuning = input.node.tuning;
    let backoff = input.worker.crash.get(&container.name).copied().unwrap_or_default();
    let ready = backoff.ready_at(latest.finished_at.unwrap_or(latest.created_at), now, tuning.crash);
    if ready > now && !starting {
        let key = spec::key(input.pod);
        let message = format!(
            "back-off {} restarting failed container={} pod={}_{}({})",
            words(backoff.delay()),
            container.name,
            key.name,
            key.namespace,
            spec::uid(input.pod)
        );
        return ("CrashLoopBackOff".into(), message);
    }
    pending_reason(input, container)
}

fn start_failure(input: StatusInput<'_>, container: &ContainerSpec) -> Option<(String, String)> {
    let failures = &input.worker.failures;
    let image = Target::Image(container.name.clone());
    if let Some(failure) = failures.get(&image) {
        // The first state after a failed pull names the error, later ones the wait.
        let reason = match (failure.reason.as_str(), input.worker.in_flight.contains(&image)) {
            ("ErrImagePull", false) if failure.backoff.delay() > input.node.tuning.image_pull.initial => {
                "ImagePullBackOff"
            }
            (reason, _) => reason,
        };
        let message = if reason == "ImagePullBackOff" {
            format!(
                "Back-off pulling image \"{}\": ErrImagePull: {}",
                container.image.as_deref().unwrap_or_default(),
                failure.message
            )
        } else {
            failure.message.clone()
        };
        return Some((reason.into(), message));
    }
    let failure = failures.get(&Target::Start(container.name.clone()))?;
    Some((failure.reason.clone(), failure.message.clone()))
}

/// A delay in Go's words: `10s`, `2m40s`, `5m0s`.
fn words(delay: std::time::Duration) -> String {
    let seconds = delay.as_secs();
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}
