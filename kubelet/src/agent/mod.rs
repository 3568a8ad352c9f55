//! The kubelet's event loop.
//!
//! One task owns every pod's worker. Each turn takes one [`Event`], brings the worker it concerns up to date,
//! asks the pure core what to do and what to say, and hands both out: actions to tasks of the [`Executor`],
//! status patches to the API. A turn never waits; whatever waits runs in its own task and comes back as an
//! event.
//!
//! **Invariant:** nothing is decided for a pod while what the runtime holds of it is not known
//! (`Worker::blind`), and nothing at all before the first list of the API and of the runtime are both complete.

pub mod executor;
pub mod inbox;
mod insecure;
pub mod patch;
mod prober;
pub mod references;
pub mod services;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use reeve_client::{Error, EventType, Patch, Store};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::executor::{Done, Executor, Subject};
use self::inbox::{Changed, Inbox, Reference};
use self::worker::{ProbeTask, Worker};
use crate::pod::backoff::after;
use crate::pod::observed::{ContainerState, NodeObserved, PodObserved};
use crate::pod::plan::{Action, Intent, NodeFacts, Target, next_actions};
use crate::pod::probe::{ProbeAnswer, ProbeKind, Tracker, Verdict};
use crate::pod::spec;
use crate::pod::status::{StatusInput, status};
use crate::runtime::events::RuntimeEvent;
use crate::runtime::{Health, RuntimeError};

/// Everything that the kubelet reacts to.
#[derive(Debug)]
pub enum Event {
    /// The node's pods are known completely for the first time.
    PodsSynced,
    /// A pod appeared, changed or went.
    PodChanged(ObjectKey),
    /// A ConfigMap or Secret changed.
    ReferenceChanged(Reference),
    /// The runtime told something.
    Runtime(RuntimeEvent),
    /// A look at one pod in the runtime ended.
    Observed {
        /// The pod's UID.
        uid: String,
        /// What was seen, and the number of the look.
        look: Look,
    },
    /// An action ended; the look was made after it.
    WorkerDone {
        /// The pod's UID.
        uid: String,
        /// What the action worked on.
        target: Target,
        /// What it came to.
        done: Done,
        /// The pod in the runtime afterwards.
        look: Look,
    },
    /// A status patch was answered.
    StatusWritten {
        /// The pod's UID.
        uid: String,
        /// The pod with its new status; `None` when it is no more; or why the patch failed.
        result: Result<Option<Box<Pod>>, Error>,
    },
    /// A probe was answered.
    ProbeResult {
        /// The pod's UID.
        uid: String,
        /// The container's id.
        container_id: String,
        /// Which probe.
        kind: ProbeKind,
        /// The answer.
        answer: ProbeAnswer,
    },
    /// The runtime's health changed.
    HealthChanged,
    /// A moment came that a worker asked to be woken at.
    Timer,
    /// The process is to end. Containers go on.
    Shutdown,
}

/// A numbered look at one pod in the runtime.
#[derive(Debug)]
pub struct Look {
    number: u64,
    result: Result<PodObserved, RuntimeError>,
}

/// Room for what tasks report; a task that finds no room waits. One action, look, patch and a probe for each of
/// the 110 pods of a full node fit.
const QUEUE_LENGTH: usize = 512;

/// A container that the event stream says ended and the runtime does not yet: asked again after this, doubling.
const ENDED_RECHECK: Duration = Duration::from_millis(5);
const ENDED_RECHECKS: u32 = 10;

/// Ends of containers that nobody knows yet; the oldest are forgotten.
const UNCLAIMED: usize = 256;

/// The kubelet's pods.
pub struct Agent {
    executor: Arc<Executor>,
    pods: Store<Pod>,
    inbox: Inbox,
    health: watch::Receiver<Health>,
    workers: HashMap<String, Worker>,
    by_key: HashMap<ObjectKey, BTreeSet<String>>,
    sender: mpsc::Sender<Event>,
    receiver: mpsc::Receiver<Event>,
    looks: Arc<AtomicU64>,
    timers: BTreeSet<(Timestamp, String)>,
    synced: bool,
    relisted: bool,
    starts: usize,
    /// Containers that ended before their pod's worker knew them.
    unclaimed: VecDeque<String>,
    /// Pods that wait for a start to end; those whose containers come next go first.
    waiting: [VecDeque<String>; 2],
}

impl Agent {
    /// An agent without pods. `pods` must put its changes into `inbox`.
    pub fn new(executor: Arc<Executor>, pods: Store<Pod>, inbox: Inbox, health: watch::Receiver<Health>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        Self {
            executor,
            pods,
            inbox,
            health,
            workers: HashMap::new(),
            by_key: HashMap::new(),
            sender,
            receiver,
            looks: Arc::new(AtomicU64::new(1)),
            timers: BTreeSet::new(),
            synced: false,
            relisted: false,
            starts: 0,
            unclaimed: VecDeque::new(),
            waiting: [VecDeque::new(), VecDeque::new()],
        }
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, mut runtime_events: mpsc::Receiver<RuntimeEvent>, shutdown: CancellationToken) {
        loop {
            let event = self.next_event(&mut runtime_events, &shutdown).await;
            if matches!(event, Event::Shutdown) {
                return;
            }
            let began = Instant::now();
            let name = event_name(&event);
            self.handle(event, Timestamp::now());
            let turn = began.elapsed();
            if turn > self.executor.config.tuning.slow_turn {
                tracing::warn!(event = name, milliseconds = turn.as_millis(), "a turn of the event loop was slow");
            }
        }
    }

    async fn next_event(
        &mut self,
        runtime_events: &mut mpsc::Receiver<RuntimeEvent>,
        shutdown: &CancellationToken,
    ) -> Event {
        let next = self.timers.first().map(|(time, _)| *time);
        let timer = async {
            match next {
                Some(time) => {
                    let wait = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
                    tokio::time::sleep(wait).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => Event::Shutdown,
            Some(event) = self.receiver.recv() => event,
            Some(event) = runtime_events.recv() => Event::Runtime(event),
            changed = self.inbox.take() => match changed {
                Changed::Synced => Event::PodsSynced,
                Changed::Pod(key) => Event::PodChanged(key),
                Changed::Reference(reference) => Event::ReferenceChanged(reference),
            },
            Ok(()) = self.health.changed() => Event::HealthChanged,
            () = timer => Event::Timer,
        }
    }

    fn handle(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::PodsSynced => {
                self.synced = true;
                self.begin(now);
            }
            Event::PodChanged(key) => self.pod_changed(&key, now),
            Event::ReferenceChanged(reference) => {
                for uid in self.executor.references.users(&reference) {
                    if let Some(worker) = self.workers.get_mut(&uid) {
                        worker.state.volumes_stale = true;
                        worker.state.failures.retain(|target, _| !matches!(target, Target::Volumes | Target::Start(_)));
                    }
                    self.step(&uid, now);
                }
            }
            Event::Runtime(RuntimeEvent::Relisted(node)) => self.take_relist(node, now),
            Event::Runtime(RuntimeEvent::Container { id, what }) => self.container_event(&id, what),
            Event::Runtime(RuntimeEvent::Lost(message)) => {
                tracing::warn!(error = %message, "the runtime's events are interrupted");
            }
            Event::Observed { uid, look } => {
                if let Some(worker) = self.workers.get_mut(&uid) {
                    worker.observing = false;
                }
                self.take_look(&uid, look, now);
            }
            Event::WorkerDone { uid, target, done, look } => self.worker_done(&uid, target, done, look, now),
            Event::StatusWritten { uid, result } => self.status_written(&uid, result, now),
            Event::ProbeResult { uid, container_id, kind, answer } => {
                self.probe_result(&uid, &container_id, kind, answer, now);
            }
            Event::HealthChanged => {
                self.health.mark_unchanged();
                for uid in self.uids() {
                    self.step(&uid, now);
                }
            }
            Event::Timer => self.wake(now),
            Event::Shutdown => {}
        }
    }

    fn uids(&self) -> Vec<String> {
        self.workers.keys().cloned().collect()
    }

    // --- the API ----------------------------------------------------------------------------------------

    fn pod_changed(&mut self, key: &ObjectKey, now: Timestamp) {
        let pod = self.pods.get(key);
        let current = pod.as_ref().map(|pod| spec::uid(pod).to_owned());
        // Other pods of that name are gone from the API.
        let known: Vec<String> = self.by_key.get(key).into_iter().flatten().cloned().collect();
        for uid in known.iter().filter(|uid| Some(*uid) != current.as_ref()) {
            if let Some(worker) = self.workers.get_mut(uid) {
                worker.state.object_gone = true;
            }
            self.step(uid, now);
        }
        let (Some(pod), Some(uid)) = (pod, current) else { return };
        let worker = self.workers.entry(uid.clone()).or_insert_with(|| Worker::new(key.clone(), None));
        worker.take_pod(pod);
        self.by_key.entry(key.clone()).or_default().insert(uid.clone());
        self.step(&uid, now);
    }

    /// Both first lists are there: from now on decisions are made.
    fn begin(&mut self, now: Timestamp) {
        if !self.synced || !self.relisted {
            return;
        }
        for pod in self.pods.list() {
            self.inbox.put(Changed::Pod(spec::key(&pod)));
        }
        for uid in self.uids() {
            let Some(worker) = self.workers.get_mut(&uid) else { continue };
            let stored = self.pods.get(&worker.key).filter(|pod| spec::uid(pod) == uid);
            match stored {
                Some(pod) => worker.take_pod(pod),
                None => {
                    tracing::info!(pod = %worker.key, %uid, "the API does not know this pod: it is ended");
                    worker.state.object_gone = true;
                }
            }
            self.step(&uid, now);
        }
    }

    fn status_written(&mut self, uid: &str, result: Result<Option<Box<Pod>>, Error>, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        worker.status_in_flight = false;
        match result {
            Ok(Some(pod)) => {
                worker.status_retry.reset();
                worker.status_failed_at = None;
                worker.take_pod(Arc::from(pod));
            }
            Ok(None) => worker.state.object_gone = true,
            Err(error) => {
                tracing::warn!(pod = %worker.key, %error, "the pod's status could not be written");
                worker.status_retry.next(now, self.executor.config.tuning.retry);
                worker.status_failed_at = Some(now);
            }
        }
        self.step(uid, now);
    }

    // --- the runtime ------------------------------------------------------------------------------------

    fn take_relist(&mut self, node: NodeObserved, now: Timestamp) {
        if self.relisted {
            // After a gap: every pod is looked at anew, since this list may be older than what is known.
            for (uid, found) in node {
                if !self.workers.contains_key(&uid) {
                    self.adopt(uid, ObjectKey::new(found.namespace, found.name));
                }
            }
            for uid in self.uids() {
                self.look_at(&uid);
            }
            return;
        }
        tracing::info!(pods = node.len(), "the runtime's pods are known");
        self.relisted = true;
        for (uid, found) in node {
            self.adopt(uid.clone(), ObjectKey::new(found.namespace, found.name));
            let number = self.looks.fetch_add(1, Ordering::Relaxed);
            if let Some(worker) = self.workers.get_mut(&uid) {
                worker.take_observed(number, found.observed);
            }
        }
        self.begin(now);
    }

    /// A pod that the runtime has and nobody told of.
    fn adopt(&mut self, uid: String, key: ObjectKey) {
        self.by_key.entry(key.clone()).or_default().insert(uid.clone());
        self.workers.entry(uid.clone()).or_insert_with(|| {
            let mut worker = Worker::new(key.clone(), None);
            // Found after the start: it is nobody's unless the API says otherwise.
            worker.state.object_gone =
                self.synced && self.relisted && self.pods.get(&key).is_none_or(|pod| spec::uid(&pod) != uid);
            worker
        });
    }

    fn container_event(&mut self, id: &str, what: &'static str) {
        let owner = self.workers.iter().find(|(_, worker)| {
            worker.observed.containers.iter().any(|it| it.id == id)
                || worker.observed.sandboxes.iter().any(|it| it.id == id)
        });
        let owner = owner.map(|(uid, _)| uid.clone());
        tracing::debug!(%id, what, pod = owner.as_deref(), "runtime event");
        match owner {
            Some(uid) => {
                if matches!(what, "exit" | "delete")
                    && let Some(worker) = self.workers.get_mut(&uid)
                {
                    worker.ended.insert(id.to_owned(), 0);
                }
                self.look_at(&uid);
            }
            None => {
                // Of something that is being made now: its look may have begun before this.
                if matches!(what, "exit" | "delete") {
                    self.unclaimed.push_back(id.to_owned());
                    if self.unclaimed.len() > UNCLAIMED {
                        self.unclaimed.pop_front();
                    }
                }
                let unsettled = |worker: &Worker| {
                    worker.observing
                        || worker.state.in_flight.iter().any(|it| matches!(it, Target::Start(_) | Target::Sandbox))
                };
                let pods: Vec<String> =
                    self.workers.iter().filter(|(_, worker)| unsettled(worker)).map(|(uid, _)| uid.clone()).collect();
                for uid in pods {
                    self.look_at(&uid);
                }
            }
        }
    }

    /// Begins a look at a pod in the runtime, or has the running one repeated.
    fn look_at(&mut self, uid: &str) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        if worker.observing {
            worker.observe_again = true;
            return;
        }
        worker.observing = true;
        let (executor, looks, sender, uid) =
            (self.executor.clone(), self.looks.clone(), self.sender.clone(), uid.to_owned());
        tokio::spawn(async move {
            let look = look(&executor, &looks, &uid).await;
            report(&sender, Event::Observed { uid, look }).await;
        });
    }

    fn take_look(&mut self, uid: &str, look: Look, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        match look.result {
            Ok(observed) => {
                if worker.take_observed(look.number, observed) {
                    claim(&mut self.unclaimed, worker);
                }
            }
            Err(error) => {
                if !worker.blind {
                    tracing::warn!(pod = %worker.key, %error, "the pod could not be looked at in the runtime");
                }
                worker.blind = true;
                self.timers.insert((after(now, self.executor.config.tuning.runtime_unready_period), uid.to_owned()));
            }
        }
        if std::mem::take(&mut worker.observe_again) {
            self.look_at(uid);
        }
        self.recheck_ended(uid, now);
        self.step(uid, now);
    }

    /// containerd tells of an end a moment before CRI's state shows it: such a pod is looked at again.
    fn recheck_ended(&mut self, uid: &str, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        worker.ended.retain(|_, tries| *tries < ENDED_RECHECKS);
        let Some(tries) = worker.ended.values().copied().min() else { return };
        worker.ended.values_mut().for_each(|tries| *tries += 1);
        self.timers.insert((after(now, ENDED_RECHECK * (1 << tries)), uid.to_owned()));
    }

    fn wake(&mut self, now: Timestamp) {
        while let Some((time, uid)) = self.timers.first().cloned() {
            if time > now {
                return;
            }
            self.timers.pop_first();
            let Some(worker) = self.workers.get_mut(&uid) else { continue };
            if worker.refresh_volumes_at.is_some_and(|at| at <= now) {
                worker.refresh_volumes_at = None;
                worker.state.volumes_stale = true;
            }
            if worker.blind || !worker.ended.is_empty() {
                self.look_at(&uid);
            } else {
                self.step(&uid, now);
            }
        }
    }

    // --- deciding ---------------------------------------------------------------------------------------

    /// Brings one pod forward: intent, probes, status, actions.
    fn step(&mut self, uid: &str, now: Timestamp) {
        if !self.synced || !self.relisted {
            return;
        }
        let Some(worker) = self.workers.get_mut(uid) else { return };
        if worker.blind {
            return;
        }
        worker.decide_intent(now);
        if let Some(deadline) = worker.deadline().filter(|it| *it > now) {
            self.timers.insert((deadline, uid.to_owned()));
        }
        self.update_probes(uid);
        self.write_status(uid, now);
        let Some(worker) = self.workers.get(uid) else { return };
        let network_ready = self.health.borrow().is_ready();
        let node = NodeFacts { network_ready, tuning: &self.executor.config.tuning };
        let actions = next_actions(worker.pod.as_deref(), &worker.observed, &worker.state, node, now);
        for action in actions {
            match action {
                Action::WakeAt(time) => {
                    self.timers.insert((time, uid.to_owned()));
                }
                Action::Forget => {
                    self.forget(uid);
                    return;
                }
                action => self.dispatch(uid, action, now),
            }
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some(worker) = self.workers.remove(uid) {
            tracing::info!(pod = %worker.key, %uid, "pod is gone");
            if let Some(uids) = self.by_key.get_mut(&worker.key) {
                uids.remove(uid);
                if uids.is_empty() {
                    self.by_key.remove(&worker.key);
                }
            }
        }
        self.timers.retain(|(_, owner)| owner != uid);
    }

    fn dispatch(&mut self, uid: &str, action: Action, now: Timestamp) {
        let Some(target) = action.target() else { return };
        let tuning = &self.executor.config.tuning;
        if action.is_start() {
            if self.starts >= tuning.starts_in_flight {
                let rank = usize::from(matches!(action, Action::CreateSandbox { .. }));
                if !self.waiting[rank].iter().any(|waiting| waiting == uid) {
                    self.waiting[rank].push_back(uid.to_owned());
                }
                return;
            }
            self.starts += 1;
        }
        let Some(worker) = self.workers.get_mut(uid) else { return };
        if let Action::StartContainer { container, attempt, .. } = &action
            && *attempt > 0
        {
            worker.state.crash.entry(container.clone()).or_default().next(now, tuning.crash);
        }
        if matches!(action, Action::PrepareVolumes) {
            worker.state.volumes_stale = false;
        }
        worker.state.in_flight.insert(target.clone());
        let subject = subject_of(uid, worker);
        let (executor, looks, sender) = (self.executor.clone(), self.looks.clone(), self.sender.clone());
        tokio::spawn(async move {
            let done = executor.perform(&subject, &action).await;
            let look = look(&executor, &looks, &subject.uid).await;
            report(&sender, Event::WorkerDone { uid: subject.uid, target, done, look }).await;
        });
    }

    fn worker_done(&mut self, uid: &str, target: Target, done: Done, look: Look, now: Timestamp) {
        if matches!(target, Target::Start(_) | Target::Sandbox) {
            self.starts = self.starts.saturating_sub(1);
        }
        let tuning = self.executor.config.tuning;
        if let Some(worker) = self.workers.get_mut(uid) {
            worker.state.in_flight.remove(&target);
            let limits = if matches!(target, Target::Image(_)) { tuning.image_pull } else { tuning.retry };
            if let Done::Failed { reason, message } = done {
                tracing::debug!(pod = %worker.key, ?target, %message, "an action failed");
                let failure = worker.state.failures.entry(target.failure_key()).or_default();
                failure.reason = reason.to_owned();
                failure.message = message;
                failure.at = now;
                failure.backoff.next(now, limits);
                if target == Target::Volumes {
                    worker.state.volumes_stale = true;
                }
            } else {
                worker.state.failures.remove(&target.failure_key());
                match (&target, done) {
                    (Target::Image(container), Done::Image(image)) => {
                        worker.state.images.insert(container.clone(), image);
                    }
                    (Target::Volumes, Done::Volumes(refresh_at)) => {
                        worker.state.volumes_ready = true;
                        worker.refresh_volumes_at = refresh_at;
                        self.timers.extend(refresh_at.map(|time| (time, uid.to_owned())));
                    }
                    // The next start looks at the image again, by the pull policy.
                    (Target::Start(container), _) => {
                        worker.state.images.remove(container);
                    }
                    (Target::StopSandbox(id), _) => {
                        worker.state.stopped_sandboxes.insert(id.clone());
                    }
                    (Target::Cleanup, _) => worker.state.cleaned = true,
                    (Target::Object, _) => worker.state.object_gone = true,
                    _ => {}
                }
            }
        }
        self.take_look(uid, look, now);
        self.admit(now);
    }

    /// Lets waiting pods go ahead while starts are free.
    fn admit(&mut self, now: Timestamp) {
        while self.starts < self.executor.config.tuning.starts_in_flight {
            let next = self.waiting.iter_mut().find_map(VecDeque::pop_front);
            let Some(uid) = next else { return };
            self.step(&uid, now);
        }
    }

    // --- status -----------------------------------------------------------------------------------------

    fn write_status(&mut self, uid: &str, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        let Some(pod) = worker.pod.clone() else {
            worker.state.status_written = true;
            return;
        };
        if worker.state.object_gone {
            worker.state.status_written = true;
            return;
        }
        let tuning = self.executor.config.tuning;
        let network_ready = self.health.borrow().is_ready();
        let host_ip = self.executor.config.node_ip.to_string();
        let wanted = status(
            StatusInput {
                pod: &pod,
                observed: &worker.observed,
                worker: &worker.state,
                ready: &worker.ready,
                node: NodeFacts { network_ready, tuning: &tuning },
                host_ip: &host_ip,
                failure: worker.failure.as_ref().map(|(reason, message)| (reason.as_str(), message.as_str())),
            },
            now,
        );
        let to_value =
            |status: &k8s_openapi::api::core::v1::PodStatus| serde_json::to_value(status).unwrap_or_default();
        let old = to_value(&pod.status.clone().unwrap_or_default());
        let Some(difference) = patch::merge_diff(&old, &to_value(&wanted)) else {
            worker.state.status_written = true;
            return;
        };
        worker.state.status_written = false;
        if worker.status_in_flight {
            return;
        }
        if let Some(failed_at) = worker.status_failed_at {
            let ready = worker.status_retry.ready_at(failed_at, now, tuning.retry);
            if ready > now {
                self.timers.insert((ready, uid.to_owned()));
                return;
            }
        }
        worker.status_in_flight = true;
        announce_back_off(&self.executor, &subject_of(uid, worker), pod.status.as_ref(), &wanted);
        let patch = json!({
            "metadata": {"uid": uid, "resourceVersion": pod.metadata.resource_version},
            "status": difference,
        });
        let (executor, sender, uid, key) =
            (self.executor.clone(), self.sender.clone(), uid.to_owned(), worker.key.clone());
        tokio::spawn(async move {
            let result = patch_status(&executor, &key, &uid, patch).await;
            report(&sender, Event::StatusWritten { uid, result }).await;
        });
    }

    // --- probes -----------------------------------------------------------------------------------------

    /// Starts the probes that running containers need and have not, and counts those without as well.
    fn update_probes(&mut self, uid: &str) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        let Some(pod) = worker.pod.clone() else { return };
        if matches!(worker.state.intent, Intent::Terminate(_)) {
            // A pod that is going is not restarted; its readiness is still told until it is gone.
            worker.probes.retain(|(_, kind), probe| {
                let keep = *kind == ProbeKind::Readiness;
                if !keep {
                    probe.cancel.cancel();
                }
                keep
            });
            return;
        }
        let host = self.executor.config.node_ip;
        let address = match worker.observed.ready_sandbox() {
            Some(sandbox) if !spec::host_network(&pod) => {
                sandbox.ips.first().and_then(|ip| ip.parse().ok()).unwrap_or(host)
            }
            _ => host,
        };
        let running: Vec<_> =
            worker.observed.containers.iter().filter(|it| it.state == ContainerState::Running).cloned().collect();
        for container in running {
            let Some(definition) = spec::container(&pod, &container.name) else { continue };
            let id = &container.id;
            let mut started = worker.state.started.contains(id);
            if !started && (definition.startup_probe.is_none() || worker.was(id, |it| it.started == Some(true))) {
                worker.state.started.insert(id.clone());
                started = true;
            }
            if started && !worker.ready.contains(id) {
                let has_task = worker.probes.contains_key(&(id.clone(), ProbeKind::Readiness));
                if definition.readiness_probe.is_none() || (!has_task && worker.was(id, |it| it.ready)) {
                    worker.ready.insert(id.clone());
                }
            }
            let wanted = [
                (ProbeKind::Startup, definition.startup_probe.as_ref().filter(|_| !started)),
                (ProbeKind::Liveness, definition.liveness_probe.as_ref().filter(|_| started)),
                (ProbeKind::Readiness, definition.readiness_probe.as_ref().filter(|_| started)),
            ];
            for (kind, probe) in wanted {
                let key = (id.clone(), kind);
                match (probe, worker.probes.contains_key(&key)) {
                    (Some(probe), false) => {
                        let cancel = CancellationToken::new();
                        let subject = prober::Subject {
                            uid: uid.to_owned(),
                            container_id: id.clone(),
                            container: definition.clone(),
                            address,
                            started_at: container.started_at.unwrap_or(container.created_at),
                        };
                        let runtime = self.executor.runtime.clone();
                        prober::spawn(runtime, subject, kind, probe.clone(), self.sender.clone(), cancel.clone());
                        worker.probes.insert(key, ProbeTask { tracker: Tracker::new(probe), cancel });
                    }
                    (None, true) => {
                        if let Some(task) = worker.probes.remove(&key) {
                            task.cancel.cancel();
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn probe_result(&mut self, uid: &str, container_id: &str, kind: ProbeKind, answer: ProbeAnswer, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        let Some(container) = worker.observed.containers.iter().find(|it| it.id == container_id) else { return };
        let name = container.name.clone();
        let Some(task) = worker.probes.get_mut(&(container_id.to_owned(), kind)) else { return };
        let verdict = task.tracker.observe(&answer);
        if let ProbeAnswer::Failure(message) = &answer {
            let message = format!("{} probe failed: {message}", kind.word());
            self.executor.event(&subject_of(uid, worker), Some(&name), EventType::Warning, "Unhealthy", &message);
        }
        if let ProbeAnswer::Unknown(message) = &answer {
            tracing::warn!(pod = %worker.key, container = %name, probe = kind.word(), error = %message, "a probe could not be made");
        }
        let id = container_id.to_owned();
        match (kind, verdict) {
            (_, Verdict::Same) => return,
            (ProbeKind::Readiness, Verdict::Succeeded) => {
                if !worker.ready.insert(id) {
                    return;
                }
            }
            (ProbeKind::Readiness, Verdict::Failed) => {
                if !worker.ready.remove(&id) {
                    return;
                }
            }
            (ProbeKind::Startup, Verdict::Succeeded) => {
                worker.state.started.insert(id);
            }
            (ProbeKind::Liveness, Verdict::Succeeded) => return,
            (ProbeKind::Startup | ProbeKind::Liveness, Verdict::Failed) => {
                let word = kind.word().to_lowercase();
                let message = format!("Container {name} failed {word} probe, will be restarted");
                if worker.state.unhealthy.insert(id, message).is_some() {
                    return;
                }
            }
        }
        self.step(uid, now);
    }
}

/// A numbered look at a pod; the number is drawn before the look, so that a later number saw at least as much.
async fn look(executor: &Executor, looks: &AtomicU64, uid: &str) -> Look {
    let number = looks.fetch_add(1, Ordering::Relaxed);
    Look { number, result: executor.runtime.observe_pod(uid).await }
}

/// Tells the event loop; it is gone only when the process ends.
async fn report(sender: &mpsc::Sender<Event>, event: Event) {
    if let Err(error) = sender.send(event).await {
        tracing::debug!(event = event_name(&error.0), "the event loop has ended");
    }
}

/// Containers of the pod that were told to have ended before they were known.
fn claim(unclaimed: &mut VecDeque<String>, worker: &mut Worker) {
    let known = |id: &String| {
        worker.observed.containers.iter().any(|it| it.id == *id)
            || worker.observed.sandboxes.iter().any(|it| it.id == *id)
    };
    let (mine, others): (VecDeque<String>, VecDeque<String>) = unclaimed.drain(..).partition(known);
    *unclaimed = others;
    let running =
        |id: &str| worker.observed.containers.iter().any(|it| it.id == id && it.state == ContainerState::Running);
    let late: Vec<String> = mine.into_iter().filter(|id| running(id)).collect();
    worker.ended.extend(late.into_iter().map(|id| (id, 0)));
}

fn subject_of(uid: &str, worker: &Worker) -> Subject {
    Subject {
        uid: uid.to_owned(),
        key: worker.key.clone(),
        pod: worker.pod.clone(),
        observed: worker.observed.clone(),
        images: worker.state.images.clone(),
    }
}

/// Writes a status that was decided on a version of the pod. When the pod has changed since, its new state
/// comes back and the status is decided again.
async fn patch_status(
    executor: &Executor,
    key: &ObjectKey,
    uid: &str,
    patch: serde_json::Value,
) -> Result<Option<Box<Pod>>, Error> {
    let api = executor.client.namespaced::<Pod>(&key.namespace);
    let pod = match api.patch_status(&key.name, &Patch::Merge(patch)).await {
        Ok(pod) => Some(pod),
        Err(error) if error.is_not_found() => None,
        Err(error) if error.is_conflict() => api.get_opt(&key.name).await?,
        Err(error) => return Err(error),
    };
    Ok(pod.filter(|pod| spec::uid(pod) == uid).map(Box::new))
}

/// The `BackOff` event, when a container begins to wait for its restart or its image.
fn announce_back_off(
    executor: &Executor,
    subject: &Subject,
    old: Option<&k8s_openapi::api::core::v1::PodStatus>,
    new: &k8s_openapi::api::core::v1::PodStatus,
) {
    let waiting = |status: &k8s_openapi::api::core::v1::PodStatus| -> BTreeMap<String, String> {
        let lists = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        lists
            .filter_map(|it| Some((it.name.clone(), it.state.as_ref()?.waiting.as_ref()?.reason.clone()?)))
            .filter(|(_, reason)| matches!(reason.as_str(), "CrashLoopBackOff" | "ImagePullBackOff"))
            .collect()
    };
    let before = old.map(waiting).unwrap_or_default();
    for (container, reason) in waiting(new) {
        if before.get(&container) == Some(&reason) {
            continue;
        }
        let image =
            subject.pod.as_ref().and_then(|pod| spec::container(pod, &container)).and_then(|it| it.image.clone());
        let message = if reason == "CrashLoopBackOff" {
            format!(
                "Back-off restarting failed container {container} in pod {}_{}({})",
                subject.key.name, subject.key.namespace, subject.uid
            )
        } else {
            format!("Back-off pulling image \"{}\"", image.unwrap_or_default())
        };
        executor.event(subject, Some(&container), EventType::Warning, "BackOff", &message);
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::PodsSynced => "pods synced",
        Event::PodChanged(_) => "pod changed",
        Event::ReferenceChanged(_) => "reference changed",
        Event::Runtime(_) => "runtime",
        Event::Observed { .. } => "observed",
        Event::WorkerDone { .. } => "worker done",
        Event::StatusWritten { .. } => "status written",
        Event::ProbeResult { .. } => "probe result",
        Event::HealthChanged => "health changed",
        Event::Timer => "timer",
        Event::Shutdown => "shutdown",
    }
}
