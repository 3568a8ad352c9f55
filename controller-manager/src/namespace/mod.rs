//! Namespace deletion: all that a namespace holds goes, pods first, then the namespace's finalizer.
//!
//! Rules from upstream's `pkg/controller/namespace/deletion`, with ordered deletion: other objects stay while pods
//! that may need them end.

pub mod shell;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::meta::MetaExt as _;
use reeve_api::{GroupVersionResource, ObjectKey};
use serde_json::json;

use crate::action::Action;
use crate::object::{resource, stored, to_json};

/// The finalizer that this controller takes away.
const FINALIZER: &str = "kubernetes";

/// The objects of a resource that the namespace still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// The resource.
    pub resource: GroupVersionResource,
    /// How many there are.
    pub count: usize,
    /// How many of them were not told to go yet.
    pub undeleted: usize,
    /// Their finalizers, each with the number of objects that have it.
    pub finalizers: Vec<(String, usize)>,
}

/// Decides one turn for a namespace whose deletion was asked for.
pub fn reconcile(namespace: &Namespace, remaining: &[Remaining], now: Timestamp) -> Vec<Action> {
    if !namespace.metadata.is_deleting() {
        return vec![];
    }
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_deref()).unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return vec![];
    }
    let left: Vec<&Remaining> = remaining.iter().filter(|resource| resource.count > 0).collect();
    if left.is_empty() {
        return vec![finalize(namespace, finalizers)];
    }
    let pods_first =
        left.iter().any(|remaining| remaining.resource.resource == "pods" && remaining.resource.group.is_empty());
    let is_pods = |remaining: &Remaining| remaining.resource.resource == "pods";
    let due = left.iter().filter(|remaining| remaining.undeleted > 0 && (!pods_first || is_pods(remaining)));
    let mut actions: Vec<Action> = due
        .map(|remaining| Action::DeleteAll {
            resource: remaining.resource.clone(),
            namespace: namespace.metadata.name().to_owned(),
        })
        .collect();
    actions.extend(set_conditions(namespace, &left, now));
    actions
}

fn finalize(namespace: &Namespace, finalizers: &[String]) -> Action {
    let mut finalized = namespace.clone();
    let rest: Vec<String> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    finalized.spec.get_or_insert_default().finalizers = Some(rest);
    Action::Replace {
        resource: resource::<Namespace>(),
        key: ObjectKey::of(&namespace.metadata),
        subresource: "finalize",
        object: to_json(&finalized),
    }
}

fn set_conditions(namespace: &Namespace, left: &[&Remaining], now: Timestamp) -> Option<Action> {
    let counts: Vec<String> = left
        .iter()
        .map(|remaining| format!("{} has {} resource instances", dotted(&remaining.resource), remaining.count))
        .collect();
    let mut finalizers: std::collections::BTreeMap<&str, usize> = Default::default();
    for (name, count) in left.iter().flat_map(|remaining| &remaining.finalizers) {
        *finalizers.entry(name).or_default() += count;
    }
    let blocking: Vec<String> =
        finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    let wanted = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", counts.join(", ")),
        ),
        if blocking.is_empty() {
            (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            )
        } else {
            (
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                format!("Some content in the namespace has finalizers remaining: {}", blocking.join(", ")),
            )
        },
    ];
    let mut conditions = namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let before = conditions.clone();
    for (type_, status, reason, message) in wanted {
        let new = NamespaceCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(stored(now))),
        };
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(present) if present.status == new.status => {
                present.reason = new.reason;
                present.message = new.message;
            }
            Some(present) => *present = new,
            None => conditions.push(new),
        }
    }
    (conditions != before).then(|| Action::Patch {
        resource: resource::<Namespace>(),
        key: ObjectKey::of(&namespace.metadata),
        subresource: "status",
        patch: json!({
            "metadata": {"uid": namespace.metadata.uid, "resourceVersion": namespace.metadata.resource_version},
            "status": {"conditions": to_json(&conditions)},
        }),
    })
}

/// As upstream writes a resource in these texts: `pods.`, `deployments.apps`.
fn dotted(resource: &GroupVersionResource) -> String {
    format!("{}.{}", resource.resource, resource.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        serde_json::from_value(json!({
            "metadata": {"name": "shop", "uid": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"}
        }))
        .unwrap()
    }

    fn remaining(resource: &str, count: usize, undeleted: usize) -> Remaining {
        Remaining { resource: GroupVersionResource::new("", "v1", resource), count, undeleted, finalizers: vec![] }
    }

    fn decide(remaining: &[Remaining]) -> Vec<String> {
        reconcile(&namespace(), remaining, Timestamp::UNIX_EPOCH).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pods_go_first_and_the_finalizer_last() {
        let actions = decide(&[remaining("configmaps", 2, 2), remaining("pods", 3, 1)]);
        assert_eq!(actions[0], "delete all pods in shop");
        assert!(actions[1].contains("Some resources are remaining: configmaps. has 2 resource instances, pods. has 3"));
        assert_eq!(actions.len(), 2);
        assert_eq!(
            decide(&[remaining("configmaps", 2, 2), remaining("pods", 0, 0)])[0],
            "delete all configmaps in shop"
        );
        assert!(!decide(&[remaining("pods", 3, 0)])[0].starts_with("delete"), "what was told to go is waited for");
        assert_eq!(decide(&[]), [r#"replace namespaces/finalize shop {"finalizers":[]}"#]);
    }
}
