//! The steps from the old ReplicaSets to the new one, within `maxSurge` and `maxUnavailable`.

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::{Rollout, available, scale, wanted};
use crate::action::Action;

/// How many replicas the new ReplicaSet gets now.
pub fn new_replicas(rollout: &Rollout) -> i32 {
    let target = rollout.replicas();
    if !rollout.is_rolling() {
        return target;
    }
    let own = rollout.new.map_or(0, wanted);
    let total: i32 = rollout.all().map(wanted).sum();
    let room = target.saturating_add(rollout.max_surge()) - total;
    if room <= 0 { own } else { own + room.min(target - own) }
}

/// Scales the new ReplicaSet towards its number.
pub fn scale_new(rollout: &Rollout) -> Vec<Action> {
    let Some(new) = rollout.new else { return vec![] };
    let target = rollout.replicas();
    match wanted(new) {
        own if own == target => vec![],
        own if own > target => scale::to(rollout, new, target),
        _ => scale::to(rollout, new, new_replicas(rollout)),
    }
}

/// Scales old ReplicaSets down as far as enough pods stay available: first pods that are not available anyway.
pub fn scale_old(rollout: &Rollout) -> Vec<Action> {
    let old: Vec<&ReplicaSet> = rollout.old.iter().copied().filter(|old| wanted(old) > 0).collect();
    if old.is_empty() {
        return vec![];
    }
    let all: i32 = rollout.all().map(wanted).sum();
    let min_available = rollout.replicas() - rollout.max_unavailable();
    let new_unavailable = rollout.new.map_or(0, |new| wanted(new) - available(new));
    let max_scaled_down = all - min_available - new_unavailable;
    if max_scaled_down <= 0 {
        return vec![];
    }
    let mut sizes: Vec<i32> = old.iter().map(|old| wanted(old)).collect();
    let mut unhealthy = max_scaled_down;
    for (old, size) in old.iter().zip(&mut sizes) {
        let gone = (*size - available(old)).clamp(0, unhealthy);
        *size -= gone;
        unhealthy -= gone;
    }
    // The available pods beyond the minimum can go too.
    let mut healthy = rollout.all().map(available).sum::<i32>() - min_available;
    for size in &mut sizes {
        let gone = (*size).clamp(0, healthy.max(0));
        *size -= gone;
        healthy -= gone;
    }
    old.iter().zip(sizes).flat_map(|(old, size)| scale::to(rollout, old, size)).collect()
}

/// `Recreate`: all old ReplicaSets go to zero first.
pub fn stop_old(rollout: &Rollout) -> Vec<Action> {
    rollout.old.iter().filter(|old| wanted(old) > 0).flat_map(|old| scale::to(rollout, old, 0)).collect()
}
