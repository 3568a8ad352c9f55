//! Which requests a webhook or policy is about: defaults and rules that all of them share.

use std::collections::BTreeSet;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ParamKind, ParamRef, RuleWithOperations, Variable,
};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::kinds::{rules, workload};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
const CONDITIONS_MAX: usize = 64;

/// The scope of rules that name none.
pub(super) fn default_scope(scope: &mut Option<String>) {
    scope.get_or_insert_with(|| "*".to_owned());
}

/// The fields that are absent from a policy's constraints.
pub(super) fn default_resources(resources: &mut MatchResources) {
    resources.match_policy.get_or_insert_with(|| "Equivalent".to_owned());
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    let rules = [&mut resources.resource_rules, &mut resources.exclude_resource_rules];
    for rule in rules.into_iter().flatten().flatten() {
        default_scope(&mut rule.scope);
    }
}

/// The parts of a rule.
pub(super) struct Rule<'a> {
    operations: &'a [String],
    groups: &'a [String],
    versions: &'a [String],
    resources: &'a [String],
    scope: Option<&'a str>,
}

fn texts(list: &Option<Vec<String>>) -> &[String] {
    list.as_deref().unwrap_or_default()
}

impl<'a> From<&'a RuleWithOperations> for Rule<'a> {
    fn from(rule: &'a RuleWithOperations) -> Self {
        Self {
            operations: texts(&rule.operations),
            groups: texts(&rule.api_groups),
            versions: texts(&rule.api_versions),
            resources: texts(&rule.resources),
            scope: rule.scope.as_deref(),
        }
    }
}

impl<'a> From<&'a NamedRuleWithOperations> for Rule<'a> {
    fn from(rule: &'a NamedRuleWithOperations) -> Self {
        Self {
            operations: texts(&rule.operations),
            groups: texts(&rule.api_groups),
            versions: texts(&rule.api_versions),
            resources: texts(&rule.resources),
            scope: rule.scope.as_deref(),
        }
    }
}

/// Whether a list names more beside `*`.
fn more_than_star(list: &[String]) -> bool {
    list.len() > 1 && list.iter().any(|word| word == "*")
}

/// Checks a rule.
pub(super) fn rule(rule: &Rule<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    let path_operations = path.child("operations");
    if rule.operations.is_empty() {
        errors.required(&path_operations, "");
    }
    if more_than_star(rule.operations) {
        let why = "if '*' is present, must not specify other operations";
        errors.invalid(&path_operations, BadValue::json(&rule.operations), why);
    }
    for (index, operation) in rule.operations.iter().enumerate() {
        rules::one_of(operation, &OPERATIONS, &path_operations.index(index), errors);
    }
    for (field, list, words) in
        [("apiGroups", rule.groups, "API groups"), ("apiVersions", rule.versions, "API versions")]
    {
        let path = path.child(field);
        if list.is_empty() {
            errors.required(&path, "");
        }
        if more_than_star(list) {
            let why = format!("if '*' is present, must not specify other {words}");
            errors.invalid(&path, BadValue::json(&list), why);
        }
        for (index, _) in list.iter().enumerate().filter(|(_, text)| field == "apiVersions" && text.is_empty()) {
            errors.required(&path.index(index), "");
        }
    }
    resources(rule.resources, &path.child("resources"), errors);
    if let Some(scope) = rule.scope {
        rules::one_of(scope, &SCOPES, &path.child("scope"), errors);
    }
}

fn resources(resources: &[String], path: &Path<'_>, errors: &mut ErrorList) {
    if resources.is_empty() {
        errors.required(path, "");
    }
    let mut whole = BTreeSet::new();
    let mut everywhere = BTreeSet::new();
    let mut has_plain = false;
    for (index, text) in resources.iter().enumerate() {
        if text.is_empty() {
            errors.required(&path.index(index), "");
            continue;
        }
        let Some((resource, part)) = text.split_once('/') else {
            has_plain |= text != "*";
            continue;
        };
        if whole.contains(resource) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            errors.invalid(&path.index(index), text, why);
        }
        if everywhere.contains(part) {
            errors.invalid(&path.index(index), text, format!("if '*/{part}' is present, must not specify {text}"));
        }
        if part == "*" {
            whole.insert(resource);
        }
        if resource == "*" {
            everywhere.insert(part);
        }
    }
    let has = |word: &str| resources.iter().any(|text| text == word);
    if resources.len() > 1 && has("*/*") {
        errors.invalid(path, BadValue::json(&resources), "if '*/*' is present, must not specify other resources");
    }
    if has("*") && has_plain {
        errors.invalid(
            path,
            BadValue::json(&resources),
            "if '*' is present, must not specify other resources without subresources",
        );
    }
}

/// Checks the constraints of a policy or binding.
pub(super) fn match_resources(resources: &MatchResources, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, list) in
        [("resourceRules", &resources.resource_rules), ("excludeResourceRules", &resources.exclude_resource_rules)]
    {
        let path = path.child(field);
        for (index, one) in list.iter().flatten().enumerate() {
            let path = path.index(index);
            rule(&one.into(), &path, errors);
            names(texts(&one.resource_names), &path.child("resourceNames"), errors);
        }
    }
    match_policy(resources.match_policy.as_deref(), path, errors);
    for (field, selector) in
        [("namespaceSelector", &resources.namespace_selector), ("objectSelector", &resources.object_selector)]
    {
        match selector {
            None => errors.required(&path.child(field), ""),
            Some(selector) => workload::object_selector(selector, &path.child(field), errors),
        }
    }
}

fn names(names: &[String], path: &Path<'_>, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        let path = path.index(index);
        errors.invalid_each(&path, name, reeve_api::validation::metadata::path_segment(name, false));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

/// Checks how versions of a resource are matched.
pub(super) fn match_policy(policy: Option<&str>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(policy) = policy {
        rules::one_of(policy, &["Equivalent", "Exact"], &path.child("matchPolicy"), errors);
    }
}

/// Checks what happens when a hook or policy cannot be asked.
pub(super) fn failure_policy(policy: Option<&str>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(policy) = policy {
        rules::one_of(policy, &["Fail", "Ignore"], &path.child("failurePolicy"), errors);
    }
}

/// Checks the conditions that are asked first.
pub(super) fn conditions(conditions: Option<&[MatchCondition]>, path: &Path<'_>, errors: &mut ErrorList) {
    let conditions = conditions.unwrap_or_default();
    let path = path.child("matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(&path, conditions.len(), CONDITIONS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        expression(&condition.expression, "", &path.child("expression"), errors);
        let path = path.child("name");
        if condition.name.is_empty() {
            errors.required(&path, "");
        } else {
            errors.invalid_each(&path, &condition.name, format::qualified_name(&condition.name));
            if !seen.insert(&condition.name) {
                errors.duplicate(&path, &condition.name);
            }
        }
    }
}

/// Checks that an expression is there.
pub(super) fn expression(text: &str, missing: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if text.trim().is_empty() {
        errors.required(path, missing);
    }
}

/// Checks the variables of a policy.
pub(super) fn variables(variables: Option<&[Variable]>, path: &Path<'_>, errors: &mut ErrorList) {
    let path = path.child("variables");
    for (index, variable) in variables.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        if variable.name.is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else {
            errors.invalid_each(&path.child("name"), &variable.name, format::c_identifier(&variable.name));
        }
        expression(&variable.expression, "expression is not specified", &path.child("expression"), errors);
    }
}

/// Checks the kind of a policy's parameters.
pub(super) fn param_kind(kind: Option<&ParamKind>, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(kind) = kind else { return };
    let path = path.child("paramKind");
    let version = kind.api_version.as_deref().unwrap_or_default();
    if version.is_empty() {
        errors.required(&path.child("apiVersion"), "");
    } else {
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        if !group.is_empty() {
            errors.invalid_each(&path.child("apiVersion"), group, format::dns1123_subdomain(group));
        }
        errors.invalid_each(&path.child("apiVersion"), version, format::dns1035_label(version));
    }
    let name = kind.kind.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.required(&path.child("kind"), "");
    } else {
        let lower = name.to_lowercase();
        for problem in format::dns1035_label(&lower) {
            let why = format!("may have mixed case, but should otherwise match: {problem}");
            errors.invalid(&path.child("kind"), name, why);
        }
    }
}

/// Checks which parameters a binding takes.
pub(super) fn param_ref(reference: Option<&ParamRef>, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(reference) = reference else { return };
    let path = path.child("paramRef");
    let name = reference.name.as_deref().unwrap_or_default();
    if !name.is_empty() {
        errors.invalid_each(&path.child("name"), name, reeve_api::validation::metadata::path_segment(name, false));
        if reference.selector.is_some() {
            errors.forbidden(&path.child("name"), "name and selector are mutually exclusive");
        }
    }
    match &reference.selector {
        Some(selector) => {
            workload::object_selector(selector, &path.child("selector"), errors);
            if !name.is_empty() {
                errors.forbidden(&path.child("selector"), "name and selector are mutually exclusive");
            }
        }
        None if name.is_empty() => errors.required(&path, "one of name or selector must be specified"),
        None => {}
    }
    match reference.parameter_not_found_action.as_deref() {
        None => errors.required(&path.child("parameterNotFoundAction"), ""),
        Some(action) => {
            let path = path.child("parameterNotFoundAction");
            rules::one_of(action, &["Deny", "Allow"], &path, errors);
        }
    }
}
