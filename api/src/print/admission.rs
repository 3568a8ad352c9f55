//! Webhooks and policies that are asked about requests.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};

pub(super) fn webhooks(configuration: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(configuration), configuration.list("webhooks").count().into(), age(configuration, now)]
}

pub(super) fn validating_policy(policy: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![
        object_name(policy),
        policy.list("spec.validations").count().into(),
        parameter_kind(policy).into(),
        age(policy, now),
    ]
}

pub(super) fn mutating_policy(policy: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![
        object_name(policy),
        policy.list("spec.mutations").count().into(),
        parameter_kind(policy).into(),
        age(policy, now),
    ]
}

fn parameter_kind(policy: View<'_>) -> String {
    let kind = policy.at("spec.paramKind");
    if kind.0.is_null() { "<unset>".to_owned() } else { format!("{}/{}", kind.text("apiVersion"), kind.text("kind")) }
}

pub(super) fn policy_binding(binding: View<'_>, now: Timestamp) -> Vec<Value> {
    let reference = binding.at("spec.paramRef");
    let parameters = if reference.0.is_null() {
        "<unset>".to_owned()
    } else {
        format!("{}/{}", or(reference.text("namespace"), "*"), reference.text("name"))
    };
    vec![object_name(binding), binding.text("spec.policyName").into(), parameters.into(), age(binding, now)]
}
