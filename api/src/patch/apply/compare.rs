//! What changed between two values, path by path.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::set::{Element, FieldSet, Node};
use super::typed::{MapShape, Shape, element_of, shape};
use crate::json::Json;
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

    fn attach(&mut self, element: &Element, below: Self) {
        for (own, below) in
            [(&mut self.added, below.added), (&mut self.modified, below.modified), (&mut self.removed, below.removed)]
        {
            if !below.nodes.is_empty() {
                own.attach(element.clone(), below);
            }
        }
    }
}

/// The difference of two objects.
pub fn compare<'a, J: Json<'a>>(old: J, new: J, schema: &Schema) -> Comparison {
    let mut comparison = Comparison::default();
    if !old.is_surely(new) {
        parts(Some(old), Some(new), schema, &mut comparison);
    }
    comparison
}

/// Compares what a path holds and adds to `out` what differs, under `element`.
fn at<'a, J: Json<'a>>(old: J, new: J, schema: Option<&Schema>, element: Element, out: &mut Comparison) {
    if old.is_surely(new) {
        return;
    }
    let mut below = Comparison::default();
    let leaf = schema.is_none_or(|schema| parts(Some(old), Some(new), schema, &mut below));
    if leaf && !old.equals(new) {
        out.modified.insert(element);
    } else {
        out.attach(&element, below);
    }
}

/// All paths of a value that only one side has, itself included.
fn whole<'a, J: Json<'a>>(value: J, schema: Option<&Schema>) -> Node {
    let mut below = FieldSet::default();
    match schema.map_or(Shape::Leaf, |schema| shape(schema, [Some(value), None])) {
        Shape::Leaf => {}
        Shape::Map(members) => {
            for (name, value) in value.members() {
                let (element, schema) = members.part(&name);
                *below.entry(element) = whole(value, schema);
            }
        }
        Shape::List(schema, kind) => {
            for (element, items) in index(Some(value), schema, kind) {
                *below.entry(element) = wholes(&items, schema);
            }
        }
    }
    Node { member: true, below }
}

/// The same for the elements that share a path; twins count as a whole.
fn wholes<'a, J: Json<'a>>(items: &[J], schema: &Schema) -> Node {
    match items {
        [one] => whole(*one, Some(schema)),
        _ => Node { member: true, below: FieldSet::default() },
    }
}

/// Compares the parts of two values. Whether they are one leaf, which counts as a whole.
fn parts<'a, J: Json<'a>>(old: Option<J>, new: Option<J>, schema: &Schema, out: &mut Comparison) -> bool {
    match shape(schema, [old, new]) {
        Shape::Leaf => true,
        Shape::Map(members) => maps(old, new, members, out),
        Shape::List(element, kind) => lists(old, new, element, kind, out),
    }
}

/// One side's parts and whether the other side's have been compared with them. Most of the time both sides have the
/// same parts in the same order.
struct Parts<K, V> {
    all: Vec<(K, V, bool)>,
    next: usize,
}

impl<K: PartialEq, V> Parts<K, V> {
    fn new(all: impl Iterator<Item = (K, V)>) -> Self {
        Self { all: all.map(|(key, value)| (key, value, false)).collect(), next: 0 }
    }

    /// The part of a key, which counts as met from now on.
    fn meet(&mut self, key: &K) -> Option<&V> {
        let at = match self.all.get(self.next) {
            Some((own, ..)) if own == key => self.next,
            _ => self.all.iter().position(|(own, ..)| own == key)?,
        };
        self.next = at + 1;
        let (_, value, met) = &mut self.all[at];
        *met = true;
        Some(value)
    }

    fn not_met(&self) -> impl Iterator<Item = (&K, &V)> {
        self.all.iter().filter(|(.., met)| !met).map(|(key, value, _)| (key, value))
    }
}

fn maps<'a, J: Json<'a>>(old: Option<J>, new: Option<J>, members: MapShape<'_>, out: &mut Comparison) -> bool {
    let empty = |side: Option<J>| side.is_none_or(|side| side.members().next().is_none());
    if empty(old) && empty(new) {
        return true;
    }
    let mut after: Parts<Cow<'a, str>, J> = Parts::new(new.into_iter().flat_map(Json::members));
    for (name, before) in old.into_iter().flat_map(Json::members) {
        match after.meet(&name) {
            Some(after) if before.is_surely(*after) => {}
            Some(after) => {
                let (element, schema) = members.part(&name);
                at(before, *after, schema, element, out);
            }
            None => {
                let (element, schema) = members.part(&name);
                *out.removed.entry(element) = whole(before, schema);
            }
        }
    }
    for (name, value) in after.not_met() {
        let (element, schema) = members.part(name);
        *out.added.entry(element) = whole(*value, schema);
    }
    false
}

/// The elements of a list in order of their paths; elements that share one stay together.
fn index<'a, J: Json<'a>>(list: Option<J>, schema: &Schema, kind: &ListKind) -> Vec<(Element, Vec<J>)> {
    let items = list.into_iter().flat_map(Json::items).enumerate();
    let paths = items.filter_map(|(index, item)| Some((element_of(schema, kind, item, index).ok()?, item)));
    let mut all: Vec<(Element, J)> = paths.collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut by_path: Vec<(Element, Vec<J>)> = Vec::with_capacity(all.len());
    for (element, item) in all {
        match by_path.last_mut() {
            Some((last, items)) if *last == element => items.push(item),
            _ => by_path.push((element, vec![item])),
        }
    }
    by_path
}

fn lists<'a, J: Json<'a>>(
    old: Option<J>,
    new: Option<J>,
    schema: &Schema,
    kind: &ListKind,
    out: &mut Comparison,
) -> bool {
    let empty = |side: Option<J>| side.is_none_or(|side| side.items().next().is_none());
    if empty(old) && empty(new) {
        return true;
    }
    let mut before = index(old, schema, kind).into_iter().peekable();
    let mut after = index(new, schema, kind).into_iter().peekable();
    // Both are in order of their paths.
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return false,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        match (old, new) {
            (Some((element, old)), Some((_, new))) => pair(&old, &new, schema, element, out),
            (Some((element, old)), None) => *out.removed.entry(element) = wholes(&old, schema),
            (None, Some((element, new))) => *out.added.entry(element) = wholes(&new, schema),
            (None, None) => {}
        }
    }
}

/// Compares the elements that share a path; twins count as a whole.
fn pair<'a, J: Json<'a>>(old: &[J], new: &[J], schema: &Schema, element: Element, out: &mut Comparison) {
    if let ([old], [new]) = (old, new) {
        return at(*old, *new, Some(schema), element, out);
    }
    let same = old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.equals(*new));
    if !same {
        out.modified.insert(element);
    }
}
