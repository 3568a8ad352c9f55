//! Judges each pod once, when the node first brings it forward.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use reeve_client::EventType;

use super::Agent;
use super::steps::subject_of;
use crate::pod::admission::{NodeTerms, admit};
use crate::pod::plan::Intent;
use crate::pod::spec;

impl Agent {
    /// Judges a pod that was not judged before. One that a kubelet brought forward earlier was taken then.
    pub(super) fn judge(&mut self, uid: &str, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid).filter(|worker| !worker.admitted) else { return };
        let Some(pod) = worker.pod.clone() else { return };
        worker.admitted = true;
        let begun = pod.status.as_ref().is_some_and(|it| it.start_time.is_some());
        if (begun || !worker.observed.is_empty()) && !spec::is_static(&pod) {
            if let Some(given) = self.executor.kept_allocation(uid) {
                worker.resume_allocation(&given);
            }
            worker.state.pod_limits = worker.pod.as_ref().map(|pod| self.executor.cgroup_mark(pod));
        }
        let going = pod.metadata.deletion_timestamp.is_some() || worker.state.object_gone;
        if begun || going || spec::is_terminal(&pod) || !worker.observed.is_empty() {
            return;
        }
        let taken = self.taken(uid);
        let others: Vec<&Pod> = taken.iter().map(Arc::as_ref).collect();
        let config = &self.executor.config;
        let node = self.executor.nodes.get(&ObjectKey::new(String::new(), config.node_name.clone()));
        let terms = NodeTerms {
            name: &config.node_name,
            labels: node.as_ref().map(|it| it.labels()),
            taints: node.as_ref().map(|it| it.taints()).unwrap_or_default(),
            allocatable: &self.executor.allocatable,
            allowed_sysctls: &config.allowed_unsafe_sysctls,
            app_armor: self.executor.app_armor,
            pressure: &self.executor.pressure.borrow().clone(),
        };
        let Err(rejection) = admit(&pod, &others, terms) else { return };
        let Some(worker) = self.workers.get_mut(uid) else { return };
        tracing::warn!(pod = %worker.key, reason = rejection.reason, message = rejection.message, "a pod is refused");
        let subject = subject_of(uid, worker);
        self.executor.event(&subject, None, EventType::Warning, &rejection.reason, &rejection.message);
        worker.rejected = true;
        worker.fail(&rejection.reason, format!("Pod was rejected: {}", rejection.message), now, 0);
    }

    /// The node is too small for a pod: it ends and has failed.
    pub(super) fn evicted(&mut self, uid: &str, message: String, grace_seconds: i64, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid).filter(|it| it.state.intent == Intent::Run) else { return };
        tracing::warn!(pod = %worker.key, %message, "a pod is evicted");
        self.executor.event(&subject_of(uid, worker), None, EventType::Warning, "Evicted", &message);
        worker.fail("Evicted", message, now, grace_seconds);
        self.step(uid, now);
    }
}
