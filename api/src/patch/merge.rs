//! Merge patches (RFC 7386).

use serde_json::{Map, Value};

/// Applies a merge patch: `null` removes a member, objects merge, everything else replaces.
pub fn apply(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            members.shift_remove(&name);
        } else {
            apply(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// The merge patch that makes `to` of `from`; an empty object when they are equal. A member that is
/// `null` in `to` cannot be expressed and counts as absent.
pub fn between(from: &Value, to: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return to.clone();
    };
    let mut patch = Map::new();
    for name in old.keys() {
        if new.get(name).is_none_or(Value::is_null) {
            patch.insert(name.clone(), Value::Null);
        }
    }
    for (name, value) in new {
        match old.get(name) {
            Some(before) if before == value => {}
            Some(before) if before.is_object() && value.is_object() => {
                patch.insert(name.clone(), between(before, value));
            }
            _ if value.is_null() => {}
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn examples_of_the_rfc() {
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut value = target.clone();
            apply(&mut value, patch);
            assert_eq!(value, result, "{target}");
        }
    }

    #[test]
    fn a_difference_leads_from_one_to_the_other() {
        let from = json!({"a": {"b": 1, "c": 2}, "d": [1], "e": "x"});
        let to = json!({"a": {"b": 1, "c": 3}, "d": [1, 2], "f": {"g": 1}});
        let mut value = from.clone();
        apply(&mut value, between(&from, &to));
        assert_eq!(value, to);
        assert_eq!(between(&from, &from), json!({}));
    }
}
