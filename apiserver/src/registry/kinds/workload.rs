//! What workloads share: a selector, a template, counts, percentages and the view of them as a scale.

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::ObjectMeta;
use reeve_api::meta::LabelSelector as ObjectSelector;
use reeve_api::selector::LabelSelector;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::pod_template::{validation, warnings};

/// The operators of a selector's expressions.
const OPERATORS: [&str; 4] = ["DoesNotExist", "Exists", "In", "NotIn"];

/// Checks a count.
pub(super) fn not_negative(value: Option<i64>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|value| *value < 0) {
        errors.invalid(path, value, "must be greater than or equal to 0");
    }
}

pub(super) fn is_absent(selector: &ObjectSelector) -> bool {
    selector.match_labels.is_none() && selector.match_expressions.is_none()
}

pub(super) fn is_empty(selector: &ObjectSelector) -> bool {
    let labels = selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty());
    let expressions = selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    labels && expressions
}

/// A selector that was given and is empty, which the type cannot tell from none: it is kept as one of no labels.
pub(super) fn keep_empty_selector(selector: &mut ObjectSelector, json: &[u8]) {
    #[derive(serde::Deserialize)]
    struct Workload {
        spec: Option<Specification>,
    }
    #[derive(serde::Deserialize)]
    struct Specification {
        selector: Option<serde::de::IgnoredAny>,
    }
    if !is_absent(selector) {
        return;
    }
    let given = serde_json::from_slice::<Workload>(json).ok().and_then(|workload| workload.spec?.selector).is_some();
    if given {
        selector.match_labels = Some(Default::default());
    }
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
    required_selector(selector, kind, path, errors);
    let path_template = path.child("template");
    match LabelSelector::from_object(Some(selector)) {
        Err(_) => {
            errors.invalid(&path.child("selector"), BadValue::json(selector), "invalid label selector");
            return;
        }
        // An empty selector was refused above; an absent one selects nothing.
        Ok(parsed) => matches_template(&parsed, is_absent(selector), template, &path_template, errors),
    }
    validation::pod_template(template, &path_template, errors);
    runs_for_ever(template, "ReplicaSet", &path_template, errors);
}

/// A selector that must be there and select something.
pub(super) fn required_selector(selector: &ObjectSelector, kind: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let path = path.child("selector");
    if is_absent(selector) {
        errors.required(&path, "");
    } else {
        object_selector(selector, &path, errors);
        if is_empty(selector) {
            errors.invalid(&path, BadValue::shown("{}".to_owned()), format!("empty selector is invalid for {kind}"));
        }
    }
}

/// Checks that a template's pods have the labels that its owner looks for.
pub(super) fn matches_template(
    selector: &LabelSelector,
    selects_nothing: bool,
    template: &PodTemplateSpec,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    if selects_nothing || !selector.matches_opt(labels) {
        errors.invalid(
            &path.child("metadata").child("labels"),
            labels.map_or_else(BadValue::null, BadValue::json),
            "`selector` does not match template `labels`",
        );
    }
}

/// Pods that are replaced when they end may not end by themselves. `kind` is the owner's.
pub(super) fn runs_for_ever(template: &PodTemplateSpec, kind: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let path = path.child("spec");
    let Some(spec) = &template.spec else { return };
    if let Some(policy) = spec.restart_policy.as_deref().filter(|policy| *policy != "Always") {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        errors.forbidden(
            &path.child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}

/// Checks the counts of a status, which are parts of `total`.
pub(super) fn part_counts(total: i32, counts: &[(&str, Option<i32>)], path: &Path<'_>, errors: &mut ErrorList) {
    not_negative(Some(i64::from(total)), &path.child("replicas"), errors);
    for (field, count) in counts {
        not_negative(count.map(i64::from), &path.child(field), errors);
    }
    let of = |name: &str| counts.iter().find(|(field, _)| *field == name).and_then(|(_, count)| *count);
    for (field, count) in counts {
        if let Some(count) = count.filter(|count| *count > total && PARTS.contains(field)) {
            errors.invalid(&path.child(field), count, "cannot be greater than status.replicas");
        }
    }
    let (available, ready) = (of("availableReplicas").unwrap_or_default(), of("readyReplicas").unwrap_or_default());
    if available > ready {
        errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
}

/// The counts that are at most the count of all.
const PARTS: [&str; 5] =
    ["fullyLabeledReplicas", "updatedReplicas", "readyReplicas", "availableReplicas", "currentReplicas"];

/// The count of hash collisions only grows.
pub(super) fn collisions(new: Option<i32>, old: Option<i32>, path: &Path<'_>, errors: &mut ErrorList) {
    let path = path.child("collisionCount");
    not_negative(new.map(i64::from), &path, errors);
    if let Some(old) = old
        && new.unwrap_or_default() < old
    {
        errors.invalid(&path, new.unwrap_or_default(), "cannot be decremented");
    }
}

/// Reads a number or percentage and checks it: the value and whether it is a percentage.
pub(super) fn count_or_percent(
    value: Option<&IntOrString>,
    path: &Path<'_>,
    errors: &mut ErrorList,
) -> Option<(i64, bool)> {
    match value? {
        IntOrString::Int(number) => {
            not_negative(Some(i64::from(*number)), path, errors);
            Some((i64::from(*number), false))
        }
        IntOrString::String(text) => {
            let percent = text
                .strip_suffix('%')
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok());
            if percent.is_none() {
                errors.invalid(path, text, PERCENT);
            }
            percent.map(|percent| (percent, true))
        }
    }
}

/// [`count_or_percent`] of at most everything.
pub(super) fn share(value: Option<&IntOrString>, path: &Path<'_>, errors: &mut ErrorList) -> Option<i64> {
    let (count, is_percent) = count_or_percent(value, path, errors)?;
    if is_percent && count > 100 {
        let shown = value.map_or_else(BadValue::null, BadValue::json);
        errors.invalid(path, shown, "must not be greater than 100%");
    }
    Some(count)
}

const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                       '93%', regex used for validation is '[0-9]+%')";

/// Warnings of a workload: about its name when it is new, about its template when that changes.
pub(super) fn template_warnings(
    metadata: &ObjectMeta,
    template: Option<PodTemplateSpec>,
    old: Option<Option<PodTemplateSpec>>,
) -> Vec<String> {
    let mut found = if old.is_none() { name_warning(metadata) } else { Vec::new() };
    if let Some(template) = template.filter(|template| old.flatten().as_ref() != Some(template)) {
        found.extend(warnings::pod_template(&template, &Path::new("spec").child("template")));
    }
    found
}

/// What follows from a name that cannot be a host name.
pub(super) fn name_warning(metadata: &ObjectMeta) -> Vec<String> {
    let problems = metadata.name.as_deref().map(format::dns1123_label).unwrap_or_default();
    if problems.is_empty() {
        return problems;
    }
    vec![format!(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label \
         is recommended: [{}]",
        problems.join(" ")
    )]
}

/// Checks a label selector.
pub(in crate::registry) fn object_selector(selector: &ObjectSelector, path: &Path<'_>, errors: &mut ErrorList) {
    let path_labels = path.child("matchLabels");
    for (key, value) in selector.match_labels.iter().flatten() {
        errors.invalid_each(&path_labels, key, format::qualified_name(key));
        errors.invalid_each(&path_labels, value, format::label_value(value));
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
