//! Deployments and ReplicaSets.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};
use crate::selector::LabelSelector;

pub(super) fn deployment(deployment: View<'_>, now: Timestamp) -> Vec<Value> {
    let (containers, images) = containers(deployment);
    vec![
        object_name(deployment),
        format!("{}/{}", deployment.number("status.readyReplicas"), deployment.number("spec.replicas")).into(),
        deployment.number("status.updatedReplicas").into(),
        deployment.number("status.availableReplicas").into(),
        age(deployment, now),
        containers.into(),
        images.into(),
        selector(deployment).into(),
    ]
}

pub(super) fn replica_set(set: View<'_>, now: Timestamp) -> Vec<Value> {
    let (containers, images) = containers(set);
    vec![
        object_name(set),
        set.number("spec.replicas").into(),
        set.number("status.replicas").into(),
        set.number("status.readyReplicas").into(),
        age(set, now),
        containers.into(),
        images.into(),
        selector(set).into(),
    ]
}

/// Names and images of the template's containers.
fn containers(workload: View<'_>) -> (String, String) {
    let of = |field: &str| {
        let texts: Vec<&str> =
            workload.list("spec.template.spec.containers").map(|container| container.text(field)).collect();
        texts.join(",")
    };
    (of("name"), of("image"))
}

fn selector(workload: View<'_>) -> String {
    let selector = serde_json::from_value(workload.at("spec.selector").0.clone())
        .ok()
        .and_then(|selector| LabelSelector::from_object(Some(&selector)).ok());
    or(&selector.map(|selector| selector.to_string()).unwrap_or_default(), "<none>").to_owned()
}
