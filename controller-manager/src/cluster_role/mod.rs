//! Aggregated ClusterRoles: the rules of a role with an `aggregationRule` are those of the roles that it selects.
//!
//! Watches ClusterRoles; writes the rules of those that aggregate. Rules from `pkg/controller/clusterroleaggregation`.

pub mod shell;

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use serde_json::json;

use crate::action::Action;
use crate::object::{resource, selector_of};

/// The union of the rules of all other roles that a role selects, roles in the order of their names. A role without
/// `aggregationRule` is left alone.
pub fn reconcile(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Action> {
    let aggregation = role.aggregation_rule.as_ref()?;
    if role.metadata.is_deleting() {
        return None;
    }
    let mut rules: Vec<&PolicyRule> = Vec::new();
    for selector in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = selector_of(selector);
        let mut chosen: Vec<&Arc<ClusterRole>> = all
            .iter()
            .filter(|other| other.metadata.name != role.metadata.name)
            .filter(|other| selector.matches(other.metadata.labels.as_ref().unwrap_or(&Default::default())))
            .collect();
        chosen.sort_by_key(|other| &other.metadata.name);
        for rule in chosen.into_iter().flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let present: Vec<&PolicyRule> = role.rules.iter().flatten().collect();
    if present == rules {
        return None;
    }
    Some(Action::Patch {
        resource: resource::<ClusterRole>(),
        key: ObjectKey::of(&role.metadata),
        subresource: "",
        patch: json!({
            "metadata": {"uid": role.metadata.uid, "resourceVersion": role.metadata.resource_version},
            "rules": rules,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn role(name: &str, label: &str, resource: &str) -> Arc<ClusterRole> {
        let rules = json!([{"apiGroups": [""], "resources": [resource], "verbs": ["get"]}]);
        let metadata = json!({"name": name, "labels": {label: "true"}});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "rules": rules})).unwrap())
    }

    fn view(rules: &Value) -> ClusterRole {
        let selectors = json!([{"matchLabels": {"view": "true"}}]);
        let rule = json!({"clusterRoleSelectors": selectors});
        serde_json::from_value(json!({"metadata": {"name": "view", "labels": {"view": "true"}},
            "aggregationRule": rule, "rules": rules}))
        .unwrap()
    }

    fn resources(action: Option<Action>) -> Value {
        let Some(Action::Patch { patch, .. }) = action else { return Value::Null };
        patch["rules"].as_array().unwrap().iter().map(|rule| rule["resources"][0].clone()).collect()
    }

    #[test]
    fn the_rules_are_those_of_the_selected_roles() {
        let all =
            [role("b", "view", "pods"), role("a", "view", "nodes"), role("c", "view", "pods"), role("d", "x", "y")];
        assert_eq!(resources(reconcile(&view(&json!([])), &all)), json!(["nodes", "pods"]));
        let now = json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]);
        assert_eq!(reconcile(&view(&now), &all), None, "what is right is not written");
        assert_eq!(
            resources(reconcile(&view(&now), &all[..1])),
            json!(["pods"]),
            "a role that goes takes its rules along"
        );
        assert_eq!(reconcile(&all[0], &all), None, "a role that does not aggregate keeps its rules");
    }
}
