//! Sizes of ReplicaSets, and the proportional scaling of a Deployment in the middle of a rollout.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use reeve_api::meta::MetaExt as _;
use serde_json::json;

use super::{Rollout, available, patch_replica_set, wanted};
use crate::action::{Action, EventType};
use crate::object::reference;

/// How many replicas the Deployment wanted when the ReplicaSet was last scaled.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// As [`DESIRED_REPLICAS`], with the surge.
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// The annotations that remember the Deployment's size.
pub fn annotations(rollout: &Rollout) -> [(String, String); 2] {
    let desired = rollout.replicas();
    [
        (DESIRED_REPLICAS.to_owned(), desired.to_string()),
        (MAX_REPLICAS.to_owned(), desired.saturating_add(rollout.max_surge()).to_string()),
    ]
}

/// Scales a ReplicaSet and remembers the Deployment's size in it; nothing when all is so already.
pub fn to(rollout: &Rollout, replica_set: &ReplicaSet, size: i32) -> Vec<Action> {
    let present = wanted(replica_set);
    let annotations = annotations(rollout);
    let noted = annotations.iter().all(|(name, value)| replica_set.metadata.annotation(name) == Some(value.as_str()));
    if present == size && noted {
        return vec![];
    }
    let mut patch = json!({"metadata": {"annotations": annotations.into_iter().collect::<BTreeMap<_, _>>()}});
    if present == size {
        return vec![patch_replica_set(replica_set, patch)];
    }
    patch["spec"]["replicas"] = json!(size);
    vec![patch_replica_set(replica_set, patch), event(rollout, replica_set.metadata.name(), present, size)]
}

/// The event of a scaling.
pub fn event(rollout: &Rollout, name: &str, from: i32, to: i32) -> Action {
    let direction = if to > from { "up" } else { "down" };
    Action::Event {
        regarding: reference::<Deployment>(&rollout.deployment.metadata),
        event_type: EventType::Normal,
        reason: "ScalingReplicaSet",
        message: format!("Scaled {direction} replica set {name} from {from} to {to}"),
    }
}

fn noted_desired(replica_set: &ReplicaSet) -> Option<i32> {
    replica_set.metadata.annotation(DESIRED_REPLICAS)?.parse().ok()
}

/// Whether the Deployment was scaled since its ReplicaSets were.
pub fn is_due(rollout: &Rollout) -> bool {
    let active = rollout.all().filter(|replica_set| wanted(replica_set) > 0);
    active.filter_map(noted_desired).any(|desired| desired != rollout.replicas())
}

/// Scales: the one active ReplicaSet to the full size, or several in proportion.
pub fn sync(rollout: &Rollout) -> Vec<Action> {
    let target = rollout.replicas();
    let active: Vec<&ReplicaSet> = rollout.all().filter(|replica_set| wanted(replica_set) > 0).collect();
    let only = match active.as_slice() {
        [] => rollout.new.or(rollout.old.last().copied()),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        return if wanted(only) == target { vec![] } else { to(rollout, only, target) };
    }
    if rollout.new.is_some_and(|new| is_saturated(new, target)) {
        let old = active.iter().filter(|active| rollout.new.is_none_or(|new| new.metadata.uid != active.metadata.uid));
        return old.flat_map(|old| to(rollout, old, 0)).collect();
    }
    if rollout.is_rolling() { in_proportion(rollout, active) } else { vec![] }
}

fn is_saturated(new: &ReplicaSet, target: i32) -> bool {
    noted_desired(new) == Some(target) && wanted(new) == target && available(new) == target
}

fn in_proportion(rollout: &Rollout, mut active: Vec<&ReplicaSet>) -> Vec<Action> {
    let target = rollout.replicas();
    let allowed = if target > 0 { target.saturating_add(rollout.max_surge()) } else { 0 };
    let to_add = allowed - active.iter().map(|active| wanted(active)).sum::<i32>();
    active.sort_by(|a, b| {
        let by_age = if to_add > 0 { super::by_age(b, a) } else { super::by_age(a, b) };
        wanted(b).cmp(&wanted(a)).then(by_age)
    });
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for replica_set in &active {
        let share = share(rollout, replica_set, to_add, added);
        added += share;
        sizes.push(wanted(replica_set) + share);
    }
    if let Some(largest) = sizes.first_mut() {
        // What rounding left over.
        *largest = (*largest + to_add - added).max(0);
    }
    active.iter().zip(sizes).flat_map(|(replica_set, size)| to(rollout, replica_set, size)).collect()
}

/// The part of the change that falls to a ReplicaSet.
fn share(rollout: &Rollout, replica_set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    let left = to_add - added;
    if wanted(replica_set) == 0 || left == 0 {
        return 0;
    }
    let fraction = fraction(rollout, replica_set);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(rollout: &Rollout, replica_set: &ReplicaSet) -> i32 {
    let size = wanted(replica_set);
    if rollout.replicas() == 0 {
        return -size;
    }
    let max_before = replica_set.metadata.annotation(MAX_REPLICAS).and_then(|text| text.parse::<i32>().ok());
    let present = || rollout.deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let max_before = max_before.filter(|max| *max != 0).unwrap_or_else(present);
    if max_before == 0 {
        return 0;
    }
    let max_now = rollout.replicas().saturating_add(rollout.max_surge());
    let new_size = f64::from(size) * f64::from(max_now) / f64::from(max_before);
    // Saturates; sizes are far below the limits of both types.
    new_size.round() as i32 - size
}
