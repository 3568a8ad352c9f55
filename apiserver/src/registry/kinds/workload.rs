//! What Deployments and ReplicaSets share: a selector, a template and replicas.

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use reeve_api::ObjectMeta;
use reeve_api::meta::LabelSelector as ObjectSelector;
use reeve_api::selector::LabelSelector;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::pod_template::validation;

/// The operators of a selector's expressions.
const OPERATORS: [&str; 4] = ["DoesNotExist", "Exists", "In", "NotIn"];

/// Checks a count.
pub(super) fn not_negative(value: Option<i64>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

fn is_absent(selector: &ObjectSelector) -> bool {
    selector.match_labels.is_none() && selector.match_expressions.is_none()
}

fn is_empty(selector: &ObjectSelector) -> bool {
    let labels = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty());
    let expressions = selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    labels && expressions
}

/// Checks the selector of a workload and that it selects the template's pods. `kind` is the word of
/// the message about an empty selector.
pub(super) fn selector_and_template(
    selector: &ObjectSelector,
    template: &PodTemplateSpec,
    kind: &str,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    let path_selector = path.child("selector");
    if is_absent(selector) {
        errors.required(&path_selector, "");
    } else if is_empty(selector) {
        errors.invalid(&path_selector, BadValue::json(selector), format!("empty selector is invalid for {kind}"));
    } else {
        object_selector(selector, &path_selector, errors);
    }
    let path_template = path.child("template");
    match LabelSelector::from_object(Some(selector)) {
        Err(_) => errors.invalid(&path_selector, BadValue::json(selector), "invalid label selector"),
        Ok(parsed) => {
            let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
            // An empty selector was refused above; an absent one selects nothing.
            if is_absent(selector) || !parsed.matches_opt(labels) {
                errors.invalid(
                    &path_template.child("metadata").child("labels"),
                    labels.map_or_else(BadValue::null, BadValue::json),
                    "`selector` does not match template `labels`",
                );
            }
        }
    }
    validation::pod_template(template, &path_template, errors);
    let spec_path = path_template.child("spec");
    let empty = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    if let Some(policy) = spec.restart_policy.as_deref().filter(|policy| *policy != "Always") {
        errors.not_supported(&spec_path.child("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        errors.forbidden(
            &spec_path.child("activeDeadlineSeconds"),
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        );
    }
}

/// Checks a label selector.
pub(super) fn object_selector(selector: &ObjectSelector, path: &Path<'_>, errors: &mut ErrorList) {
    let path_labels = path.child("matchLabels");
    for (key, value) in selector.match_labels.iter().flatten() {
        errors.invalid_each(&path_labels, key, format::qualified_name(key));
        errors.invalid_each(&path_labels.key(key), value, format::label_value(value));
    }
    let path_expressions = path.child("matchExpressions");
    for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let path = path_expressions.index(index);
        let has_values = expression.values.as_ref().is_some_and(|values| !values.is_empty());
        match expression.operator.as_str() {
            "In" | "NotIn" if !has_values => {
                errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if has_values => {
                errors.forbidden(
                    &path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            operator if !OPERATORS.contains(&operator) => {
                errors.invalid(&path.child("operator"), operator, "not a valid selector operator");
            }
            _ => {}
        }
        errors.invalid_each(&path.child("key"), &expression.key, format::qualified_name(&expression.key));
        let path_values = path.child("values");
        for (index, value) in expression.values.iter().flatten().enumerate() {
            errors.invalid_each(&path_values.index(index), value, format::label_value(value));
        }
    }
}

/// The view of a workload that autoscalers know.
pub(super) fn scale(
    metadata: &ObjectMeta,
    wanted: Option<i32>,
    present: Option<i32>,
    selector: &ObjectSelector,
) -> Scale {
    let selector = LabelSelector::from_object(Some(selector)).map(|selector| selector.to_string());
    Scale {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            creation_timestamp: metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: Some(ScaleSpec { replicas: wanted }),
        status: Some(ScaleStatus { replicas: present.unwrap_or_default(), selector: selector.ok() }),
    }
}
