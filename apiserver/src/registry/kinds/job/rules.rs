//! Rules for a job's specification (`pkg/apis/batch/validation`).

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::{Job, JobSpec, PodFailurePolicy, PodFailurePolicyRule, SuccessPolicy};
use reeve_api::selector::LabelSelector;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::super::workload;
use crate::registry::internal;
use crate::registry::pod_template::validation;

/// Most parallel pods of an indexed job, and most failed indexes of one.
const INDEXED_MAX: i32 = 100_000;
/// Completions above which failures by index are bounded more tightly.
const MANY_COMPLETIONS: i32 = 100_000;
const MANY_PARALLEL: i32 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;

/// Rules of a job.
pub(super) fn specification(spec: &JobSpec, path: &Path<'_>, errors: &mut ErrorList) {
    template(spec, path, errors);
    let Some(selector) = &spec.selector else {
        errors.required(&path.child("selector"), "");
        return;
    };
    workload::object_selector(selector, &path.child("selector"), errors);
    if let Ok(parsed) = LabelSelector::from_object(Some(selector)) {
        let absent = workload::is_absent(selector);
        workload::matches_template(&parsed, absent, &spec.template, &path.child("template"), errors);
    }
}

/// Rules of a job that may yet be made: all but those of the selector.
pub(in crate::registry::kinds) fn template(spec: &JobSpec, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, value) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        workload::not_negative(value, &path.child(field), errors);
    }
    if let Some(manager) = spec.managed_by.as_deref() {
        let path = path.child("managedBy");
        errors.invalid_each(&path, manager, domain_prefixed(manager));
        if manager.len() > 63 {
            errors.too_long(&path, 63);
        }
    }
    completion(spec, path, errors);
    if let Some(policy) = &spec.pod_failure_policy {
        failure_policy(spec, policy, &path.child("podFailurePolicy"), errors);
    }
    if let Some(policy) = &spec.success_policy {
        let path = path.child("successPolicy");
        if spec.completion_mode.as_deref() == Some("Indexed") {
            success_policy(spec, policy, &path, errors);
        } else {
            let shown = BadValue::json(&internal::form(policy, "SuccessPolicy"));
            errors.invalid(&path, shown, "requires indexed completion mode");
        }
    }
    replacement(spec, path, errors);
    let path_template = path.child("template");
    validation::pod_template(&spec.template, &path_template, errors);
    let policy = spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or_default();
    let path_spec = path_template.child("spec");
    let path_policy = path_spec.child("restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        errors.required(&path_policy, "valid values: \"OnFailure\", \"Never\"");
    } else if policy != "Never" && spec.pod_failure_policy.is_some() {
        errors.invalid(&path_policy, policy, "only \"Never\" is supported when podFailurePolicy is specified");
    } else if policy != "Never" && spec.backoff_limit_per_index.is_some() {
        errors.invalid(&path_policy, policy, "only \"Never\" is supported when backoffLimitPerIndex is specified");
    }
}

fn domain_prefixed(text: &str) -> Vec<String> {
    match text.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => format::dns1123_subdomain(domain),
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()],
    }
}

fn completion(spec: &JobSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let completions = spec.completions.unwrap_or_default();
    let mode = spec.completion_mode.as_deref();
    if let Some(failed) = spec.max_failed_indexes {
        let path_failed = path.child("maxFailedIndexes");
        if spec.completions.is_some() && failed > completions {
            errors.invalid(&path_failed, failed, "must be less than or equal to completions");
        }
        if failed > INDEXED_MAX {
            errors.invalid(&path_failed, failed, format!("must be less than or equal to {INDEXED_MAX}"));
        }
        if spec.backoff_limit_per_index.is_none() {
            errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
        }
    }
    match mode {
        None => {}
        Some("Indexed") => {
            if spec.completions.is_none() {
                errors.required(&path.child("completions"), "when completion mode is Indexed");
            }
            if let Some(parallelism) = spec.parallelism.filter(|count| *count > INDEXED_MAX) {
                errors.invalid(
                    &path.child("parallelism"),
                    parallelism,
                    format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed"),
                );
            }
            if spec.backoff_limit_per_index.is_some() && completions > MANY_COMPLETIONS {
                let path_failed = path.child("maxFailedIndexes");
                match spec.max_failed_indexes {
                    None => errors.required(
                        &path_failed,
                        format!("must be specified when completions is above {MANY_COMPLETIONS}"),
                    ),
                    Some(failed) if failed > MANY_PARALLEL => errors.invalid(
                        &path_failed,
                        failed,
                        format!("must be less than or equal to {MANY_PARALLEL} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"),
                    ),
                    Some(_) => {}
                }
            }
        }
        Some("NonIndexed") => {
            if let Some(limit) = spec.backoff_limit_per_index {
                errors.invalid(&path.child("backoffLimitPerIndex"), limit, "requires indexed completion mode");
            }
            if let Some(failed) = spec.max_failed_indexes {
                errors.invalid(&path.child("maxFailedIndexes"), failed, "requires indexed completion mode");
            }
        }
        Some(other) => errors.not_supported(&path.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn replacement(spec: &JobSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(policy) = spec.pod_replacement_policy.as_deref() else { return };
    let path = path.child("podReplacementPolicy");
    if spec.pod_failure_policy.is_some() {
        if policy != "Failed" {
            errors.not_supported(&path, policy, &["Failed"]);
        }
    } else if !matches!(policy, "Failed" | "TerminatingOrFailed") {
        errors.not_supported(&path, policy, &["Failed", "TerminatingOrFailed"]);
    }
}

fn failure_policy(spec: &JobSpec, policy: &PodFailurePolicy, path: &Path<'_>, errors: &mut ErrorList) {
    let path_rules = path.child("rules");
    if policy.rules.len() > RULES_MAX {
        errors.too_many(&path_rules, policy.rules.len(), RULES_MAX);
    }
    let template = spec.template.spec.as_ref();
    let init = template.iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let names: BTreeSet<&str> = template
        .iter()
        .flat_map(|spec| &spec.containers)
        .chain(init)
        .map(|container| container.name.as_str())
        .collect();
    for (index, rule) in policy.rules.iter().enumerate() {
        failure_rule(spec, rule, &names, &path_rules.index(index), errors);
    }
}

fn failure_rule(
    spec: &JobSpec,
    rule: &PodFailurePolicyRule,
    names: &BTreeSet<&str>,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    let path_action = path.child("action");
    match rule.action.as_str() {
        "" => errors.required(&path_action, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            errors.invalid(&path_action, "FailIndex", "requires the backoffLimitPerIndex to be set");
        }
        "Count" | "FailIndex" | "FailJob" | "Ignore" => {}
        other => errors.not_supported(&path_action, other, &["Count", "FailIndex", "FailJob", "Ignore"]),
    }
    if let Some(requirement) = &rule.on_exit_codes {
        let path = path.child("onExitCodes");
        let path_operator = path.child("operator");
        match requirement.operator.as_str() {
            "" => errors.required(&path_operator, "valid values: [\"In\" \"NotIn\"]"),
            "In" | "NotIn" => {}
            other => errors.not_supported(&path_operator, other, &["In", "NotIn"]),
        }
        if let Some(name) = requirement.container_name.as_deref().filter(|name| !names.contains(name)) {
            errors.invalid(
                &path.child("containerName"),
                name,
                "must be one of the container or initContainer names in the pod template",
            );
        }
        exit_codes(&requirement.operator, &requirement.values, &path.child("values"), errors);
    }
    let patterns = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let path_patterns = path.child("onPodConditions");
    if patterns.len() > PATTERNS_MAX {
        errors.too_many(&path_patterns, patterns.len(), PATTERNS_MAX);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path_patterns.index(index);
        errors.invalid_each(&path.child("type"), &pattern.type_, format::qualified_name(&pattern.type_));
        match pattern.status.as_deref().unwrap_or_default() {
            "" => errors.required(&path.child("status"), "valid values: [\"False\" \"True\" \"Unknown\"]"),
            "False" | "True" | "Unknown" => {}
            other => errors.not_supported(&path.child("status"), other, &["False", "True", "Unknown"]),
        }
    }
    match (rule.on_exit_codes.is_some(), !patterns.is_empty()) {
        (true, true) => {
            errors.invalid_as_a_whole(path, "specifying both OnExitCodes and OnPodConditions is not supported")
        }
        (false, false) => {
            errors.invalid_as_a_whole(path, "specifying one of OnExitCodes and OnPodConditions is required");
        }
        _ => {}
    }
}

fn exit_codes(operator: &str, values: &[i32], path: &Path<'_>, errors: &mut ErrorList) {
    if values.is_empty() {
        errors.invalid(path, BadValue::json(&values), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(path, values.len(), EXIT_CODES_MAX);
    }
    let mut ordered = true;
    let mut unique = BTreeSet::new();
    let mut before = None;
    for (index, value) in values.iter().enumerate() {
        let path = path.index(index);
        if operator == "In" && *value == 0 {
            errors.invalid(&path, *value, "must not be 0 for the In operator");
        }
        if !unique.insert(*value) {
            errors.duplicate(&path, *value);
        } else {
            ordered &= before.is_none_or(|before| before < *value);
        }
        before = Some(*value);
    }
    if !ordered {
        errors.invalid(path, BadValue::json(&values), "must be ordered");
    }
}

fn success_policy(spec: &JobSpec, policy: &SuccessPolicy, path: &Path<'_>, errors: &mut ErrorList) {
    let path_rules = path.child("rules");
    if policy.rules.is_empty() {
        errors.required(&path_rules, "at least one rules must be specified when the successPolicy is specified");
    }
    if policy.rules.len() > RULES_MAX {
        errors.too_many(&path_rules, policy.rules.len(), RULES_MAX);
    }
    let completions = spec.completions.unwrap_or_default();
    for (index, rule) in policy.rules.iter().enumerate() {
        let path = path_rules.index(index);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            errors.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut counted = None;
        if let Some(text) = &rule.succeeded_indexes {
            match indexes(text, completions) {
                Ok(count) => counted = Some(count),
                Err(problem) => errors.invalid(&path.child("succeededIndexes"), text, problem),
            }
        }
        if let Some(count) = rule.succeeded_count {
            let path = path.child("succeededCount");
            workload::not_negative(Some(i64::from(count)), &path, errors);
            if count > completions {
                errors.invalid(
                    &path,
                    count,
                    format!("must be less than or equal to {completions} (the number of specified completions)"),
                );
            }
            if let Some(counted) = counted.filter(|counted| i64::from(count) > *counted) {
                errors.invalid(
                    &path,
                    count,
                    format!("must be less than or equal to {counted} (the number of indexes in the specified succeededIndexes field)"),
                );
            }
        }
    }
}

/// How many indexes a text like `1,3-5` names.
pub(super) fn indexes(text: &str, completions: i32) -> Result<i64, String> {
    let mut total = 0;
    let mut last: Option<i32> = None;
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let mut bounds = part.split('-');
        let number = |text: &str| {
            text.parse::<i32>().map_err(|_| {
                format!("cannot convert string to integer for index: {}", reeve_api::validation::quote(text))
            })
        };
        let low = number(bounds.next().unwrap_or_default())?;
        let high = match bounds.next() {
            None => low,
            Some(text) => number(text)?,
        };
        if bounds.next().is_some() {
            return Err(format!(
                "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
                reeve_api::validation::quote(part)
            ));
        }
        if high >= completions || low >= completions {
            let large = if low >= completions { low } else { high };
            return Err(format!("too large index: {}", reeve_api::validation::quote(&large.to_string())));
        }
        if last.is_some_and(|last| last >= low) {
            return Err(format!("non-increasing order, previous: {}, current: {low}", last.unwrap_or_default()));
        }
        if part.contains('-') && low >= high {
            return Err(format!("non-increasing order, previous: {low}, current: {high}"));
        }
        total += i64::from(high - low) + 1;
        last = Some(high);
    }
    Ok(total)
}

/// The pods of an indexed job have its name and their index as host names.
pub(super) fn host_names(job: &Job, spec: &JobSpec, errors: &mut ErrorList) {
    let completions = spec.completions.unwrap_or_default();
    if spec.completion_mode.as_deref() != Some("Indexed") || completions <= 0 {
        return;
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let longest = format!("{name}-{}", completions - 1);
    if !format::dns1123_label(&longest).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {longest}");
        errors.invalid(&Path::new("metadata").child("name"), name, why);
    }
}

/// Jobs that may become too large to follow.
pub(super) fn size_warning(spec: &JobSpec) -> Option<String> {
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    let large =
        spec.completions.unwrap_or_default() > MANY_COMPLETIONS && spec.parallelism.unwrap_or_default() > MANY_PARALLEL;
    (indexed && large).then(|| {
        "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes \
         might not be able to track completedIndexes when a big number of indexes fail"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_of_indexes_are_counted() {
        assert_eq!(indexes("0-2,4", 5), Ok(4));
        assert_eq!(indexes("", 5), Ok(0));
        assert!(indexes("3-1", 5).is_err());
        assert!(indexes("1,1", 5).is_err());
        assert_eq!(indexes("9", 5), Err("too large index: \"9\"".to_owned()));
        assert!(indexes("1-2-3", 5).is_err());
    }
}
