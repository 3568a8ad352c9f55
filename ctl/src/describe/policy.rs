//! Quotas, limit ranges, autoscalers, disruption budgets, priority classes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::storage::joined;
use super::writer::Writer;
use super::{plain_or, time};
use crate::merge::LAST_APPLIED;
use crate::value::{at, count, entries, flag, items, name, namespace, plain, text};
use crate::verbs::common::selector_text;

/// Describes a quota.
pub fn quota(writer: &mut Writer, quota: &Value) {
    writer.field(0, "Name", name(quota));
    writer.field(0, "Namespace", namespace(quota));
    let scopes: Vec<String> = items(quota, "spec.scopes").iter().map(plain).collect();
    writer.optional(0, "Scopes", &scopes.join(", "));
    amounts(writer, 0, quota);
}

/// The table of a quota. Without a controller's word the limits of the specification are shown, nothing used.
pub fn amounts(writer: &mut Writer, level: usize, quota: &Value) {
    let path = if at(quota, "status.hard").is_some() { "status.hard" } else { "spec.hard" };
    let used = entries(quota, "status.used");
    let rows: Vec<Vec<String>> = entries(quota, path)
        .into_iter()
        .map(|(resource, hard)| {
            let used = used.iter().find(|(key, _)| *key == resource).map_or("0".to_owned(), |(_, used)| plain(used));
            vec![resource.to_owned(), used, plain(hard)]
        })
        .collect();
    writer.table(level, &["Resource", "Used", "Hard"], &rows);
}

/// Describes a limit range.
pub fn limit_range(writer: &mut Writer, range: &Value) {
    writer.field(0, "Name", name(range));
    writer.field(0, "Namespace", namespace(range));
    limits(writer, range);
}

/// The table of a limit range.
pub fn limits(writer: &mut Writer, range: &Value) {
    let headers = ["Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio"];
    let fields = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    let mut rows = Vec::new();
    for limit in items(range, "spec.limits") {
        let resources: BTreeSet<&str> =
            fields.iter().flat_map(|field| entries(limit, field)).map(|(resource, _)| resource).collect();
        for resource in resources {
            let mut row = vec![text(limit, "type").to_owned(), resource.to_owned()];
            row.extend(fields.iter().map(|field| {
                let found = entries(limit, field).into_iter().find(|(key, _)| *key == resource);
                found.map_or("-".to_owned(), |(_, amount)| plain(amount))
            }));
            rows.push(row);
        }
    }
    writer.table(0, &headers, &rows);
}

/// Describes an autoscaler.
pub fn autoscaler(writer: &mut Writer, scaler: &Value) {
    writer.field(0, "Name", name(scaler));
    writer.field(0, "Namespace", namespace(scaler));
    writer.map(0, "Labels", scaler, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", scaler, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.field(0, "CreationTimestamp", &time(scaler, "metadata.creationTimestamp"));
    let kind = text(scaler, "spec.scaleTargetRef.kind");
    writer.field(0, "Reference", &format!("{kind}/{}", text(scaler, "spec.scaleTargetRef.name")));
    writer.field(0, "Metrics", "( current / target )");
    for (index, metric) in items(scaler, "spec.metrics").iter().enumerate() {
        let current = items(scaler, "status.currentMetrics").get(index).unwrap_or(&Value::Null);
        let (label, value) = metric_line(metric, current);
        writer.field(1, &label, &value);
    }
    writer.field(0, "Min replicas", &plain_or(scaler, "spec.minReplicas", "<unset>"));
    writer.field(0, "Max replicas", &count(scaler, "spec.maxReplicas").to_string());
    for (title, path) in [("Scale Up", "spec.behavior.scaleUp"), ("Scale Down", "spec.behavior.scaleDown")] {
        let Some(rules) = at(scaler, path) else { continue };
        if title == "Scale Up" || at(scaler, "spec.behavior.scaleUp").is_none() {
            writer.line(0, "Behavior:");
        }
        writer.line(1, &format!("{title}:"));
        if let Some(window) = crate::value::int(rules, "stabilizationWindowSeconds") {
            writer.field(2, "Stabilization Window", &format!("{window} seconds"));
        }
        writer.field(2, "Select Policy", &plain_or(rules, "selectPolicy", "Max"));
        writer.line(2, "Policies:");
        for policy in items(rules, "policies") {
            let (kind, value, period) = (text(policy, "type"), count(policy, "value"), count(policy, "periodSeconds"));
            writer.line(3, &format!("- Type: {kind}\tValue: {value}\tPeriod: {period} seconds"));
        }
    }
    let (current, desired) = (count(scaler, "status.currentReplicas"), count(scaler, "status.desiredReplicas"));
    writer.field(0, &format!("{kind} pods"), &format!("{current} current / {desired} desired"));
    let conditions = items(scaler, "status.conditions");
    if !conditions.is_empty() {
        writer.line(0, "Conditions:");
        let rows: Vec<Vec<String>> = conditions
            .iter()
            .map(|one| ["type", "status", "reason", "message"].map(|key| text(one, key).to_owned()).to_vec())
            .collect();
        writer.table(1, &["Type", "Status", "Reason", "Message"], &rows);
    }
}

/// What a metric is called, and its current and target values.
fn metric_line(metric: &Value, current: &Value) -> (String, String) {
    let kind = text(metric, "type");
    let key = kind.get(..1).map(|first| format!("{}{}", first.to_lowercase(), &kind[1..])).unwrap_or_default();
    let target = |field: &str| at(metric, &format!("{key}.target.{field}")).map(plain);
    let now = |field: &str| at(current, &format!("{key}.current.{field}")).map(plain);
    let unknown = || "<unknown>".to_owned();
    let resource = text(metric, &format!("{key}.name")).to_owned();
    match kind {
        "Resource" | "ContainerResource" => {
            let place = match text(metric, &format!("{key}.container")) {
                "" => "pods".to_owned(),
                container => format!("container \"{container}\""),
            };
            match (target("averageUtilization"), target("averageValue")) {
                (Some(percent), _) => {
                    let value = match now("averageUtilization") {
                        Some(used) => format!("{used}% ({})", now("averageValue").unwrap_or_default()),
                        None => unknown(),
                    };
                    let label = format!("resource {resource} on {place}  (as a percentage of request)");
                    (label, format!("{value} / {percent}%"))
                }
                (None, value) => (
                    format!("resource {resource} on {place}"),
                    format!("{} / {}", now("averageValue").unwrap_or_else(unknown), value.unwrap_or_else(unknown)),
                ),
            }
        }
        _ => {
            let metric_name = text(metric, &format!("{key}.metric.name"));
            let target = target("averageValue").or_else(|| target("value")).unwrap_or_else(unknown);
            let current = now("averageValue").or_else(|| now("value")).unwrap_or_else(unknown);
            (format!("{metric_name:?} ({kind})"), format!("{current} / {target}"))
        }
    }
}

/// Describes a disruption budget.
pub fn budget(writer: &mut Writer, budget: &Value) {
    writer.field(0, "Name", name(budget));
    writer.field(0, "Namespace", namespace(budget));
    for (label, path) in [("Min available", "spec.minAvailable"), ("Max unavailable", "spec.maxUnavailable")] {
        if let Some(amount) = at(budget, path) {
            writer.field(0, label, &plain(amount));
        }
    }
    let selector = at(budget, "spec.selector").map(selector_text);
    writer.field(0, "Selector", selector.as_deref().unwrap_or("<unset>"));
    writer.line(0, "Status:");
    for (label, field) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        writer.field(2, label, &count(budget, &format!("status.{field}")).to_string());
    }
}

/// Describes a priority class.
pub fn priority_class(writer: &mut Writer, class: &Value) {
    writer.field(0, "Name", name(class));
    writer.field(0, "Value", &count(class, "value").to_string());
    writer.field(0, "GlobalDefault", &flag(class, "globalDefault").to_string());
    writer.field(0, "PreemptionPolicy", text(class, "preemptionPolicy"));
    writer.field(0, "Description", text(class, "description"));
    writer.field(0, "Annotations", &joined(&entries(class, "metadata.annotations")));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::colour::Palette;

    #[test]
    fn a_quota_shows_what_is_used() {
        let mut writer = Writer::new(Palette::PLAIN);
        quota(
            &mut writer,
            &json!({"metadata": {"name": "q", "namespace": "a"}, "status": {
                "hard": {"pods": "2", "cpu": "1"}, "used": {"pods": "1"}}}),
        );
        assert_eq!(
            writer.finish(),
            "Name:       q\nNamespace:  a\nResource    Used  Hard\n--------    ----  ----\ncpu         0     1\npods        1     2\n"
        );
    }

    #[test]
    fn metrics_say_current_and_target() {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}});
        let (label, value) = metric_line(&metric, &Value::Null);
        assert_eq!(label, "resource cpu on pods  (as a percentage of request)");
        assert_eq!(value, "<unknown> / 50%");
        let current =
            json!({"type": "Resource", "resource": {"current": {"averageUtilization": 20, "averageValue": "20m"}}});
        assert_eq!(metric_line(&metric, &current).1, "20% (20m) / 50%");
    }
}
