//! Role and ClusterRole: lists of permissions.

use k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole, PolicyRule, Role};
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{BadValue, ErrorList, Path};

use crate::registry::kinds::workload;
use crate::registry::strategy::Strategy;

/// The strategy of roles of a namespace.
pub struct Roles;

impl Strategy for Roles {
    type Object = Role;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, role: &Role) -> ErrorList {
        let mut errors = ErrorList::new();
        policy_rules(role.rules.as_deref(), true, &mut errors);
        errors
    }
}

/// The strategy of roles of the cluster.
pub struct ClusterRoles;

impl Strategy for ClusterRoles {
    type Object = ClusterRole;

    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn validate(&self, role: &ClusterRole) -> ErrorList {
        let mut errors = ErrorList::new();
        policy_rules(role.rules.as_deref(), false, &mut errors);
        if let Some(rule) = &role.aggregation_rule {
            aggregation(rule, &mut errors);
        }
        errors
    }
}

fn has_any(texts: Option<&Vec<String>>) -> bool {
    texts.is_some_and(|texts| !texts.is_empty())
}

fn policy_rules(rules: Option<&[PolicyRule]>, namespaced: bool, errors: &mut ErrorList) {
    let path = Path::new("rules");
    for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
        policy_rule(rule, namespaced, &path.index(index), errors);
    }
}

fn policy_rule(rule: &PolicyRule, namespaced: bool, path: &Path<'_>, errors: &mut ErrorList) {
    if rule.verbs.is_empty() {
        errors.required(&path.child("verbs"), "verbs must contain at least one value");
    }
    let has_groups = has_any(rule.api_groups.as_ref());
    let has_resources = has_any(rule.resources.as_ref());
    if has_any(rule.non_resource_urls.as_ref()) {
        let path = path.child("nonResourceURLs");
        let shown = || BadValue::json(&rule.non_resource_urls);
        if namespaced {
            errors.invalid(&path, shown(), "namespaced rules cannot apply to non-resource URLs");
        }
        if has_groups || has_resources || has_any(rule.resource_names.as_ref()) {
            errors.invalid(&path, shown(), "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if !has_groups {
        errors.required(&path.child("apiGroups"), "resource rules must supply at least one api group");
    }
    if !has_resources {
        errors.required(&path.child("resources"), "resource rules must supply at least one resource");
    }
}

fn aggregation(rule: &AggregationRule, errors: &mut ErrorList) {
    let path = Path::new("aggregationRule");
    let path = path.child("clusterRoleSelectors");
    let selectors = rule.cluster_role_selectors.as_deref().unwrap_or_default();
    if selectors.is_empty() {
        errors.required(&path, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    }
    for (index, selector) in selectors.iter().enumerate() {
        workload::object_selector(selector, &path.index(index), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn rule(groups: &[&str], resources: &[&str], urls: &[&str]) -> PolicyRule {
        let own = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        PolicyRule {
            api_groups: own(groups),
            resources: own(resources),
            non_resource_urls: own(urls),
            resource_names: None,
            verbs: vec!["get".to_owned()],
        }
    }

    #[test]
    fn a_rule_is_about_resources_or_about_urls() {
        let role = ClusterRole {
            rules: Some(vec![rule(&[""], &["pods"], &[]), rule(&[""], &[], &["/x"]), rule(&[], &[], &[])]),
            ..ClusterRole::default()
        };
        assert_eq!(
            texts(&ClusterRoles.validate(&role)),
            [
                "rules[1].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and \
                 non-resource URLs",
                "rules[2].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[2].resources: Required value: resource rules must supply at least one resource",
            ]
        );
    }

    #[test]
    fn an_aggregation_needs_selectors() {
        let role = ClusterRole { aggregation_rule: Some(AggregationRule::default()), ..ClusterRole::default() };
        assert_eq!(
            texts(&ClusterRoles.validate(&role)),
            ["aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if \
              aggregationRule is non-nil"]
        );
    }

    #[test]
    fn absent_rules_are_told() {
        let bytes = crate::registry::encode::canonical(&Role::default()).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert!(value.as_object().unwrap().contains_key("rules"));
    }
}
