//! A pod that ends keeps serving until no proxy sends it anything more ([`reeve_api::handover`]), for a bounded time.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use reeve_api::handover::{is_dropped, must_wait, patience};

use super::{Agent, services};
use crate::pod::backoff::after;
use crate::pod::plan::Intent;
use crate::pod::spec;

impl Agent {
    /// Holds the end of a pod that is being deleted back, where it has to wait; lets it go where it was waited for.
    pub(super) fn hold(&mut self, uid: &str, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        let Some(pod) = &worker.pod else { return };
        if let Some(until) = worker.state.held_until {
            let forced = pod.metadata.deletion_grace_period_seconds == Some(0);
            if is_dropped(&pod.metadata) || forced || worker.state.object_gone {
                tracing::debug!(pod = %worker.key, forced, "the proxies have dropped the pod");
                worker.state.held_until = None;
            } else if until <= now && !worker.state.hold_ran_out {
                worker.state.hold_ran_out = true;
                tracing::warn!(pod = %worker.key, "the pod is told to stop although not all proxies have said that they dropped it: requests to it may fail; see the Leases reeve-proxy.NODE for one that is behind");
            }
        } else if worker.state.intent == Intent::Run && !worker.state.object_gone {
            let selected = services::selects(&self.executor.services, pod);
            if must_wait(&pod.metadata, was_ready(pod), selected) {
                let grace = Duration::from_secs(u64::try_from(spec::grace_seconds(pod)).unwrap_or_default());
                worker.state.held_until = Some(after(now, patience(grace)));
            }
        }
    }
}

fn was_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|it| it.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}
