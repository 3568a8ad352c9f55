//! Quotas, classes of pods, levels of requests, and the state of components.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};

pub(super) fn quota(quota: View<'_>, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let used = quota.at("status.used");
    for (resource, hard) in quota.members("status.hard") {
        let has = used.0.get(resource).and_then(Value::as_str).unwrap_or("0");
        let text = format!("{resource}: {has}/{}", hard.0.as_str().unwrap_or_default());
        if resource.starts_with("limits") { limits.push(text) } else { requests.push(text) }
    }
    vec![object_name(quota), requests.join(", ").into(), limits.join(", ").into(), age(quota, now)]
}

pub(super) fn priority_class(class: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![
        object_name(class),
        class.number("value").into(),
        class.flag("globalDefault").into(),
        age(class, now),
        class.text("preemptionPolicy").into(),
    ]
}

pub(super) fn runtime_class(class: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(class), class.text("handler").into(), age(class, now)]
}

/// A number, or a word for its absence.
fn number(value: View<'_>) -> Value {
    if value.0.is_null() { "<none>".into() } else { value.0.clone() }
}

pub(super) fn flow_schema(schema: View<'_>, now: Timestamp) -> Vec<Value> {
    let dangling = schema.list("status.conditions").find(|condition| condition.text("type") == "Dangling");
    vec![
        object_name(schema),
        or(schema.text("spec.priorityLevelConfiguration.name"), "<none>").into(),
        schema.number("spec.matchingPrecedence").into(),
        or(schema.text("spec.distinguisherMethod.type"), "<none>").into(),
        age(schema, now),
        dangling.map_or("?", |condition| condition.text("status")).into(),
    ]
}

pub(super) fn priority_level(level: View<'_>, now: Timestamp) -> Vec<Value> {
    let queuing = level.at("spec.limited.limitResponse.queuing");
    vec![
        object_name(level),
        level.text("spec.type").into(),
        number(level.at("spec.limited.nominalConcurrencyShares")),
        number(queuing.at("queues")),
        number(queuing.at("handSize")),
        number(queuing.at("queueLengthLimit")),
        age(level, now),
    ]
}

pub(super) fn component(component: View<'_>, _now: Timestamp) -> Vec<Value> {
    let healthy = component.list("conditions").find(|condition| condition.text("type") == "Healthy");
    let status = match healthy {
        Some(condition) if condition.text("status") == "True" => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let told = |field: &str| healthy.map_or("", |condition| condition.text(field)).into();
    vec![object_name(component), status.into(), told("message"), told("error")]
}
