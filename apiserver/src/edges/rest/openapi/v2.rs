//! OpenAPI v2: all of v3 in one older document.
//!
//! The document is made path by path and schema by schema from the texts of v3, so that it is never in memory as
//! a tree.

use reeve_api::StatusError;
use serde_json::{Map, Value, json};

use super::select::{Schemas, parse, paths};
use super::source::{GROUP_VERSIONS, SCHEMAS, Source, Texts, unpack};
use crate::registry::Registry;

/// Takes the parts of the document in their order.
pub trait Sink {
    /// A path and what can be asked there.
    fn path(&mut self, name: &str, item: &Value);
    /// A schema.
    fn definition(&mut self, name: &str, schema: &Value);
}

/// Sends the document's paths, then its definitions.
///
/// # Errors
///
/// None for the documents of this server, which a test makes.
pub fn walk(registry: &Registry, sink: &mut dyn Sink) -> Result<(), StatusError> {
    let all = unpack(SCHEMAS).map_err(StatusError::internal)?;
    let all: Texts<'_> = parse(&all)?;
    let none = Texts::new();
    let mut schemas = Schemas::new(&all, &none);
    for (_, packed) in GROUP_VERSIONS {
        let text = unpack(packed).map_err(StatusError::internal)?;
        let source: Source<'_> = parse(&text)?;
        for (name, text) in paths(registry, &source) {
            // The list of a version's resources, which every document has, says nothing of what is served.
            schemas.need(text.get());
            sink.path(name, &path_item(parse(text.get())?));
        }
    }
    for (name, text) in schemas.chosen() {
        sink.definition(name, &schema(parse(text.get())?));
    }
    Ok(())
}

/// A schema in the older form.
fn schema(value: Value) -> Value {
    let Value::Object(mut object) = value else { return value };
    // A reference with a description beside it is wrapped in v3.
    if let Some(Value::Array(mut all)) = object.remove("allOf")
        && let Some(Value::Object(only)) = all.pop()
    {
        object.extend(only);
    }
    object.remove("default");
    object.remove("nullable");
    if object.remove("oneOf").is_some() {
        // A quantity or an int-or-string.
        object.insert("type".to_owned(), "string".into());
    }
    let mut out = Map::new();
    for (name, value) in object {
        let value = match name.as_str() {
            "$ref" => match value.as_str() {
                Some(text) => text.replace("#/components/schemas/", "#/definitions/").into(),
                None => value,
            },
            "items" | "additionalProperties" => schema(value),
            "properties" => match value {
                Value::Object(properties) => {
                    properties.into_iter().map(|(name, value)| (name, schema(value))).collect::<Map<_, _>>().into()
                }
                other => other,
            },
            _ => value,
        };
        out.insert(name, value);
    }
    Value::Object(out)
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let mut out = Map::new();
    for (name, value) in item {
        let value = match (name.as_str(), value) {
            ("parameters", Value::Array(list)) => list.into_iter().map(parameter).collect::<Vec<_>>().into(),
            (_, Value::Object(method)) => operation(method),
            (_, other) => other,
        };
        out.insert(name, value);
    }
    Value::Object(out)
}

fn operation(mut operation: Map<String, Value>) -> Value {
    let mut parameters = match operation.remove("parameters") {
        Some(Value::Array(list)) => list.into_iter().map(parameter).collect(),
        _ => Vec::new(),
    };
    let mut consumes = vec![Value::from("*/*")];
    if let Some(Value::Object(mut body)) = operation.remove("requestBody") {
        let required = body.get("required").and_then(Value::as_bool) == Some(true);
        if let Some(Value::Object(content)) = body.remove("content") {
            consumes = content.keys().map(|name| name.as_str().into()).collect();
            let mut value = json!({"in": "body", "name": "body", "schema": first_schema(content)});
            if required {
                value["required"] = true.into();
            }
            parameters.insert(0, value);
        }
    }
    let mut produces: Vec<Value> = Vec::new();
    if let Some(Value::Object(responses)) = operation.get_mut("responses") {
        for response in responses.values_mut().filter_map(Value::as_object_mut) {
            if let Some(Value::Object(content)) = response.remove("content") {
                if produces.is_empty() {
                    produces = content.keys().map(|name| name.as_str().into()).collect();
                }
                response.insert("schema".to_owned(), first_schema(content));
            }
        }
    }
    operation.insert("consumes".to_owned(), consumes.into());
    operation.insert("produces".to_owned(), produces.into());
    operation.insert("schemes".to_owned(), json!(["https"]));
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    Value::Object(operation)
}

fn first_schema(content: Map<String, Value>) -> Value {
    let first = content.into_iter().next().map(|(_, media)| media);
    match first {
        Some(Value::Object(mut media)) => media.remove("schema").map_or_else(|| json!({}), schema),
        _ => json!({}),
    }
}

/// A parameter has its type beside its name.
fn parameter(value: Value) -> Value {
    let Value::Object(mut value) = value else { return value };
    if let Some(Value::Object(schema)) = value.remove("schema") {
        for (name, part) in schema {
            value.entry(name).or_insert(part);
        }
    }
    Value::Object(value)
}

/// The document as JSON.
pub struct Json {
    paths: Vec<u8>,
    definitions: Vec<u8>,
}

impl Json {
    /// The document of what is served.
    ///
    /// # Errors
    ///
    /// As [`walk`].
    pub fn document(registry: &Registry) -> Result<Vec<u8>, StatusError> {
        let mut json = Json { paths: Vec::new(), definitions: Vec::new() };
        walk(registry, &mut json)?;
        let mut out = br#"{"swagger":"2.0","info":{"title":"Kubernetes","version":"unversioned"},"paths":{"#.to_vec();
        out.append(&mut json.paths);
        out.extend_from_slice(b"},\"definitions\":{");
        out.append(&mut json.definitions);
        out.extend_from_slice(
            br#"},"securityDefinitions":{"BearerToken":{"description":"Bearer Token authentication","type":"apiKey","name":"authorization","in":"header"}},"security":[{"BearerToken":[]}]}"#,
        );
        Ok(out)
    }
}

impl Sink for Json {
    fn path(&mut self, name: &str, item: &Value) {
        member(&mut self.paths, name, item);
    }

    fn definition(&mut self, name: &str, schema: &Value) {
        member(&mut self.definitions, name, schema);
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: &Value) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(format!("{}:{value}", Value::from(name)).as_bytes());
}
