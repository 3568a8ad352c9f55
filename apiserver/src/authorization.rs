//! Who may do what. Until roles exist only administrators, nodes and the cluster's own components are let in.
//!
//! Nodes already have the narrow rights that matter most: a node writes only itself, its lease and the status of
//! pods, and reads no Secret by list.

use reeve_api::StatusError;

use crate::request::{Target, User, Verb};

/// The user names of the cluster's own components.
const COMPONENTS: [&str; 3] = ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"];

/// Refuses what the user may not do, with upstream's text.
pub fn authorize(user: &User, verb: Verb, target: &Target) -> Result<(), StatusError> {
    if allowed(user, verb, target) {
        return Ok(());
    }
    let group = &target.resource.group;
    let scope = if target.namespace.is_empty() {
        " at the cluster scope".to_owned()
    } else {
        format!(" in the namespace {:?}", target.namespace)
    };
    let why = format!(
        "User {:?} cannot {} resource {:?} in API group {group:?}{scope}",
        user.name,
        verb.as_str(),
        target.described(),
    );
    Err(StatusError::forbidden(&target.resource, &target.name, why))
}

fn allowed(user: &User, verb: Verb, target: &Target) -> bool {
    if user.is_in("system:masters") {
        return true;
    }
    if let Some(node) = user.name.strip_prefix("system:node:")
        && user.is_in("system:nodes")
    {
        return node_allowed(node, verb, target);
    }
    if user.name == "system:kube-proxy" {
        let records_event = target.resource.resource == "events" && matches!(verb, Verb::Create | Verb::Patch);
        return !verb.is_mutating() && target.resource.resource != "secrets" || records_event;
    }
    COMPONENTS.contains(&user.name.as_str())
}

fn node_allowed(node: &str, verb: Verb, target: &Target) -> bool {
    let resource = target.resource.resource.as_str();
    match (resource, verb) {
        ("secrets", Verb::Get | Verb::Watch) => true,
        ("secrets", _) => false,
        (_, Verb::Get | Verb::List | Verb::Watch) => true,
        // The name of a node that registers itself is in its body; admission of nodes compares it.
        ("nodes", Verb::Create) => true,
        ("nodes", Verb::Update | Verb::Patch) => target.name == node,
        ("leases", Verb::Create) => target.namespace == "kube-node-lease",
        ("leases", Verb::Update | Verb::Patch | Verb::Delete) => {
            target.namespace == "kube-node-lease" && target.name == node
        }
        ("pods", Verb::Update | Verb::Patch) => target.subresource == "status",
        ("pods", Verb::Delete) => true,
        ("events", Verb::Create | Verb::Update | Verb::Patch) => true,
        ("serviceaccounts", Verb::Create) => target.subresource == "token",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_api::GroupVersionResource;

    fn target(resource: &str, namespace: &str, name: &str) -> Target {
        Target {
            resource: GroupVersionResource::new("", "v1", resource),
            namespace: namespace.into(),
            name: name.into(),
            subresource: String::new(),
        }
    }

    fn user(name: &str, group: &str) -> User {
        User { name: name.into(), groups: vec![group.into()], ..User::default() }
    }

    #[test]
    fn a_node_writes_only_itself() {
        let node = user("system:node:n1", "system:nodes");
        assert!(authorize(&node, Verb::Patch, &target("nodes", "", "n1")).is_ok());
        assert!(authorize(&node, Verb::Patch, &target("nodes", "", "n2")).is_err());
        assert!(authorize(&node, Verb::List, &target("secrets", "", "")).is_err());
        assert!(authorize(&node, Verb::Create, &target("configmaps", "a", "")).is_err());
        let pretender = user("system:node:n1", "other");
        assert!(authorize(&pretender, Verb::Get, &target("nodes", "", "n1")).is_err());
    }

    #[test]
    fn a_stranger_is_refused_with_upstreams_text() {
        let error = authorize(&user("jane", "dev"), Verb::List, &target("pods", "a", "")).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "a""#
        );
        assert_eq!(error.code(), 403);
    }
}
