//! NodeRestriction: a node writes only itself, its lease and the pods that run on it.
//!
//! The authorizer knows names; what is in a body is judged here.

use k8s_openapi::api::core::v1::{Node, Pod};
use reeve_api::{GroupVersionResource, ObjectMeta, StatusError};

use super::{Request, typed};
use crate::authorization::node::node_of;
use crate::registry::AnyObject;
use crate::request::{User, Verb};

const MIRROR: &str = "kubernetes.io/config.mirror";
const RESTRICTED_SUFFIX: &str = "node-restriction.kubernetes.io";
/// Labels of Kubernetes' own that a node may set on itself.
const OWN_LABELS: [&str; 10] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABELS_MORE: [&str; 2] = ["topology.kubernetes.io/region", "kubernetes.io/role"];
const OWN_SUFFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Judges what a node writes.
///
/// # Errors
/// `Forbidden` when it is not its own.
pub fn judge(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    _warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    let Some(node) = node_of(request.user) else { return Ok(()) };
    let why = match (request.row.info.resource.group.as_str(), request.row.info.resource.resource.as_str()) {
        ("", "nodes") => of_node(request, object, old, node),
        ("", "pods") => of_pod(request, object, old, node),
        ("coordination.k8s.io", "leases") => {
            let own = object.metadata().name.as_deref() == Some(node);
            (!own).then(|| format!("can only access node lease with the same name as the requesting node {node:?}"))
        }
        ("storage.k8s.io", "csinodes") => {
            let own = object.metadata().name.as_deref() == Some(node);
            (!own).then(|| format!("can only access CSINode with the same name as the requesting node {node}"))
        }
        _ => None,
    };
    match why {
        None => Ok(()),
        Some(why) => Err(request.forbidden(object, why)),
    }
}

fn of_node(request: &Request<'_>, object: &dyn AnyObject, old: Option<&dyn AnyObject>, node: &str) -> Option<String> {
    let name = object.metadata().name.as_deref().unwrap_or_default();
    if name != node {
        return Some(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let new = typed::<Node>(object)?;
    let before = old.and_then(typed::<Node>);
    let config = |node: &Node| node.spec.as_ref().and_then(|spec| spec.config_source.clone());
    if config(new) != before.and_then(config) && config(new).is_some() {
        return Some(format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"));
    }
    if request.verb != Verb::Create
        && let Some(before) = before
    {
        let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if taints(new) != taints(before) {
            return Some(format!("node {node:?} is not allowed to modify taints"));
        }
    }
    if let Some(owners) = owners_changed(object.metadata(), old.map(|old| old.metadata())) {
        return Some(format!("node {node:?} {owners}"));
    }
    let changed = changed_labels(object.metadata(), old.map(|old| old.metadata()));
    let forbidden: Vec<&str> = changed.into_iter().filter(|label| !may_set(label)).collect();
    if forbidden.is_empty() {
        return None;
    }
    let verb = if request.verb == Verb::Create { "set" } else { "modify" };
    Some(format!("is not allowed to {verb} the following labels: {}", forbidden.join(", ")))
}

fn owners_changed(new: &ObjectMeta, old: Option<&ObjectMeta>) -> Option<&'static str> {
    let owners = |metadata: &ObjectMeta| metadata.owner_references.clone().unwrap_or_default();
    let before = old.map(owners).unwrap_or_default();
    (owners(new) != before && !owners(new).is_empty()).then_some("is not allowed to modify ownerReferences")
}

fn changed_labels<'a>(new: &'a ObjectMeta, old: Option<&'a ObjectMeta>) -> Vec<&'a str> {
    let value = |metadata: Option<&'a ObjectMeta>, key: &str| metadata?.labels.as_ref()?.get(key);
    let keys = |metadata: Option<&'a ObjectMeta>| metadata.and_then(|one| one.labels.as_ref()).into_iter().flatten();
    let mut all: Vec<&str> = keys(Some(new)).chain(keys(old)).map(|(key, _)| key.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|key| value(Some(new), key) != value(old, key));
    all
}

fn may_set(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return true };
    let below = |suffix: &str| domain == suffix || domain.ends_with(&format!(".{suffix}"));
    if below(RESTRICTED_SUFFIX) {
        return false;
    }
    if !below("kubernetes.io") && !below("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&label) || OWN_LABELS_MORE.contains(&label) || OWN_SUFFIXES.iter().any(|suffix| below(suffix))
}

fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

fn of_pod(request: &Request<'_>, object: &dyn AnyObject, old: Option<&dyn AnyObject>, node: &str) -> Option<String> {
    let pod = typed::<Pod>(object)?;
    match (request.target.subresource.as_str(), request.verb) {
        ("", Verb::Create) => {
            let mirror = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
            if !mirror {
                return Some(format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            (node_name(pod) != node)
                .then(|| format!("node {node:?} can only create pods with spec.nodeName set to itself"))
        }
        ("status", _) => {
            let pod = old.and_then(typed::<Pod>).unwrap_or(pod);
            (node_name(pod) != node)
                .then(|| format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
        }
        _ => None,
    }
}

/// Checks the deletion of a pod.
///
/// # Errors
/// `Forbidden` for a node that deletes a pod of another.
pub fn admit_delete(user: &User, resource: &GroupVersionResource, object: &dyn AnyObject) -> Result<(), StatusError> {
    let (Some(node), Some(pod)) = (node_of(user), typed::<Pod>(object)) else { return Ok(()) };
    if node_name(pod) == node {
        return Ok(());
    }
    let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
    Err(StatusError::forbidden(resource, pod.metadata.name.as_deref().unwrap_or_default(), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_labels_itself_with_what_is_its_own() {
        for label in ["kubernetes.io/hostname", "a/b", "plain", "x.node.kubernetes.io/y", "topology.kubernetes.io/zone"]
        {
            assert!(may_set(label), "{label}");
        }
        for label in
            ["node-restriction.kubernetes.io/x", "a.node-restriction.kubernetes.io/x", "kubernetes.io/x", "k8s.io/y"]
        {
            assert!(!may_set(label), "{label}");
        }
    }

    #[test]
    fn changed_labels_are_found() {
        let metadata = |pairs: &[(&str, &str)]| ObjectMeta {
            labels: Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
            ..ObjectMeta::default()
        };
        let (old, new) =
            (metadata(&[("a", "1"), ("b", "1"), ("c", "1")]), metadata(&[("a", "1"), ("b", "2"), ("d", "1")]));
        assert_eq!(changed_labels(&new, Some(&old)), ["b", "c", "d"]);
    }
}
