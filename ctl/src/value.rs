//! Short reads of nested JSON: `text(object, "spec.nodeName")`.

use serde_json::{Map, Value};

/// The value at a dotted path, if it is there and not null.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, step| value.get(step)).filter(|value| !value.is_null())
}

/// The text at a dotted path, or the empty text.
pub fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a dotted path.
pub fn int(value: &Value, path: &str) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The number at a dotted path, 0 when absent.
pub fn count(value: &Value, path: &str) -> i64 {
    int(value, path).unwrap_or(0)
}

/// Whether the value at a dotted path is `true`.
pub fn flag(value: &Value, path: &str) -> bool {
    at(value, path).and_then(Value::as_bool).unwrap_or(false)
}

/// The elements of the list at a dotted path.
pub fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The entries of the map at a dotted path, sorted by key.
pub fn entries<'a>(value: &'a Value, path: &str) -> Vec<(&'a str, &'a Value)> {
    let mut entries: Vec<_> = at(value, path)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

/// A scalar as a user writes it: texts without quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "metadata.name")
}

/// `metadata.namespace`.
pub fn namespace(object: &Value) -> &str {
    text(object, "metadata.namespace")
}

/// The map at a key, made if it is missing or of another type.
pub fn map_mut<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    let object = as_map(value);
    as_map(object.entry(key).or_insert(Value::Null))
}

/// The value as a map, made one if it is not.
pub fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

/// The same value with the keys of every map in alphabetical order, as kubectl prints them.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_read() {
        let object = json!({"metadata": {"name": "a", "labels": {"z": "1", "b": "2"}}, "n": 3, "list": [1]});
        assert_eq!(name(&object), "a");
        assert_eq!(namespace(&object), "");
        assert_eq!(int(&object, "n"), Some(3));
        assert_eq!(items(&object, "list").len(), 1);
        assert_eq!(entries(&object, "metadata.labels").first().map(|entry| entry.0), Some("b"));
        assert_eq!(sorted(&json!({"b": 1, "a": 2})).to_string(), r#"{"a":2,"b":1}"#);
    }

    #[test]
    fn missing_maps_are_made() {
        let mut object = json!({});
        map_mut(&mut object, "metadata").insert("name".into(), "x".into());
        assert_eq!(name(&object), "x");
    }
}
