//! The conditions of a Deployment.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::{Rollout, patch_status};
use crate::action::Action;
use crate::object::{stored, to_json};

/// Enough replicas are available.
pub const AVAILABLE: &str = "Available";
/// The rollout goes on or is complete.
pub const PROGRESSING: &str = "Progressing";
/// Pods cannot be created or deleted.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What happened to the new ReplicaSet.
#[derive(Clone, Copy)]
pub enum Progress {
    /// It was created.
    Created,
    /// It was there already.
    Found,
}

/// A condition of a Deployment.
pub fn find<'a>(deployment: &'a Deployment, type_: &str) -> Option<&'a DeploymentCondition> {
    deployment.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

/// A new condition, changed now.
pub fn condition(type_: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(Time(stored(now))),
        last_transition_time: Some(Time(stored(now))),
    }
}

/// Puts a condition into a list. One with the same status and reason is left as it is; the time of the last
/// transition changes only with the status.
pub fn set(all: &mut Vec<DeploymentCondition>, mut new: DeploymentCondition) {
    if let Some(index) = all.iter().position(|condition| condition.type_ == new.type_) {
        let present = &all[index];
        if present.status == new.status && present.reason == new.reason {
            return;
        }
        if present.status == new.status {
            new.last_transition_time = present.last_transition_time.clone();
        }
        all.remove(index);
    }
    all.push(new);
}

/// Whether the Deployment has a deadline for progress at all.
pub fn has_deadline(rollout: &Rollout) -> bool {
    rollout.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

/// Tells of the new ReplicaSet in the `Progressing` condition.
pub fn progress(rollout: &Rollout, progress: Progress, name: &str) -> Option<Action> {
    if !has_deadline(rollout) {
        return None;
    }
    let (reason, message) = match progress {
        Progress::Created => ("NewReplicaSetCreated", format!("Created new replica set {name:?}")),
        Progress::Found => ("FoundNewReplicaSet", format!("Found new replica set {name:?}")),
    };
    let mut all = all(rollout);
    set(&mut all, condition(PROGRESSING, "True", reason, message, rollout.now));
    // Without a version: the write of the revision annotation just before this one has changed it.
    let mut action = patch_status(rollout.deployment, json!({"conditions": to_json(&all)}));
    if let Action::Patch { patch, .. } = &mut action
        && let Some(meta) = patch["metadata"].as_object_mut()
    {
        meta.shift_remove("resourceVersion");
    }
    Some(action)
}

/// The present conditions.
pub fn all(rollout: &Rollout) -> Vec<DeploymentCondition> {
    rollout.deployment.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default()
}
