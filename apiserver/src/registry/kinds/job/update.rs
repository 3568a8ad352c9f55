//! What an update of a job may not change.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use reeve_api::validation::{BadValue, ErrorList, Path};
use serde::Serialize;

use crate::registry::internal;

const IMMUTABLE: &str = "field is immutable";

/// Until a suspended job first starts, its queue may still decide where its pods run.
pub(super) fn template_may_change(old: &Job) -> bool {
    let suspended = old.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    suspended && old.status.as_ref().is_none_or(|status| status.start_time.is_none())
}

/// Compares all fields that stay.
pub(super) fn fixed(new: &JobSpec, old: &JobSpec, template_mutable: bool, path: &Path<'_>, errors: &mut ErrorList) {
    completions(new, old, &path.child("completions"), errors);
    same(&new.selector, &old.selector, &path.child("selector"), errors);
    let template = if template_mutable { allowed(&new.template, &old.template) } else { new.template.clone() };
    if template != old.template {
        errors.invalid(
            &path.child("template"),
            BadValue::json(&internal::form(&new.template, "PodTemplateSpec")),
            IMMUTABLE,
        );
    }
    same(&new.completion_mode, &old.completion_mode, &path.child("completionMode"), errors);
    shown(
        &new.pod_failure_policy,
        &old.pod_failure_policy,
        "PodFailurePolicy",
        &path.child("podFailurePolicy"),
        errors,
    );
    same(&new.backoff_limit_per_index, &old.backoff_limit_per_index, &path.child("backoffLimitPerIndex"), errors);
    same(&new.managed_by, &old.managed_by, &path.child("managedBy"), errors);
    shown(&new.success_policy, &old.success_policy, "SuccessPolicy", &path.child("successPolicy"), errors);
}

fn same<T: PartialEq + Serialize>(new: &T, old: &T, path: &Path<'_>, errors: &mut ErrorList) {
    if new != old {
        errors.invalid(path, BadValue::json(new), IMMUTABLE);
    }
}

/// The same for structures of upstream's own.
fn shown<T: PartialEq + Serialize>(
    new: &Option<T>,
    old: &Option<T>,
    name: &str,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    if new != old {
        let value = new.as_ref().map(|new| BadValue::json(&internal::form(new, name)));
        errors.invalid(path, value.unwrap_or_else(BadValue::null), IMMUTABLE);
    }
}

/// The completions of an indexed job follow its parallelism; those of others stay.
fn completions(new: &JobSpec, old: &JobSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if new.completion_mode.as_deref() != Some("Indexed") {
        same(&new.completions, &old.completions, path, errors);
    } else if new.completions != old.completions && new.completions.is_some() && new.completions != new.parallelism {
        errors.invalid(path, new.completions, "can only be modified in tandem with spec.parallelism");
    }
}

/// The new template with the fields put back that may change.
fn allowed(new: &PodTemplateSpec, old: &PodTemplateSpec) -> PodTemplateSpec {
    let mut masked = new.clone();
    if let (Some(metadata), Some(before)) = (&mut masked.metadata, &old.metadata) {
        metadata.labels.clone_from(&before.labels);
        metadata.annotations.clone_from(&before.annotations);
    }
    if let (Some(spec), Some(before)) = (&mut masked.spec, &old.spec) {
        spec.node_selector.clone_from(&before.node_selector);
        spec.tolerations.clone_from(&before.tolerations);
        spec.scheduling_gates.clone_from(&before.scheduling_gates);
        // Only the choice of nodes of an affinity.
        let nodes = before.affinity.as_ref().and_then(|affinity| affinity.node_affinity.clone());
        match (&mut spec.affinity, &before.affinity) {
            (Some(affinity), _) => {
                affinity.node_affinity = nodes;
                if before.affinity.is_none() && *affinity == Default::default() {
                    spec.affinity = None;
                }
            }
            (None, Some(affinity)) if affinity.pod_affinity.is_none() && affinity.pod_anti_affinity.is_none() => {
                spec.affinity.clone_from(&before.affinity);
            }
            (None, _) => {}
        }
    }
    masked
}
