//! Whether a pod may have the resources that its spec says now: it waits where the node is too full, and for good where
//! the node is too small.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Agent;
use crate::pod::admission::fits;
use crate::pod::plan::Intent;
use crate::pod::{resize, spec};

impl Agent {
    /// The pods that the node has taken and that have not ended, without one.
    pub(super) fn taken(&self, but: &str) -> Vec<Arc<Pod>> {
        self.workers
            .iter()
            .filter(|(uid, worker)| *uid != but && worker.admitted && worker.state.intent == Intent::Run)
            .filter_map(|(_, worker)| worker.pod.clone())
            .filter(|other| !spec::is_terminal(other))
            .collect()
    }

    /// Judges a resize that is due.
    pub(super) fn judge_resize(&mut self, uid: &str) {
        let Some(worker) = self.workers.get(uid) else { return };
        let Some(pod) = worker.pod.clone() else { return };
        let mut pending = None;
        if resize::is_due(&pod, &worker.observed, &worker.state.resized) {
            let taken = self.taken(uid);
            let others: Vec<&Pod> = taken.iter().map(Arc::as_ref).collect();
            let allocatable: &BTreeMap<String, i64> = &self.executor.allocatable;
            let refused = |reason: &str, others: &[&Pod]| {
                fits(&pod, others, allocatable).err().map(|it| (reason.to_owned(), it.message))
            };
            pending = refused("Infeasible", &[]).or_else(|| refused("Deferred", &others));
        }
        if let Some(worker) = self.workers.get_mut(uid) {
            if pending.is_some() && worker.state.resize_pending != pending {
                tracing::info!(pod = %worker.key, ?pending, "a resize waits");
            }
            worker.state.resize_pending = pending;
        }
    }

    /// The pods whose resize waits for room.
    pub(super) fn waiting_for_room(&self) -> Vec<String> {
        let waiting = self.workers.iter().filter(|(_, worker)| worker.state.resize_pending.is_some());
        waiting.map(|(uid, _)| uid.clone()).collect()
    }
}
