//! How a pod that ends is taken out of its Services before it is told to stop, so that no request is lost.
//!
//! Nobody asks anybody: each step is a change that the next one already watches.
//!
//! 1. A pod gets its deletion timestamp. The EndpointSlice controller says in its slices that the endpoint is
//!    terminating and no longer ready.
//! 2. The proxy of each node takes such a slice into its kernel and then says so: it writes into its Lease
//!    ([`LEASE_NAMESPACE`]/[`lease_name`]) the highest resource version of EndpointSlices up to which its kernel is
//!    ([`APPLIED_REVISION`]). Many changes share one write, and a proxy writes at most once in as many milliseconds
//!    as there are nodes, so all proxies together write at most about a thousand times a second.
//! 3. The controller manager compares: once the proxies of all nodes that are not known to be away are at the version
//!    of the pod's slices, it puts [`ENDPOINTS_DROPPED`] on the pod, as one metadata patch.
//! 4. The kubelet, which watches its own pods, runs the preStop hooks and sends the signal when [`is_dropped`] says
//!    yes. It waits only for a pod that [`must_wait`] names and only for a bounded time ([`patience`]): a proxy that
//!    hangs must not keep pods.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The namespace of the proxies' Leases.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The annotation of a proxy's Lease: the resource version of EndpointSlices that its kernel is at, in decimal. The
/// Lease's `spec.holderIdentity` is the node's name.
pub const APPLIED_REVISION: &str = "proxy.reeve.dev/applied-revision";

/// The annotation of a pod that no proxy sends new connections to any more. Its value is the resource version that
/// the proxies acknowledged; whoever waits looks only whether it is there.
pub const ENDPOINTS_DROPPED: &str = "proxy.reeve.dev/endpoints-dropped";

/// The longest that a kubelet waits for [`ENDPOINTS_DROPPED`], from the deletion on. A cluster of a few nodes takes
/// tens of milliseconds; slow and busy machines were seen to take more than three seconds.
pub const PATIENCE_MAX: Duration = Duration::from_secs(10);

/// How long a kubelet waits for [`ENDPOINTS_DROPPED`] at most. What is waited for is part of the pod's grace period,
/// of which at least half is left for its hooks and its own end.
pub fn patience(grace_period: Duration) -> Duration {
    PATIENCE_MAX.min(grace_period / 2)
}

/// The name of the Lease of a node's proxy.
pub fn lease_name(node: &str) -> String {
    format!("reeve-proxy.{node}")
}

/// Whether all proxies have dropped the pod's endpoints.
pub fn is_dropped(pod: &ObjectMeta) -> bool {
    pod.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ENDPOINTS_DROPPED))
}

/// Whether the pod's end waits for the proxies: it is being deleted, was ready, and a Service selects it that the
/// EndpointSlice controller keeps slices for. `is_selected` says the last: a Service of the pod's namespace whose
/// type is not `ExternalName`, that does not publish addresses which are not ready, and whose selector is not empty
/// and matches the pod's labels. Pods that are ended with a grace period of zero never wait.
pub fn must_wait(pod: &ObjectMeta, was_ready: bool, is_selected: bool) -> bool {
    let is_forced = pod.deletion_grace_period_seconds == Some(0);
    pod.deletion_timestamp.is_some() && !is_forced && was_ready && is_selected && !is_dropped(pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn only_a_ready_pod_of_a_service_waits_and_only_until_it_is_dropped() {
        let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        let mut pod = ObjectMeta { deletion_timestamp: Some(time), ..ObjectMeta::default() };
        assert!(must_wait(&pod, true, true));
        assert!(!must_wait(&pod, false, true) && !must_wait(&pod, true, false));
        pod.deletion_grace_period_seconds = Some(0);
        assert!(!must_wait(&pod, true, true));
        pod.deletion_grace_period_seconds = Some(30);
        pod.annotations = Some(BTreeMap::from([(ENDPOINTS_DROPPED.to_owned(), "7".to_owned())]));
        assert!(!must_wait(&pod, true, true));
        assert!(!must_wait(&ObjectMeta::default(), true, true));
    }
}
