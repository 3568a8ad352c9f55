//! What a new pod's own labels and annotations say about its specification.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{AppArmorProfile, PodAffinityTerm, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";

type Labels = BTreeMap<String, String>;

/// Selectors of affinity and spreading take up the pod's own labels that they ask for.
pub(super) fn follow_own_labels(spec: &mut PodSpec, labels: &Labels) {
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        extend(constraint.label_selector.as_mut(), keys, "In", labels);
    }
    let Some(affinity) = &mut spec.affinity else { return };
    if let Some(pods) = &mut affinity.pod_affinity {
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        let required = pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.map(|term| &mut term.pod_affinity_term).chain(required).for_each(|term| follow(term, labels));
    }
    if let Some(pods) = &mut affinity.pod_anti_affinity {
        let preferred = pods.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        let required = pods.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.map(|term| &mut term.pod_affinity_term).chain(required).for_each(|term| follow(term, labels));
    }
}

fn follow(term: &mut PodAffinityTerm, labels: &Labels) {
    let matched = term.match_label_keys.as_deref().unwrap_or_default();
    extend(term.label_selector.as_mut(), matched, "In", labels);
    let mismatched = term.mismatch_label_keys.as_deref().unwrap_or_default();
    extend(term.label_selector.as_mut(), mismatched, "NotIn", labels);
}

fn extend(selector: Option<&mut LabelSelector>, keys: &[String], operator: &str, labels: &Labels) {
    let Some(selector) = selector else { return };
    for key in keys {
        if let Some(value) = labels.get(key) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
}

/// Profiles that were once given by annotation fill the field.
pub(super) fn follow_annotations(spec: &mut PodSpec, annotations: &Labels) {
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let Some(text) = annotations.get(&format!("{APP_ARMOR_PREFIX}{}", container.name)) else { continue };
        let profile = |kind: &str, local: Option<&str>| AppArmorProfile {
            type_: kind.to_owned(),
            localhost_profile: local.map(str::to_owned),
        };
        let profile = match text.as_str() {
            "runtime/default" => profile("RuntimeDefault", None),
            "unconfined" => profile("Unconfined", None),
            other => match other.strip_prefix("localhost/").filter(|local| !local.is_empty()) {
                Some(local) => profile("Localhost", Some(local)),
                None => continue,
            },
        };
        let context = container.security_context.get_or_insert_default();
        context.app_armor_profile.get_or_insert(profile);
    }
}
