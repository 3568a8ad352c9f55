//! Everything that the event loop reacts to: one closed enum.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use reeve_client::Error;
use tokio::sync::mpsc;

use super::executor::Done;
use super::inbox::Reference;
use super::look::Look;
use super::patch::StatusPatch;
use crate::pod::plan::Target;
use crate::pod::probe::{ProbeAnswer, ProbeKind};
use crate::runtime::events::RuntimeEvent;

/// Everything that the kubelet reacts to.
#[derive(Debug)]
pub enum Event {
    /// The node's pods are known completely for the first time.
    PodsSynced,
    /// A pod appeared, changed or went.
    PodChanged(ObjectKey),
    /// A ConfigMap or Secret changed.
    ReferenceChanged(Reference),
    /// The node is too small for a pod.
    Evicted {
        /// The pod's UID.
        uid: String,
        /// Why, for the user.
        message: String,
        /// How long it has to end.
        grace_seconds: i64,
    },
    /// The runtime told something.
    Runtime(RuntimeEvent),
    /// A look at one pod in the runtime ended.
    Observed {
        /// The pod's UID.
        uid: String,
        /// What was seen, and the number of the look.
        look: Look,
    },
    /// An action ended.
    WorkerDone {
        /// The pod's UID.
        uid: String,
        /// What the action worked on.
        target: Target,
        /// What it came to.
        done: Done,
        /// The pod in the runtime afterwards, where the action changed it.
        look: Option<Look>,
    },
    /// A status patch was answered.
    StatusWritten {
        /// The pod's UID.
        uid: String,
        /// The patch.
        sent: StatusPatch,
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
        /// How long it took.
        took: Duration,
    },
    /// The runtime's health changed.
    HealthChanged,
    /// A moment came that a worker asked to be woken at.
    Timer,
    /// The process is to end. Containers go on.
    Shutdown,
}

impl Event {
    /// The event's name in logs.
    pub fn name(&self) -> &'static str {
        match self {
            Event::PodsSynced => "pods synced",
            Event::PodChanged(_) => "pod changed",
            Event::ReferenceChanged(_) => "reference changed",
            Event::Evicted { .. } => "evicted",
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
}

/// Tells the event loop; it is gone only when the process ends.
pub(super) async fn report(sender: &mpsc::Sender<Event>, event: Event) {
    if let Err(error) = sender.send(event).await {
        tracing::debug!(event = error.0.name(), "the event loop has ended");
    }
}
