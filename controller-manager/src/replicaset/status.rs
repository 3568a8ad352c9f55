//! The status of a ReplicaSet.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::ObjectKey;
use reeve_api::selector::LabelSelector;
use serde_json::json;

use crate::action::Action;
use crate::object::{resource, to_json};
use crate::view::PodView;

/// The condition that tells that pods cannot be created or deleted.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What went wrong with the pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// The error.
    pub message: String,
}

/// The write that brings the status up to date, if it is not.
pub fn update(
    replica_set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    pods: &[&Arc<PodView>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Action> {
    let old = normal(replica_set.status.clone().unwrap_or_default());
    let new = calculate(replica_set, spec, &old, pods, failure, now);
    let current = ReplicaSetStatus { observed_generation: new.observed_generation, ..old.clone() };
    if new == current && old.observed_generation >= replica_set.metadata.generation {
        return None;
    }
    Some(Action::Patch {
        resource: resource::<ReplicaSet>(),
        key: ObjectKey::of(&replica_set.metadata),
        subresource: "status",
        patch: json!({
            "metadata": {"uid": replica_set.metadata.uid, "resourceVersion": replica_set.metadata.resource_version},
            "status": {
                "replicas": new.replicas,
                "fullyLabeledReplicas": new.fully_labeled_replicas.unwrap_or(0),
                "readyReplicas": new.ready_replicas.unwrap_or(0),
                "availableReplicas": new.available_replicas.unwrap_or(0),
                "terminatingReplicas": new.terminating_replicas.unwrap_or(0),
                "observedGeneration": new.observed_generation,
                "conditions": new.conditions.as_ref().map(to_json),
            }
        }),
    })
}

/// Absent counts are zeros.
fn normal(mut status: ReplicaSetStatus) -> ReplicaSetStatus {
    for count in [
        &mut status.fully_labeled_replicas,
        &mut status.ready_replicas,
        &mut status.available_replicas,
        &mut status.terminating_replicas,
    ] {
        count.get_or_insert(0);
    }
    status
}

fn calculate(
    replica_set: &ReplicaSet,
    spec: &ReplicaSetSpec,
    old: &ReplicaSetStatus,
    pods: &[&Arc<PodView>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let wanted_labels = spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let wanted_labels = wanted_labels.map_or_else(LabelSelector::everything, LabelSelector::from_map);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let (mut replicas, mut labeled, mut ready, mut available, mut terminating) = (0, 0, 0, 0, 0);
    for pod in pods {
        if !pod.is_active() {
            terminating += i32::from(!pod.has_ended());
            continue;
        }
        replicas += 1;
        labeled += i32::from(wanted_labels.matches(&pod.metadata.labels));
        ready += i32::from(pod.readiness.ready);
        available += i32::from(pod.available_at(min_ready).is_some_and(|at| at <= now));
    }
    ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: Some(labeled),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        terminating_replicas: Some(terminating),
        observed_generation: replica_set.metadata.generation,
        conditions: conditions(old, failure, now),
    }
}

fn conditions(old: &ReplicaSetStatus, failure: Option<&Failure>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let mut all = old.conditions.clone().unwrap_or_default();
    let present = all.iter().position(|condition| condition.type_ == REPLICA_FAILURE);
    match (failure, present) {
        // The first error stays until it is over, as upstream keeps it.
        (Some(_), Some(_)) => {}
        (Some(failure), None) => all.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(Time(now)),
        }),
        (None, Some(index)) => {
            all.remove(index);
        }
        (None, None) => {}
    }
    if all.is_empty() && old.conditions.as_ref().is_none_or(Vec::is_empty) { old.conditions.clone() } else { Some(all) }
}
