//! Field sets as JSON (`fieldsV1`): `f:name`, `k:{…}`, `v:…`, `i:0`, and `.` for the node itself.

use serde_json::{Map, Value};

use super::set::{Element, FieldSet, Node};

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
    pub fn from_fields_v1(fields: &Value) -> Result<Self, FieldsError> {
        decode(fields, DEPTH_MAX)
    }

    /// As `fieldsV1`.
    pub fn to_fields_v1(&self) -> Value {
        let mut object = Map::new();
        self.write(&mut object);
        Value::Object(object)
    }

    fn write(&self, object: &mut Map<String, Value>) {
        for (element, node) in &self.nodes {
            let mut below = Map::new();
            node.below.write(&mut below);
            if !below.is_empty() && node.member {
                let mut whole = Map::with_capacity(below.len() + 1);
                whole.insert(".".to_owned(), Value::Object(Map::new()));
                whole.extend(below);
                below = whole;
            }
            if node.member || !below.is_empty() {
                object.insert(encode(element), Value::Object(below));
            }
        }
    }
}

fn encode(element: &Element) -> String {
    match element {
        Element::Field(name) => ["f:", name].concat(),
        Element::Key(key) => ["k:", key].concat(),
        Element::Value(value) => ["v:", value].concat(),
        Element::Index(index) => format!("i:{index}"),
    }
}

fn decode(fields: &Value, depth: usize) -> Result<FieldSet, FieldsError> {
    let Value::Object(fields) = fields else {
        return Err(FieldsError("a field set must be an object".to_owned()));
    };
    if depth == 0 {
        return Err(FieldsError("a field set is too deep".to_owned()));
    }
    let mut nodes = Vec::with_capacity(fields.len());
    for (name, below) in fields.iter().filter(|(name, _)| *name != ".") {
        let below_set = decode(below, depth - 1)?;
        let member = below_set.nodes.is_empty() || below.get(".").is_some();
        nodes.push((element(name)?, Node { member, below: below_set }));
    }
    nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
    nodes.dedup_by(|(one, _), (other, _)| one == other);
    Ok(FieldSet { nodes })
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

    #[test]
    fn a_set_survives_its_encoding() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}, "f:finalizers": {"v:\"x\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}, "f:x": {"i:0": {}}},
        });
        let set = FieldSet::from_fields_v1(&fields).unwrap();
        assert_eq!(set.to_fields_v1(), fields);
        assert_eq!(set.paths().len(), 6);
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
