//! JSON patches (RFC 6902).

use serde_json::Value;

use crate::status::{Reason, StatusDetails, StatusError};

/// Most operations of one patch.
const OPERATIONS_MAX: usize = 10_000;

/// Applies the operations of a patch in order. On an error the target is left as it was.
///
/// # Errors
/// `BadRequest` when the patch is not a list of operations, `Invalid` when one cannot be applied;
/// upstream's texts, which do not say which.
pub fn apply(target: &mut Value, patch: &Value) -> Result<(), StatusError> {
    let Value::Array(operations) = patch else {
        let what = match patch {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            _ => "object",
        };
        return Err(StatusError::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {what} into Go value of type jsonpatch.Patch"
        )));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(StatusError::new(
            Reason::RequestEntityTooLarge,
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    let operations: json_patch::Patch = serde_json::from_value(patch.clone()).map_err(|_| rejected())?;
    json_patch::patch(target, &operations).map_err(|_| rejected())
}

fn rejected() -> StatusError {
    StatusError {
        reason: Reason::Invalid,
        message: "the server rejected our request due to an error in our request".to_owned(),
        details: Some(Box::new(StatusDetails::default())),
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
}
