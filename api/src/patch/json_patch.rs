//! JSON patches (RFC 6902), with the liberties that upstream's library takes: `replace` sets members that are not
//! there yet, indexes may count from the end, and whatever stands before a path's first slash is ignored.

use serde_json::Value;

use crate::status::{Reason, StatusDetails, StatusError};

/// Most operations of one patch.
const OPERATIONS_MAX: usize = 10_000;

/// How many bytes of JSON all `copy` operations together may add.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies the operations of a patch in order. On an error the target is left as it was.
///
/// # Errors
/// `BadRequest` when the patch is not a list of operations, `Invalid` when one cannot be applied;
/// upstream's texts, which do not say which.
pub fn apply(target: &mut Value, patch: &Value) -> Result<(), StatusError> {
    let operations = operations(patch)?;
    let mut value = target.clone();
    let mut copied = 0;
    for operation in operations {
        carry_out(&mut value, operation, &mut copied).ok_or_else(rejected)?;
    }
    *target = value;
    Ok(())
}

fn operations(patch: &Value) -> Result<&[Value], StatusError> {
    let what = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let Value::Array(operations) = patch else {
        let what = what(patch);
        return Err(StatusError::bad_request(format!(
            "json: cannot unmarshal {what} into Go value of type jsonpatch.Patch"
        )));
    };
    if let Some(wrong) = operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        let what = what(wrong);
        return Err(StatusError::bad_request(format!(
            "json: cannot unmarshal {what} into Go value of type jsonpatch.Operation"
        )));
    }
    if operations.len() > OPERATIONS_MAX {
        return Err(StatusError::new(
            Reason::RequestEntityTooLarge,
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    Ok(operations)
}

fn carry_out(target: &mut Value, operation: &Value, copied: &mut usize) -> Option<()> {
    let path = operation.get("path")?.as_str()?;
    let from = || operation.get("from")?.as_str();
    match operation.get("op")?.as_str()? {
        "add" => add(target, path, operation.get("value").cloned().unwrap_or_default()),
        "remove" => remove(target, path).map(drop),
        "replace" => replace(target, path, operation.get("value").cloned().unwrap_or_default()),
        "move" => {
            let value = remove(target, from()?)?;
            add(target, path, value)
        }
        "copy" => {
            let value = get(target, from()?)?.cloned().unwrap_or_default();
            *copied += value.to_string().len();
            (*copied <= COPIED_BYTES_MAX).then_some(())?;
            add(target, path, value)
        }
        "test" => {
            let wanted = operation.get("value").unwrap_or(&Value::Null);
            let found = if path.is_empty() { Some(&*target) } else { get(target, path)? };
            equal(found.unwrap_or(&Value::Null), wanted).then_some(())
        }
        _ => None,
    }
}

/// Whether two values are the same to JSON: `1` and `1.0` are.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| equal(one, other)))
        }
        _ => one == other,
    }
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The names down to the container of what a path means, and the last one.
fn split(path: &str) -> Option<(Vec<String>, String)> {
    let (_, rest) = path.split_once('/')?;
    let mut parts: Vec<String> = rest.split('/').map(unescape).collect();
    let last = parts.pop()?;
    Some((parts, last))
}

/// An index of a list, which may count from its end.
fn index(text: &str, length: usize) -> Option<usize> {
    let index: i64 = text.parse().ok()?;
    let index = if index < 0 { index.checked_add(i64::try_from(length).ok()?)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < length)
}

fn container<'a>(target: &'a mut Value, parts: &[String]) -> Option<&'a mut Value> {
    let mut value = target;
    for part in parts {
        value = match value {
            Value::Object(map) => map.get_mut(part)?,
            Value::Array(list) => {
                let index = index(part, list.len())?;
                list.get_mut(index)?
            }
            _ => return None,
        };
    }
    (value.is_object() || value.is_array()).then_some(value)
}

/// The value at a path: `Some(None)` for a member that is absent.
#[allow(clippy::option_option)]
fn get<'a>(target: &'a Value, path: &str) -> Option<Option<&'a Value>> {
    let (parts, last) = split(path)?;
    let mut value = target;
    for part in &parts {
        value = match value {
            Value::Object(map) => map.get(part)?,
            Value::Array(list) => list.get(index(part, list.len())?)?,
            _ => return None,
        };
    }
    match value {
        Value::Object(map) => Some(map.get(&last)),
        Value::Array(list) => Some(Some(list.get(index(&last, list.len())?)?)),
        _ => None,
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parts, last) = split(path)?;
    match container(target, &parts)? {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let index = index(&last, list.len() + 1)?;
            list.insert(index, value);
        }
        _ => return None,
    }
    Some(())
}

fn replace(target: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *target = value;
        return Some(());
    }
    let (parts, last) = split(path)?;
    match container(target, &parts)? {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) => {
            let index = index(&last, list.len())?;
            list[index] = value;
        }
        _ => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (parts, last) = split(path)?;
    match container(target, &parts)? {
        Value::Object(map) => map.shift_remove(&last),
        Value::Array(list) => {
            let index = index(&last, list.len())?;
            Some(list.remove(index))
        }
        _ => None,
    }
}

fn rejected() -> StatusError {
    StatusError {
        details: Some(Box::new(StatusDetails::default())),
        ..StatusError::new(Reason::Invalid, "the server rejected our request due to an error in our request")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let mut value = json!({"a": [1, 2]});
        let patch = json!([{"op": "add", "path": "/a/-", "value": 3}, {"op": "remove", "path": "/a/0"}]);
        apply(&mut value, &patch).unwrap();
        assert_eq!(value, json!({"a": [2, 3]}));
        let broken = json!([{"op": "remove", "path": "/a/0"}, {"op": "remove", "path": "/nope"}]);
        assert_eq!(apply(&mut value, &broken).unwrap_err().code(), 422);
        assert_eq!(value, json!({"a": [2, 3]}));
        assert_eq!(apply(&mut value, &json!({})).unwrap_err().code(), 400);
    }

    #[test]
    fn every_operation_does_what_it_says() {
        let start = json!({"a": {"b": 1}, "l": [1, 2, 3], "x/y": 0});
        for (operation, result) in [
            (json!({"op": "move", "from": "/a/b", "path": "/c"}), json!({"a": {}, "l": [1, 2, 3], "x/y": 0, "c": 1})),
            (
                json!({"op": "copy", "from": "/a", "path": "/l/1"}),
                json!({"a": {"b": 1}, "l": [1, {"b": 1}, 2, 3], "x/y": 0}),
            ),
            (json!({"op": "replace", "path": "/x~1y", "value": 1}), json!({"a": {"b": 1}, "l": [1, 2, 3], "x/y": 1})),
            (
                json!({"op": "replace", "path": "a/new", "value": 1}),
                json!({"a": {"b": 1}, "l": [1, 2, 3], "x/y": 0, "new": 1}),
            ),
            (json!({"op": "remove", "path": "/l/-1"}), json!({"a": {"b": 1}, "l": [1, 2], "x/y": 0})),
            (json!({"op": "test", "path": "/a/b", "value": 1.0}), start.clone()),
            (json!({"op": "test", "path": "/absent", "value": null}), start.clone()),
        ] {
            let mut value = start.clone();
            apply(&mut value, &json!([operation])).unwrap();
            assert_eq!(value, result, "{operation}");
        }
        for wrong in [
            json!({"op": "test", "path": "/a/b", "value": 2}),
            json!({"op": "add", "path": "/l/4", "value": 2}),
            json!({"op": "add", "path": "/no/where", "value": 2}),
            json!({"op": "remove", "path": "/absent"}),
            json!({"op": "frob", "path": "/a"}),
            json!({"op": "add"}),
        ] {
            assert_eq!(apply(&mut start.clone(), &json!([wrong])).unwrap_err().code(), 422, "{wrong}");
        }
    }

    #[test]
    fn a_patch_has_its_limits() {
        let many: Vec<Value> =
            (0..=OPERATIONS_MAX).map(|_| json!({"op": "test", "path": "/a", "value": null})).collect();
        assert_eq!(apply(&mut json!({}), &Value::Array(many)).unwrap_err().code(), 413);
        let mut grows = vec![json!({"op": "add", "path": "/a", "value": "x".repeat(100_000)})];
        grows.extend((0..100).map(|number| json!({"op": "copy", "from": "/a", "path": format!("/a{number}")})));
        assert_eq!(apply(&mut json!({}), &Value::Array(grows)).unwrap_err().code(), 422);
    }
}
