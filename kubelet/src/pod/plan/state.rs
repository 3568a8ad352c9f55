//! What is wanted of a pod, and what its worker remembers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::action::Target;
use crate::config::Tuning;
use crate::pod::backoff::Backoff;
use crate::pod::user::PresentImage;

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

/// Why a running container has to be restarted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unhealthy {
    /// In the words of the `Killing` event.
    pub message: String,
    /// The grace period, where the probe that failed has one of its own.
    pub grace_seconds: Option<i64>,
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
    pub images: BTreeMap<String, PresentImage>,
    /// Restart back-off by container.
    pub crash: BTreeMap<String, Backoff>,
    /// Tries that failed.
    pub failures: BTreeMap<Target, Failure>,
    /// Containers (by id) that have to be restarted, and why (a liveness or startup probe or a hook failed).
    pub unhealthy: BTreeMap<String, Unhealthy>,
    /// Containers (by id) whose `postStart` hook succeeded.
    pub post_started: BTreeSet<String>,
    /// Containers (by id) whose `preStop` hook has begun: it runs once.
    pub pre_stopped: BTreeSet<String>,
    /// What running containers (by id) were given since they were made.
    pub resized: BTreeMap<String, String>,
    /// The limits of the pod's own cgroup, as a mark; absent where nobody knows them.
    pub pod_limits: Option<String>,
    /// Why a resize waits, as reason and message.
    pub resize_pending: Option<(String, String)>,
    /// Containers (by id) whose startup is over: no startup probe, or it succeeded.
    pub started: BTreeSet<String>,
    /// Until when the pod's end waits for the proxies.
    pub held_until: Option<Timestamp>,
    /// They did not answer in that time, and the log says so.
    pub hold_ran_out: bool,
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
    pub(super) fn busy(&self, target: &Target) -> bool {
        self.in_flight.contains(target)
    }

    pub(super) fn starts_a_container(&self) -> bool {
        self.in_flight.iter().any(|target| matches!(target, Target::Start(_)))
    }

    pub(super) fn stopping(&self, id: &str, deadline: i64) -> bool {
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
