//! Values seen through a schema: the paths that a value has, and what about it does not fit.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Map, Value};

use super::encoding::escape;
use super::set::{Element, FieldSet};
use crate::json::Json;
use crate::schema::{ListKind, ObjectRef, Scalar, Schema};

/// A value's schema after its type is known, for those that several types fit.
pub(super) enum Shape<'a> {
    /// One value, owned as a whole.
    Leaf,
    /// Fields or keys.
    Map(MapShape<'a>),
    /// Elements with keys.
    List(&'a Schema, &'a ListKind),
}

/// What a map's members are.
#[derive(Clone, Copy)]
pub(super) enum MapShape<'a> {
    Fields(&'a ObjectRef),
    Keys(&'a Schema),
}

impl<'a> MapShape<'a> {
    /// The path element of a member and its schema.
    pub fn part(self, name: &str) -> (Element, Option<&'a Schema>) {
        match self {
            Self::Fields(fields) => match fields.get().field(name) {
                Some(field) => (Element::Field(field.name.clone()), Some(&field.schema)),
                None => (Element::field(name), None),
            },
            Self::Keys(element) => (Element::field(name), Some(element)),
        }
    }

    /// The schema of a member.
    pub fn member(self, name: &str) -> Option<&'a Schema> {
        match self {
            Self::Fields(fields) => fields.get().field(name).map(|field| &field.schema),
            Self::Keys(element) => Some(element),
        }
    }

    pub fn declares(self, name: &str) -> bool {
        matches!(self, Self::Fields(_)) && self.member(name).is_some()
    }
}

/// The shape of a value: `null` and absent values take any.
pub(super) fn shape<'a, 'j>(schema: &'a Schema, values: [Option<impl Json<'j>>; 2]) -> Shape<'a> {
    match schema {
        Schema::Scalar(_) | Schema::Opaque => Shape::Leaf,
        Schema::Object { atomic: true, .. } | Schema::Map { atomic: true, .. } => Shape::Leaf,
        Schema::List { kind: ListKind::Atomic, .. } => Shape::Leaf,
        Schema::Object { fields, .. } => Shape::Map(MapShape::Fields(fields)),
        Schema::Map { element, .. } => Shape::Map(MapShape::Keys(element)),
        Schema::List { element, kind } => Shape::List(element, kind),
        Schema::Undeclared => {
            let maps = values.iter().flatten().filter(|value| value.is_object()).count();
            let others = values.iter().flatten().filter(|value| !value.is_object() && !value.is_null()).count();
            if maps > 0 && others == 0 { Shape::Map(MapShape::Keys(schema)) } else { Shape::Leaf }
        }
    }
}

/// Why an element of a list has no path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoElement(String);

/// The path element of a list's element.
pub(super) fn element_of<'j>(
    schema: &Schema,
    kind: &ListKind,
    item: impl Json<'j>,
    index: usize,
) -> Result<Element, NoElement> {
    let refused = |why: &str| Err(NoElement(why.to_owned()));
    match kind {
        ListKind::Atomic => Ok(Element::Index(i64::try_from(index).unwrap_or(i64::MAX))),
        ListKind::Set if item.is_object() => refused("associative list without keys has an element that's a map type"),
        ListKind::Set if item.is_array() => refused("not supported: associative list with lists as elements"),
        ListKind::Set if item.is_null() => {
            refused("associative list without keys has an element that's an explicit null")
        }
        ListKind::Set => Ok(Element::Value(item.text().into())),
        ListKind::Map(_) if item.is_null() => refused("associative list with keys may not have a null element"),
        ListKind::Map(_) if !item.is_object() => refused("associative list with keys may not have non-map elements"),
        ListKind::Map(keys) => {
            let mut names: Cow<'_, [Cow<'static, str>]> = Cow::Borrowed(keys);
            if !names.is_sorted() {
                names.to_mut().sort_unstable();
            }
            let mut text = String::from("{");
            for (place, name) in names.iter().enumerate() {
                let default = || schema.object()?.field(name)?.default.as_ref();
                let own = item.member(name).map(Json::text);
                let Some(value) = own.or_else(|| default().map(Json::text)) else {
                    return Err(NoElement(format!(
                        "associative list with keys has an element that omits key field {name:?} (and doesn't have \
                         default value)"
                    )));
                };
                if place > 0 {
                    text.push(',');
                }
                text.push('"');
                escape(name, &mut text);
                text.push_str("\":");
                text.push_str(&value);
            }
            text.push('}');
            Ok(Element::Key(text.into()))
        }
    }
}

/// The paths of an applied value. Structures are no members of their own, elements and keys are.
pub fn field_set(value: &Value, schema: &Schema) -> FieldSet {
    let mut set = FieldSet::default();
    collect(value, schema, &mut set);
    set
}

/// Whether the value itself is one leaf, which its holder must add; else adds its parts to `set`.
fn collect(value: &Value, schema: &Schema, set: &mut FieldSet) -> bool {
    match shape(schema, [Some(value), None]) {
        Shape::Leaf => true,
        Shape::Map(members) => {
            let Value::Object(map) = value else { return false };
            for (name, value) in map {
                let (element, schema) = members.part(name);
                let mut below = FieldSet::default();
                let leaf = schema.is_none_or(|schema| collect(value, schema, &mut below));
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                let node = set.entry(element);
                node.member |= leaf || empty || !members.declares(name);
                node.below = below;
            }
            false
        }
        Shape::List(schema, kind) => {
            let Value::Array(items) = value else { return false };
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                let Ok(element) = element_of(schema, kind, item, index) else { continue };
                if !seen.insert(element.clone()) {
                    // Twins are owned as a whole.
                    let node = set.entry(element);
                    node.member = true;
                    node.below = FieldSet::default();
                    continue;
                }
                let mut below = FieldSet::default();
                collect(item, schema, &mut below);
                let node = set.entry(element);
                node.member = true;
                node.below = below;
            }
            false
        }
    }
}

/// What does not fit an applied value, in upstream's words, one line each with its path.
pub fn mistakes(value: &Value, schema: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    check(value, schema, &mut String::new(), &mut found);
    found
}

/// The words for several mistakes.
pub fn mistakes_text(mistakes: &[String]) -> String {
    match mistakes {
        [one] => one.clone(),
        many => many.iter().fold("errors:".to_owned(), |text, one| text + "\n  " + one),
    }
}

fn check(value: &Value, schema: &Schema, path: &mut String, found: &mut Vec<String>) {
    let mut wrong = |what: String| {
        found.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    if value.is_null() {
        return;
    }
    match schema {
        Schema::Scalar(Scalar::Number) if !value.is_number() => {
            wrong(format!("expected numeric (int or float), got {}", go_type(value)));
        }
        Schema::Scalar(Scalar::String) if !value.is_string() => {
            wrong(format!("expected string, got &value.valueUnstructured{{Value:{value}}}"))
        }
        Schema::Scalar(Scalar::Boolean) if !value.is_boolean() => {
            wrong(format!("expected boolean, got {}", plain(value)))
        }
        Schema::Scalar(Scalar::Any) if value.is_object() || value.is_array() => {
            wrong(format!("expected any scalar, got {}", plain(value)));
        }
        Schema::Object { .. } | Schema::Map { .. } if !value.is_object() => {
            wrong(format!("expected map, got &{{{}}}", plain(value)));
        }
        Schema::List { .. } if !value.is_array() => wrong(format!("expected list, got &{{{}}}", plain(value))),
        Schema::Object { fields, .. } => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                match fields.get().field(name) {
                    Some(field) => check(value, &field.schema, path, found),
                    None => found.push(format!("{path}: field not declared in schema")),
                }
                path.truncate(length);
            }
        }
        Schema::Map { element, .. } => {
            for (name, value) in value.as_object().into_iter().flatten() {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                check(value, element, path, found);
                path.truncate(length);
            }
        }
        Schema::List { element, kind } => {
            let mut seen = HashSet::new();
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                let length = path.len();
                match element_of(element, kind, item, index) {
                    Err(NoElement(why)) => {
                        found.push(format!("{path}: element {index}: {why}"));
                        continue;
                    }
                    Ok(at) => {
                        let text = at.to_string();
                        if !seen.insert(at) {
                            found.push(format!("{path}: duplicate entries for key {text}"));
                        }
                        path.push_str(&text);
                    }
                }
                check(item, element, path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Number(number) if number.is_f64() => "float64",
        _ => "int64",
    }
}

fn plain(value: &Value) -> String {
    crate::patch::go::text(value)
}
