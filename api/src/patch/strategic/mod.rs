//! Strategic merge patches: merge patches that know which lists merge, and by which key.
//!
//! Rules and texts from `k8s.io/apimachinery/pkg/util/strategicpatch`.

mod lists;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use self::lists::ListPatch;
use super::go;
use crate::schema::{Object, PatchStrategy, Schema};
use crate::status::{Reason, StatusDetails, StatusError};

/// What a map or list element says is to be done with it.
const DIRECTIVE: &str = "$patch";
/// Which keys a map keeps.
const RETAIN_KEYS: &str = "$retainKeys";
/// Before a list's name: scalars to remove of it.
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList";
/// Before a list's name: the order of its elements.
const ORDER_PREFIX: &str = "$setElementOrder";

/// How deep a patch may be.
const DEPTH_MAX: usize = 256;

/// Why a patch cannot be applied, by upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// `$deleteFromPrimitiveList` without a name.
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    /// `$retainKeys` that is no list, or that omits a key of the patch.
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    /// `$setElementOrder` without a name.
    #[error("invalid patch format of setElementOrder list")]
    ElementOrder,
    /// A list in a list that merges.
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// Anything else; the whole text.
    #[error("{0}")]
    Other(String),
}

impl From<StrategicError> for StatusError {
    fn from(error: StrategicError) -> Self {
        match error {
            StrategicError::PrimitiveList | StrategicError::RetainKeys | StrategicError::ElementOrder => {
                Self::bad_request(error.to_string())
            }
            StrategicError::ListOfLists => Self {
                details: Some(Box::new(StatusDetails::default())),
                ..Self::new(Reason::Invalid, "the server rejected our request due to an error in our request")
            },
            StrategicError::Other(text) => Self::new(Reason::Unknown, text),
        }
    }
}

/// Applies a patch. On an error the target is in an unspecified state.
///
/// # Errors
/// For directives that make no sense and elements without their key.
pub fn apply(target: &mut Value, patch: Value, schema: &Schema) -> Result<(), StrategicError> {
    let (Value::Object(original), Value::Object(patch)) = (std::mem::take(target), patch) else {
        return Err(StrategicError::Other("invalid JSON document".to_owned()));
    };
    *target = Value::Object(merge_map(original, patch, Some(schema), DEPTH_MAX)?);
    Ok(())
}

/// How the fields of a map are patched; maps of keys have no strategies of their own.
fn field<'a>(schema: Option<&'a Schema>, name: &str) -> (Option<&'a Schema>, PatchStrategy) {
    match schema {
        Some(Schema::Object { fields, .. }) => {
            let object: &'a Object = fields.get();
            object
                .field(name)
                .map_or((None, PatchStrategy::default()), |field| (Some(&field.schema), field.patch.clone()))
        }
        Some(schema) => (schema.child(name), PatchStrategy::default()),
        None => (None, PatchStrategy::default()),
    }
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: Option<&Schema>,
    depth: usize,
) -> Result<Map<String, Value>, StrategicError> {
    if depth == 0 {
        return Err(StrategicError::Other("the patch is too deep".to_owned()));
    }
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => {
                patch.shift_remove(DIRECTIVE);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => Err(bad_directive(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_orders(&mut original, &mut patch, schema, depth)?;
    for (key, value) in patch {
        let (name, deletes) = match directive_target(&key, DELETE_PREFIX, StrategicError::PrimitiveList)? {
            Some(name) => (name.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.shift_remove(&name);
            continue;
        }
        match (original.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let (schema, strategy) = field(schema, &name);
                if strategy.replace {
                    original.insert(name, Value::Object(new));
                } else {
                    *old = merge_map(std::mem::take(old), new, schema, depth - 1)?;
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let (schema, strategy) = field(schema, &name);
                if strategy.merge || deletes {
                    let list = ListPatch::new(schema, &strategy, depth);
                    *old = list.merge(std::mem::take(old), new, deletes)?;
                } else {
                    original.insert(name, Value::Array(new));
                }
            }
            (Some(old), value) if same_type(old, &value) => *old = value,
            (_, _) if deletes => {}
            (_, value) => match taken(value) {
                Some(value) => {
                    original.insert(name, value);
                }
                None => {
                    original.shift_remove(&name);
                }
            },
        }
    }
    Ok(original)
}

fn bad_directive(directive: &Value, patch: &Map<String, Value>) -> StrategicError {
    StrategicError::Other(format!(
        "unknown patch type: {} in map: {}",
        go::text(directive),
        go::text(&Value::Object(patch.clone()))
    ))
}

fn same_type(one: &Value, other: &Value) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other) && !one.is_object() && !one.is_array()
}

/// The name that a directive's key carries: `$setElementOrder/finalizers`. `None` for other keys.
fn directive_target<'a>(key: &'a str, prefix: &str, wrong: StrategicError) -> Result<Option<&'a str>, StrategicError> {
    let Some(rest) = key.strip_prefix(prefix) else { return Ok(None) };
    rest.strip_prefix('/').map(Some).ok_or(wrong)
}

/// A value that is not merged with anything: without nulls and without what carries a directive.
fn taken(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) => {
            if map.contains_key(DIRECTIVE) {
                return None;
            }
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.filter_map(|(name, value)| Some((name, taken(value)?))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().filter_map(taken).collect()),
        value => value,
    })
}

fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), StrategicError> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(StrategicError::RetainKeys) };
    let retained = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    for (name, value) in &*patch {
        if value.is_null() || name.starts_with(DELETE_PREFIX) || name.starts_with(ORDER_PREFIX) {
            continue;
        }
        if !retained(name) {
            return Err(StrategicError::RetainKeys);
        }
    }
    original.retain(|name, _| retained(name));
    Ok(())
}

/// Merges and orders the lists whose order the patch gives, and takes them out of the patch.
fn set_element_orders(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: Option<&Schema>,
    depth: usize,
) -> Result<(), StrategicError> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
    for key in keys {
        let Some(name) = directive_target(&key, ORDER_PREFIX, StrategicError::ElementOrder)? else { continue };
        let order = list_of(patch.shift_remove(&key).unwrap_or_default())?;
        let present = original.get(name).cloned().map(list_of).transpose()?;
        let patched = patch.get(name).cloned().map(list_of).transpose()?;
        let (schema, strategy) = field(schema, name);
        let list = ListPatch::new(schema, &strategy, depth);
        list.check_order(patched.as_deref().unwrap_or_default(), &order)?;
        let merged = match (&present, patched) {
            (None, None) => continue,
            (Some(present), None) => present.clone(),
            (None, Some(patched)) => patched.into_iter().filter_map(taken).collect(),
            (Some(present), Some(patched)) if strategy.merge => list.merge(present.clone(), patched, false)?,
            (Some(_), Some(patched)) => patched,
        };
        let ordered = list.order(merged, &order, present.as_deref().unwrap_or_default())?;
        original.insert(name.to_owned(), Value::Array(ordered));
        patch.shift_remove(name);
    }
    Ok(())
}

fn list_of(value: Value) -> Result<Vec<Value>, StrategicError> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(StrategicError::Other(format!(
            "expected a []interface {{}}, but received a {}",
            match other {
                Value::Object(_) => "map[string]interface {}",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                Value::Number(_) => "int64",
                _ => "<nil>",
            }
        ))),
    }
}
