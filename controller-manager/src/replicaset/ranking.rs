//! Which pods go first when there are too many.
//!
//! Rules from upstream's `ActivePodsWithRanks`: not bound, pending, not ready, cheap, crowded, recently ready,
//! often restarted, young. Times are compared by magnitude (the logarithm of the age), so that among pods of about
//! the same age the choice is spread and not always the youngest.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;

use crate::view::{Phase, PodView};

/// The `count` pods to delete first, in that order. `crowd` tells how many related active pods a node has.
pub fn rank_for_deletion<'a>(
    pods: &[&'a Arc<PodView>],
    count: usize,
    crowd: &dyn Fn(&str) -> usize,
    now: Timestamp,
) -> Vec<&'a Arc<PodView>> {
    if count == 0 {
        return vec![];
    }
    let mut ranked: Vec<(usize, &Arc<PodView>)> =
        pods.iter().map(|pod| (if pod.node.is_empty() { 0 } else { crowd(&pod.node) }, *pod)).collect();
    ranked.sort_by(|(crowd_a, a), (crowd_b, b)| {
        let bound = |pod: &PodView| !pod.node.is_empty();
        bound(a)
            .cmp(&bound(b))
            .then_with(|| phase_rank(a.phase).cmp(&phase_rank(b.phase)))
            .then_with(|| a.readiness.ready.cmp(&b.readiness.ready))
            .then_with(|| a.deletion_cost.cmp(&b.deletion_cost))
            .then_with(|| crowd_b.cmp(crowd_a))
            .then_with(|| match (a.readiness.ready, b.readiness.ready) {
                (true, true) => youngest_first(a.readiness.since, b.readiness.since, now),
                _ => Ordering::Equal,
            })
            .then_with(|| b.restarts.cmp(&a.restarts))
            .then_with(|| youngest_first(a.metadata.created, b.metadata.created, now))
            .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
    });
    ranked.into_iter().take(count).map(|(_, pod)| pod).collect()
}

fn phase_rank(phase: Phase) -> u8 {
    match phase {
        Phase::Pending => 0,
        Phase::Unknown => 1,
        _ => 2,
    }
}

/// Times that are not known count as the youngest.
fn youngest_first(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => magnitude(a, now).cmp(&magnitude(b, now)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn magnitude(time: Timestamp, now: Timestamp) -> i64 {
    let age = now.duration_since(time).as_nanos();
    if age > 0 { i64::from(age.ilog2()) } else { -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, node: &str, phase: &str, ready: bool, cost: &str, restarts: i32, age: i64) -> Arc<PodView> {
        let created = Timestamp::from_second(1_000_000 - age).unwrap().to_string();
        let status = if ready { "True" } else { "False" };
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "x", "uid": name, "creationTimestamp": created,
                    "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}},
                "spec": {"nodeName": node},
                "status": {"phase": phase, "containerStatuses": [{"restartCount": restarts}],
                    "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": created}]}
            }))
            .unwrap(),
        )
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let pods = [
            pod("old", "n1", "Running", true, "0", 0, 100_000),
            pod("young", "n1", "Running", true, "0", 0, 100),
            pod("restarted", "n1", "Running", true, "0", 3, 100_000),
            pod("crowded", "n2", "Running", true, "0", 0, 100_000),
            pod("cheap", "n1", "Running", true, "-1", 0, 100_000),
            pod("not-ready", "n1", "Running", false, "0", 0, 100_000),
            pod("pending", "n1", "Pending", false, "0", 0, 100_000),
            pod("unbound", "", "Pending", false, "0", 0, 100_000),
        ];
        let crowd = |node: &str| if node == "n2" { 2 } else { 1 };
        let all: Vec<&Arc<PodView>> = pods.iter().collect();
        let order: Vec<&str> = rank_for_deletion(&all, 8, &crowd, now).iter().map(|pod| &*pod.metadata.name).collect();
        assert_eq!(order, ["unbound", "pending", "not-ready", "cheap", "crowded", "young", "restarted", "old"]);
    }
}
