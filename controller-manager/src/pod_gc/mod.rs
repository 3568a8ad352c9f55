//! Pods that nobody else removes: on nodes that are gone, deleted before they had a node, or ended long ago.
//!
//! Rules from upstream's `pkg/controller/podgc`.

pub mod shell;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::action::Action;
use crate::object::resource;
use crate::view::PodView;

/// How long a node must be gone before its pods are removed, as upstream's quarantine.
pub const QUARANTINE_SECONDS: u64 = 40;

/// What a turn looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// The pods of a node that seems to be gone.
    Node(String),
    /// The pods that have ended.
    Ended,
    /// A pod that was deleted before it had a node.
    Unbound(reeve_api::ObjectKey),
}

/// Removes the pods of a node that is gone.
pub fn orphans(pods: &[Arc<PodView>]) -> Vec<Action> {
    pods.iter().map(|pod| remove(pod)).collect()
}

/// Removes a pod that was deleted before it had a node: no kubelet will confirm its end.
pub fn unbound(pod: &PodView) -> Option<Action> {
    (pod.metadata.is_deleting() && pod.node.is_empty()).then(|| remove(pod))
}

/// Removes the oldest ended pods beyond a threshold; a threshold of zero or less removes none.
pub fn ended(pods: &[Arc<PodView>], threshold: i32) -> Vec<Action> {
    let threshold = usize::try_from(threshold).unwrap_or(0);
    if threshold == 0 || pods.len() <= threshold {
        return vec![];
    }
    let mut oldest: Vec<&Arc<PodView>> = pods.iter().collect();
    oldest.sort_by(|a, b| (a.metadata.created, &a.metadata.name).cmp(&(b.metadata.created, &b.metadata.name)));
    oldest.truncate(pods.len() - threshold);
    oldest.into_iter().map(|pod| remove(pod)).collect()
}

fn remove(pod: &PodView) -> Action {
    Action::Delete {
        resource: resource::<Pod>(),
        key: pod.metadata.key(),
        uid: pod.metadata.uid.to_string(),
        revision: None,
        grace_seconds: Some(0),
        propagation: None,
        told: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, created: &str) -> Arc<PodView> {
        let meta = json!({"name": name, "namespace": "x", "uid": name, "creationTimestamp": created});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "status": {"phase": "Succeeded"}})).unwrap())
    }

    #[test]
    fn the_oldest_ended_pods_go() {
        let pods =
            [pod("b", "2026-01-02T00:00:00Z"), pod("a", "2026-01-01T00:00:00Z"), pod("c", "2026-01-03T00:00:00Z")];
        assert_eq!(ended(&pods, 2).iter().map(ToString::to_string).collect::<Vec<_>>(), ["delete pods x/a grace=0"]);
        assert_eq!(ended(&pods, 0), []);
        assert_eq!(ended(&pods, 3), []);
    }
}
