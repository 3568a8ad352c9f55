//! Tells kubelets that a pod which ends gets no new connections: the third step of [`reeve_api::handover`].
//!
//! Watches pods that are being deleted, EndpointSlices, Nodes and the Leases of proxies; writes one annotation on
//! such a pod. A pod waits until its slices say that it is not ready, then until the proxies are at their version,
//! and is then told; a pod that no Service selects is left alone.
//!
//! Where the proxies are is one number, kept up to date by changes of Leases and Nodes, so that a pod costs the same
//! however many nodes there are.

pub mod shell;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use reeve_api::handover::ENDPOINTS_DROPPED;
use serde_json::json;
use std::sync::Arc;

use crate::action::Action;
use crate::object::resource;
use crate::view::{LeaseView, NodeView, PodView, ServiceView};

/// What a turn is decided on.
pub struct Observed<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// For each Service that sends connections to the pod: its slices.
    pub slices: &'a [Vec<Arc<EndpointSlice>>],
    /// The version of EndpointSlices that all proxies are at; absent where there is no proxy to wait for.
    pub applied: Option<i64>,
}

/// Whether a Service sends connections to pods with these labels only while they are ready.
pub fn routes_to(service: &ServiceView, pod: &PodView) -> bool {
    let spec = &service.spec;
    spec.type_.as_deref() != Some("ExternalName")
        && !spec.publish_not_ready_addresses
        && spec.selector.as_ref().is_some_and(|selector| selector.matches(&pod.metadata.labels))
}

/// Whether anybody may wait for the pod.
pub fn is_waiting(pod: &PodView) -> bool {
    pod.metadata.is_deleting() && !pod.endpoints_dropped && !pod.node.is_empty() && !pod.has_ended()
}

/// Decides one turn.
pub fn reconcile(observed: &Observed) -> Option<Action> {
    let pod = observed.pod;
    if !is_waiting(pod) || observed.slices.is_empty() {
        return None;
    }
    let mut needed = 0;
    for slices in observed.slices {
        // The slices come from another queue: as long as they do not speak of the pod's end, there is more to come.
        needed = needed.max(version_without(pod, slices)?);
    }
    if observed.applied.is_some_and(|applied| applied < needed) {
        return None;
    }
    Some(Action::Patch {
        resource: resource::<Pod>(),
        key: pod.metadata.key(),
        subresource: "",
        patch: json!({"metadata": {
            "uid": &*pod.metadata.uid,
            "annotations": {ENDPOINTS_DROPPED: needed.to_string()},
        }}),
    })
}

/// The version from which on a Service's slices send nothing to the pod, if they have come so far.
fn version_without(pod: &PodView, slices: &[Arc<EndpointSlice>]) -> Option<i64> {
    if pod.addresses.is_empty() {
        return Some(0);
    }
    let mut version = None;
    for slice in slices {
        let endpoints = slice.endpoints.iter().flatten().filter(|endpoint| {
            endpoint.target_ref.as_ref().and_then(|target| target.uid.as_deref()) == Some(&*pod.metadata.uid)
        });
        for endpoint in endpoints {
            if endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false) {
                return None;
            }
            let own = slice.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0);
            version = version.max(Some(own));
        }
    }
    version
}

/// The version that all proxies are at: the lowest of those whose node is there and not known to be away. Absent
/// where there is none.
pub fn applied_by_all(
    leases: impl Iterator<Item = Arc<LeaseView>>,
    node: impl Fn(&str) -> Option<Arc<NodeView>>,
) -> Option<i64> {
    leases
        .filter_map(|lease| {
            let applied = lease.applied_revision?;
            let is_there = node(lease.holder.as_deref()?).is_some_and(|node| !is_away(&node));
            is_there.then_some(applied)
        })
        .min()
}

/// Whether the node lifecycle controller has given the node up.
fn is_away(node: &NodeView) -> bool {
    node.condition("Ready").is_some_and(|condition| condition.status == "Unknown")
}

#[cfg(test)]
mod tests;
