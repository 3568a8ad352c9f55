//! Whether a value keeps the rules of its schema, in upstream's words.
//!
//! On an update what did not change is not judged again (upstream calls it ratcheting).

use reeve_api::ObjectMeta;
use reeve_api::validation::{BadValue, ErrorList, Path, metadata, quote};
use serde_json::{Map, Value, json};

use super::formats;
use super::schema::{Additional, Node, Type};

/// The path of what has none.
const NOWHERE: &str = "<nil>";

/// Checks an object's own fields; `old` are those before an update.
pub fn body(body: &Map<String, Value>, old: Option<&Map<String, Value>>, node: &Node) -> ErrorList {
    let mut errors = ErrorList::new();
    properties(body, old, node, None, &mut errors);
    combinations(&Value::Object(body.clone()), node, None, &mut errors);
    embedded_and_lists(&Value::Object(body.clone()), node, None, &mut errors);
    errors
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_integer(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

fn is_of(value: &Value, kind: Type) -> bool {
    match kind {
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Integer => is_integer(value),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
    }
}

fn value(value: &Value, old: Option<&Value>, node: &Node, path: &Path<'_>, errors: &mut ErrorList) {
    if old == Some(value) || (value.is_null() && node.nullable) {
        return;
    }
    let expected = match (node.int_or_string, node.kind) {
        (true, _) if !is_integer(value) && !value.is_string() => Some("integer,string"),
        (false, Some(kind)) if !is_of(value, kind) => Some(kind.word()),
        _ => None,
    };
    if let Some(expected) = expected {
        let given = type_of(value);
        errors.type_invalid(path, given, format!("{path} in body must be of type {expected}: {given:?}"));
    }
    combinations(value, node, Some(path), errors);
    match value {
        Value::String(text) => string(text, node, path, errors),
        Value::Number(_) => number(value, node, path, errors),
        Value::Array(list) => {
            for (index, element) in list.iter().enumerate() {
                if let Some(items) = &node.items {
                    let before = old.and_then(|old| correlated(element, old, node));
                    self::value(element, before, items, &path.index(index), errors);
                }
            }
            count(list.len(), node.items_count, "items", value, path, errors);
            if node.unique && list.iter().enumerate().any(|(index, element)| list[..index].contains(element)) {
                errors.invalid(path, BadValue::json(value), format!("{path} in body shouldn't contain duplicates"));
            }
        }
        _ => {}
    }
    if !node.allowed.is_empty() && !node.allowed.contains(value) {
        let supported: Vec<String> =
            node.allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned)).collect();
        let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
        errors.not_supported(path, BadValue::json(value), &supported);
    }
    if let Value::Object(map) = value {
        properties(map, old.and_then(Value::as_object), node, Some(path), errors);
    }
}

/// The element of the old list that is the same one, where lists tell.
fn correlated<'a>(element: &Value, old: &'a Value, node: &Node) -> Option<&'a Value> {
    let old = old.as_array()?;
    if node.list_type.as_deref() != Some("map") {
        return old.iter().find(|before| *before == element);
    }
    old.iter().find(|before| node.list_keys.iter().all(|key| before.get(key) == element.get(key)))
}

fn count(
    count: usize,
    (min, max): (Option<i64>, Option<i64>),
    what: &str,
    value: &Value,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    let count_signed = i64::try_from(count).unwrap_or(i64::MAX);
    if let Some(min) = min.filter(|min| count_signed < *min) {
        errors.invalid(path, BadValue::json(value), format!("{path} in body should have at least {min} {what}"));
    }
    if let Some(max) = max.filter(|max| count_signed > *max) {
        errors.too_many(path, count, usize::try_from(max).unwrap_or(0));
    }
}

fn string(text: &str, node: &Node, path: &Path<'_>, errors: &mut ErrorList) {
    let characters = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let (min, max) = node.length;
    if let Some(max) = max.filter(|max| characters > *max) {
        errors.too_long(path, usize::try_from(max).unwrap_or(0));
    } else if let Some(min) = min.filter(|min| characters < *min) {
        errors.invalid(path, text, format!("{path} in body should be at least {min} chars long"));
    } else if let Some(pattern) = node.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
        errors.invalid(path, text, format!("{path} in body should match '{}'", pattern.as_str()));
    }
    if let Some(format) = node.format.as_deref().filter(|format| !formats::fits(format, text)) {
        errors.type_invalid(path, text, format!("{path} in body must be of type {format}: {}", quote(text)));
    }
}

fn number(value: &Value, node: &Node, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(number) = value.as_f64() else { return };
    let mut wrong =
        |text: String| errors.invalid(path, BadValue::json(value), format!("{path} in body should be {text}"));
    if let Some(factor) = node.multiple_of.filter(|factor| *factor != 0.0 && (number / factor).fract() != 0.0) {
        wrong(format!("a multiple of {factor}"));
    }
    if let Some(max) = node.maximum {
        if max.exclusive && number >= max.value {
            wrong(format!("less than {}", max.value));
        } else if !max.exclusive && number > max.value {
            wrong(format!("less than or equal to {}", max.value));
        }
    }
    if let Some(min) = node.minimum {
        if min.exclusive && number <= min.value {
            wrong(format!("greater than {}", min.value));
        } else if !min.exclusive && number < min.value {
            wrong(format!("greater than or equal to {}", min.value));
        }
    }
}

fn child<'a>(path: Option<&'a Path<'a>>, name: &'a str) -> Path<'a> {
    path.map_or_else(|| Path::new(name), |path| path.child(name))
}

fn properties(
    map: &Map<String, Value>,
    old: Option<&Map<String, Value>>,
    node: &Node,
    path: Option<&Path<'_>>,
    errors: &mut ErrorList,
) {
    if let Some(path) = path {
        let whole = Value::Object(map.clone());
        count(map.len(), node.properties_count, "properties", &whole, path, errors);
    }
    for name in &node.required {
        let is_meta = path.is_none() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
        if !map.contains_key(name) && !is_meta {
            errors.required(&child(path, name), "");
        }
    }
    let mut names: Vec<&String> = map.keys().collect();
    names.sort_unstable();
    for name in names {
        let held = match (node.properties.get(name), &node.additional) {
            (Some(property), _) => property,
            (None, Additional::Node(element)) => element,
            _ => continue,
        };
        value(&map[name], old.and_then(|old| old.get(name)), held, &child(path, name), errors);
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`.
fn combinations(given: &Value, node: &Node, path: Option<&Path<'_>>, errors: &mut ErrorList) {
    let judged = |one: &Node| {
        let mut errors = ErrorList::new();
        match (path, given) {
            (Some(path), _) => value(given, None, one, path, &mut errors),
            (None, Value::Object(map)) => properties(map, None, one, None, &mut errors),
            (None, _) => {}
        }
        errors
    };
    let place = path.map(ToString::to_string).unwrap_or_default();
    let nowhere = Path::new(NOWHERE);
    if !node.any_of.is_empty() && !node.any_of.iter().any(|one| judged(one).is_empty()) {
        errors.invalid(&nowhere, "", format!("{place:?} must validate at least one schema (anyOf)"));
        if let Some(closest) = node.any_of.iter().map(judged).min_by_key(ErrorList::len) {
            errors.extend(closest);
        }
    }
    if !node.one_of.is_empty() {
        let valid = node.one_of.iter().filter(|one| judged(one).is_empty()).count();
        if valid != 1 {
            let found = if valid == 0 { "none valid".to_owned() } else { format!("{valid} valid alternatives") };
            let text = format!("{place:?} must validate one and only one schema (oneOf). Found {found}");
            errors.invalid(&nowhere, "", text);
        }
        if valid == 0
            && let Some(closest) = node.one_of.iter().map(judged).min_by_key(ErrorList::len)
        {
            errors.extend(closest);
        }
    }
    let mut all = ErrorList::new();
    for one in &node.all_of {
        all.extend(judged(one));
    }
    if !all.is_empty() {
        errors.invalid(&nowhere, "", format!("{place:?} must validate all the schemas (allOf)"));
        errors.extend(all);
    }
    if node.not.as_ref().is_some_and(|not| judged(not).is_empty()) {
        errors.invalid(&nowhere, "", format!("{place:?} must not validate the schema (not)"));
    }
}

/// Objects in objects have names and kinds; elements of sets and maps differ.
fn embedded_and_lists(given: &Value, node: &Node, path: Option<&Path<'_>>, errors: &mut ErrorList) {
    match given {
        Value::Object(map) => {
            if let Some(path) = path.filter(|_| node.embedded) {
                embedded(map, path, errors);
            }
            for (name, held) in map {
                let below = match (node.properties.get(name), &node.additional) {
                    (Some(property), _) => property,
                    (None, Additional::Node(element)) => element,
                    _ => continue,
                };
                embedded_and_lists(held, below, Some(&child(path, name)), errors);
            }
        }
        Value::Array(list) => {
            let Some(path) = path else { return };
            match node.list_type.as_deref() {
                Some("set") => duplicates(list, path, errors, Clone::clone),
                Some("map") => duplicates(list, path, errors, |element| {
                    let keys = node.list_keys.iter();
                    keys.map(|key| (key.clone(), element.get(key).cloned().unwrap_or(Value::Null)))
                        .filter(|(_, value)| !value.is_null())
                        .collect::<Map<_, _>>()
                        .into()
                }),
                _ => {}
            }
            if let Some(items) = &node.items {
                for (index, element) in list.iter().enumerate() {
                    embedded_and_lists(element, items, Some(&path.index(index)), errors);
                }
            }
        }
        _ => {}
    }
}

fn duplicates(list: &[Value], path: &Path<'_>, errors: &mut ErrorList, key: impl Fn(&Value) -> Value) {
    let mut seen = std::collections::HashSet::new();
    for (index, element) in list.iter().enumerate() {
        let mut key = key(element);
        key.sort_all_objects();
        if !seen.insert(key.to_string()) {
            errors.duplicate(&path.index(index), BadValue::json(&key));
        }
    }
}

fn embedded(map: &Map<String, Value>, path: &Path<'_>, errors: &mut ErrorList) {
    for name in ["apiVersion", "kind"] {
        let at = path.child(name);
        match map.get(name) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(Value::String(_)) | None => errors.required(&at, "must not be empty"),
            Some(other) => errors.type_invalid(
                &at,
                BadValue::json(other),
                format!("{at} in body must be of type string: {:?}", type_of(other)),
            ),
        }
    }
    let at = path.child("metadata");
    let given = map.get("metadata").cloned().unwrap_or_else(|| json!({}));
    match serde_json::from_value::<ObjectMeta>(given) {
        Err(error) => errors.invalid(&at, BadValue::json(&map.get("metadata")), error.to_string()),
        Ok(meta) => {
            if let Some(labels) = &meta.labels {
                metadata::labels(labels, &at.child("labels"), errors);
            }
            if let Some(annotations) = &meta.annotations {
                metadata::annotations(annotations, &at.child("annotations"), errors);
            }
        }
    }
}
