//! Any object: its metadata, then its fields as an outline.

use serde_json::Value;

use super::writer::Writer;
use crate::value::{name, namespace, plain, text};

/// Describes an object of a kind without a description of its own.
pub fn describe(writer: &mut Writer, object: &Value) {
    writer.field(0, "Name", name(object));
    writer.field(0, "Namespace", namespace(object));
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[crate::merge::LAST_APPLIED]);
    writer.field(0, "API Version", text(object, "apiVersion"));
    writer.field(0, "Kind", text(object, "kind"));
    let hidden = ["apiVersion", "kind"];
    let mut shown = crate::value::sorted(object);
    if let Some(metadata) = shown.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata
            .retain(|key, _| !["name", "namespace", "labels", "annotations", "managedFields"].contains(&key.as_str()));
    }
    for (key, value) in shown.as_object().into_iter().flatten() {
        if hidden.contains(&key.as_str()) {
            continue;
        }
        outline(writer, 0, &label(key), value);
    }
}

/// A value below a name.
fn outline(writer: &mut Writer, level: usize, name: &str, value: &Value) {
    match value {
        Value::Object(map) if map.is_empty() => {}
        Value::Object(map) => {
            writer.line(level, &format!("{name}:"));
            for (key, value) in map {
                outline(writer, level + 1, &label(key), value);
            }
        }
        Value::Array(list) if list.iter().any(|item| item.is_object() || item.is_array()) => {
            writer.line(level, &format!("{name}:"));
            for item in list {
                match item {
                    Value::Object(map) => {
                        for (index, (key, value)) in map.iter().enumerate() {
                            // An empty line between elements would break the columns; the first key is marked.
                            let key = if index == 0 { format!("- {}", label(key)) } else { label(key) };
                            outline(writer, level + 1 + usize::from(index > 0), &key, value);
                        }
                    }
                    other => writer.line(level + 1, &plain(other)),
                }
            }
        }
        Value::Array(list) if list.is_empty() => {}
        Value::Array(list) => {
            writer.line(level, &format!("{name}:"));
            list.iter().for_each(|item| writer.line(level + 1, &plain(item)));
        }
        scalar => writer.field(level, name, &plain(scalar)),
    }
}

/// `clusterIP` as `Cluster IP`.
fn label(field: &str) -> String {
    if field == "uid" {
        return "UID".to_owned();
    }
    if field.contains(['.', '/', '-', '_', ' ']) {
        return field.to_owned();
    }
    let mut label = String::new();
    let characters: Vec<char> = field.chars().collect();
    for (index, character) in characters.iter().enumerate() {
        let after_small = index > 0 && characters[index - 1].is_lowercase();
        if index == 0 {
            label.extend(character.to_uppercase());
        } else {
            if character.is_uppercase() && after_small {
                label.push(' ');
            }
            label.push(*character);
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_become_words() {
        assert_eq!(label("clusterIP"), "Cluster IP");
        assert_eq!(label("minReadySeconds"), "Min Ready Seconds");
        assert_eq!(label("app.io/x"), "app.io/x");
    }
}
