//! Autoscalers of both versions.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::view::{View, age, object_name, or};

/// Metrics beyond this many are only counted.
const SHOWN: usize = 2;
/// Where the first version keeps the metrics that it does not know.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const UNKNOWN: &str = "<unknown>";

pub(super) fn cells(autoscaler: View<'_>, now: Timestamp) -> Vec<Value> {
    let low = autoscaler.at("spec.minReplicas").0.as_i64().map_or("<unset>".to_owned(), |low| low.to_string());
    vec![
        object_name(autoscaler),
        format!("{}/{}", autoscaler.text("spec.scaleTargetRef.kind"), autoscaler.text("spec.scaleTargetRef.name"))
            .into(),
        targets(&metrics(autoscaler), &current(autoscaler)).into(),
        low.into(),
        autoscaler.number("spec.maxReplicas").into(),
        autoscaler.number("status.currentReplicas").into(),
        age(autoscaler, now),
    ]
}

fn annotated(autoscaler: View<'_>, key: &str) -> Vec<Value> {
    let text = autoscaler.at("metadata.annotations").0.get(key).and_then(Value::as_str);
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The metrics that are aimed at.
fn metrics(autoscaler: View<'_>) -> Vec<Value> {
    if let Some(metrics) = autoscaler.at("spec.metrics").0.as_array() {
        return metrics.clone();
    }
    let percent = autoscaler.at("spec.targetCPUUtilizationPercentage").0.clone();
    let cpu = json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    });
    let mut all = if percent.is_null() { Vec::new() } else { vec![cpu] };
    all.extend(annotated(autoscaler, METRICS));
    all
}

/// The metrics that were measured, in the same order.
fn current(autoscaler: View<'_>) -> Vec<Value> {
    match autoscaler.at("status.currentMetrics").0.as_array() {
        Some(metrics) => metrics.clone(),
        None => annotated(autoscaler, CURRENT_METRICS),
    }
}

fn targets(metrics: &[Value], current: &[Value]) -> String {
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let mut texts: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| target(View(metric), View(current.get(index).unwrap_or(&Value::Null))))
        .collect();
    let more = texts.len().saturating_sub(SHOWN);
    texts.truncate(SHOWN);
    let shown = texts.join(", ");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}

fn target(metric: View<'_>, current: View<'_>) -> String {
    let field = match metric.text("type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (source, measured) = (metric.at(field), current.at(field).at("current"));
    let wanted = source.at("target");
    match field {
        "pods" => format!("{}/{}", or(measured.text("averageValue"), UNKNOWN), wanted.text("averageValue")),
        "external" | "object" if wanted.has("averageValue") => {
            format!("{}/{} (avg)", or(measured.text("averageValue"), UNKNOWN), wanted.text("averageValue"))
        }
        "external" | "object" => format!("{}/{}", or(measured.text("value"), UNKNOWN), wanted.text("value")),
        _ if wanted.has("averageValue") => format!(
            "{}: {}/{}",
            source.text("name"),
            or(measured.text("averageValue"), UNKNOWN),
            wanted.text("averageValue")
        ),
        _ => {
            let percent = |view: View<'_>, absent: &str| {
                let percent = view.at("averageUtilization").0.as_i64();
                percent.map_or(absent.to_owned(), |percent| format!("{percent}%"))
            };
            format!("{}: {}/{}", source.text("name"), percent(measured, UNKNOWN), percent(wanted, "<auto>"))
        }
    }
}
