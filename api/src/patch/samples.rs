//! Small objects for property tests.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A pod with any of a few labels, containers, ports, finalizers and tolerations.
pub fn pod() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[a-c]", "[xy]", 0..3);
    let finalizers = prop::collection::btree_set("[a-c]/f", 0..3);
    let ports = prop::collection::btree_map(80_u16..83, prop::option::of("[pq]"), 0..3);
    let containers = prop::collection::btree_map("[a-c]", (prop::option::of("[ij]"), ports), 0..3);
    let selector = prop::option::of(prop::collection::btree_map("[a-b]", "[xy]", 0..2));
    let tolerations = prop::option::of(prop::collection::vec("[st]", 0..3));
    (labels, finalizers, containers, selector, tolerations).prop_map(
        |(labels, finalizers, containers, selector, tolerations)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, ports))| {
                    let mut container = json!({"name": name});
                    if let Some(image) = image {
                        container["image"] = image.into();
                    }
                    if !ports.is_empty() {
                        let ports = ports.into_iter().map(|(port, name)| match name {
                            Some(name) => json!({"containerPort": port, "protocol": "TCP", "name": name}),
                            None => json!({"containerPort": port, "protocol": "TCP"}),
                        });
                        container["ports"] = ports.collect();
                    }
                    container
                })
                .collect();
            let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
            if !labels.is_empty() {
                pod["metadata"]["labels"] = json!(labels);
            }
            if !finalizers.is_empty() {
                pod["metadata"]["finalizers"] = json!(finalizers);
            }
            if !containers.is_empty() {
                pod["spec"]["containers"] = containers.into();
            }
            if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
                pod["spec"]["nodeSelector"] = json!(selector);
            }
            if let Some(keys) = tolerations.filter(|keys| !keys.is_empty()) {
                pod["spec"]["tolerations"] = keys.into_iter().map(|key| json!({"key": key})).collect();
            }
            pod
        },
    )
}

/// The object without what says nothing: empty maps, lists and nulls.
pub fn essence(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(name, value)| (name.clone(), essence(value)));
            let kept: serde_json::Map<String, Value> =
                kept.filter(|(_, value)| !value.is_null() && *value != json!({}) && *value != json!([])).collect();
            let mut value = Value::Object(kept);
            value.sort_all_objects();
            value
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.iter().map(essence).collect();
            list.sort_by_key(ToString::to_string);
            Value::Array(list)
        }
        value => value.clone(),
    }
}
