//! What to do next for a pod: a pure function of its spec, the runtime's state, what the worker
//! remembers, and the time.
//!
//! Rules that hold for every answer, and that the property tests check:
//! - an action whose [`Target`] is in flight is never asked for again;
//! - a container is started only while no container of its name is live, and only in a ready sandbox;
//! - a sandbox is made only while no other sandbox of the pod is ready;
//! - a terminating or finished pod starts nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};

use super::backoff::Backoff;
use super::observed::{Container, ContainerState, PodObserved};
use super::spec;
use crate::config::Tuning;

/// What an action works on; at most one action per target is in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The pod's volumes.
    Volumes,
    /// The making of a sandbox.
    Sandbox,
    /// The image of the container of this name.
    Image(String),
    /// The start of the container of this name.
    Start(String),
    /// The stop of a container by id, to be dead at the time in seconds since 1970.
    Stop(String, i64),
    /// The stop of a sandbox by id.
    StopSandbox(String),
    /// The removal of a sandbox by id.
    RemoveSandbox(String),
    /// The removal of a container by id.
    RemoveContainer(String),
    /// The pod's files and cgroups.
    Cleanup,
    /// The pod's object in the API.
    Object,
}

impl Target {
    /// Under which the target's failures are kept: a stop with another deadline is the same stop.
    pub fn failure_key(&self) -> Target {
        match self {
            Target::Stop(id, _) => Target::Stop(id.clone(), 0),
            other => other.clone(),
        }
    }
}

/// One thing for the executor to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the pod's folders and fill its volumes.
    PrepareVolumes,
    /// Make a sandbox with this attempt number.
    CreateSandbox {
        /// The attempt number, one above all earlier ones.
        attempt: u32,
    },
    /// See that the container's image is there, by its pull policy.
    EnsureImage {
        /// The container's name.
        container: String,
    },
    /// Create and start a container.
    StartContainer {
        /// The container's name.
        container: String,
        /// The sandbox to start it in.
        sandbox_id: String,
        /// The attempt number; also the restart count.
        attempt: u32,
    },
    /// Ask a container to end, and kill it after the grace period.
    StopContainer {
        /// The runtime's id.
        id: String,
        /// The container's name.
        container: String,
        /// Seconds from now to the kill.
        grace_seconds: i64,
        /// When it has to be dead, in seconds since 1970.
        deadline: i64,
        /// Why, in the words of the `Killing` event.
        message: String,
    },
    /// Stop a sandbox and take its network down.
    StopSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a stopped sandbox and the containers in it.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a dead container.
    RemoveContainer {
        /// The runtime's id.
        id: String,
    },
    /// Remove the pod's folders, mounts and cgroups.
    Cleanup,
    /// Delete the pod's object for good.
    DeleteObject,
    /// Nothing more to do: forget the pod.
    Forget,
    /// Look again at this time.
    WakeAt(Timestamp),
}

impl Action {
    /// What the action works on; `None` for those that are no work.
    pub fn target(&self) -> Option<Target> {
        Some(match self {
            Action::PrepareVolumes => Target::Volumes,
            Action::CreateSandbox { .. } => Target::Sandbox,
            Action::EnsureImage { container } => Target::Image(container.clone()),
            Action::StartContainer { container, .. } => Target::Start(container.clone()),
            Action::StopContainer { id, deadline, .. } => Target::Stop(id.clone(), *deadline),
            Action::StopSandbox { id } => Target::StopSandbox(id.clone()),
            Action::RemoveSandbox { id } => Target::RemoveSandbox(id.clone()),
            Action::RemoveContainer { id } => Target::RemoveContainer(id.clone()),
            Action::Cleanup => Target::Cleanup,
            Action::DeleteObject => Target::Object,
            Action::Forget | Action::WakeAt(_) => return None,
        })
    }

    /// Whether the action brings something up, and so counts against the bound of starts in flight.
    pub fn is_start(&self) -> bool {
        matches!(self, Action::CreateSandbox { .. } | Action::StartContainer { .. })
    }
}

/// What is wanted of the pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Intent {
    /// It is to run until it ends by itself.
    #[default]
    Run,
    /// It is to be stopped.
    Terminate(Termination),
}

/// How a pod is to be stopped.
#[derive(Clone, Debug, PartialEq)]
pub struct Termination {
    /// When the stop was asked for.
    pub since: Timestamp,
    /// Seconds from then to the kill.
    pub grace_seconds: i64,
    /// Whether everything of the pod goes, its object included, or only its processes.
    pub remove: bool,
}

/// A try that failed, and when the next one may be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    /// The reason as the container's waiting state shows it (`CreateContainerError`), or empty.
    pub reason: String,
    /// What went wrong.
    pub message: String,
    /// When it went wrong.
    pub at: Timestamp,
    /// The delay to the next try.
    pub backoff: Backoff,
}

/// What a pod's worker remembers between events. All of it may be lost with the process: it is found again
/// by trying.
#[derive(Clone, Debug, Default)]
pub struct WorkerState {
    /// What is wanted of the pod.
    pub intent: Intent,
    /// The targets that an action works on now.
    pub in_flight: BTreeSet<Target>,
    /// The volumes are filled.
    pub volumes_ready: bool,
    /// What the volumes are filled from has changed since.
    pub volumes_stale: bool,
    /// The images that are present for the next start, by container.
    pub images: BTreeMap<String, String>,
    /// Restart back-off by container.
    pub crash: BTreeMap<String, Backoff>,
    /// Tries that failed.
    pub failures: BTreeMap<Target, Failure>,
    /// Containers (by id) that have to be restarted, and why (a liveness or startup probe failed).
    pub unhealthy: BTreeMap<String, String>,
    /// Containers (by id) whose startup is over: no startup probe, or it succeeded.
    pub started: BTreeSet<String>,
    /// Sandboxes whose stop succeeded.
    pub stopped_sandboxes: BTreeSet<String>,
    /// The pod's files and cgroups are gone.
    pub cleaned: bool,
    /// The API has the pod's latest status.
    pub status_written: bool,
    /// The API has no such object any more.
    pub object_gone: bool,
}

impl WorkerState {
    fn busy(&self, target: &Target) -> bool {
        self.in_flight.contains(target)
    }

    fn stopping(&self, id: &str, deadline: i64) -> bool {
        self.in_flight
            .iter()
            .any(|target| matches!(target, Target::Stop(stopped, at) if stopped == id && *at <= deadline))
    }
}

/// Facts about the node that decide about a pod.
#[derive(Clone, Copy, Debug)]
pub struct NodeFacts<'a> {
    /// Whether the runtime can give pods a network.
    pub network_ready: bool,
    /// Periods and limits.
    pub tuning: &'a Tuning,
}

/// Whether nothing of the pod will be started again, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All app containers ended with code 0.
    Succeeded,
    /// Something failed for good.
    Failed,
}

/// How the pod ended, if it has ended for good by its restart policy.
pub fn outcome(pod: &Pod, observed: &PodObserved) -> Option<Outcome> {
    let policy = spec::restart_policy(pod);
    if policy == spec::RestartPolicy::Never {
        let failed_init = spec::init_containers(pod).iter().filter(|init| !spec::is_sidecar(init)).any(|init| {
            observed.latest(&init.name).is_some_and(|it| it.state == ContainerState::Exited && it.exit_code != 0)
        });
        if failed_init {
            return Some(Outcome::Failed);
        }
    }
    let mut outcome = Outcome::Succeeded;
    for container in spec::containers(pod) {
        let latest = observed.latest(&container.name)?;
        if latest.state != ContainerState::Exited || policy.restarts(latest.exit_code) {
            return None;
        }
        if latest.exit_code != 0 {
            outcome = Outcome::Failed;
        }
    }
    Some(outcome)
}

/// What to do next. `pod` is absent for a pod that the runtime has and the API does not.
pub fn next_actions(
    pod: Option<&Pod>,
    observed: &PodObserved,
    worker: &WorkerState,
    node: NodeFacts<'_>,
    now: Timestamp,
) -> Vec<Action> {
    let mut plan = Plan { observed, worker, node, now, actions: Vec::new(), wake: None };
    match (&worker.intent, pod) {
        (Intent::Terminate(termination), _) => plan.terminate(termination),
        (Intent::Run, Some(pod)) if spec::is_terminal(pod) || outcome(pod, observed).is_some() => {
            plan.finish(spec::grace_seconds(pod));
        }
        (Intent::Run, Some(pod)) => plan.run(pod),
        (Intent::Run, None) => {}
    }
    plan.into_actions()
}

struct Plan<'a> {
    observed: &'a PodObserved,
    worker: &'a WorkerState,
    node: NodeFacts<'a>,
    now: Timestamp,
    actions: Vec<Action>,
    wake: Option<Timestamp>,
}

impl Plan<'_> {
    /// Asks for an action unless its target is busy or waits after a failure.
    fn ask(&mut self, action: Action) {
        let Some(target) = action.target() else {
            self.actions.push(action);
            return;
        };
        if self.worker.busy(&target) {
            return;
        }
        if let Some(failure) = self.worker.failures.get(&target.failure_key()) {
            let limits = match target {
                Target::Image(_) => self.node.tuning.image_pull,
                _ => self.node.tuning.retry,
            };
            let ready = failure.backoff.ready_at(failure.at, self.now, limits);
            if ready > self.now {
                self.wake_at(ready);
                return;
            }
        }
        self.actions.push(action);
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |earlier| earlier.min(time)));
    }

    fn into_actions(mut self) -> Vec<Action> {
        if let Some(time) = self.wake {
            self.actions.push(Action::WakeAt(time));
        }
        self.actions
    }

    fn stop(&mut self, container: &Container, since: Timestamp, grace_seconds: i64, message: String) {
        let deadline = since.as_second() + grace_seconds;
        if self.worker.stopping(&container.id, deadline) {
            return;
        }
        let remaining = since
            .checked_add(SignedDuration::from_secs(grace_seconds))
            .map_or(0, |end| end.duration_since(self.now).as_secs().max(0));
        // Upstream never kills without at least two seconds of notice once the kubelet was late itself; we
        // keep what is left of the period, at least one second while some was asked for.
        let grace_seconds = if grace_seconds > 0 { remaining.max(1) } else { 0 };
        self.ask(Action::StopContainer {
            id: container.id.clone(),
            container: container.name.clone(),
            grace_seconds,
            deadline,
            message,
        });
    }

    // --- terminating ------------------------------------------------------------------------------------

    fn terminate(&mut self, termination: &Termination) {
        let observed = self.observed;
        let starting = |target: &Target| matches!(target, Target::Start(_) | Target::Sandbox);
        for container in observed.live() {
            let message = format!("Stopping container {}", container.name);
            self.stop(container, termination.since, termination.grace_seconds, message);
        }
        // What is being started is stopped when it is there: its id is not known before.
        if observed.live().next().is_some() || self.worker.in_flight.iter().any(starting) {
            return;
        }
        if !self.stop_sandboxes() || !termination.remove {
            return;
        }
        for sandbox in &observed.sandboxes {
            self.ask(Action::RemoveSandbox { id: sandbox.id.clone() });
        }
        for container in &observed.containers {
            if !observed.sandboxes.iter().any(|sandbox| sandbox.id == container.sandbox_id) {
                self.ask(Action::RemoveContainer { id: container.id.clone() });
            }
        }
        if !observed.is_empty() || !self.worker.in_flight.is_empty() {
            return;
        }
        if !self.worker.cleaned {
            self.ask(Action::Cleanup);
        } else if self.worker.object_gone {
            self.ask(Action::Forget);
        } else if self.worker.status_written {
            self.ask(Action::DeleteObject);
        }
    }

    /// Stops every sandbox that is not known to be stopped; true when all are.
    fn stop_sandboxes(&mut self) -> bool {
        let observed = self.observed;
        let mut all = true;
        for sandbox in &observed.sandboxes {
            if sandbox.ready || !self.worker.stopped_sandboxes.contains(&sandbox.id) {
                all = false;
                self.ask(Action::StopSandbox { id: sandbox.id.clone() });
            }
        }
        all
    }

    // --- finished ---------------------------------------------------------------------------------------

    /// The pod has ended by itself: stop what is left (sidecars, the sandbox), keep the dead containers for
    /// their logs.
    fn finish(&mut self, grace_seconds: i64) {
        let observed = self.observed;
        for container in observed.live() {
            let message = format!("Stopping container {}", container.name);
            self.stop(container, self.now, grace_seconds, message);
        }
        if observed.live().next().is_none() && !self.worker.in_flight.contains(&Target::Sandbox) {
            self.stop_sandboxes();
        }
        self.prune();
    }

    // --- running ----------------------------------------------------------------------------------------

    fn run(&mut self, pod: &Pod) {
        self.prune();
        let observed = self.observed;
        let Some(sandbox) = observed.ready_sandbox() else {
            self.make_sandbox(pod);
            return;
        };
        // Containers of an earlier sandbox have no network any more.
        let mut stale = false;
        for container in observed.live().filter(|container| container.sandbox_id != sandbox.id) {
            stale = true;
            self.stop(
                container,
                self.now,
                spec::grace_seconds(pod),
                "Pod sandbox changed, it will be killed and re-created.".into(),
            );
        }
        if stale {
            return;
        }
        if !self.worker.volumes_ready || self.worker.volumes_stale {
            self.ask(Action::PrepareVolumes);
        }
        let app_started = spec::containers(pod)
            .iter()
            .any(|app| observed.latest(&app.name).is_some_and(|it| it.sandbox_id == sandbox.id));
        for init in spec::init_containers(pod) {
            let passed = if spec::is_sidecar(init) {
                self.advance(pod, init, &sandbox.id, true)
            } else {
                app_started || self.advance(pod, init, &sandbox.id, false)
            };
            if !passed {
                return;
            }
        }
        for app in spec::containers(pod) {
            self.advance(pod, app, &sandbox.id, false);
        }
    }

    fn make_sandbox(&mut self, pod: &Pod) {
        let observed = self.observed;
        let mut clear = true;
        for container in observed.live() {
            clear = false;
            self.stop(
                container,
                self.now,
                spec::grace_seconds(pod),
                "Pod sandbox changed, it will be killed and re-created.".into(),
            );
        }
        if let Some(newest) = observed.sandbox() {
            if !self.worker.stopped_sandboxes.contains(&newest.id) {
                clear = false;
                self.ask(Action::StopSandbox { id: newest.id.clone() });
            }
            // Upstream: a pod that never restarts gets no second sandbox once it had containers.
            if spec::restart_policy(pod) == spec::RestartPolicy::Never && !observed.containers.is_empty() {
                return;
            }
        }
        if !self.worker.volumes_ready {
            self.ask(Action::PrepareVolumes);
            clear = false;
        }
        // The image's presence does not depend on the sandbox: both are seen to together.
        if let Some(first) = spec::init_containers(pod).first() {
            self.ensure_image(first);
        } else {
            for app in spec::containers(pod) {
                self.ensure_image(app);
            }
        }
        if clear && (self.node.network_ready || spec::host_network(pod)) {
            let attempt = observed.sandbox().map_or(0, |sandbox| sandbox.attempt + 1);
            self.ask(Action::CreateSandbox { attempt });
        }
    }

    fn ensure_image(&mut self, container: &ContainerSpec) -> bool {
        if self.worker.images.contains_key(&container.name) {
            return true;
        }
        self.ask(Action::EnsureImage { container: container.name.clone() });
        false
    }

    /// Moves one container on. True when what comes after it may go ahead: a sidecar that has started, any
    /// other container that ended well.
    fn advance(&mut self, pod: &Pod, container: &ContainerSpec, sandbox_id: &str, sidecar: bool) -> bool {
        let observed = self.observed;
        let policy = if sidecar { spec::RestartPolicy::Always } else { init_policy(pod, container) };
        let Some(latest) = observed.latest(&container.name) else {
            self.start(container, sandbox_id, 0);
            return false;
        };
        let here = latest.sandbox_id == sandbox_id;
        match latest.state {
            ContainerState::Running => {
                if latest.hash != spec::hash(container) {
                    let message = format!("Container {} definition changed, will be restarted", latest.name);
                    self.stop(latest, self.now, spec::grace_seconds(pod), message);
                } else if let Some(message) = self.worker.unhealthy.get(&latest.id) {
                    let message = message.clone();
                    self.stop(latest, self.now, spec::grace_seconds(pod), message);
                }
                sidecar && self.worker.started.contains(&latest.id)
            }
            ContainerState::Unknown => {
                let message = format!("Container {} is in unknown state, try killing it before restart", latest.name);
                self.stop(latest, self.now, spec::grace_seconds(pod), message);
                false
            }
            ContainerState::Created => {
                // The kubelet ended between create and start, or a start is in flight now.
                self.start(container, sandbox_id, latest.attempt + 1);
                false
            }
            ContainerState::Exited => {
                let succeeded = latest.exit_code == 0;
                let is_init = spec::init_containers(pod).iter().any(|init| init.name == container.name);
                if is_init && !sidecar && here && succeeded {
                    return true;
                }
                // A new sandbox runs the init containers again, whatever their code.
                let again = (is_init && !here) || policy.restarts(latest.exit_code);
                if !again {
                    return false;
                }
                let ended = latest.finished_at.unwrap_or(latest.created_at);
                let backoff = self.worker.crash.get(&container.name).copied().unwrap_or_default();
                let ready = backoff.ready_at(ended, self.now, self.node.tuning.crash);
                if ready > self.now {
                    self.wake_at(ready);
                } else {
                    self.start(container, sandbox_id, latest.attempt + 1);
                }
                false
            }
        }
    }

    fn start(&mut self, container: &ContainerSpec, sandbox_id: &str, attempt: u32) {
        if self.worker.busy(&Target::Start(container.name.clone())) {
            return;
        }
        if self.ensure_image(container) && self.worker.volumes_ready {
            self.ask(Action::StartContainer {
                container: container.name.clone(),
                sandbox_id: sandbox_id.to_owned(),
                attempt,
            });
        }
    }

    /// Removes dead containers but the newest two of each name (the current one and the one before it, for
    /// `logs --previous`), and old sandboxes that hold no container.
    fn prune(&mut self) {
        let observed = self.observed;
        let mut kept: BTreeMap<&str, u32> = BTreeMap::new();
        for container in &observed.containers {
            let seen = kept.entry(&container.name).or_default();
            *seen += 1;
            let dead = matches!(container.state, ContainerState::Exited | ContainerState::Created);
            if *seen > 2 && dead {
                self.ask(Action::RemoveContainer { id: container.id.clone() });
            }
        }
        for sandbox in observed.sandboxes.iter().skip(1) {
            if observed.containers.iter().any(|container| container.sandbox_id == sandbox.id) {
                continue;
            }
            if self.worker.stopped_sandboxes.contains(&sandbox.id) {
                self.ask(Action::RemoveSandbox { id: sandbox.id.clone() });
            } else {
                self.ask(Action::StopSandbox { id: sandbox.id.clone() });
            }
        }
    }
}

/// Init containers restart on failure unless the pod never restarts; app containers follow the pod.
fn init_policy(pod: &Pod, container: &ContainerSpec) -> spec::RestartPolicy {
    let policy = spec::restart_policy(pod);
    let is_init = spec::init_containers(pod).iter().any(|init| init.name == container.name);
    match policy {
        spec::RestartPolicy::Always if is_init => spec::RestartPolicy::OnFailure,
        policy => policy,
    }
}
