//! Devices and their claims, and registered APIs.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name};

pub(super) fn claim(claim: View<'_>, now: Timestamp) -> Vec<Value> {
    let mut states = Vec::new();
    if claim.has("metadata.deletionTimestamp") {
        states.push("deleted");
    }
    if claim.has("status.allocation") {
        states.push("allocated");
    }
    if claim.list("status.reservedFor").next().is_some() {
        states.push("reserved");
    }
    let state = if states.is_empty() { "pending".to_owned() } else { states.join(",") };
    vec![object_name(claim), state.into(), age(claim, now)]
}

pub(super) fn slice(slice: View<'_>, now: Timestamp) -> Vec<Value> {
    let node = match slice.text("spec.nodeName") {
        "" => "<unset>",
        node => node,
    };
    vec![
        object_name(slice),
        node.into(),
        slice.text("spec.driver").into(),
        slice.text("spec.pool.name").into(),
        age(slice, now),
    ]
}

pub(super) fn api_service(service: View<'_>, now: Timestamp) -> Vec<Value> {
    let backend = if service.has("spec.service") {
        format!("{}/{}", service.text("spec.service.namespace"), service.text("spec.service.name"))
    } else {
        "Local".to_owned()
    };
    let available = service.list("status.conditions").find(|condition| condition.text("type") == "Available");
    let available = match available {
        None => "Unknown".to_owned(),
        Some(condition) if condition.text("status") == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", condition.text("status"), condition.text("reason")),
    };
    vec![object_name(service), backend.into(), available.into(), age(service, now)]
}
