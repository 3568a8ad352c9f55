//! OpenAPI v2 as protobuf: gnostic's `openapi.v2.Document`, which client-go reads.
//!
//! Field numbers are those of gnostic's `OpenAPIv2.proto`. Values of any type go as YAML, of which JSON is a part.

use reeve_api::StatusError;
use serde_json::{Map, Value};

use super::v2::{Sink, walk};
use crate::encoding::protobuf::wire::{put_bytes, put_integer};
use crate::registry::Registry;

/// The document of what is served.
#[derive(Default)]
pub struct Protobuf {
    paths: Vec<u8>,
    definitions: Vec<u8>,
}

impl Protobuf {
    /// The document.
    ///
    /// # Errors
    ///
    /// As [`walk`].
    pub fn document(registry: &Registry) -> Result<Vec<u8>, StatusError> {
        let mut parts = Protobuf::default();
        walk(registry, &mut parts)?;
        let mut out = Vec::with_capacity(parts.paths.len() + parts.definitions.len() + 256);
        text(&mut out, 1, "2.0");
        let mut info = Vec::new();
        text(&mut info, 1, "Kubernetes");
        text(&mut info, 2, "unversioned");
        put_bytes(&mut out, 2, &info);
        put_bytes(&mut out, 8, &parts.paths);
        put_bytes(&mut out, 9, &parts.definitions);
        let mut key = Vec::new();
        text(&mut key, 1, "apiKey");
        text(&mut key, 2, "authorization");
        text(&mut key, 3, "header");
        text(&mut key, 4, "Bearer Token authentication");
        put_bytes(&mut out, 12, &named_message(1, "BearerToken", &[]));
        put_bytes(&mut out, 13, &named_message(1, "BearerToken", &message(2, &key)));
        Ok(out)
    }
}

impl Sink for Protobuf {
    fn path(&mut self, name: &str, item: &Value) {
        let item = item.as_object().map(path_item).unwrap_or_default();
        named(&mut self.paths, 2, name, &item);
    }

    fn definition(&mut self, name: &str, value: &Value) {
        named(&mut self.definitions, 1, name, &schema(value));
    }
}

fn text(out: &mut Vec<u8>, number: u32, value: &str) {
    put_bytes(out, number, value.as_bytes());
}

/// A message with one field that is a message.
fn message(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    put_bytes(&mut out, number, content);
    out
}

/// A pair of name and value, as maps are written.
fn named(out: &mut Vec<u8>, number: u32, name: &str, value: &[u8]) {
    let mut pair = Vec::with_capacity(name.len() + value.len() + 16);
    text(&mut pair, 1, name);
    put_bytes(&mut pair, 2, value);
    put_bytes(out, number, &pair);
}

fn named_message(number: u32, name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    named(&mut out, number, name, value);
    out
}

fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 2, &value.to_string());
    out
}

/// The members that begin with `x-`.
fn extensions(out: &mut Vec<u8>, number: u32, object: &Map<String, Value>) {
    for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
        named(out, number, name, &any(value));
    }
}

fn strings(out: &mut Vec<u8>, number: u32, value: Option<&Value>) {
    for item in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        text(out, number, item);
    }
}

fn optional_text(out: &mut Vec<u8>, number: u32, value: Option<&Value>) {
    if let Some(value) = value.and_then(Value::as_str) {
        text(out, number, value);
    }
}

fn optional_bool(out: &mut Vec<u8>, number: u32, value: Option<&Value>) {
    if value.and_then(Value::as_bool) == Some(true) {
        put_integer(out, number, 1);
    }
}

fn schema(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(object) = value.as_object() else { return out };
    optional_text(&mut out, 1, object.get("$ref"));
    optional_text(&mut out, 2, object.get("format"));
    optional_text(&mut out, 4, object.get("description"));
    strings(&mut out, 19, object.get("required"));
    match object.get("additionalProperties") {
        Some(Value::Bool(allowed)) => {
            let mut item = Vec::new();
            put_integer(&mut item, 2, i64::from(*allowed));
            put_bytes(&mut out, 21, &item);
        }
        Some(value) => put_bytes(&mut out, 21, &message(1, &schema(value))),
        None => {}
    }
    if let Some(kind) = object.get("type").and_then(Value::as_str) {
        put_bytes(&mut out, 22, &message(1, kind.as_bytes()));
    }
    if let Some(items) = object.get("items") {
        put_bytes(&mut out, 23, &message(1, &schema(items)));
    }
    if let Some(Value::Object(properties)) = object.get("properties") {
        let mut members = Vec::new();
        for (name, value) in properties {
            named(&mut members, 1, name, &schema(value));
        }
        put_bytes(&mut out, 25, &members);
    }
    extensions(&mut out, 31, object);
    out
}

fn path_item(item: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, method) in
        [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")]
    {
        if let Some(Value::Object(value)) = item.get(method) {
            put_bytes(&mut out, number, &operation(value));
        }
    }
    parameters(&mut out, 9, item.get("parameters"));
    extensions(&mut out, 10, item);
    out
}

fn operation(object: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    strings(&mut out, 1, object.get("tags"));
    optional_text(&mut out, 3, object.get("description"));
    optional_text(&mut out, 5, object.get("operationId"));
    strings(&mut out, 6, object.get("produces"));
    strings(&mut out, 7, object.get("consumes"));
    parameters(&mut out, 8, object.get("parameters"));
    let mut responses = Vec::new();
    if let Some(Value::Object(codes)) = object.get("responses") {
        for (code, response) in codes {
            let mut value = Vec::new();
            optional_text(&mut value, 1, response.get("description"));
            if let Some(content) = response.get("schema") {
                put_bytes(&mut value, 2, &message(1, &schema(content)));
            }
            named(&mut responses, 1, code, &message(1, &value));
        }
    }
    put_bytes(&mut out, 9, &responses);
    strings(&mut out, 10, object.get("schemes"));
    optional_bool(&mut out, 11, object.get("deprecated"));
    extensions(&mut out, 13, object);
    out
}

fn parameters(out: &mut Vec<u8>, number: u32, list: Option<&Value>) {
    for object in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        put_bytes(out, number, &message(1, &parameter(object)));
    }
}

fn parameter(object: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    let place = object.get("in").and_then(Value::as_str).unwrap_or_default();
    if place == "body" {
        optional_text(&mut out, 1, object.get("description"));
        optional_text(&mut out, 2, object.get("name"));
        text(&mut out, 3, place);
        optional_bool(&mut out, 4, object.get("required"));
        if let Some(value) = object.get("schema") {
            put_bytes(&mut out, 5, &schema(value));
        }
        return message(1, &out);
    }
    // Parameters of queries and those of paths differ by one field before their type.
    let (kind, shift) = if place == "query" { (3, 1) } else { (4, 0) };
    optional_bool(&mut out, 1, object.get("required"));
    text(&mut out, 2, place);
    optional_text(&mut out, 3, object.get("description"));
    optional_text(&mut out, 4, object.get("name"));
    optional_text(&mut out, 5 + shift, object.get("type"));
    optional_text(&mut out, 6 + shift, object.get("format"));
    optional_bool(&mut out, 19 + shift, object.get("uniqueItems"));
    message(2, &message(kind, &out))
}
