//! The kubelet's event loop.
//!
//! One task owns every pod's worker. Each turn takes one [`Event`], brings the worker it concerns up to date,
//! asks the pure core what to do and what to say, and hands both out: actions to tasks of the [`Executor`],
//! status patches to the API. A turn never waits; whatever waits runs in its own task and comes back as an
//! event.
//!
//! **Invariant:** nothing is decided for a pod while what the runtime holds of it is not known
//! (`Worker::blind`), and nothing at all before the first list of the API and of the runtime are both complete.

mod admission;
pub mod event;
pub mod executor;
mod handover;
pub mod inbox;
pub mod inventory;
mod leftovers;
pub mod look;
pub mod patch;
mod prober;
mod probes;
pub mod reach;
pub mod references;
mod report;
mod resizes;
pub mod services;
mod steps;
mod table;
mod worker;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use reeve_client::Store;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::event::Event;
use self::executor::Executor;
use self::inbox::{Changed, Inbox};
use self::inventory::Inventory;
use self::worker::Worker;
use crate::runtime::Health;
use crate::runtime::events::RuntimeEvent;

/// Room for what tasks report; a task that finds no room waits. One action, look, patch and a probe for each of
/// the 110 pods of a full node fit.
const QUEUE_LENGTH: usize = 512;

/// The kubelet's pods.
pub struct Agent {
    executor: Arc<Executor>,
    pods: Store<Pod>,
    inventory: Inventory,
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
    /// An agent without pods. `pods` must put its changes into `inbox`; what pods consist of goes into `inventory`.
    pub fn new(
        executor: Arc<Executor>,
        pods: Store<Pod>,
        inventory: Inventory,
        inbox: Inbox,
        health: watch::Receiver<Health>,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        Self {
            executor,
            pods,
            inventory,
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
            let name = event.name();
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
                Changed::Evicted { uid, message, grace_seconds } => Event::Evicted { uid, message, grace_seconds },
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
            Event::ReferenceChanged(reference) => self.reference_changed(&reference, now),
            Event::Evicted { uid, message, grace_seconds } => self.evicted(&uid, message, grace_seconds, now),
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
            Event::StatusWritten { uid, sent, result } => self.status_written(&uid, sent, result, now),
            Event::ProbeResult { uid, container_id, kind, answer, took } => {
                self.count_probe(&uid, &container_id, kind, &answer, took);
                self.probe_result(&uid, &container_id, kind, answer, now);
            }
            Event::HealthChanged => self.health_changed(now),
            Event::Timer => self.wake(now),
            Event::Shutdown => {}
        }
    }

    /// What waited for the runtime goes on; pods that could not be looked at are looked at again.
    fn health_changed(&mut self, now: Timestamp) {
        self.health.mark_unchanged();
        for uid in self.uids() {
            if self.workers.get(&uid).is_some_and(|worker| worker.blind) {
                self.look_at(&uid);
            } else {
                self.step(&uid, now);
            }
        }
    }
}
