//! The documents of custom kinds: paths and schemas made of their definitions.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use reeve_api::GroupVersionKind;
use serde_json::{Map, Value, json};

use super::custom_paths::Paths;
use crate::registry::custom::CustomKind;
use crate::registry::{Registry, Row};

const META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The rows of a group version that have a definition.
pub fn rows<'a>(registry: &'a Registry, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Row> {
    registry
        .rows()
        .iter()
        .map(AsRef::as_ref)
        .filter(move |row: &&Row| row.info.resource.group == group && row.info.resource.version == version)
        .filter(|row| row.kind.custom().is_some())
}

/// The schema's name: `com.example.v1.Cron`.
fn name(kind: &GroupVersionKind, suffix: &str) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').rev().collect();
    parts.push(&kind.version);
    format!("{}.{}{suffix}", parts.join("."), kind.kind)
}

/// Paths and schemas of a group version.
pub fn document(registry: &Registry, group: &str, version: &str) -> (Value, Value) {
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for row in rows(registry, group, version) {
        let Some(custom) = row.kind.custom() else { continue };
        schemas.insert(name(&custom.served, ""), schema(custom));
        schemas.insert(name(&custom.served, "List"), list(row, custom));
        let schemas = [name(&custom.served, ""), name(&custom.served, "List")];
        Paths { row, kind: &custom.served, schemas }.add(&mut paths);
    }
    (paths.into(), schemas.into())
}

fn marks(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "kind": kind.kind, "version": kind.version})
}

fn schema(custom: &CustomKind) -> Value {
    let props: Option<&JSONSchemaProps> = custom.props.as_ref();
    let mut schema =
        props.and_then(|props| serde_json::to_value(props).ok()).unwrap_or_else(|| json!({"type": "object"}));
    let text = |what: &str| json!({"type": "string", "description": what});
    if !schema["properties"].is_object() {
        schema["properties"] = json!({});
    }
    schema["properties"]["apiVersion"] = text(
        "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    );
    schema["properties"]["kind"] = text(
        "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    );
    schema["properties"]["metadata"] = json!({
        "allOf": [{"$ref": format!("{META}ObjectMeta")}],
        "description": "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
    });
    schema["x-kubernetes-group-version-kind"] = json!([marks(&custom.served)]);
    schema
}

fn list(row: &Row, custom: &CustomKind) -> Value {
    let kind = GroupVersionKind { kind: format!("{}List", row.info.kind), ..custom.served.clone() };
    let element = format!("#/components/schemas/{}", name(&custom.served, ""));
    json!({
        "type": "object",
        "description": format!("{} is a list of {}", kind.kind, row.info.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": format!("{META}ListMeta")}]},
            "items": {"type": "array", "items": {"allOf": [{"$ref": element}]}},
        },
        "x-kubernetes-group-version-kind": [marks(&kind)],
    })
}
