//! ResourceQuota: how much a namespace may have.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::{resource_names, rules};
use crate::registry::strategy::{RequestContext, Strategy};

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
const OPPOSITES: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const ONLY_EXISTS: &str = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                           ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                           ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";

/// The strategy.
pub struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    type Object = ResourceQuota;

    fn default(&self, quota: &mut ResourceQuota) {
        rules::canonical(quota.spec.get_or_insert_default().hard.as_mut());
        let status = quota.status.get_or_insert_default();
        rules::canonical(status.hard.as_mut());
        rules::canonical(status.used.as_mut());
    }

    fn prepare_for_create(&self, _context: &RequestContext, quota: &mut ResourceQuota) {
        quota.status = Some(ResourceQuotaStatus::default());
    }

    fn validate(&self, quota: &ResourceQuota) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &quota.spec else { return errors };
        let path = Path::new("spec");
        amounts(spec.hard.as_ref(), &path.child("hard"), &mut errors);
        scopes(spec, &path.child("scopes"), &mut errors);
        scope_selector(spec, &path.child("scopeSelector"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, quota: &mut ResourceQuota, old: &ResourceQuota) {
        quota.status.clone_from(&old.status);
    }

    fn validate_update(&self, quota: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
        let mut errors = self.validate(quota);
        let scopes = |quota: &ResourceQuota| -> BTreeSet<String> {
            quota.spec.iter().flat_map(|spec| spec.scopes.clone().unwrap_or_default()).collect()
        };
        if scopes(quota) != scopes(old) {
            let shown = quota.spec.as_ref().and_then(|spec| spec.scopes.clone());
            let path = Path::new("spec");
            errors.invalid(&path.child("scopes"), BadValue::json(&shown), "field is immutable");
        }
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, quota: &mut ResourceQuota, old: &ResourceQuota) {
        quota.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, quota: &ResourceQuota, _old: &ResourceQuota) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        if let Some(status) = &quota.status {
            amounts(status.hard.as_ref(), &path.child("hard"), &mut errors);
            amounts(status.used.as_ref(), &path.child("used"), &mut errors);
        }
        errors
    }
}

fn amounts(amounts: Option<&BTreeMap<String, Text>>, path: &Path<'_>, errors: &mut ErrorList) {
    for (name, amount) in amounts.into_iter().flatten() {
        let path = path.key(name);
        resource_names::quota(name, &path, errors);
        resource_names::quota_amount(name, amount, &path, errors);
    }
}

/// The resources of a quota that a scope cannot hold for.
fn misplaced(spec: &ResourceQuotaSpec, scope: &str) -> usize {
    let names = spec.hard.iter().flat_map(BTreeMap::keys);
    names
        .filter(|name| resource_names::is_standard_for_quota(name) && !resource_names::scope_applies(scope, name))
        .count()
}

fn scopes(spec: &ResourceQuotaSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let scopes = spec.scopes.as_deref().unwrap_or_default();
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.invalid(path, BadValue::json(&scopes), "unsupported scope");
        }
        for _ in 0..misplaced(spec, scope) {
            errors.invalid(path, BadValue::json(&scopes), "unsupported scope applied to resource");
        }
    }
    for pair in OPPOSITES {
        if pair.iter().all(|scope| scopes.iter().any(|own| own == scope)) {
            errors.invalid(path, BadValue::json(&scopes), "conflicting scopes");
        }
    }
}

fn scope_selector(spec: &ResourceQuotaSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(selector) = &spec.scope_selector else { return };
    let path = path.child("matchExpressions");
    for requirement in selector.match_expressions.iter().flatten() {
        let scope = requirement.scope_name.as_str();
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in 0..misplaced(spec, scope) {
            errors.invalid(&path, BadValue::json(selector), "unsupported scope applied to resource");
        }
        let has_values = requirement.values.as_ref().is_some_and(|values| !values.is_empty());
        let operator = requirement.operator.as_str();
        let only_exists = !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope);
        if only_exists && operator != "Exists" {
            errors.invalid(&path.child("operator"), operator, ONLY_EXISTS);
        }
        let path_values = path.child("values");
        match operator {
            "In" | "NotIn" if !has_values => errors.required(
                &path_values,
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if has_values => errors.invalid(
                &path_values,
                BadValue::json(&requirement.values),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(spec: serde_json::Value) -> Vec<String> {
        let spec = serde_json::from_value(spec).unwrap();
        let quota = ResourceQuota { spec: Some(spec), ..ResourceQuota::default() };
        ResourceQuotas.validate(&quota).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_quota_counts_what_can_be_counted() {
        let none: [&str; 0] = [];
        assert_eq!(problems(serde_json::json!({"hard": {"pods": "10", "count/deployments.apps": "5"}})), none);
        assert_eq!(
            problems(serde_json::json!({"hard": {"nonsense": "1", "pods": "0.5"}})),
            [
                r#"spec.hard[nonsense]: Invalid value: "nonsense": must be a standard resource type or fully qualified"#,
                r#"spec.hard[nonsense]: Invalid value: "nonsense": must be a standard resource for quota"#,
                r#"spec.hard[pods]: Invalid value: "0.5": must be an integer"#,
            ]
        );
    }

    #[test]
    fn scopes_fit_their_resources() {
        assert_eq!(
            problems(serde_json::json!({"hard": {"requests.cpu": "1"}, "scopes": ["BestEffort"]})),
            [r#"spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource"#]
        );
        assert_eq!(
            problems(serde_json::json!({"scopes": ["BestEffort", "NotBestEffort"]})),
            [r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes"#]
        );
    }
}
