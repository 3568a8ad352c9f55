//! The status of a Deployment: counts, conditions, and whether the rollout is complete or late.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::meta::MetaExt as _;
use serde_json::json;

use super::conditions::{self, AVAILABLE, PROGRESSING, REPLICA_FAILURE, condition};
use super::{Rollout, available, patch_status, wanted};
use crate::action::{Action, EventType};
use crate::object::{plus_seconds, reference, stored, to_json, until};

const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// The status outside a rollout: counts and `Available`.
pub fn sync(rollout: &Rollout) -> Vec<Action> {
    write(rollout, calculate(rollout)).into_iter().collect()
}

/// The status of a rollout: also `Progressing` and `ReplicaFailure`, and when to look at the deadline.
pub fn sync_rollout(rollout: &Rollout) -> Vec<Action> {
    let mut status = calculate(rollout);
    let present = conditions::find(rollout.deployment, PROGRESSING);
    let mut all = status.conditions.take().unwrap_or_default();
    if !conditions::has_deadline(rollout) {
        all.retain(|condition| condition.type_ != PROGRESSING);
    }
    let was_complete = status.replicas == status.updated_replicas
        && present.is_some_and(|condition| condition.reason.as_deref() == Some(COMPLETE));
    if conditions::has_deadline(rollout) && !was_complete {
        judge_progress(rollout, &status, present, &mut all);
    }
    match replica_failure(rollout) {
        Some(failure) => conditions::set(&mut all, failure),
        None => all.retain(|condition| condition.type_ != REPLICA_FAILURE),
    }
    status.conditions = Some(all);
    let again = deadline_check(rollout, &status);
    write(rollout, status).into_iter().chain(again).collect()
}

fn judge_progress(
    rollout: &Rollout,
    status: &DeploymentStatus,
    present: Option<&DeploymentCondition>,
    all: &mut Vec<DeploymentCondition>,
) {
    let subject = match rollout.new {
        Some(new) => format!("ReplicaSet {:?}", new.metadata.name()),
        None => format!("Deployment {:?}", rollout.name()),
    };
    let now = rollout.now;
    if completes(rollout, status) {
        let message = format!("{subject} has successfully progressed.");
        conditions::set(all, condition(PROGRESSING, "True", COMPLETE, message, now));
    } else if progresses(rollout, status) {
        let message = format!("{subject} is progressing.");
        let mut new = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        if let Some(present) = present.filter(|present| present.status == "True") {
            new.last_transition_time = present.last_transition_time.clone();
        }
        // Also when only the time of the update changes: the deadline counts from it.
        all.retain(|condition| condition.type_ != PROGRESSING);
        all.push(new);
    } else if is_late(rollout, present) {
        let message = format!("{subject} has timed out progressing.");
        conditions::set(all, condition(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

/// Whether the stored status shows a complete rollout.
pub fn is_complete(rollout: &Rollout) -> bool {
    rollout.deployment.status.as_ref().is_some_and(|status| completes(rollout, status))
}

fn completes(rollout: &Rollout, status: &DeploymentStatus) -> bool {
    let target = Some(rollout.replicas());
    let zero = |count: Option<i32>| Some(count.unwrap_or(0));
    zero(status.updated_replicas) == target
        && zero(status.replicas) == target
        && zero(status.available_replicas) == target
        && status.observed_generation >= rollout.deployment.metadata.generation
}

fn progresses(rollout: &Rollout, new: &DeploymentStatus) -> bool {
    let none = DeploymentStatus::default();
    let old = rollout.deployment.status.as_ref().unwrap_or(&none);
    let zero = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| zero(status.replicas) - zero(status.updated_replicas);
    zero(new.updated_replicas) > zero(old.updated_replicas)
        || outdated(new) < outdated(old)
        || zero(new.ready_replicas) > zero(old.ready_replicas)
        || zero(new.available_replicas) > zero(old.available_replicas)
}

fn is_late(rollout: &Rollout, present: Option<&DeploymentCondition>) -> bool {
    let Some(present) = present else { return false };
    match present.reason.as_deref() {
        Some(COMPLETE | PAUSED) => false,
        Some(TIMED_OUT) => true,
        _ => deadline(rollout, present).is_some_and(|deadline| deadline < rollout.now),
    }
}

fn deadline(rollout: &Rollout, progressing: &DeploymentCondition) -> Option<jiff::Timestamp> {
    let seconds = rollout.spec.progress_deadline_seconds?;
    Some(plus_seconds(progressing.last_update_time.as_ref()?.0, seconds.into()))
}

/// When nothing changes until the deadline, that is to be told at the deadline.
fn deadline_check(rollout: &Rollout, status: &DeploymentStatus) -> Option<Action> {
    if !conditions::has_deadline(rollout) || completes(rollout, status) {
        return None;
    }
    let progressing = status.conditions.iter().flatten().find(|condition| condition.type_ == PROGRESSING)?;
    if matches!(progressing.reason.as_deref(), Some(COMPLETE | TIMED_OUT)) {
        return None;
    }
    // Times are stored in whole seconds: one more makes sure that the deadline has passed.
    until(plus_seconds(deadline(rollout, progressing)?, 1), rollout.now).map(Action::Again)
}

/// The failure of the new ReplicaSet, or else of an old one.
fn replica_failure(rollout: &Rollout) -> Option<DeploymentCondition> {
    let failure = |replica_set: &ReplicaSet| {
        let conditions = replica_set.status.as_ref()?.conditions.as_ref()?;
        let failure = conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE)?;
        Some(DeploymentCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: failure.status.clone(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            last_update_time: Some(Time(stored(rollout.now))),
            last_transition_time: failure.last_transition_time.clone(),
        })
    };
    rollout.new.into_iter().chain(rollout.old.iter().copied()).find_map(failure)
}

fn calculate(rollout: &Rollout) -> DeploymentStatus {
    let count = |read: fn(&ReplicaSet) -> i32| rollout.all().map(read).sum::<i32>();
    let actual = |one: &ReplicaSet| one.status.as_ref().map_or(0, |status| status.replicas);
    let ready = |one: &ReplicaSet| one.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let terminating =
        |one: &ReplicaSet| one.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0);
    let available = count(available);
    let mut all = conditions::all(rollout);
    let (status, reason, message) = if available >= rollout.replicas() - rollout.max_unavailable() {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    conditions::set(&mut all, condition(AVAILABLE, status, reason, message.to_owned(), rollout.now));
    DeploymentStatus {
        observed_generation: rollout.deployment.metadata.generation,
        replicas: Some(count(actual)),
        updated_replicas: Some(rollout.new.map_or(0, actual)),
        ready_replicas: Some(count(ready)),
        available_replicas: Some(available),
        unavailable_replicas: Some((count(wanted) - available).max(0)),
        terminating_replicas: Some(count(terminating)),
        collision_count: rollout.deployment.status.as_ref().and_then(|status| status.collision_count),
        conditions: Some(all),
    }
}

/// Absent counts are zeros, an absent list is empty.
fn normal(mut status: DeploymentStatus) -> DeploymentStatus {
    for count in [
        &mut status.replicas,
        &mut status.updated_replicas,
        &mut status.ready_replicas,
        &mut status.available_replicas,
        &mut status.unavailable_replicas,
        &mut status.terminating_replicas,
    ] {
        count.get_or_insert(0);
    }
    status.conditions.get_or_insert_default();
    status
}

fn write(rollout: &Rollout, new: DeploymentStatus) -> Option<Action> {
    let old = normal(rollout.deployment.status.clone().unwrap_or_default());
    (old != normal(new.clone())).then(|| patch_status(rollout.deployment, to_json(&new)))
}

/// Tells of a pause or its end in the `Progressing` condition, so that the deadline does not count meanwhile.
pub fn pause_changed(rollout: &Rollout) -> Option<Action> {
    if !conditions::has_deadline(rollout) {
        return None;
    }
    let present = conditions::find(rollout.deployment, PROGRESSING).and_then(|condition| condition.reason.as_deref());
    if present == Some(TIMED_OUT) {
        return None;
    }
    let (reason, message) = match (rollout.spec.paused == Some(true), present == Some(PAUSED)) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return None,
    };
    let mut all = conditions::all(rollout);
    conditions::set(&mut all, condition(PROGRESSING, "Unknown", reason, message.to_owned(), rollout.now));
    Some(patch_status(rollout.deployment, json!({"conditions": to_json(&all)})))
}

/// What to tell when the new ReplicaSet cannot be created.
pub fn create_failed(deployment: &Deployment, name: &str, error: &str, now: jiff::Timestamp) -> Vec<Action> {
    let reason = "ReplicaSetCreateError";
    let message = format!("Failed to create new replica set {name:?}: {error}");
    let mut all = deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    conditions::set(&mut all, condition(PROGRESSING, "False", reason, message.clone(), now));
    vec![
        patch_status(deployment, json!({"conditions": to_json(&all)})),
        Action::Event {
            regarding: reference::<Deployment>(&deployment.metadata),
            event_type: EventType::Warning,
            reason,
            message,
        },
    ]
}
