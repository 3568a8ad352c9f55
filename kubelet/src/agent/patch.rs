//! Patches of statuses, and the smallest merge patch (RFC 7386) that makes one value of another.

use serde_json::{Map, Value};

/// A patch of a pod's status, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusPatch {
    /// The version of the pod that it was decided on.
    pub resource_version: Option<String>,
    /// What it changes of the status.
    pub difference: Value,
}

/// What must be merged into `old` to make it `new`; `None` when they are equal.
pub fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(before) => {
                if let Some(difference) = merge_diff(before, value) {
                    patch.insert(key.clone(), difference);
                }
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_travels() {
        let old = json!({"phase": "Pending", "list": [1], "gone": 1, "deep": {"same": 1, "other": 2}});
        let new = json!({"phase": "Running", "list": [1, 2], "deep": {"same": 1, "other": 3}});
        let patch = merge_diff(&old, &new);
        assert_eq!(patch, Some(json!({"phase": "Running", "list": [1, 2], "gone": null, "deep": {"other": 3}})));
        assert_eq!(merge_diff(&new, &new), None);
    }
}
