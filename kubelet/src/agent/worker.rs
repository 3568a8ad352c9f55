//! One pod's worker: its view of the pod, what it remembers, and its probes. Plain data and small steps without
//! IO; the event loop owns all of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use tokio_util::sync::CancellationToken;

use super::inventory::{ContainerEntry, PodEntry};
use super::patch::StatusPatch;
use crate::pod::allocation::Allocation;
use crate::pod::backoff::{Backoff, BackoffLimits, after};
use crate::pod::observed::{ContainerState, PodObserved};
use crate::pod::plan::{Intent, Target, Termination, WorkerState};
use crate::pod::probe::{ProbeKind, Tracker};
use crate::pod::spec;

/// A pod's worker.
pub(super) struct Worker {
    pub key: ObjectKey,
    /// The pod as the API last had it, with the resources that the node has given it; absent for pods that only the
    /// runtime has.
    pub pod: Option<Arc<Pod>>,
    /// The pod as the API has it, while that asks for resources that the node has not given it.
    pub asked: Option<Arc<Pod>>,
    /// The API's image of a static pod.
    pub mirror: Option<Arc<Pod>>,
    /// Whether the node takes it was judged.
    pub admitted: bool,
    /// The node did not take it.
    pub rejected: bool,
    pub observed: PodObserved,
    /// The number of the look that `observed` is from; later looks have higher numbers.
    pub observed_at: u64,
    /// A look is under way.
    pub observing: bool,
    /// Something happened since it began.
    pub observe_again: bool,
    /// The last look failed: what the runtime holds is not known, so nothing is decided.
    pub blind: bool,
    /// Between looks that fail.
    pub look_retry: Backoff,
    pub state: WorkerState,
    /// Containers (by id) whose readiness probe succeeds, or that have none.
    pub ready: BTreeSet<String>,
    pub probes: BTreeMap<(String, ProbeKind), ProbeTask>,
    /// Containers that the event stream says ended, and how often the runtime was asked since without saying so.
    pub ended: BTreeMap<String, u32>,
    pub status_in_flight: bool,
    pub status_retry: Backoff,
    pub status_failed_at: Option<Timestamp>,
    /// What the API took for no change of the version that it has.
    pub status_settled: Option<StatusPatch>,
    /// When the volumes have to be filled anew.
    pub refresh_volumes_at: Option<Timestamp>,
    /// The resources of a resize that goes on and was told.
    pub resizing: Option<String>,
    /// Why the kubelet ended the pod (`DeadlineExceeded`), where it did.
    pub failure: Option<(String, String)>,
}

pub(super) struct ProbeTask {
    pub tracker: Tracker,
    pub cancel: CancellationToken,
}

impl Worker {
    pub fn new(key: ObjectKey, pod: Option<Arc<Pod>>) -> Self {
        Self {
            key,
            pod,
            asked: None,
            mirror: None,
            admitted: false,
            rejected: false,
            observed: PodObserved::default(),
            observed_at: 0,
            observing: false,
            observe_again: false,
            blind: false,
            look_retry: Backoff::default(),
            state: WorkerState::default(),
            ready: BTreeSet::new(),
            probes: BTreeMap::new(),
            ended: BTreeMap::new(),
            status_in_flight: false,
            status_retry: Backoff::default(),
            status_failed_at: None,
            status_settled: None,
            refresh_volumes_at: None,
            resizing: None,
            failure: None,
        }
    }

    /// Takes a pod's new state in, unless it is older than what is known.
    pub fn take_pod(&mut self, pod: Arc<Pod>) {
        let newer = self.pod.as_ref().is_none_or(|known| known.metadata.revision() < pod.metadata.revision());
        if newer {
            let given = self.pod.as_ref().filter(|_| self.admitted).map(|known| Allocation::of(known));
            let (pod, asked) = with_allocation(pod, given.as_ref());
            self.asked = asked;
            let shown = |pod: &Pod| (pod.metadata.labels.clone(), pod.metadata.annotations.clone());
            let changed = |known: &Pod| spec::shows_itself(&pod) && shown(known) != shown(&pod);
            // A container that was put into the pod may mount what no other does.
            let ephemeral = |pod: &Pod| spec::ephemeral_containers(pod).count();
            if self.pod.as_ref().is_some_and(|known| changed(known) || ephemeral(known) != ephemeral(&pod)) {
                self.state.volumes_stale = true;
            }
            if !self.state.failures.is_empty()
                && self.pod.as_ref().is_some_and(|known| shown(known) != shown(&pod) || known.spec != pod.spec)
            {
                // What the user changed may mend what failed: it is tried at once.
                self.state.failures.retain(|target, _| !matches!(target, Target::Volumes | Target::Start(_)));
            }
            self.pod = Some(pod);
        }
    }

    /// Goes on with the resources that an earlier kubelet gave the pod.
    pub fn resume_allocation(&mut self, given: &Allocation) {
        if let Some(pod) = self.pod.take() {
            let (pod, asked) = with_allocation(pod, Some(given));
            (self.pod, self.asked) = (Some(pod), asked);
        }
    }

    /// Whether the pod comes from the node's own files.
    pub fn is_static(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| spec::is_static(pod))
    }

    /// Takes the API's image of a static pod in; the first one tells what an earlier kubelet knew.
    pub fn take_mirror(&mut self, mirror: Option<Arc<Pod>>) {
        if let (Some(known), Some(new)) = (&self.mirror, &mirror)
            && spec::uid(known) == spec::uid(new)
            && known.metadata.revision() >= new.metadata.revision()
        {
            return;
        }
        if let (Some(mirror), Some(pod)) = (&mirror, &mut self.pod)
            && pod.status.as_ref().is_none_or(|it| it.start_time.is_none())
            && !spec::is_terminal(mirror)
        {
            Arc::make_mut(pod).status.clone_from(&mirror.status);
        }
        self.mirror = mirror;
    }

    /// Fails the pod for good: what runs of it is stopped, its object stays.
    pub fn fail(&mut self, reason: &str, message: String, now: Timestamp, grace_seconds: i64) {
        if self.failure.is_none() {
            self.failure = Some((reason.to_owned(), message));
        }
        self.terminate(now, grace_seconds, false);
    }

    /// Goes on with the back-off of containers that an earlier kubelet started again and again.
    pub fn resume_backoff(&mut self, limits: BackoffLimits) {
        for container in &self.observed.containers {
            let before = self.observed.before(&container.name, container.attempt);
            let Some(failed_at) =
                before.filter(|it| it.sandbox_id == container.sandbox_id).and_then(|it| it.finished_at)
            else {
                continue;
            };
            // The newest of each name comes first.
            let resumed = Backoff::resumed(failed_at, container.created_at, limits);
            self.state.crash.entry(container.name.clone()).or_insert(resumed);
        }
    }

    /// Decides what is wanted of the pod now.
    pub fn decide_intent(&mut self, now: Timestamp) {
        let Some(pod) = &self.pod else {
            self.terminate(now, spec::DEFAULT_GRACE_SECONDS, true);
            return;
        };
        if pod.metadata.deletion_timestamp.is_some() || self.state.object_gone {
            let grace = spec::grace_seconds(pod);
            self.terminate(now, grace, true);
            return;
        }
        if let Some(end) = self.deadline()
            && end <= now
            && !spec::is_terminal(pod)
            && self.failure.is_none()
        {
            let grace = spec::grace_seconds(pod);
            let message = "Pod was active on the node longer than the specified deadline";
            self.fail("DeadlineExceeded", message.to_owned(), now, grace);
        }
    }

    /// When the pod's `activeDeadlineSeconds` are over.
    pub fn deadline(&self) -> Option<Timestamp> {
        let pod = self.pod.as_ref()?;
        let seconds = u64::try_from(spec::spec(pod).active_deadline_seconds?).ok()?;
        let start = pod.status.as_ref()?.start_time.as_ref()?.0;
        Some(after(start, std::time::Duration::from_secs(seconds)))
    }

    /// A stop once asked for may only become shorter or more thorough.
    fn terminate(&mut self, now: Timestamp, grace_seconds: i64, remove: bool) {
        match &mut self.state.intent {
            Intent::Terminate(known) => {
                known.remove |= remove;
                if now.as_second() + grace_seconds < known.since.as_second() + known.grace_seconds {
                    known.since = now;
                    known.grace_seconds = grace_seconds;
                }
            }
            intent @ Intent::Run => {
                *intent = Intent::Terminate(Termination { since: now, grace_seconds, remove });
            }
        }
    }

    /// Takes a look at the runtime in; `false` when a later one is known already.
    pub fn take_observed(&mut self, number: u64, observed: PodObserved) -> bool {
        if number <= self.observed_at {
            return false;
        }
        self.observed_at = number;
        self.observed = observed;
        self.blind = false;
        self.look_retry.reset();
        let running: BTreeSet<&str> = self
            .observed
            .containers
            .iter()
            .filter(|it| it.state == ContainerState::Running)
            .map(|it| it.id.as_str())
            .collect();
        let ready: BTreeSet<&str> =
            self.observed.sandboxes.iter().filter(|it| it.ready).map(|it| it.id.as_str()).collect();
        self.ended.retain(|id, _| running.contains(id.as_str()) || ready.contains(id.as_str()));
        self.ready.retain(|id| running.contains(id.as_str()));
        self.state.started.retain(|id| running.contains(id.as_str()));
        self.state.resized.retain(|id, _| running.contains(id.as_str()));
        self.state.unhealthy.retain(|id, _| running.contains(id.as_str()));
        self.state.post_started.retain(|id| running.contains(id.as_str()));
        self.state.pre_stopped.retain(|id| running.contains(id.as_str()));
        self.probes.retain(|(id, _), probe| {
            let keep = running.contains(id.as_str());
            if !keep {
                probe.cancel.cancel();
            }
            keep
        });
        let sandboxes: BTreeSet<&str> = self.observed.sandboxes.iter().map(|it| it.id.as_str()).collect();
        self.state.stopped_sandboxes.retain(|id| sandboxes.contains(id.as_str()));
        true
    }

    /// Whether the API's last status says so of this container: a restart of the kubelet does not make a ready
    /// container unready.
    pub fn was(&self, container_id: &str, what: fn(&k8s_openapi::api::core::v1::ContainerStatus) -> bool) -> bool {
        let status = self.pod.as_ref().and_then(|pod| pod.status.as_ref());
        let lists = status.into_iter().flat_map(|it| it.container_statuses.iter().chain(&it.init_container_statuses));
        lists.flatten().any(|it| {
            let id = it.container_id.as_deref().and_then(|id| id.rsplit("//").next());
            id == Some(container_id) && what(it)
        })
    }

    /// What the pod consists of.
    pub fn inventory(&self, uid: &str) -> PodEntry {
        let containers = self.observed.containers.iter();
        let pulled = self.state.images.values().map(|it| it.reference.clone());
        let ephemeral: Vec<_> = self.pod.iter().flat_map(|pod| spec::ephemeral_containers(pod)).collect();
        let wanted = self.pod.iter().flat_map(|pod| spec::all_containers(pod)).chain(&ephemeral);
        let volumes = self.pod.iter().flat_map(|pod| spec::spec(pod).volumes.iter().flatten());
        let shown = volumes.filter_map(|it| it.image.as_ref()?.reference.clone());
        let wanted = wanted.filter_map(|it| it.image.clone()).chain(shown);
        let images = containers.clone().flat_map(|it| [it.image.clone(), it.image_id.clone()]);
        PodEntry {
            uid: uid.to_owned(),
            containers: containers
                .map(|it| ContainerEntry {
                    name: it.name.clone(),
                    id: it.id.clone(),
                    log_path: it.log_path.clone().into(),
                    running: it.state == ContainerState::Running,
                })
                .collect(),
            images: images.chain(pulled).chain(wanted).filter(|it| !it.is_empty()).collect(),
        }
    }

    /// Stops all probes.
    pub fn cancel_probes(&mut self) {
        for (_, probe) in std::mem::take(&mut self.probes) {
            probe.cancel.cancel();
        }
    }
}

/// The pod with the resources that it was given; and as it is, where it asks for others.
fn with_allocation(pod: Arc<Pod>, given: Option<&Allocation>) -> (Arc<Pod>, Option<Arc<Pod>>) {
    match given.map(|given| given.put_into(&pod)) {
        Some(Cow::Owned(with)) => (Arc::new(with), Some(pod)),
        _ => (pod, None),
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.cancel_probes();
    }
}
