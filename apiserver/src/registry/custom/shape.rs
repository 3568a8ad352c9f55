//! What a schema makes of a value: unknown fields go, what was left out gets its default.

use reeve_api::ObjectMeta;
use serde_json::{Map, Value};

use super::schema::{Additional, Node};

/// Removes fields that the schema does not know from an object's own fields (without `apiVersion`, `kind` and
/// `metadata`); their paths go to `unknown`.
pub fn prune(body: &mut Map<String, Value>, node: &Node, unknown: &mut Vec<String>) {
    prune_map(body, node, "", unknown);
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn prune_value(value: &mut Value, node: &Node, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => prune_map(map, node, path, unknown),
        Value::Array(list) => {
            if let Some(items) = &node.items {
                for (index, value) in list.iter_mut().enumerate() {
                    prune_value(value, items, &format!("{path}[{index}]"), unknown);
                }
            }
        }
        _ => {}
    }
}

fn prune_map(map: &mut Map<String, Value>, node: &Node, path: &str, unknown: &mut Vec<String>) {
    if node.embedded
        && let Some(metadata) = map.get_mut("metadata")
    {
        coerce_metadata(metadata, &joined(path, "metadata"), unknown);
    }
    map.retain(|name, value| {
        if node.embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            return true;
        }
        let at = joined(path, name);
        match (node.properties.get(name), &node.additional) {
            (Some(property), _) => prune_value(value, property, &at, unknown),
            (None, Additional::Node(element)) => prune_value(value, element, &at, unknown),
            (None, Additional::Any) => {}
            (None, Additional::None) if node.preserve => {}
            (None, Additional::None) => {
                unknown.push(at);
                return false;
            }
        }
        true
    });
}

/// Metadata of an embedded object keeps what metadata has.
fn coerce_metadata(metadata: &mut Value, path: &str, unknown: &mut Vec<String>) {
    let mut ignored = Vec::new();
    let decoded: Result<ObjectMeta, _> =
        serde_ignored::deserialize(&*metadata, |field| ignored.push(field.to_string()));
    // What is no metadata is told by validation.
    if decoded.is_err() {
        return;
    }
    if let Value::Object(map) = metadata {
        for field in ignored {
            map.shift_remove(&field);
            unknown.push(joined(path, &field));
        }
    }
}

/// Sets what was left out, and takes away `null` where it is no value.
pub fn default(body: &mut Map<String, Value>, node: &Node) {
    default_map(body, node);
}

fn default_map(map: &mut Map<String, Value>, node: &Node) {
    for (name, property) in &node.properties {
        let left_out = match map.get(name) {
            None => true,
            Some(Value::Null) => !property.nullable,
            Some(_) => false,
        };
        if !left_out {
            continue;
        }
        match &property.default {
            Some(default) => {
                map.insert(name.clone(), default.clone());
            }
            None => {
                map.shift_remove(name);
            }
        }
    }
    if let Additional::Node(element) = &node.additional {
        map.retain(|name, value| {
            if value.is_null() && !element.nullable && !node.properties.contains_key(name) {
                match &element.default {
                    Some(default) => *value = default.clone(),
                    None => return false,
                }
            }
            true
        });
    }
    for (name, value) in map.iter_mut() {
        match (node.properties.get(name), &node.additional) {
            (Some(property), _) => default_value(value, property),
            (None, Additional::Node(element)) => default_value(value, element),
            _ => {}
        }
    }
}

fn default_value(value: &mut Value, node: &Node) {
    match value {
        Value::Object(map) => default_map(map, node),
        Value::Array(list) => {
            if let Some(items) = &node.items {
                for value in list {
                    if value.is_null()
                        && !items.nullable
                        && let Some(default) = &items.default
                    {
                        *value = default.clone();
                    }
                    default_value(value, items);
                }
            }
        }
        _ => {}
    }
}
