//! Bindings of roles, and requests for certificates.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};
use crate::age::human;

pub(super) fn binding(binding: View<'_>, now: Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", binding.text("roleRef.kind"), binding.text("roleRef.name"));
    let subjects = |kind: &str| {
        let names: Vec<String> = binding
            .list("subjects")
            .filter(|subject| subject.text("kind") == kind)
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", subject.text("namespace"), subject.text("name")),
                _ => subject.text("name").to_owned(),
            })
            .collect();
        Value::from(names.join(", "))
    };
    vec![
        object_name(binding),
        role.into(),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) fn certificate_request(request: View<'_>, now: Timestamp) -> Vec<Value> {
    let duration = request.at("spec.expirationSeconds").0.as_i64();
    vec![
        object_name(request),
        age(request, now),
        or(request.text("spec.signerName"), "<none>").into(),
        request.text("spec.username").into(),
        duration.map_or_else(|| "<none>".to_owned(), human).into(),
        verdict(request).into(),
    ]
}

fn verdict(request: View<'_>) -> String {
    let has = |kind: &str| request.list("status.conditions").any(|condition| condition.text("type") == kind);
    let mut text = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if !request.text("status.certificate").is_empty() {
        text.push_str(",Issued");
    }
    text
}
