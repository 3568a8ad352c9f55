//! Writes pods' statuses: one patch in flight for each pod, decided on a version, again and later after a failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use reeve_api::ObjectKey;
use reeve_client::{Error, EventType, Patch};
use serde_json::json;

use super::event::{Event, report};
use super::executor::{Executor, Subject};
use super::patch::StatusPatch;
use super::steps::subject_of;
use super::{Agent, patch};
use crate::pod::plan::NodeFacts;
use crate::pod::spec;
use crate::pod::status::{StatusInput, status};

impl Agent {
    /// Writes the pod's status where the API has another.
    pub(super) fn write_status(&mut self, uid: &str, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        let Some(pod) = worker.pod.clone() else {
            worker.state.status_written = true;
            return;
        };
        if worker.state.object_gone {
            worker.state.status_written = true;
            return;
        }
        let is_static = spec::is_static(&pod);
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
                rejected: worker.rejected,
                failure: worker.failure.as_ref().map(|(reason, message)| (reason.as_str(), message.as_str())),
            },
            now,
        );
        let pod = if is_static {
            // The static pod's own status is here; the API has its image, where that is made already.
            if pod.status.as_ref() != Some(&wanted) {
                let mut shown = (*pod).clone();
                shown.status = Some(wanted.clone());
                worker.pod = Some(Arc::new(shown));
            }
            match worker.mirror.clone() {
                Some(mirror) => mirror,
                None => {
                    worker.state.status_written = true;
                    return;
                }
            }
        } else {
            pod
        };
        let to_value = |status: &PodStatus| serde_json::to_value(status).unwrap_or_default();
        let old = to_value(&pod.status.clone().unwrap_or_default());
        let Some(difference) = patch::merge_diff(&old, &to_value(&wanted)) else {
            worker.state.status_written = true;
            return;
        };
        let sent = StatusPatch { resource_version: pod.metadata.resource_version.clone(), difference };
        if worker.status_settled.as_ref() == Some(&sent) {
            worker.state.status_written = true;
            return;
        }
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
        let stored_uid = spec::uid(&pod).to_owned();
        let patch = json!({
            "metadata": {"uid": stored_uid, "resourceVersion": sent.resource_version},
            "status": sent.difference,
        });
        let (executor, sender, uid, key) =
            (self.executor.clone(), self.sender.clone(), uid.to_owned(), worker.key.clone());
        tokio::spawn(async move {
            let result = patch_status(&executor, &key, &stored_uid, patch).await;
            report(&sender, Event::StatusWritten { uid, sent, result }).await;
        });
    }

    /// A status patch was answered.
    pub(super) fn status_written(
        &mut self,
        uid: &str,
        sent: StatusPatch,
        result: Result<Option<Box<Pod>>, Error>,
        now: Timestamp,
    ) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        worker.status_in_flight = false;
        match result {
            Ok(Some(pod)) => {
                // The same patch would change nothing again, and again.
                if pod.metadata.resource_version == sent.resource_version {
                    tracing::warn!(pod = %worker.key, difference = %sent.difference, "the API has this status already");
                    worker.status_settled = Some(sent);
                }
                worker.status_retry.reset();
                worker.status_failed_at = None;
                if worker.is_static() {
                    worker.take_mirror(Some(Arc::from(pod)));
                } else {
                    worker.take_pod(Arc::from(pod));
                }
            }
            Ok(None) if worker.is_static() => worker.mirror = None,
            Ok(None) => worker.state.object_gone = true,
            Err(error) => {
                tracing::warn!(pod = %worker.key, %error, "the pod's status could not be written");
                worker.status_retry.next(now, self.executor.config.tuning.retry);
                worker.status_failed_at = Some(now);
            }
        }
        self.step(uid, now);
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
fn announce_back_off(executor: &Executor, subject: &Subject, old: Option<&PodStatus>, new: &PodStatus) {
    let waiting = |status: &PodStatus| -> BTreeMap<String, String> {
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
        let tell = |kind, reason, message: &str| executor.event(subject, Some(&container), kind, reason, message);
        if reason == "CrashLoopBackOff" {
            let message = format!(
                "Back-off restarting failed container {container} in pod {}_{}({})",
                subject.key.name, subject.key.namespace, subject.uid
            );
            tell(EventType::Warning, "BackOff", &message);
        } else {
            let found = subject.pod.as_ref().and_then(|pod| spec::container(pod, &container));
            let image = found.and_then(|it| it.image.clone()).unwrap_or_default();
            tell(EventType::Normal, "BackOff", &format!("Back-off pulling image \"{image}\""));
            tell(EventType::Warning, "Failed", "Error: ImagePullBackOff");
        }
    }
}
