//! Which probes run, and what their answers do to a pod.

use std::time::Duration;

use jiff::Timestamp;
use reeve_client::EventType;
use tokio_util::sync::CancellationToken;

use super::reach::Place;
use super::steps::subject_of;
use super::worker::ProbeTask;
use super::{Agent, prober};
use crate::pod::observed::ContainerState;
use crate::pod::plan::{Intent, Unhealthy};
use crate::pod::probe::{ProbeAnswer, ProbeKind, Tracker, Verdict};
use crate::pod::spec;
use crate::stats::probes::ProbeOwner;

impl Agent {
    /// Starts the probes that running containers need and have not, and counts those without as well.
    pub(super) fn update_probes(&mut self, uid: &str) {
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
            if spec::has_post_start(definition) && !worker.state.post_started.contains(id) {
                // The API was told that it runs only after its hook; without that the hook runs (again).
                if !worker.was(id, |it| it.state.as_ref().is_some_and(|state| state.running.is_some())) {
                    continue;
                }
                worker.state.post_started.insert(id.clone());
            }
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
                            place: Place { address, container: definition.clone() },
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

    /// Counts an answer of a container that is known.
    pub(super) fn count_probe(
        &self,
        uid: &str,
        container_id: &str,
        kind: ProbeKind,
        answer: &ProbeAnswer,
        took: Duration,
    ) {
        let Some(worker) = self.workers.get(uid) else { return };
        let Some(container) = worker.observed.containers.iter().find(|it| it.id == container_id) else { return };
        let owner = ProbeOwner {
            namespace: worker.key.namespace.to_string(),
            pod: worker.key.name.to_string(),
            uid: uid.to_owned(),
            container: container.name.clone(),
            kind,
        };
        self.executor.probes.record(owner, answer, took);
    }

    /// A probe was answered.
    pub(super) fn probe_result(
        &mut self,
        uid: &str,
        container_id: &str,
        kind: ProbeKind,
        answer: ProbeAnswer,
        now: Timestamp,
    ) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        let Some(container) = worker.observed.containers.iter().find(|it| it.id == container_id) else { return };
        let name = container.name.clone();
        let Some(task) = worker.probes.get_mut(&(container_id.to_owned(), kind)) else { return };
        let verdict = task.tracker.observe(&answer);
        let grace_seconds = task.tracker.grace_seconds();
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
                let unhealthy = Unhealthy { message, grace_seconds };
                if worker.state.unhealthy.insert(id, unhealthy).is_some() {
                    return;
                }
            }
        }
        self.step(uid, now);
    }
}
