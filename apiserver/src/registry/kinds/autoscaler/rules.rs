//! Rules for an autoscaler's specification (`pkg/apis/autoscaling/validation`).

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingRules, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
    MetricTarget,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;
use reeve_api::resource::split_api_version;
use reeve_api::validation::{ErrorList, Path, metadata};

use super::super::workload;

const WINDOW_SECONDS_MAX: i32 = 3600;
const PERIOD_SECONDS_MAX: i32 = 1800;
const SOURCES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
const RAW_OR_UTILIZATION: &str = "must set either a target raw value or a target utilization";

pub(super) fn specification(spec: &HorizontalPodAutoscalerSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(low) = spec.min_replicas.filter(|low| *low < 1) {
        errors.invalid(&path.child("minReplicas"), low, "must be greater than or equal to 1");
    }
    let path_high = path.child("maxReplicas");
    if spec.max_replicas < 1 {
        errors.required(&path_high, "must be set and greater than 0");
    }
    if spec.min_replicas.is_some_and(|low| low > spec.max_replicas) {
        errors.invalid(&path_high, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.scale_target_ref, &path.child("scaleTargetRef"), errors);
    let path_metrics = path.child("metrics");
    for (index, entry) in spec.metrics.iter().flatten().enumerate() {
        metric(entry, &path_metrics.index(index), errors);
    }
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                scaling_rules(rules, &path.child(field), errors);
            }
        }
    }
}

fn reference(target: &CrossVersionObjectReference, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, value) in [("kind", &target.kind), ("name", &target.name)] {
        let path = path.child(field);
        if value.is_empty() {
            errors.required(&path, "");
        } else {
            errors.invalid_each(&path, value, metadata::path_segment(value, false));
        }
    }
    let version = target.api_version.as_deref().unwrap_or_default();
    let (group, _) = split_api_version(version);
    let path = path.child("apiVersion");
    if version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {version}");
        errors.invalid(&path, version, why);
    } else if group.is_empty() && target.kind != "ReplicationController" {
        errors.invalid(&path, version, "apiVersion must specify API group");
    }
}

fn metric(metric: &MetricSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_type = path.child("type");
    if metric.type_.is_empty() {
        errors.required(&path_type, "must specify a metric source type");
    } else if !SOURCES.contains(&metric.type_.as_str()) {
        errors.not_supported(&path_type, &metric.type_, &SOURCES);
    }
    let present: Vec<&str> = [
        ("object", metric.object.is_some()),
        ("external", metric.external.is_some()),
        ("pods", metric.pods.is_some()),
        ("resource", metric.resource.is_some()),
        ("containerResource", metric.container_resource.is_some()),
    ]
    .into_iter()
    .filter_map(|(field, is_set)| is_set.then_some(field))
    .collect();
    if let Some(first) = present.first() {
        // Only the first of several sources is looked at.
        source(metric, first, &path.child(first), errors);
    }
    let expected = match metric.type_.as_str() {
        "Object" => "object",
        "External" => "external",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return,
    };
    if !present.contains(&expected) {
        errors.required(&path.child(expected), "must populate information for the given metric source");
    }
    if present.len() > 1 {
        for field in present.iter().filter(|field| **field != expected) {
            errors.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
}

fn source(metric: &MetricSpec, field: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let path_target = path.child("target");
    match field {
        "resource" => {
            let Some(source) = &metric.resource else { return };
            if source.name.is_empty() {
                errors.required(&path.child("name"), "must specify a resource name");
            }
            target(&source.target, &path_target, errors);
            share(&source.target, &path_target, errors);
        }
        "containerResource" => {
            let Some(source) = &metric.container_resource else { return };
            if source.name.is_empty() {
                errors.required(&path.child("name"), "must specify a resource name");
            }
            if source.container.is_empty() {
                errors.required(&path.child("container"), "must specify a container name");
            }
            target(&source.target, &path_target, errors);
            share(&source.target, &path_target, errors);
        }
        "pods" => {
            let Some(source) = &metric.pods else { return };
            identifier(&source.metric, &path.child("metric"), errors);
            target(&source.target, &path_target, errors);
            if source.target.average_value.as_ref().is_none_or(|value| !is_positive(value)) {
                errors.required(&path_target.child("averageValue"), "must specify a positive target averageValue");
            }
        }
        "object" => {
            let Some(source) = &metric.object else { return };
            described(&source.described_object, &path.child("describedObject"), errors);
            identifier(&source.metric, &path.child("metric"), errors);
            target(&source.target, &path_target, errors);
            if source.target.value.is_none() && source.target.average_value.is_none() {
                let path = path_target.child("averageValue");
                errors.required(&path, "must set either a target value or averageValue");
            }
        }
        _ => {
            let Some(source) = &metric.external else { return };
            identifier(&source.metric, &path.child("metric"), errors);
            target(&source.target, &path_target, errors);
            match (&source.target.value, &source.target.average_value) {
                (None, None) => errors.required(
                    &path_target.child("averageValue"),
                    "must set either a target value for metric or a per-pod target",
                ),
                (Some(_), Some(_)) => errors.forbidden(
                    &path_target.child("value"),
                    "may not set both a target value for metric and a per-pod target",
                ),
                _ => {}
            }
        }
    }
}

/// A described object may be of the core group.
fn described(target: &CrossVersionObjectReference, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, value) in [("kind", &target.kind), ("name", &target.name)] {
        if value.is_empty() {
            errors.required(&path.child(field), "");
        } else {
            errors.invalid_each(&path.child(field), value, metadata::path_segment(value, false));
        }
    }
}

fn identifier(metric: &MetricIdentifier, path: &Path<'_>, errors: &mut ErrorList) {
    let path_name = path.child("name");
    if metric.name.is_empty() {
        errors.required(&path_name, "must specify a metric name");
    } else {
        errors.invalid_each(&path_name, &metric.name, metadata::path_segment(&metric.name, false));
    }
    if let Some(selector) = &metric.selector {
        workload::object_selector(selector, &path.child("selector"), errors);
    }
}

fn is_positive(amount: &Text) -> bool {
    Quantity::parse(amount).is_ok_and(|quantity| quantity > Quantity::ZERO)
}

fn target(target: &MetricTarget, path: &Path<'_>, errors: &mut ErrorList) {
    let path_type = path.child("type");
    match target.type_.as_str() {
        "" => errors.required(&path_type, "must specify a metric target type"),
        "Utilization" | "Value" | "AverageValue" => {}
        other => errors.invalid(&path_type, other, "must be either Utilization, Value, or AverageValue"),
    }
    for (field, amount) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(amount) = amount.as_ref().filter(|amount| !is_positive(amount)) {
            errors.invalid(&path.child(field), amount.0.as_str(), "must be positive");
        }
    }
    if let Some(percent) = target.average_utilization.filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

/// A resource has a target in its own unit or in percent of what is requested.
fn share(target: &MetricTarget, path: &Path<'_>, errors: &mut ErrorList) {
    match (target.average_utilization, &target.average_value) {
        (None, None) => errors.required(&path.child("averageUtilization"), RAW_OR_UTILIZATION),
        (Some(_), Some(_)) => errors
            .forbidden(&path.child("averageValue"), "may not set both a target raw value and a target utilization"),
        _ => {}
    }
}

fn scaling_rules(rules: &HPAScalingRules, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.invalid(&path, seconds, "must be greater than or equal to zero");
        }
        if seconds > WINDOW_SECONDS_MAX {
            errors.invalid(&path, seconds, format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
        }
    }
    let select = rules.select_policy.as_deref().unwrap_or_default();
    if !select.is_empty() && !matches!(select, "Disabled" | "Max" | "Min") {
        errors.not_supported(&path.child("selectPolicy"), select, &["Disabled", "Max", "Min"]);
    }
    if let Some(tolerance) = &rules.tolerance
        && Quantity::parse(tolerance).is_ok_and(Quantity::is_negative)
    {
        errors.invalid(&path.child("tolerance"), tolerance.0.as_str(), "must be greater than or equal to 0");
    }
    let path_policies = path.child("policies");
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.required(&path_policies, "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = path_policies.index(index);
        if !matches!(policy.type_.as_str(), "Pods" | "Percent") {
            errors.not_supported(&path.child("type"), &policy.type_, &["Percent", "Pods"]);
        }
        if policy.value <= 0 {
            errors.invalid(&path.child("value"), policy.value, "must be greater than zero");
        }
        let path_period = path.child("periodSeconds");
        if policy.period_seconds <= 0 {
            errors.invalid(&path_period, policy.period_seconds, "must be greater than zero");
        }
        if policy.period_seconds > PERIOD_SECONDS_MAX {
            let why = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
            errors.invalid(&path_period, policy.period_seconds, why);
        }
    }
}
