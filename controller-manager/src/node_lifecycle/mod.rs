//! Node lifecycle: nodes that fall silent, their taints, and the pods that must leave them.
//!
//! Rules from upstream's `pkg/controller/nodelifecycle` and `pkg/controller/tainteviction`. A node says that it lives
//! by its Lease and by its status; when neither has changed for the grace period, by this process's own clock, its
//! conditions become `Unknown`. Conditions become taints, `NoExecute` taints evict. When no node of the cluster is
//! ready the fault is more likely here than there, and no node gets a `NoExecute` taint.

pub mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::action::{Action, EventType};
use crate::object::{plus_seconds, reference_of, resource, stored, to_json, until};
use crate::view::{NodeCondition, NodeView, PodView};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// What a turn is decided on.
pub struct Observed<'a> {
    /// The node.
    pub node: &'a NodeView,
    /// When this process last saw a sign of life.
    pub alive_at: Timestamp,
    /// How long a node may be silent.
    pub grace: SignedDuration,
    /// Whether some node of the cluster is ready.
    pub any_ready: bool,
    /// The pods that are bound to the node.
    pub pods: &'a [Arc<PodView>],
    /// Since when the node has taints that do not tell it.
    pub noticed: &'a Noticed,
}

/// When this process first saw `NoExecute` taints, by key and value. Those that users set have no time of their own.
pub type Noticed = BTreeMap<(String, String), Timestamp>;

/// A taint as [`Noticed`] has it.
fn name_of(taint: &Taint) -> (String, String) {
    (taint.key.clone(), taint.value.clone().unwrap_or_default())
}

/// Decides one turn. Conditions come first; taints and pods follow once the store shows them.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let node = observed.node;
    let expires = observed.alive_at.saturating_add(observed.grace).unwrap_or(Timestamp::MAX);
    let wait = until(expires, now);
    if wait.is_none()
        && let Some(actions) = silence(node, now)
    {
        return actions;
    }
    let mut actions: Vec<Action> = wait.map(Action::Again).into_iter().collect();
    if let Some(action) = set_taints(observed, now) {
        actions.push(action);
        return actions;
    }
    actions.extend(mark_pods_not_ready(observed, now));
    actions.extend(evict(observed, now));
    actions
}

/// Marks a silent node's conditions, unless that was done.
fn silence(node: &NodeView, now: Timestamp) -> Option<Vec<Action>> {
    let mut conditions = node.status.conditions.clone();
    let mut changed = false;
    for type_ in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let stamp = Some(Time(stored(now)));
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = "NodeStatusUnknown".to_owned();
                condition.message = "Kubelet stopped posting node status.".to_owned();
                condition.last_transition_time = stamp;
                changed = true;
            }
            None => {
                conditions.push(NodeCondition {
                    type_: type_.to_owned(),
                    status: "Unknown".to_owned(),
                    reason: "NodeStatusNeverUpdated".to_owned(),
                    message: "Kubelet never posted node status.".to_owned(),
                    last_heartbeat_time: node.metadata.created.map(Time),
                    last_transition_time: stamp,
                });
                changed = true;
            }
        }
    }
    if !changed {
        return None;
    }
    let patch = Action::Patch {
        resource: resource::<Node>(),
        key: node.metadata.key(),
        subresource: "status",
        patch: json!({
            "metadata": {"uid": &*node.metadata.uid, "resourceVersion": node.metadata.revision.to_string()},
            "status": {"conditions": to_json(&conditions)},
        }),
    };
    let event = Action::Event {
        regarding: reference_of::<Node>(&node.metadata),
        event_type: EventType::Normal,
        reason: "NodeNotReady",
        message: format!("Node {} status is now: NodeNotReady", node.metadata.name),
    };
    Some(vec![patch, event])
}

/// The status of the `Ready` condition; nothing is known of a node that has none.
fn ready(node: &NodeView) -> &str {
    node.condition("Ready").map_or("Unknown", |condition| condition.status.as_str())
}

/// The taints that this controller keeps, as the conditions want them.
fn wanted_taints(observed: &Observed) -> Vec<(&'static str, &'static str)> {
    let node = observed.node;
    let is = |type_: &str, status: &str| node.condition(type_).is_some_and(|condition| condition.status == status);
    let mut taints = Vec::new();
    // A node that never told a status is left alone until its grace period is over.
    if let Some(condition) = node.condition("Ready") {
        let key = match condition.status.as_str() {
            "True" => None,
            "False" => Some(NOT_READY),
            _ => Some(UNREACHABLE),
        };
        if let Some(key) = key {
            taints.push((key, "NoSchedule"));
            let present = node.spec.taints.iter().any(|taint| taint.key == key && taint.effect == "NoExecute");
            if observed.any_ready || present {
                taints.push((key, "NoExecute"));
            }
        }
    }
    for (type_, key) in [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
        ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
    ] {
        if is(type_, "True") {
            taints.push((key, "NoSchedule"));
        }
    }
    if node.spec.unschedulable {
        taints.push(("node.kubernetes.io/unschedulable", "NoSchedule"));
    }
    taints
}

/// Whether this controller decides about a taint.
fn is_ours(taint: &Taint, known: bool) -> bool {
    let both = [NOT_READY, UNREACHABLE];
    let schedule = [
        "node.kubernetes.io/memory-pressure",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/network-unavailable",
        "node.kubernetes.io/unschedulable",
    ];
    match taint.effect.as_str() {
        "NoSchedule" => (known && both.contains(&taint.key.as_str())) || schedule.contains(&taint.key.as_str()),
        "NoExecute" => known && both.contains(&taint.key.as_str()),
        _ => false,
    }
}

fn set_taints(observed: &Observed, now: Timestamp) -> Option<Action> {
    let node = observed.node;
    let known = node.condition("Ready").is_some();
    let wanted = wanted_taints(observed);
    let is_wanted = |taint: &Taint| wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let present = &node.spec.taints;
    let mut taints: Vec<Taint> =
        present.iter().filter(|taint| !is_ours(taint, known) || is_wanted(taint)).cloned().collect();
    for (key, effect) in &wanted {
        if !present.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            taints.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                value: None,
                time_added: Some(Time(stored(now))),
            });
        }
    }
    if taints == *present {
        return None;
    }
    let taints = if taints.is_empty() { serde_json::Value::Null } else { to_json(&taints) };
    Some(Action::Patch {
        resource: resource::<Node>(),
        key: node.metadata.key(),
        subresource: "",
        patch: json!({
            "metadata": {"uid": &*node.metadata.uid, "resourceVersion": node.metadata.revision.to_string()},
            "spec": {"taints": taints},
        }),
    })
}

/// Pods of a node that is not ready do not serve. Only readiness from before the node's change is overruled: what a
/// kubelet says afterwards, it knows better.
fn mark_pods_not_ready(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let node = observed.node;
    if ready(node) == "True" {
        return vec![];
    }
    let changed = node.condition("Ready").and_then(|condition| condition.last_transition_time.as_ref());
    let Some(changed) = changed.map(|time| time.0) else { return vec![] };
    let mark = |pod: &Arc<PodView>| {
        let condition = Action::SetCondition {
            resource: resource::<Pod>(),
            key: pod.metadata.key(),
            uid: pod.metadata.uid.to_string(),
            type_: "Ready",
            fields: json!({"status": "False", "lastTransitionTime": Time(stored(now))}),
        };
        let event = Action::Event {
            regarding: reference_of::<Pod>(&pod.metadata),
            event_type: EventType::Warning,
            reason: "NodeNotReady",
            message: "Node is not ready".to_owned(),
        };
        [condition, event]
    };
    let pods =
        observed.pods.iter().filter(|pod| pod.readiness.ready && pod.readiness.since.is_none_or(|at| at <= changed));
    pods.flat_map(mark).collect()
}

/// Deletes pods that do not tolerate the node's `NoExecute` taints, or not any longer.
fn evict(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let taints: Vec<&Taint> = observed.node.spec.taints.iter().filter(|taint| taint.effect == "NoExecute").collect();
    if taints.is_empty() {
        return vec![];
    }
    let mut actions = Vec::new();
    let mut next: Option<std::time::Duration> = None;
    for pod in observed.pods.iter().filter(|pod| pod.is_active()) {
        let Some(deadline) = eviction_time(pod, &taints, observed.noticed, now) else { continue };
        match until(deadline, now) {
            Some(wait) => next = Some(next.map_or(wait, |next| next.min(wait))),
            None => {
                actions.push(Action::Event {
                    regarding: reference_of::<Pod>(&pod.metadata),
                    event_type: EventType::Normal,
                    reason: "TaintManagerEviction",
                    message: format!("Marking for deletion Pod {}", pod.metadata.key()),
                });
                actions.push(Action::SetCondition {
                    resource: resource::<Pod>(),
                    key: pod.metadata.key(),
                    uid: pod.metadata.uid.to_string(),
                    type_: "DisruptionTarget",
                    fields: json!({
                        "status": "True",
                        "reason": "DeletionByTaintManager",
                        "message": "Taint manager: deleting due to NoExecute taint",
                        "lastTransitionTime": Time(stored(now)),
                    }),
                });
                actions.push(Action::Delete {
                    resource: resource::<Pod>(),
                    key: pod.metadata.key(),
                    uid: pod.metadata.uid.to_string(),
                    revision: None,
                    grace_seconds: None,
                    propagation: None,
                    told: None,
                });
            }
        }
    }
    actions.extend(next.map(Action::Again));
    actions
}

/// When a pod must go; `None` when it tolerates all taints for ever.
fn eviction_time(pod: &PodView, taints: &[&Taint], noticed: &Noticed, now: Timestamp) -> Option<Timestamp> {
    let mut earliest = None;
    for taint in taints {
        let value = taint.value.as_deref().unwrap_or_default();
        let tolerating = pod.tolerations.iter().filter(|toleration| {
            (toleration.key.is_empty() || toleration.key == taint.key)
                && (toleration.exists || toleration.value == value)
        });
        let told = taint.time_added.as_ref().map(|time| time.0);
        let added = told.or_else(|| noticed.get(&name_of(taint)).copied()).unwrap_or(now);
        // The shortest toleration of a taint counts; one without a time is for ever.
        let mut tolerated = false;
        let mut shortest: Option<i64> = None;
        for toleration in tolerating {
            tolerated = true;
            if let Some(seconds) = toleration.seconds {
                shortest = Some(shortest.map_or(seconds, |shortest| shortest.min(seconds)).max(0));
            }
        }
        let deadline = match (tolerated, shortest) {
            (false, _) => added,
            // A pod that came later tolerates the taint for as long, from then on.
            (true, Some(seconds)) => {
                let created = pod.metadata.created.unwrap_or(added);
                plus_seconds(added.max(created), seconds)
            }
            (true, None) => continue,
        };
        earliest = Some(earliest.map_or(deadline, |earliest: Timestamp| earliest.min(deadline)));
    }
    earliest
}

#[cfg(test)]
mod tests;
