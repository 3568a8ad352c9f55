//! Where a pod may run: tolerations, spreading and gates.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PodSpec, Toleration, TopologySpreadConstraint};
use reeve_api::validation::{ErrorList, Path, format};

use super::affinity::match_label_keys;
use crate::registry::kinds::label_selector;

pub(super) fn gates(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        let path = path.index(index);
        let problems = format::qualified_name(&gate.name);
        errors.invalid_each(&path, &gate.name, problems);
        if !seen.insert(&gate.name) {
            errors.duplicate(&path, &gate.name);
        }
    }
}

pub(super) fn spread(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let same = |other: &TopologySpreadConstraint| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == constraint.when_unsatisfiable
        };
        // The first of two that are the same is the one that is named.
        let is_repeated = constraints[index + 1..].iter().any(same);
        one_constraint(constraint, is_repeated, &path, errors);
    }
}

fn one_constraint(constraint: &TopologySpreadConstraint, is_repeated: bool, path: &Path<'_>, errors: &mut ErrorList) {
    if constraint.max_skew <= 0 {
        errors.invalid(&path.child("maxSkew"), constraint.max_skew, "must be greater than zero");
    }
    if constraint.topology_key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    let unsatisfiable = constraint.when_unsatisfiable.as_str();
    let path_unsatisfiable = path.child("whenUnsatisfiable");
    if !matches!(unsatisfiable, "DoNotSchedule" | "ScheduleAnyway") {
        errors.not_supported(&path_unsatisfiable, unsatisfiable, &["DoNotSchedule", "ScheduleAnyway"]);
    }
    if is_repeated {
        let shown = format!("{{{}, {}}}", constraint.topology_key, constraint.when_unsatisfiable);
        errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), shown);
    }
    if let Some(domains) = constraint.min_domains {
        let path = path.child("minDomains");
        if domains <= 0 {
            errors.invalid(&path, domains, "must be greater than zero");
        }
        if unsatisfiable != "DoNotSchedule" {
            errors.invalid(
                &path,
                domains,
                format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {unsatisfiable}"),
            );
        }
    }
    for (field, policy) in
        [("nodeAffinityPolicy", &constraint.node_affinity_policy), ("nodeTaintsPolicy", &constraint.node_taints_policy)]
    {
        if let Some(policy) = policy.as_deref().filter(|policy| !matches!(*policy, "Honor" | "Ignore")) {
            errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
        }
    }
    let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
    match_label_keys(keys, constraint.label_selector.as_ref(), &path.child("matchLabelKeys"), errors);
    if let Some(selector) = &constraint.label_selector {
        label_selector(selector, &path.child("labelSelector"), errors);
    }
}

pub(super) fn toleration(toleration: &Toleration, path: &Path<'_>, errors: &mut ErrorList) {
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() {
        errors.invalid_each(&path.child("key"), key, format::qualified_name(key));
    }
    let operator = toleration.operator.as_deref().unwrap_or_default();
    if key.is_empty() && operator != "Exists" {
        errors.invalid(
            &path.child("operator"),
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        errors.invalid(&path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    match operator {
        "" | "Equal" => {
            let problems = format::label_value(value);
            if !problems.is_empty() {
                errors.invalid(&path.child("operator"), value, problems.join(";"));
            }
        }
        "Exists" if !value.is_empty() => {
            errors.invalid(&path.child("operator"), value, "value must be empty when `operator` is 'Exists'")
        }
        "Exists" => {}
        other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effect.is_empty() && !effects.contains(&effect) {
        errors.not_supported(&path.child("effect"), effect, &effects);
    }
}
