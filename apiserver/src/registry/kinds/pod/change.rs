//! What an update of a pod may change.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Container, NodeAffinity, NodeSelectorTerm, Pod, PodSpec, Toleration};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::internal;
use crate::registry::kinds::difference;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const MIRROR: &str = "kubernetes.io/config.mirror";
const OTHERS: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Compares a pod with what it was.
pub(super) fn validate(pod: &Pod, old: &Pod, errors: &mut ErrorList) {
    let path_metadata = Path::new("metadata");
    marks(pod, old, &path_metadata.child("annotations"), errors);
    let (empty_new, empty_old) = (PodSpec::default(), PodSpec::default());
    let new = pod.spec.as_ref().unwrap_or(&empty_new);
    let old = old.spec.as_ref().unwrap_or(&empty_old);
    let path = Path::new("spec");
    let init = |spec: &PodSpec| spec.init_containers.clone().unwrap_or_default();
    if !images(&new.containers, &old.containers, &path.child("containers"), errors)
        || !images(&init(new), &init(old), &path.child("initContainers"), errors)
        || !deadline(new, old, &path.child("activeDeadlineSeconds"), errors)
    {
        return;
    }
    tolerations(new, old, &path.child("tolerations"), errors);
    gates(new, old, &path.child("schedulingGates"), errors);
    if new == old {
        return;
    }
    let mut masked = new.clone();
    let pairs = masked
        .containers
        .iter_mut()
        .zip(&old.containers)
        .chain(masked.init_containers.iter_mut().flatten().zip(old.init_containers.iter().flatten()));
    for (new, old) in pairs {
        new.image.clone_from(&old.image);
    }
    masked.active_deadline_seconds = old.active_deadline_seconds;
    masked.scheduling_gates.clone_from(&old.scheduling_gates);
    masked.tolerations.clone_from(&old.tolerations);
    if old.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0)
        && new.termination_grace_period_seconds == Some(1)
    {
        masked.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if old.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()) {
        narrowed(&mut masked, old, &path, errors);
    }
    if masked != *old {
        let shown = difference::unified(&internal::form(old, "PodSpec"), &internal::form(&masked, "PodSpec"));
        errors.forbidden(&path, format!("{OTHERS}\n{shown}"));
    }
}

/// Annotations that say what the pod runs under stay.
fn marks(pod: &Pod, old: &Pod, path: &Path<'_>, errors: &mut ErrorList) {
    let empty = BTreeMap::new();
    let new = pod.metadata.annotations.as_ref().unwrap_or(&empty);
    let old = old.metadata.annotations.as_ref().unwrap_or(&empty);
    for (key, _) in old.iter().filter(|(key, value)| new.get(*key) != Some(value)) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}

/// False when there is nothing to compare further.
fn images(new: &[Container], old: &[Container], path: &Path<'_>, errors: &mut ErrorList) -> bool {
    if new.len() != old.len() {
        errors.forbidden(path, "pod updates may not add or remove containers");
        return false;
    }
    for (index, container) in new.iter().enumerate() {
        let image = container.image.as_deref().unwrap_or_default();
        let path = path.index(index);
        if image.is_empty() {
            errors.required(&path.child("image"), "");
        }
        if image.trim() != image {
            errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
        }
    }
    true
}

/// A deadline may come nearer. False when it may not be what it is.
fn deadline(new: &PodSpec, old: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) -> bool {
    let most = i64::from(i32::MAX);
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (Some(new), _) if !(0..=most).contains(&new) => {
            errors.invalid(path, new, format::between(0, most));
            return false;
        }
        (Some(new), Some(old)) if new > old => {
            errors.invalid(path, new, "must be less than or equal to previous value");
            return false;
        }
        (None, Some(_)) => errors.invalid(path, None::<i64>, "must not update from a positive integer to nil value"),
        _ => {}
    }
    true
}

fn tolerations(new: &PodSpec, old: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let without_seconds = |toleration: &Toleration| Toleration { toleration_seconds: None, ..toleration.clone() };
    let kept =
        |old: &Toleration| new.tolerations.iter().flatten().any(|new| without_seconds(new) == without_seconds(old));
    if !old.tolerations.iter().flatten().all(kept) {
        errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn gates(new: &PodSpec, old: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    for (index, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !old.scheduling_gates.iter().flatten().any(|old| old.name == gate.name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name);
            errors.forbidden(&path.index(index).child("name"), why);
        }
    }
}

/// While a gate is there the choice of nodes may be narrowed; what was allowed is put back.
fn narrowed(masked: &mut PodSpec, old: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if masked.node_selector != old.node_selector {
        let new = masked.node_selector.clone().unwrap_or_default();
        if old.node_selector.iter().flatten().any(|(key, value)| new.get(key) != Some(value)) {
            let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.invalid(&path.child("nodeSelector"), BadValue::json(&new), why);
        }
        masked.node_selector.clone_from(&old.node_selector);
    }
    let nodes = |spec: &PodSpec| spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
    let (new_nodes, old_nodes) = (nodes(masked), nodes(old));
    if new_nodes == old_nodes {
        return;
    }
    let path = path.child("affinity");
    required_nodes(new_nodes.as_ref(), old_nodes.as_ref(), &path.child("nodeAffinity"), errors);
    match &mut masked.affinity {
        None => {
            if old_nodes.is_some() {
                masked.affinity = Some(Affinity { node_affinity: old_nodes, ..Affinity::default() });
            }
        }
        Some(affinity)
            if old.affinity.is_none() && affinity.pod_affinity.is_none() && affinity.pod_anti_affinity.is_none() =>
        {
            masked.affinity = None;
        }
        Some(affinity) => affinity.node_affinity = old_nodes,
    }
}

fn required_nodes(new: Option<&NodeAffinity>, old: Option<&NodeAffinity>, path: &Path<'_>, errors: &mut ErrorList) {
    let terms = |nodes: Option<&NodeAffinity>| -> Option<Vec<NodeSelectorTerm>> {
        Some(nodes?.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms.clone())
    };
    let Some(old_terms) = terms(old) else { return };
    let new_terms = terms(new).unwrap_or_default();
    let path = path.child("requiredDuringSchedulingIgnoredDuringExecution");
    let path = path.child("nodeSelectorTerms");
    let shown = |term: &NodeSelectorTerm| internal::form(term, "NodeTerm");
    if !old_terms.is_empty() && old_terms.len() != new_terms.len() {
        let list: Vec<_> = new_terms.iter().map(shown).collect();
        let value = if list.is_empty() { BadValue::null() } else { BadValue::json(&list) };
        errors.invalid(&path, value, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        return;
    }
    for (index, (new, old)) in new_terms.iter().zip(&old_terms).enumerate() {
        let grown = |new: &Option<Vec<_>>, old: &Option<Vec<_>>| {
            new.clone().unwrap_or_default().starts_with(old.as_deref().unwrap_or_default())
        };
        let is_empty = |term: &NodeSelectorTerm| {
            term.match_expressions.iter().flatten().count() + term.match_fields.iter().flatten().count() == 0
        };
        let fits = grown(&new.match_expressions, &old.match_expressions)
            && grown(&new.match_fields, &old.match_fields)
            && (!is_empty(old) || is_empty(new));
        if !fits {
            let why = "only additions are allowed (no mutations or deletions)";
            errors.invalid(&path.index(index), BadValue::json(&shown(new)), why);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(old: serde_json::Value, new: serde_json::Value) -> Vec<String> {
        let pod = |spec| serde_json::from_value::<Pod>(json!({"metadata": {}, "spec": spec})).unwrap();
        let mut errors = ErrorList::new();
        validate(&pod(new), &pod(old), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_changed_is_shown_as_upstream_shows_it() {
        let pod = |cpu: &str, image: &str| json!({"containers": [{"name": "c", "image": image, "resources": {"requests": {"cpu": cpu, "memory": "1"}}}]});
        assert!(problems(pod("1", "a"), pod("1", "b")).is_empty());
        let expected = format!(
            "spec: Forbidden: {OTHERS}\n@@ -14,7 +14,7 @@\n    \"Resources\": {{\n     \"Limits\": null,\n     \
             \"Requests\": {{\n-     \"cpu\": \"1\",\n+     \"cpu\": \"2\",\n      \"memory\": \"1\"\n     }},\n     \
             \"Claims\": null\n"
        );
        assert_eq!(problems(pod("1", "a"), pod("2", "a")), [expected]);
    }

    #[test]
    fn a_gated_pod_may_be_narrowed_and_nothing_else() {
        let gated = |selector: serde_json::Value| json!({"containers": [], "schedulingGates": [{"name": "g"}], "nodeSelector": selector});
        assert!(problems(gated(json!({"a": "1"})), gated(json!({"a": "1", "b": "2"}))).is_empty());
        assert_eq!(
            problems(gated(json!({"a": "1"})), gated(json!({"b": "2"}))),
            ["spec.nodeSelector: Invalid value: {\"b\":\"2\"}: only additions to spec.nodeSelector are allowed (no \
                 mutations or deletions)"]
        );
        let more = json!({"containers": [], "schedulingGates": [{"name": "g"}, {"name": "h"}]});
        assert_eq!(
            problems(json!({"containers": [], "schedulingGates": [{"name": "g"}]}), more),
            ["spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'"]
        );
    }
}
