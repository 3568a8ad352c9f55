//! Namespaces, nodes, leases, events, and data for pods.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};
use crate::age;

/// The label that gives a node a role.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

pub(super) fn namespace(namespace: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(namespace), namespace.text("status.phase").into(), age(namespace, now)]
}

pub(super) fn config_map(map: View<'_>, now: Timestamp) -> Vec<Value> {
    let count = map.size("data") + map.size("binaryData");
    vec![object_name(map), count.into(), age(map, now)]
}

pub(super) fn secret(secret: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(secret), secret.text("type").into(), secret.size("data").into(), age(secret, now)]
}

pub(super) fn lease(lease: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![object_name(lease), lease.text("spec.holderIdentity").into(), age(lease, now)]
}

pub(super) fn node(node: View<'_>, now: Timestamp) -> Vec<Value> {
    let ready = node
        .list("status.conditions")
        .find(|condition| condition.text("type") == "Ready")
        .map(|condition| condition.text("status"));
    let mut status = match ready {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.flag("spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let of_kind = node.list("status.addresses").find(|address| address.text("type") == kind);
        of_kind.map_or("<none>", |address| or(address.text("address"), "<none>"))
    };
    let info = |field: &str| or(node.at("status.nodeInfo").text(field), "<unknown>");
    vec![
        object_name(node),
        status.into(),
        roles(node).into(),
        age(node, now),
        node.text("status.nodeInfo.kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        info("osImage").into(),
        info("kernelVersion").into(),
        info("containerRuntimeVersion").into(),
    ]
}

fn roles(node: View<'_>) -> String {
    let mut roles: Vec<&str> = node
        .members("metadata.labels")
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.0.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or(&roles.join(","), "<none>").to_owned()
}

/// Events of both shapes.
pub(super) fn event(event: View<'_>, now: Timestamp) -> Vec<Value> {
    let either = |core: &str, new: &str| if event.has(core) { event.at(core) } else { event.at(new) };
    let time = |core: &str, new: &str| either(core, new).0.as_str().and_then(|text| text.parse().ok());
    let happened = event.time("eventTime");
    let first = time("firstTimestamp", "deprecatedFirstTimestamp").or(happened);
    let last =
        event.time("series.lastObservedTime").or_else(|| time("lastTimestamp", "deprecatedLastTimestamp")).or(first);
    let count = if event.has("series") {
        event.number("series.count")
    } else {
        either("count", "deprecatedCount").0.as_i64().unwrap_or(1)
    };
    let object = either("involvedObject", "regarding");
    let (kind, name) = (object.text("kind").to_lowercase(), object.text("name"));
    let target = if name.is_empty() { kind } else { format!("{kind}/{name}") };
    let source = either("source", "deprecatedSource");
    let reporter = either("reportingComponent", "reportingController").0.as_str().unwrap_or_default();
    let mut source_text = or(source.text("component"), reporter).to_owned();
    let host = or(source.text("host"), event.text("reportingInstance"));
    if !host.is_empty() {
        source_text.push_str(", ");
        source_text.push_str(host);
    }
    let message = either("message", "note").0.as_str().unwrap_or_default();
    vec![
        age::since(last, now).into(),
        event.text("type").into(),
        event.text("reason").into(),
        target.into(),
        object.text("fieldPath").into(),
        source_text.into(),
        message.trim().into(),
        age::since(first, now).into(),
        count.max(1).into(),
        object_name(event),
    ]
}
