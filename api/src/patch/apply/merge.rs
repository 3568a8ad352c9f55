//! Merges an applied configuration into a live object, and takes paths out of one.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use super::typed::{MapShape, Shape, element_of, shape};
use crate::schema::{ListKind, Schema};

/// The live object with what the configuration says. Keys and elements that only one side has stay.
pub fn merge(live: &Value, applied: &Value, schema: &Schema) -> Value {
    both(Some(live), Some(applied), schema).unwrap_or(Value::Null)
}

fn both(live: Option<&Value>, applied: Option<&Value>, schema: &Schema) -> Option<Value> {
    let leaf = || applied.or(live).cloned();
    // Only one side: there is nothing to merge.
    if live.is_none() || applied.is_none() {
        return leaf();
    }
    match shape(schema, [live, applied]) {
        Shape::Leaf => leaf(),
        Shape::Map(members) => {
            let (old, new) = (live.and_then(Value::as_object), applied.and_then(Value::as_object));
            if old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty) {
                return leaf();
            }
            let out = maps(old, new, members);
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Shape::List(element, kind) => {
            let (old, new) = (live.and_then(Value::as_array), applied.and_then(Value::as_array));
            if old.is_none_or(Vec::is_empty) && new.is_none_or(Vec::is_empty) {
                return leaf();
            }
            let none = Vec::new();
            let out = lists(old.unwrap_or(&none), new.unwrap_or(&none), element, kind);
            (!out.is_empty()).then_some(Value::Array(out))
        }
    }
}

fn maps(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    members: MapShape<'_>,
) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in old.into_iter().flatten() {
        let applied = new.and_then(|new| new.get(name));
        let merged = match members.member(name) {
            Some(schema) => both(Some(value), applied, schema),
            None => applied.or(Some(value)).cloned(),
        };
        if let Some(value) = merged {
            out.insert(name.clone(), value);
        }
    }
    for (name, value) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            out.insert(name.clone(), value.clone());
        }
    }
    out
}

/// Elements keep the live order, except that those of the configuration keep the order among themselves.
fn lists(live: &[Value], applied: &[Value], schema: &Schema, kind: &ListKind) -> Vec<Value> {
    let paths = |list: &[Value]| -> Vec<Option<Element>> {
        list.iter().enumerate().map(|(index, item)| element_of(schema, kind, item, index).ok()).collect()
    };
    let (left, right) = (paths(live), paths(applied));
    let mut left_items: HashMap<&Element, Option<&Value>> = HashMap::new();
    for (path, item) in left.iter().zip(live) {
        if let Some(path) = path {
            // Twins cannot be merged with.
            left_items.entry(path).and_modify(|twin| *twin = None).or_insert(Some(item));
        }
    }
    let right_items: HashMap<&Element, &Value> =
        right.iter().zip(applied).filter_map(|(path, item)| Some((path.as_ref()?, item))).collect();
    let mut shared = right.iter().flatten().filter(|path| left_items.contains_key(path)).peekable();
    let mut merged: HashMap<&Element, ()> = HashMap::new();
    let mut out = Vec::with_capacity(live.len().max(applied.len()));
    let join = |path: &Element, out: &mut Vec<Value>| {
        let live = left_items.get(path).copied().flatten();
        out.extend(both(live, right_items.get(path).copied(), schema));
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some(path), Some(other)) = (left.get(l), right.get(r)) {
            if let (Some(path), Some(other)) = (path, other)
                && path == other
            {
                merged.insert(path, ());
                join(path, &mut out);
                l += 1;
                r += 1;
                shared.next();
                continue;
            }
            if let (Some(path), Some(next)) = (path, shared.peek())
                && right_items.contains_key(path)
                && *next != path
            {
                // Its turn comes when the configuration names it.
                l += 1;
                continue;
            }
        }
        if let Some(path) = left.get(l) {
            let known = path.as_ref().is_some_and(|path| right_items.contains_key(path));
            if !known {
                out.push(live[l].clone());
                l += 1;
                continue;
            }
            if path.as_ref().is_some_and(|path| merged.contains_key(path)) {
                l += 1;
            }
        }
        if r < right.len() {
            if let Some(path) = &right[r] {
                merged.insert(path, ());
                join(path, &mut out);
                if shared.peek() == Some(&path) {
                    shared.next();
                }
            } else {
                out.push(applied[r].clone());
            }
            r += 1;
        }
    }
    out
}

/// The value without the paths of a set; `null` when nothing is left of a map or list.
pub fn remove(value: &Value, paths: &FieldSet, schema: &Schema) -> Value {
    match shape(schema, [Some(value), None]) {
        Shape::Leaf => value.clone(),
        Shape::Map(members) => {
            let Value::Object(map) = value else { return Value::Null };
            let mut out = Map::new();
            for (name, value) in map {
                let Some(node) = paths.get(&Element::field(name)) else {
                    out.insert(name.clone(), value.clone());
                    continue;
                };
                if node.member {
                    continue;
                }
                let kept = match members.member(name) {
                    Some(schema) if !node.below.is_empty() => remove(value, &node.below, schema),
                    _ => value.clone(),
                };
                out.insert(name.clone(), kept);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        Shape::List(schema, kind) => {
            let Value::Array(list) = value else { return Value::Null };
            let mut out = Vec::with_capacity(list.len());
            for (index, item) in list.iter().enumerate() {
                let node = element_of(schema, kind, item, index).ok().and_then(|element| paths.get(&element));
                match node {
                    Some(node) if node.member => {}
                    Some(node) if !node.below.is_empty() => out.push(remove(item, &node.below, schema)),
                    _ => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
    }
}

/// The set with every declared field on the way to a member: taking all of a structure's fields takes the
/// structure.
pub(super) fn with_named_fields(set: &FieldSet, schema: &Schema) -> FieldSet {
    let mut nodes = Vec::with_capacity(set.nodes.len());
    for (element, node) in &set.nodes {
        let (member, below_schema) = match element {
            Element::Field(name) => {
                let declared = schema.object().is_some_and(|object| object.field(name).is_some());
                (declared && !node.below.is_empty(), schema.child(name))
            }
            _ => (false, schema.element()),
        };
        let mut node = node.clone();
        node.member |= member;
        if let Some(schema) = below_schema {
            node.below = with_named_fields(&node.below, schema);
        }
        nodes.push((element.clone(), node));
    }
    FieldSet { nodes }
}
