//! Volumes, claims, classes, and what drivers tell.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const ACCESS_MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];

/// The short forms, always in the same order.
fn access_modes(object: View<'_>, path: &str) -> String {
    let has = |long: &str| object.texts(path).any(|mode| mode == long);
    let short: Vec<&str> = ACCESS_MODES.iter().filter(|(long, _)| has(long)).map(|(_, short)| *short).collect();
    short.join(",")
}

fn annotation<'a>(object: View<'a>, name: &str) -> &'a str {
    object.at("metadata.annotations").0.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn class_name(object: View<'_>) -> Value {
    or(annotation(object, CLASS_ANNOTATION), object.text("spec.storageClassName")).into()
}

fn phase(object: View<'_>) -> Value {
    if object.has("metadata.deletionTimestamp") { "Terminating" } else { object.text("status.phase") }.into()
}

fn or_unset(text: &str) -> Value {
    or(text, "<unset>").into()
}

pub(super) fn volume(volume: View<'_>, now: Timestamp) -> Vec<Value> {
    let claim = volume.at("spec.claimRef");
    let claim = match claim.text("name") {
        "" => String::new(),
        name => format!("{}/{name}", claim.text("namespace")),
    };
    vec![
        object_name(volume),
        volume.text("spec.capacity.storage").into(),
        access_modes(volume, "spec.accessModes").into(),
        volume.text("spec.persistentVolumeReclaimPolicy").into(),
        phase(volume),
        claim.into(),
        class_name(volume),
        or_unset(volume.text("spec.volumeAttributesClassName")),
        volume.text("status.reason").into(),
        age(volume, now),
        or_unset(volume.text("spec.volumeMode")),
    ]
}

pub(super) fn claim(claim: View<'_>, now: Timestamp) -> Vec<Value> {
    let name = claim.text("spec.volumeName");
    // What a claim has is told once it has a volume.
    let (capacity, modes) = match name {
        "" => ("", String::new()),
        _ => (claim.text("status.capacity.storage"), access_modes(claim, "status.accessModes")),
    };
    vec![
        object_name(claim),
        phase(claim),
        name.into(),
        capacity.into(),
        modes.into(),
        class_name(claim),
        or_unset(claim.text("spec.volumeAttributesClassName")),
        age(claim, now),
        or_unset(claim.text("spec.volumeMode")),
    ]
}

pub(super) fn class(class: View<'_>, now: Timestamp) -> Vec<Value> {
    let mut name = class.text("metadata.name").to_owned();
    if DEFAULT_ANNOTATIONS.iter().any(|default| annotation(class, default) == "true") {
        name.push_str(" (default)");
    }
    vec![
        name.into(),
        class.text("provisioner").into(),
        or(class.text("reclaimPolicy"), "Delete").into(),
        or(class.text("volumeBindingMode"), "Immediate").into(),
        class.flag("allowVolumeExpansion").into(),
        age(class, now),
    ]
}

pub(super) fn attributes_class(class: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(class), class.text("driverName").into(), age(class, now)]
}

pub(super) fn driver(driver: View<'_>, now: Timestamp) -> Vec<Value> {
    let audiences: Vec<&str> = driver.list("spec.tokenRequests").map(|request| request.text("audience")).collect();
    let modes: Vec<&str> = driver.texts("spec.volumeLifecycleModes").collect();
    vec![
        object_name(driver),
        driver.at("spec.attachRequired").0.as_bool().unwrap_or(true).into(),
        driver.flag("spec.podInfoOnMount").into(),
        driver.flag("spec.storageCapacity").into(),
        or_unset(&audiences.join(",")),
        driver.flag("spec.requiresRepublish").into(),
        or(&modes.join(","), "<none>").into(),
        age(driver, now),
    ]
}

pub(super) fn node(node: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(node), node.list("spec.drivers").count().into(), age(node, now)]
}

pub(super) fn attachment(attachment: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![
        object_name(attachment),
        attachment.text("spec.attacher").into(),
        attachment.text("spec.source.persistentVolumeName").into(),
        attachment.text("spec.nodeName").into(),
        attachment.flag("status.attached").into(),
        age(attachment, now),
    ]
}
