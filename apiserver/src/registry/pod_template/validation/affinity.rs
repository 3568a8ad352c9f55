//! Affinity to nodes and to other pods.

use k8s_openapi::api::core::v1::{Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm};
use reeve_api::meta::LabelSelector;
use reeve_api::validation::{ErrorList, Path, format};

use crate::registry::kinds::label_selector;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate(affinity: &Affinity, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(nodes) = &affinity.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(required) = &nodes.required_during_scheduling_ignored_during_execution {
            let path = path.child(REQUIRED);
            let path_terms = path.child("nodeSelectorTerms");
            if required.node_selector_terms.is_empty() {
                errors.required(&path_terms, "must have at least one node selector term");
            }
            for (index, term) in required.node_selector_terms.iter().enumerate() {
                node_term(term, true, &path_terms.index(index), errors);
            }
        }
        let path_preferred = path.child(PREFERRED);
        let preferred = nodes.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (index, term) in preferred.enumerate() {
            let path = path_preferred.index(index);
            weight(term.weight, &path, errors);
            // What nothing can match is not wrong in a wish.
            node_term(&term.preference, false, &path.child("preference"), errors);
        }
    }
    let together = affinity.pod_affinity.as_ref().map(|pods| {
        (
            "podAffinity",
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let apart = affinity.pod_anti_affinity.as_ref().map(|pods| {
        (
            "podAntiAffinity",
            &pods.required_during_scheduling_ignored_during_execution,
            &pods.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (field, required, preferred) in [together, apart].into_iter().flatten() {
        let path = path.child(field);
        let path_required = path.child(REQUIRED);
        for (index, term) in required.iter().flatten().enumerate() {
            pod_term(term, &path_required.index(index), errors);
        }
        let path_preferred = path.child(PREFERRED);
        for (index, term) in preferred.iter().flatten().enumerate() {
            let path = path_preferred.index(index);
            weight(term.weight, &path, errors);
            pod_term(&term.pod_affinity_term, &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(weight: i32, path: &Path<'_>, errors: &mut ErrorList) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(term: &NodeSelectorTerm, with_values: bool, path: &Path<'_>, errors: &mut ErrorList) {
    let path_expressions = path.child("matchExpressions");
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        expression(requirement, with_values, &path_expressions.index(index), errors);
    }
    let path_fields = path.child("matchFields");
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        field(requirement, &path_fields.index(index), errors);
    }
}

fn expression(requirement: &NodeSelectorRequirement, with_values: bool, path: &Path<'_>, errors: &mut ErrorList) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let path_values = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&path_values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&path_values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&path_values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    errors.invalid_each(&path.child("key"), &requirement.key, format::qualified_name(&requirement.key));
    for (index, value) in values.iter().enumerate().filter(|_| with_values) {
        errors.invalid_each(&path_values.index(index), value, format::label_value(value));
    }
}

fn field(requirement: &NodeSelectorRequirement, path: &Path<'_>, errors: &mut ErrorList) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" => {
            if values.len() != 1 {
                errors.required(
                    &path.child("values"),
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                );
            }
        }
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    if requirement.key != "metadata.name" {
        errors.invalid(&path.child("key"), &requirement.key, "not a valid field selector key");
        return;
    }
    let path_values = path.child("values");
    for (index, value) in values.iter().enumerate() {
        errors.invalid_each(&path_values.index(index), value, format::dns1123_subdomain(value));
    }
}

fn pod_term(term: &PodAffinityTerm, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(selector) = &term.label_selector {
        label_selector(selector, &path.child("labelSelector"), errors);
    }
    if let Some(selector) = &term.namespace_selector {
        label_selector(selector, &path.child("namespaceSelector"), errors);
    }
    for name in term.namespaces.iter().flatten() {
        errors.invalid_each(&path.child("namespace"), name, format::dns1123_label(name));
    }
    let matched = term.match_label_keys.as_deref().unwrap_or_default();
    let mismatched = term.mismatch_label_keys.as_deref().unwrap_or_default();
    label_keys(matched, term.label_selector.as_ref(), &path.child("matchLabelKeys"), errors);
    label_keys(mismatched, term.label_selector.as_ref(), &path.child("mismatchLabelKeys"), errors);
    if let Some(selector) = &term.label_selector {
        for (index, key) in matched.iter().enumerate().filter(|(_, key)| names_twice(selector, key)) {
            errors.invalid(&path.index(index), key, "exists in both matchLabelKeys and labelSelector");
        }
    }
    for (index, key) in matched.iter().enumerate().filter(|(_, key)| mismatched.contains(key)) {
        errors.invalid(
            &path.child("matchLabelKeys").index(index),
            key,
            "exists in both matchLabelKeys and mismatchLabelKeys",
        );
    }
    let path_topology = path.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.required(&path_topology, "can not be empty");
    }
    errors.invalid_each(&path_topology, &term.topology_key, format::qualified_name(&term.topology_key));
}

/// Whether a selector names a key besides the expression that was made of the pod's own label.
fn names_twice(selector: &LabelSelector, key: &str) -> bool {
    let in_labels = usize::from(selector.match_labels.iter().flatten().any(|(own, _)| own == key));
    let in_expressions = selector.match_expressions.iter().flatten().filter(|own| own.key == key).count();
    in_expressions > 0 && in_labels + in_expressions > 1
}

/// Keys of the pod's own labels that a selector takes up.
fn label_keys(keys: &[String], selector: Option<&LabelSelector>, path: &Path<'_>, errors: &mut ErrorList) {
    if keys.is_empty() {
        return;
    }
    if selector.is_none() {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        errors.invalid_each(&path.index(index), key, format::qualified_name(key));
    }
}

/// The same for spreading, where the selector must not name the keys itself.
pub(super) fn match_label_keys(
    keys: &[String],
    selector: Option<&LabelSelector>,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    if keys.is_empty() {
        return;
    }
    if selector.is_none() {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().enumerate() {
        errors.invalid_each(&path.index(index), key, format::qualified_name(key));
        let is_label = selector.is_some_and(|own| own.match_labels.iter().flatten().any(|(label, _)| label == key));
        if is_label || selector.is_some_and(|selector| names_twice(selector, key)) {
            errors.invalid(&path.index(index), key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}
