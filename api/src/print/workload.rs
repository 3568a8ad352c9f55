//! Workloads that run for ever, what they are made from and what protects them.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};
use crate::resource::split_api_version;
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

pub(super) fn stateful_set(set: View<'_>, now: Timestamp) -> Vec<Value> {
    let (containers, images) = containers(set);
    vec![
        object_name(set),
        format!("{}/{}", set.number("status.readyReplicas"), set.number("spec.replicas")).into(),
        age(set, now),
        containers.into(),
        images.into(),
    ]
}

pub(super) fn daemon_set(set: View<'_>, now: Timestamp) -> Vec<Value> {
    let (containers, images) = containers(set);
    vec![
        object_name(set),
        set.number("status.desiredNumberScheduled").into(),
        set.number("status.currentNumberScheduled").into(),
        set.number("status.numberReady").into(),
        set.number("status.updatedNumberScheduled").into(),
        set.number("status.numberAvailable").into(),
        labels(set, "spec.template.spec.nodeSelector").into(),
        age(set, now),
        containers.into(),
        images.into(),
        selector(set).into(),
    ]
}

pub(super) fn replication_controller(controller: View<'_>, now: Timestamp) -> Vec<Value> {
    let (containers, images) = containers(controller);
    vec![
        object_name(controller),
        controller.number("spec.replicas").into(),
        controller.number("status.replicas").into(),
        controller.number("status.readyReplicas").into(),
        age(controller, now),
        containers.into(),
        images.into(),
        labels(controller, "spec.selector").into(),
    ]
}

pub(super) fn pod_template(object: View<'_>, _now: Timestamp) -> Vec<Value> {
    let (containers, images) = containers_at(object, "template.spec.containers");
    vec![object_name(object), containers.into(), images.into(), labels(object, "template.metadata.labels").into()]
}

pub(super) fn controller_revision(revision: View<'_>, now: Timestamp) -> Vec<Value> {
    let owner = revision.list("metadata.ownerReferences").find(|owner| owner.flag("controller"));
    let controller = owner.map_or("<none>".to_owned(), |owner| {
        let (group, _) = split_api_version(owner.text("apiVersion"));
        let (kind, name) = (owner.text("kind").to_lowercase(), owner.text("name"));
        if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
    });
    vec![object_name(revision), controller.into(), revision.number("revision").into(), age(revision, now)]
}

pub(super) fn disruption_budget(budget: View<'_>, now: Timestamp) -> Vec<Value> {
    let bound = |path: &str| match budget.at(path).0 {
        Value::Null => "N/A".to_owned(),
        Value::String(text) => text.clone(),
        number => number.to_string(),
    };
    vec![
        object_name(budget),
        bound("spec.minAvailable").into(),
        bound("spec.maxUnavailable").into(),
        budget.number("status.disruptionsAllowed").into(),
        age(budget, now),
    ]
}

pub(super) fn scale(scale: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![
        object_name(scale),
        scale.number("spec.replicas").into(),
        scale.number("status.replicas").into(),
        age(scale, now),
    ]
}

/// Names and images of the template's containers.
pub(super) fn containers(workload: View<'_>) -> (String, String) {
    containers_at(workload, "spec.template.spec.containers")
}

/// Names and images of the containers at a path.
pub(super) fn containers_at(object: View<'_>, path: &str) -> (String, String) {
    let of = |field: &str| {
        let texts: Vec<&str> = object.list(path).map(|container| container.text(field)).collect();
        texts.join(",")
    };
    (of("name"), of("image"))
}

/// A map of labels, sorted.
fn labels(object: View<'_>, path: &str) -> String {
    or(&LabelSelector::from_map(&object.map(path)).to_string(), "<none>").to_owned()
}

pub(super) fn selector(workload: View<'_>) -> String {
    let selector = serde_json::from_value(workload.at("spec.selector").0.clone())
        .ok()
        .and_then(|selector| LabelSelector::from_object(Some(&selector)).ok());
    or(&selector.map(|selector| selector.to_string()).unwrap_or_default(), "<none>").to_owned()
}
