//! Lists that merge: scalars as sets, maps by a key.

use serde_json::{Map, Value};

use super::{DIRECTIVE, StrategicError, bad_directive, merge_map, taken};
use crate::patch::go;
use crate::schema::{PatchStrategy, Schema};

/// How one list is patched.
pub(super) struct ListPatch<'a> {
    element: Option<&'a Schema>,
    merge_key: Option<String>,
    depth: usize,
}

impl<'a> ListPatch<'a> {
    pub fn new(schema: Option<&'a Schema>, strategy: &PatchStrategy, depth: usize) -> Self {
        Self {
            element: schema.and_then(Schema::element),
            merge_key: strategy.merge_key.as_deref().map(str::to_owned),
            depth,
        }
    }

    /// The two lists as one, in the order of the patch where that gives one.
    pub fn merge(&self, original: Vec<Value>, patch: Vec<Value>, deletes: bool) -> Result<Vec<Value>, StrategicError> {
        if original.is_empty() && patch.is_empty() {
            return Ok(original);
        }
        if !are_maps(&original, &patch)? {
            if deletes {
                return Ok(original.into_iter().filter(|item| !patch.contains(item)).collect());
            }
            let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
            for item in original.iter().chain(&patch) {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            return interleave(merged, &patch, &original, &|item| Ok(item.clone()));
        }
        let Some(key) = &self.merge_key else {
            let name = self.element.and_then(Schema::object).map_or("", |object| object.name.as_ref());
            return Err(StrategicError::Other(format!("cannot merge lists without merge key for {name}")));
        };
        let before = original.clone();
        let (mut merged, patch) = special_elements(original, patch, key)?;
        for item in patch.clone() {
            let wanted = key_of(&item, key)?;
            let found = find(&merged, key, &wanted)?;
            match (found, item) {
                (Some(index), Value::Object(item)) => {
                    let Value::Object(old) = std::mem::take(&mut merged[index]) else { continue };
                    merged[index] = Value::Object(merge_map(old, item, self.element, self.depth - 1)?);
                }
                (_, item) => merged.extend(taken(item)),
            }
        }
        interleave(merged, &patch, &before, &|item| key_of(item, key))
    }

    /// Puts merged elements into the given order; others keep their place.
    pub fn order(&self, merged: Vec<Value>, order: &[Value], original: &[Value]) -> Result<Vec<Value>, StrategicError> {
        match &self.merge_key {
            Some(key) => interleave(merged, order, original, &|item| key_of(item, key)),
            None => interleave(merged, order, original, &|item| Ok(item.clone())),
        }
    }

    /// Whether the patch's elements come in the order that it gives.
    pub fn check_order(&self, patch: &[Value], order: &[Value]) -> Result<(), StrategicError> {
        let id = |item: &Value| match &self.merge_key {
            Some(key) => key_of(item, key),
            None => Ok(item.clone()),
        };
        let mut places = order.iter();
        for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none_or(|directive| directive != "delete")) {
            let wanted = id(item)?;
            let mut found = false;
            for place in places.by_ref() {
                if id(place)? == wanted {
                    found = true;
                    break;
                }
            }
            if !found {
                return Err(StrategicError::Other(format!(
                    "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                    go::text(&Value::Array(patch.to_vec())),
                    go::text(&Value::Array(order.to_vec()))
                )));
            }
        }
        Ok(())
    }
}

/// Whether the elements are maps; all must be of one type.
fn are_maps(original: &[Value], patch: &[Value]) -> Result<bool, StrategicError> {
    let mut first: Option<&Value> = None;
    for item in original.iter().chain(patch) {
        if item.is_array() {
            return Err(StrategicError::ListOfLists);
        }
        match first {
            None => first = Some(item),
            Some(first) if std::mem::discriminant(first) == std::mem::discriminant(item) => {}
            Some(_) => return Err(StrategicError::Other("list element types are not identical".to_owned())),
        }
    }
    Ok(first.is_some_and(Value::is_object))
}

fn key_of(item: &Value, key: &str) -> Result<Value, StrategicError> {
    item.get(key).cloned().ok_or_else(|| {
        StrategicError::Other(format!("map: {} does not contain declared merge key: {key}", go::text(item)))
    })
}

fn find(list: &[Value], key: &str, wanted: &Value) -> Result<Option<usize>, StrategicError> {
    for (index, item) in list.iter().enumerate() {
        let own = key_of(item, key)?;
        if own == *wanted || go::text(&own) == go::text(wanted) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Carries out the elements that are directives: the list and the rest of the patch.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), StrategicError> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut replace = false;
    for item in patch {
        let empty = Map::new();
        let map = item.as_object().unwrap_or(&empty);
        let Some(directive) = map.get(DIRECTIVE) else {
            rest.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let wanted = key_of(&item, key)?;
                while let Some(index) = find(&original, key, &wanted)? {
                    original.remove(index);
                }
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(StrategicError::Other("merging lists cannot yet be specified in the patch".to_owned()));
            }
            _ => return Err(bad_directive(directive, map)),
        }
    }
    if replace { Ok((rest, Vec::new())) } else { Ok((original, rest)) }
}

/// Elements that the order names, in that order, woven into the others, which keep the server's order.
fn interleave(
    merged: Vec<Value>,
    order: &[Value],
    server: &[Value],
    id: &dyn Fn(&Value) -> Result<Value, StrategicError>,
) -> Result<Vec<Value>, StrategicError> {
    let ids = |list: &[Value]| list.iter().map(id).collect::<Result<Vec<_>, _>>();
    let (order, server) = (ids(order)?, ids(server)?);
    let place = |list: &[Value], wanted: &Value| list.iter().position(|own| own == wanted);
    let mut named: Vec<(usize, Value, Option<usize>)> = Vec::new();
    let mut others: Vec<(Option<usize>, Value)> = Vec::new();
    for item in merged {
        let own = id(&item)?;
        match place(&order, &own) {
            Some(at) => named.push((at, item, place(&server, &own))),
            None => others.push((place(&server, &own), item)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(at, _)| at.unwrap_or(usize::MAX));
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut out = Vec::new();
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((Some(left), _)), Some((_, _, Some(right)))) => left < right,
            _ => false,
        };
        if other_first {
            out.extend(others.next().map(|(_, item)| item));
        } else {
            out.extend(named.next().map(|(_, item, _)| item));
        }
    }
}
