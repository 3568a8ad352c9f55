//! Field sets as JSON (`fieldsV1`): `f:name`, `k:{…}`, `v:…`, `i:0`, and `.` for the node itself.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet};
use crate::json::{Json, Node};

/// How deep a set may be; deeper ones are refused.
const DEPTH_MAX: usize = 200;

/// A text that is not a field set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FieldsError(String);

impl FieldSet {
    /// From `fieldsV1`.
    ///
    /// # Errors
    /// For a key that is no path element, or a value that is no object.
    pub fn from_fields_v1<'a>(fields: impl Json<'a>) -> Result<Self, FieldsError> {
        decode(fields, DEPTH_MAX)
    }

    /// As `fieldsV1`, in compact text.
    pub fn to_fields_v1(&self) -> String {
        let mut text = String::with_capacity(64 * self.nodes.len());
        self.write(false, &mut text);
        text
    }

    fn write(&self, member: bool, text: &mut String) {
        text.push('{');
        let empty = text.len();
        for (element, node) in self.nodes.iter().filter(|(_, node)| node.member || !node.below.is_empty()) {
            if text.len() > empty {
                text.push(',');
            } else if member {
                text.push_str("\".\":{},");
            }
            encode(element, text);
            text.push(':');
            node.below.write(node.member, text);
        }
        text.push('}');
    }
}

/// Writes an element as the name that it has in `fieldsV1`.
fn encode(element: &Element, text: &mut String) {
    text.push('"');
    match element {
        Element::Field(name) => {
            text.push_str("f:");
            escape(name, text);
        }
        Element::Key(key) => {
            text.push_str("k:");
            escape(key, text);
        }
        Element::Value(value) => {
            text.push_str("v:");
            escape(value, text);
        }
        Element::Index(index) => {
            text.push_str("i:");
            text.push_str(&index.to_string());
        }
    }
    text.push('"');
}

/// Writes what stands between the quotes of a JSON string.
pub(super) fn escape(plain: &str, text: &mut String) {
    let mut rest = plain;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\') || byte < 0x20) {
        text.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            byte @ (b'"' | b'\\') => {
                text.push('\\');
                text.push(char::from(byte));
            }
            control => {
                let quoted = Value::from(char::from(control).to_string()).to_string();
                text.push_str(quoted.trim_matches('"'));
            }
        }
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
}

fn decode<'a>(fields: impl Json<'a>, depth: usize) -> Result<FieldSet, FieldsError> {
    if !fields.is_object() {
        return Err(FieldsError("a field set must be an object".to_owned()));
    }
    if depth == 0 {
        return Err(FieldsError("a field set is too deep".to_owned()));
    }
    let mut nodes = Vec::new();
    for (name, below) in fields.members().filter(|(name, _)| name != ".") {
        let below_set = decode(below, depth - 1)?;
        let member = below_set.nodes.is_empty() || is_member(below);
        nodes.push((element(&name)?, super::set::Node { member, below: below_set }));
    }
    nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
    nodes.dedup_by(|(one, _), (other, _)| one == other);
    Ok(FieldSet { nodes })
}

/// Whether a path that ends here belongs to the set.
fn is_member<'a>(fields: impl Json<'a>) -> bool {
    fields.members().next().is_none_or(|(name, _)| name == ".") || fields.member(".").is_some()
}

/// Whether the name is that of the element.
fn names(name: &str, element: &Element) -> bool {
    let Some((kind, rest)) = name.split_once(':') else { return false };
    match element {
        Element::Field(field) => kind == "f" && rest == field,
        Element::Key(key) => kind == "k" && rest == &**key,
        Element::Value(value) => kind == "v" && rest == &**value,
        Element::Index(index) => kind == "i" && rest == index.to_string(),
    }
}

/// Whether a set has anything that canonical `fieldsV1` have.
pub(super) fn touches<'a>(fields: impl Json<'a>, set: &FieldSet) -> bool {
    set.nodes.iter().any(|(element, node)| {
        fields
            .members()
            .find(|(name, _)| names(name, element))
            .is_some_and(|(_, below)| (node.member && is_member(below)) || touches(below, &node.below))
    })
}

/// Whether canonical `fieldsV1` have all that a set has.
pub(super) fn holds<'a>(fields: impl Json<'a>, set: &FieldSet) -> bool {
    set.nodes.iter().all(|(element, node)| {
        node.is_empty()
            || fields
                .members()
                .find(|(name, _)| names(name, element))
                .is_some_and(|(_, below)| (!node.member || is_member(below)) && holds(below, &node.below))
    })
}

/// How a name stands to an element, in the order of sets.
fn order(name: &str, element: &Element) -> Ordering {
    let (kind, rest) = name.split_once(':').unwrap_or_default();
    let rank = |kind: &str| ["f", "k", "v", "i"].iter().position(|own| *own == kind);
    match element {
        Element::Field(field) => rank(kind).cmp(&Some(0)).then_with(|| rest.cmp(field)),
        Element::Key(key) => rank(kind).cmp(&Some(1)).then_with(|| rest.cmp(key)),
        Element::Value(value) => rank(kind).cmp(&Some(2)).then_with(|| rest.cmp(value)),
        Element::Index(index) => rank(kind).cmp(&Some(3)).then_with(|| rest.parse::<i64>().ok().cmp(&Some(*index))),
    }
}

/// Begins a part: its name as it is, and a colon.
fn begin(part: Node<'_>, first: &mut bool, text: &mut String) {
    comma(first, text);
    text.push('"');
    text.push_str(part.raw_name());
    text.push_str("\":");
}

fn comma(first: &mut bool, text: &mut String) {
    if !std::mem::replace(first, false) {
        text.push(',');
    }
}

/// Writes canonical `fieldsV1` with what a set has; `member` adds the node itself.
pub(super) fn write_united(fields: Node<'_>, member: bool, set: &FieldSet, text: &mut String) {
    let member = member || is_member(fields);
    let mut more = set.nodes.iter().filter(|(_, node)| !node.is_empty()).peekable();
    let mut first = true;
    text.push('{');
    let mut parts = fields.members().filter(|(name, _)| name != ".").peekable();
    if member && (parts.peek().is_some() || more.peek().is_some()) {
        comma(&mut first, text);
        text.push_str("\".\":{}");
    }
    let write_new = |element: &Element, node: &super::set::Node, first: &mut bool, text: &mut String| {
        comma(first, text);
        encode(element, text);
        text.push(':');
        node.below.write(node.member, text);
    };
    for (name, part) in parts {
        while let Some((element, node)) = more.next_if(|(element, _)| order(&name, element).is_gt()) {
            write_new(element, node, &mut first, text);
        }
        begin(part, &mut first, text);
        match more.next_if(|(element, _)| names(&name, element)) {
            Some((_, node)) => write_united(part, node.member, &node.below, text),
            None => text.push_str(part.raw()),
        }
    }
    for (element, node) in more {
        write_new(element, node, &mut first, text);
    }
    text.push('}');
}

/// Canonical `fieldsV1` without what a set has.
pub(super) fn without(fields: Node<'_>, set: &FieldSet) -> String {
    let mut text = String::with_capacity(fields.raw().len());
    write_without(fields, false, set, &mut text);
    text
}

/// Writes what is left, with the node itself if it stays a member. Whether there are parts left.
fn write_without(fields: Node<'_>, member: bool, set: &FieldSet, text: &mut String) -> bool {
    let mut first = true;
    text.push('{');
    let empty = text.len();
    if member {
        comma(&mut first, text);
        text.push_str("\".\":{}");
    }
    let mut left = false;
    for (name, part) in fields.members().filter(|(name, _)| name != ".") {
        let before = (text.len(), first);
        begin(part, &mut first, text);
        match set.nodes.iter().find(|(element, _)| names(&name, element)) {
            None => {
                text.push_str(part.raw());
                left = true;
            }
            Some((_, node)) => {
                let stays = is_member(part) && !node.member;
                if write_without(part, stays, &node.below, text) || stays {
                    left = true;
                } else {
                    text.truncate(before.0);
                    first = before.1;
                }
            }
        }
    }
    if !left {
        text.truncate(empty);
    }
    text.push('}');
    left
}

fn element(text: &str) -> Result<Element, FieldsError> {
    let wrong = || FieldsError(format!("{text:?} is no path element"));
    let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
    let canonical = || -> Result<Value, FieldsError> { serde_json::from_str(rest).map_err(|_| wrong()) };
    match kind {
        "f" => Ok(Element::field(rest)),
        "i" => rest.parse().map(Element::Index).map_err(|_| wrong()),
        "v" => Ok(Element::Value(canonical()?.to_string().into())),
        "k" => match canonical()? {
            Value::Object(fields) => Ok(Element::Key(key_text(fields).into())),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// The text of a key: its fields in order of their names.
pub(super) fn key_text(fields: Map<String, Value>) -> String {
    let mut sorted: Vec<(String, Value)> = fields.into_iter().collect();
    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
    Value::Object(sorted.into_iter().collect()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::Tree;

    fn set(fields: &str) -> FieldSet {
        FieldSet::from_fields_v1(Tree::read(fields.as_bytes()).unwrap().root()).unwrap()
    }

    #[test]
    fn a_set_survives_its_encoding() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}, "f:x": {"i:0": {}}},
        });
        let set = FieldSet::from_fields_v1(&fields).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&set.to_fields_v1()).unwrap(), fields);
        assert_eq!(set.paths().len(), 6);
    }

    #[test]
    fn names_are_escaped() {
        for name in ["plain", "q\"", "b\\", "\n\u{1}", "é"] {
            let mut text = String::new();
            escape(name, &mut text);
            assert_eq!(format!("\"{text}\""), Value::from(name).to_string());
        }
    }

    #[test]
    fn text_tells_what_a_set_has() {
        let text = r#"{"f:a":{},"f:b":{"f:c":{},"k:{\"name\":\"x\"}":{".":{},"f:d":{}}}}"#;
        let tree = Tree::read(text.as_bytes()).unwrap();
        for (other, touching, held) in [
            (r#"{"f:a":{}}"#, true, true),
            (r#"{"f:b":{}}"#, false, false),
            (r#"{"f:b":{"f:c":{},"f:e":{}}}"#, true, false),
            (r#"{"f:b":{"k:{\"name\":\"x\"}":{}}}"#, true, true),
            (r#"{"f:b":{"k:{\"name\":\"y\"}":{}}}"#, false, false),
            (r#"{"f:z":{}}"#, false, false),
            ("{}", false, true),
            (text, true, true),
        ] {
            let other = set(other);
            assert_eq!((touches(tree.root(), &other), holds(tree.root(), &other)), (touching, held), "{other:?}");
            assert_eq!(touching, !set(text).intersection(&other).is_empty());
            assert_eq!(held, other.difference(&set(text)).is_empty());
            let mut united = String::new();
            write_united(tree.root(), false, &other, &mut united);
            assert_eq!(united, set(text).united(other.clone()).to_fields_v1());
            assert_eq!(without(tree.root(), &other), set(text).difference(&other).to_fields_v1());
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for wrong in
            [json!([]), json!({"x": {}}), json!({"f:a": 1}), json!({"k:1": {}}), json!({"i:x": {}}), json!({"v:": {}})]
        {
            assert!(FieldSet::from_fields_v1(&wrong).is_err(), "{wrong}");
        }
        let deep = (0..1000).fold(json!({}), |below, _| json!({"f:a": below}));
        assert!(FieldSet::from_fields_v1(&deep).is_err());
    }
}
