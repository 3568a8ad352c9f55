//! Whether a pod may have the resources that its spec says now: it waits where the node is too full, and for good where
//! the node is too small.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use reeve_client::EventType;

use super::Agent;
use super::steps::subject_of;
use crate::pod::admission::{exceeds, fits};
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

    /// Judges what a pod asks for beyond what it was given, and tells how its resize goes.
    pub(super) fn judge_resize(&mut self, uid: &str) {
        let mut pending = None;
        if let Some(asked) = self.workers.get(uid).and_then(|worker| worker.asked.clone()) {
            let taken = self.taken(uid);
            let others: Vec<&Pod> = taken.iter().map(Arc::as_ref).collect();
            let allocatable: &BTreeMap<String, i64> = &self.executor.allocatable;
            let infeasible = exceeds(&asked, allocatable).map(|message| ("Infeasible".to_owned(), message));
            let deferred = || Some(("Deferred".to_owned(), fits(&asked, &others, allocatable).err()?.message));
            pending = infeasible.or_else(deferred);
            if let Some(worker) = self.workers.get_mut(uid).filter(|_| pending.is_none()) {
                self.executor.keep_allocation(&asked);
                (worker.pod, worker.asked) = (Some(asked), None);
            }
        }
        let Some(worker) = self.workers.get_mut(uid) else { return };
        let Some(pod) = worker.pod.clone() else { return };
        let due = resize::is_due(&pod, &worker.observed, &worker.state);
        let news = match &pending {
            Some((reason, message)) if worker.state.resize_pending != pending => {
                tracing::info!(pod = %worker.key, reason, message, "a resize waits");
                let asked = worker.asked.as_ref().unwrap_or(&pod);
                let text = resize::message(&format!("Pod resize {reason}"), asked, message);
                Some((EventType::Warning, format!("Resize{reason}"), text))
            }
            Some(_) => None,
            None if due => {
                let marks = resize::marks(&pod);
                let news = (worker.resizing.as_ref() != Some(&marks)).then(|| {
                    (EventType::Normal, "ResizeStarted".to_owned(), resize::message("Pod resize started", &pod, ""))
                });
                worker.resizing = Some(marks);
                news
            }
            None => worker.resizing.take().map(|_| {
                (EventType::Normal, "ResizeCompleted".to_owned(), resize::message("Pod resize completed", &pod, ""))
            }),
        };
        worker.state.resize_pending = pending;
        if let Some((kind, reason, message)) = news {
            self.executor.event(&subject_of(uid, worker), None, kind, &reason, &message);
        }
    }

    /// The pods whose resize waits for room.
    pub(super) fn waiting_for_room(&self) -> Vec<String> {
        let waiting = self.workers.iter().filter(|(_, worker)| worker.state.resize_pending.is_some());
        waiting.map(|(uid, _)| uid.clone()).collect()
    }
}
