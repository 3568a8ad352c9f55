//! The one place with IO: follows nodes and pods, binds, and tells users.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use reeve_api::Reason;
use reeve_api::meta::MetaExt as _;
use reeve_client::{Change, Client, Error, EventRecorder, EventType, Patch, Scope, Store, reflect};
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::scheduler::{Binding, Fate, Limits, Refusal, Scheduler};
use crate::view::{NodeView, PodView};

/// Bindings in flight: enough to keep the API server and its store busy, few enough that what is decided is done
/// within milliseconds.
const BINDINGS_MAX: usize = 64;
/// Reports of unschedulable pods in flight.
const REPORTS_MAX: usize = 16;
/// After this long without an answer the fate of a binding is unknown.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long calls in flight may take to end when the scheduler stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts to write a pod's condition while others write the pod.
const CONDITION_ATTEMPTS: u32 = 3;

/// The state machine with its watches.
pub struct Following {
    scheduler: Arc<Mutex<Scheduler>>,
    changed: Arc<Notify>,
    nodes: Store<NodeView>,
    pods: Store<PodView>,
}

impl Following {
    /// Starts to follow nodes and pods, for the pods of one `schedulerName`.
    pub fn start(client: &Client, name: &str) -> Self {
        let scheduler = Arc::new(Mutex::new(Scheduler::new(name)));
        let changed = Arc::new(Notify::new());
        let (state, notify) = (Arc::clone(&scheduler), Arc::clone(&changed));
        let nodes = reflect(client, Scope::all(), move |change: Change<NodeView>| {
            match &change {
                Change::Applied { new, .. } => state.lock().node_changed(&new.facts),
                Change::Deleted { old } => state.lock().node_removed(&old.facts.name),
                Change::Synced => {}
            }
            notify.notify_one();
        });
        let (state, notify) = (Arc::clone(&scheduler), Arc::clone(&changed));
        let pods = reflect(client, Scope::all(), move |change: Change<PodView>| {
            match &change {
                Change::Applied { new, .. } => state.lock().pod_changed(new),
                Change::Deleted { old } => state.lock().pod_removed(&old.key),
                Change::Synced => {}
            }
            notify.notify_one();
        });
        Self { scheduler, changed, nodes, pods }
    }

    /// Places pods until told to stop. Begins when all nodes and pods are known.
    pub async fn schedule(&self, client: &Client, recorder: &EventRecorder, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = async { tokio::join!(self.nodes.wait_synced(), self.pods.wait_synced()); } => {}
        }
        tracing::info!(nodes = self.nodes.len(), pods = self.pods.len(), "scheduling");
        let mut random = SmallRng::from_os_rng();
        let mut calls = Calls { client, recorder, running: FuturesUnordered::new(), bindings: 0, reports: 0 };
        loop {
            let (plan, deadline) = {
                let mut scheduler = self.scheduler.lock();
                let plan = scheduler.plan(Instant::now(), calls.free(), &mut random);
                (plan, scheduler.next_deadline())
            };
            plan.bindings.into_iter().for_each(|binding| calls.bind(binding));
            plan.refusals.into_iter().for_each(|refusal| calls.report(refusal));
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.changed.notified() => {}
                Some(ended) = calls.running.next(), if !calls.running.is_empty() => {
                    self.take(&mut calls, ended);
                    while let Some(Some(ended)) = calls.running.next().now_or_never() {
                        self.take(&mut calls, ended);
                    }
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() => {}
            }
        }
        let rest = async {
            while let Some(ended) = calls.running.next().await {
                self.take(&mut calls, ended);
            }
        };
        if tokio::time::timeout(STOP_TIMEOUT, rest).await.is_err() {
            tracing::warn!("stopping with bindings in flight; the next scheduler finds out how they ended");
        }
    }

    fn take(&self, calls: &mut Calls<'_>, ended: Ended) {
        match ended {
            Ended::Binding(binding, fate) => {
                calls.bindings -= 1;
                self.scheduler.lock().binding_ended(&binding, fate, Instant::now());
            }
            Ended::Report => calls.reports -= 1,
        }
    }
}

enum Ended {
    Binding(Binding, Fate),
    Report,
}

struct Calls<'a> {
    client: &'a Client,
    recorder: &'a EventRecorder,
    running: FuturesUnordered<BoxFuture<'a, Ended>>,
    bindings: usize,
    reports: usize,
}

impl<'a> Calls<'a> {
    fn free(&self) -> Limits {
        Limits { bindings: BINDINGS_MAX - self.bindings, refusals: REPORTS_MAX - self.reports }
    }

    fn bind(&mut self, binding: Binding) {
        reeve_client::pages::stir();
        self.bindings += 1;
        let (client, recorder) = (self.client, self.recorder);
        self.running.push(
            async move {
                let fate = bind(client, recorder, &binding).await;
                Ended::Binding(binding, fate)
            }
            .boxed(),
        );
    }

    fn report(&mut self, refusal: Refusal) {
        self.reports += 1;
        let (client, recorder) = (self.client, self.recorder);
        self.running.push(
            async move {
                report(client, recorder, &refusal).await;
                Ended::Report
            }
            .boxed(),
        );
    }
}

fn reference(pod: &PodView) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.key.namespace.clone()),
        name: Some(pod.key.name.clone()),
        uid: Some(pod.uid.to_string()),
        ..ObjectReference::default()
    }
}

/// Writes the binding, which the API server accepts only for this pod and only while it has no node.
async fn bind(client: &Client, recorder: &EventRecorder, binding: &Binding) -> Fate {
    let (pod, node) = (&binding.pod, &binding.node);
    let body = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"namespace": pod.key.namespace, "name": pod.key.name, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": **node},
    });
    let pods = client.namespaced::<Pod>(&pod.key.namespace);
    let call = pods.create_subresource(&pod.key.name, "binding", &body);
    let error = match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(_)) => {
            tracing::debug!(pod = %pod.key, node = %node, "bound");
            let message = format!("Successfully assigned {} to {node}", pod.key);
            recorder.event(&reference(pod), EventType::Normal, "Scheduled", message);
            return Fate::Bound;
        }
        Ok(Err(error)) => error,
        Err(_) => {
            tracing::warn!(pod = %pod.key, node = %node, timeout = ?CALL_TIMEOUT, "no answer to a binding");
            return Fate::Unknown;
        }
    };
    let fate = fate(&error);
    if error.is_not_found() || error.is_conflict() {
        tracing::debug!(pod = %pod.key, node = %node, %error, "somebody else was first");
    } else {
        tracing::warn!(pod = %pod.key, node = %node, %error, "cannot bind");
        let message = format!("binding rejected: running Bind plugin \"DefaultBinder\": {error}");
        recorder.event(&reference(pod), EventType::Warning, "FailedScheduling", message);
    }
    fate
}

/// Whether an error leaves open if the binding was stored.
fn fate(error: &Error) -> Fate {
    match error.reason() {
        None | Some(Reason::InternalError | Reason::ServiceUnavailable | Reason::ServerTimeout | Reason::Timeout) => {
            Fate::Unknown
        }
        Some(_) => Fate::Refused,
    }
}

/// Tells the pod's user why it has no node: an event, and the condition `PodScheduled`.
async fn report(client: &Client, recorder: &EventRecorder, refusal: &Refusal) {
    let pod = &refusal.pod;
    let message = refusal.diagnosis.to_string();
    tracing::info!(pod = %pod.key, reason = %message, "unschedulable");
    recorder.event(&reference(pod), EventType::Warning, "FailedScheduling", message.as_str());
    let written = tokio::time::timeout(CALL_TIMEOUT, write_condition(client, pod, &message)).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.is_not_found() => {}
        Ok(Err(error)) => tracing::warn!(pod = %pod.key, %error, "cannot write the condition PodScheduled"),
        Err(_) => tracing::warn!(pod = %pod.key, timeout = ?CALL_TIMEOUT, "no answer to the condition PodScheduled"),
    }
}

async fn write_condition(client: &Client, pod: &PodView, message: &str) -> Result<(), Error> {
    let pods = client.namespaced::<Pod>(&pod.key.namespace);
    let mut attempt = 1;
    loop {
        let present = pods.get(&pod.key.name).await?;
        let bound = present.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        if bound || present.metadata.uid() != &*pod.uid {
            return Ok(());
        }
        let conditions = present.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let Some(conditions) = unschedulable(conditions, message, Timestamp::now()) else { return Ok(()) };
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": present.metadata.resource_version},
            "status": {"conditions": conditions},
        }));
        match pods.patch_status(&pod.key.name, &patch).await {
            Err(error) if error.is_conflict() && attempt < CONDITION_ATTEMPTS => attempt += 1,
            result => return result.map(|_| ()),
        }
    }
}

/// The conditions with `PodScheduled` saying why; `None` if it says so already.
fn unschedulable(mut conditions: Vec<PodCondition>, message: &str, now: Timestamp) -> Option<Vec<PodCondition>> {
    let at = conditions.iter().position(|condition| condition.type_ == "PodScheduled");
    let old = at.map(|at| conditions.swap_remove(at));
    let condition = PodCondition {
        type_: "PodScheduled".to_owned(),
        status: "False".to_owned(),
        reason: Some("Unschedulable".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: match &old {
            Some(old) if old.status == "False" => old.last_transition_time.clone(),
            _ => Some(Time(now)),
        },
        ..PodCondition::default()
    };
    let same = old.is_some_and(|old| {
        (&old.status, &old.reason, &old.message) == (&condition.status, &condition.reason, &condition.message)
    });
    conditions.push(condition);
    (!same).then_some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_condition_is_written_once_and_keeps_its_transition_time() {
        let (first, second) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
        let other = PodCondition { type_: "Initialized".to_owned(), ..PodCondition::default() };
        let conditions = unschedulable(vec![other], "no room", first).unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(unschedulable(conditions.clone(), "no room", second), None);
        let changed = unschedulable(conditions, "still no room", second).unwrap();
        let scheduled = changed.iter().find(|condition| condition.type_ == "PodScheduled").unwrap();
        assert_eq!(scheduled.message.as_deref(), Some("still no room"));
        assert_eq!(scheduled.last_transition_time, Some(Time(first)));
    }

    #[test]
    fn only_a_clear_no_frees_the_node_at_once() {
        let transport = Error::Transport { server: "s".to_owned(), message: "m".to_owned() };
        assert_eq!(fate(&transport), Fate::Unknown);
        let status = |reason| Error::Status(Box::new(reeve_api::StatusError::new(reason, "m")));
        assert_eq!(fate(&status(Reason::Conflict)), Fate::Refused);
        assert_eq!(fate(&status(Reason::NotFound)), Fate::Refused);
        assert_eq!(fate(&status(Reason::ServiceUnavailable)), Fate::Unknown);
    }
}
