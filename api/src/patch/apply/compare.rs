//! What changed between two values, path by path.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use super::typed::{MapShape, Shape, element_of, shape};
use crate::schema::{ListKind, Schema};

/// The paths on which two values differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Only in the new value.
    pub added: FieldSet,
    /// In both, with another value.
    pub modified: FieldSet,
    /// Only in the old value.
    pub removed: FieldSet,
}

impl Comparison {
    /// The same without what lies below the members of a set.
    #[must_use]
    pub fn without_below(mut self, set: &FieldSet) -> Self {
        for own in [&mut self.added, &mut self.modified, &mut self.removed] {
            own.subtract_below(set);
        }
        self
    }

    /// What the writer of the new value set.
    pub fn set(&self) -> FieldSet {
        self.added.union(&self.modified)
    }

    /// The same, for a comparison that nobody needs any more.
    pub fn into_set(self) -> FieldSet {
        self.added.united(self.modified)
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    fn attach(&mut self, element: impl Fn() -> Element, below: Self) {
        for (own, below) in
            [(&mut self.added, below.added), (&mut self.modified, below.modified), (&mut self.removed, below.removed)]
        {
            if !below.nodes.is_empty() {
                own.attach(element(), below);
            }
        }
    }
}

/// The difference of two objects.
pub fn compare(old: &Value, new: &Value, schema: &Schema) -> Comparison {
    let mut comparison = Comparison::default();
    if old != new {
        parts(Some(old), Some(new), schema, &mut comparison);
    }
    comparison
}

/// Compares what a path holds and adds to `out` what differs, under `element`.
fn at(
    old: Option<&Value>,
    new: Option<&Value>,
    schema: Option<&Schema>,
    element: impl Fn() -> Element,
    out: &mut Comparison,
) {
    if let (Some(old), Some(new)) = (old, new)
        && old == new
    {
        return;
    }
    let mut below = Comparison::default();
    let leaf = schema.is_none_or(|schema| parts(old, new, schema, &mut below));
    out.attach(&element, below);
    match (old, new) {
        (None, Some(_)) => out.added.insert(element()),
        (Some(_), None) => out.removed.insert(element()),
        (Some(_), Some(_)) if leaf => out.modified.insert(element()),
        _ => {}
    }
}

/// Compares the parts of two values. Whether they are one leaf, which counts as a whole.
fn parts(old: Option<&Value>, new: Option<&Value>, schema: &Schema, out: &mut Comparison) -> bool {
    match shape(schema, [old, new]) {
        Shape::Leaf => true,
        Shape::Map(members) => maps(old, new, members, out),
        Shape::List(element, kind) => lists(old, new, element, kind, out),
    }
}

fn maps(old: Option<&Value>, new: Option<&Value>, members: MapShape<'_>, out: &mut Comparison) -> bool {
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    if old.is_none_or(Map::is_empty) && new.is_none_or(Map::is_empty) {
        return true;
    }
    for (name, value) in old.into_iter().flatten() {
        let after = new.and_then(|new| new.get(name));
        at(Some(value), after, members.member(name), || members.element(name), out);
    }
    for (name, value) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            at(None, Some(value), members.member(name), || members.element(name), out);
        }
    }
    false
}

/// The elements of a list by their path; elements that share one stay together.
fn index<'a>(list: Option<&'a [Value]>, schema: &Schema, kind: &ListKind) -> Vec<(Element, Vec<&'a Value>)> {
    let mut places: HashMap<Element, usize> = HashMap::new();
    let mut all: Vec<(Element, Vec<&Value>)> = Vec::new();
    for (index, item) in list.into_iter().flatten().enumerate() {
        let Ok(element) = element_of(schema, kind, item, index) else { continue };
        if let Some(place) = places.get(&element) {
            all[*place].1.push(item);
        } else {
            places.insert(element.clone(), all.len());
            all.push((element, vec![item]));
        }
    }
    all
}

fn lists(old: Option<&Value>, new: Option<&Value>, schema: &Schema, kind: &ListKind, out: &mut Comparison) -> bool {
    let (old, new) =
        (old.and_then(Value::as_array).map(Vec::as_slice), new.and_then(Value::as_array).map(Vec::as_slice));
    if old.is_none_or(<[Value]>::is_empty) && new.is_none_or(<[Value]>::is_empty) {
        return true;
    }
    let (old, new) = (index(old, schema, kind), index(new, schema, kind));
    let places: HashMap<&Element, usize> =
        new.iter().enumerate().map(|(place, (element, _))| (element, place)).collect();
    let mut met = vec![false; new.len()];
    for (element, before) in &old {
        let after = places.get(element).map(|place| {
            met[*place] = true;
            &new[*place].1
        });
        pair(Some(before), after, schema, element, out);
    }
    for ((element, after), met) in new.iter().zip(met) {
        if !met {
            pair(None, Some(after), schema, element, out);
        }
    }
    false
}

/// Compares the elements that share a path; twins count as a whole.
fn pair(
    old: Option<&Vec<&Value>>,
    new: Option<&Vec<&Value>>,
    schema: &Schema,
    element: &Element,
    out: &mut Comparison,
) {
    let single = |items: Option<&Vec<&Value>>| items.is_none_or(|items| items.len() == 1);
    if single(old) && single(new) {
        at(
            old.and_then(|items| items.first().copied()),
            new.and_then(|items| items.first().copied()),
            Some(schema),
            || element.clone(),
            out,
        );
        return;
    }
    match (old, new) {
        (None, Some(_)) => out.added.insert(element.clone()),
        (Some(_), None) => out.removed.insert(element.clone()),
        (Some(old), Some(new)) if old != new => out.modified.insert(element.clone()),
        _ => {}
    }
}
