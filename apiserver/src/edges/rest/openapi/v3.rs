//! OpenAPI v3: a document a group version, and the index with the hash of each.

use std::fmt::Write as _;

use reeve_api::StatusError;
use serde_json::{Value, json};

use super::super::discovery;
use super::custom;
use super::select::{Schemas, parse, paths};
use super::source::{GROUP_VERSIONS, SCHEMAS, Source, Texts, unpack};
use crate::registry::Registry;

const END: &str = r#""securitySchemes":{"BearerToken":{"description":"Bearer Token authentication","in":"header","name":"authorization","type":"apiKey"}}}}"#;

/// The paths of documents that say only what discovery is at a path.
const SMALL: [&str; 4] = [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks"];

/// What a document is made of.
enum Part {
    /// The packed document of a group version.
    Packed(&'static [u8]),
    /// A list or a document of discovery, and its schema.
    Small(&'static str),
    /// The custom kinds of a group and version.
    Custom(String, String),
}

fn part(registry: &Registry, path: &str) -> Option<Part> {
    if SMALL.contains(&path) {
        return Some(Part::Small(match path {
            "api" => "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions",
            "apis" => "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList",
            _ => "",
        }));
    }
    let mut segments = path.split('/').skip(1);
    let is_served = |group: &str, version: Option<&str>| {
        registry.rows().iter().any(|row| {
            let resource = &row.info.resource;
            resource.group == group && version.is_none_or(|version| resource.version == version)
        })
    };
    match (path.split('/').next()?, segments.next(), segments.next()) {
        ("apis", Some(group), None) if is_served(group, None) => {
            Some(Part::Small("io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup"))
        }
        ("apis", Some(group), Some(version)) if !is_served(group, Some(version)) => None,
        ("apis", Some(group), Some(version)) if custom::rows(registry, group, version).next().is_some() => {
            Some(Part::Custom(group.to_owned(), version.to_owned()))
        }
        _ => {
            let at = GROUP_VERSIONS.binary_search_by_key(&path, |(path, _)| path).ok()?;
            Some(Part::Packed(GROUP_VERSIONS[at].1))
        }
    }
}

/// The hash that a document's URL carries: of what it is made of, not of the document itself, which is made when
/// it is asked for.
pub fn hash(registry: &Registry, path: &str) -> Option<String> {
    let mut material: Vec<u8> = match part(registry, path)? {
        Part::Packed(packed) => packed.to_vec(),
        Part::Small(schema) => schema.as_bytes().to_vec(),
        Part::Custom(group, version) => {
            let (paths, schemas) = custom::document(registry, &group, &version);
            format!("{paths}{schemas}").into_bytes()
        }
    };
    material.extend_from_slice(path.as_bytes());
    // The ends of the packed schemas hold their checksum.
    material.extend_from_slice(&SCHEMAS[SCHEMAS.len() - 8..]);
    for row in registry.rows() {
        let resource = &row.info.resource;
        let at = if resource.group.is_empty() { "api" } else { "apis" };
        if path.starts_with(at) && path.ends_with(&resource.version) && path.contains(&resource.group) {
            material.extend_from_slice(resource.resource.as_bytes());
            for subresource in &row.subresources {
                material.extend_from_slice(subresource.name.as_bytes());
            }
        }
    }
    Some(discovery::hash(&material))
}

/// The index of all documents.
pub fn index(registry: &Registry) -> Value {
    let mut names: Vec<String> = SMALL.map(str::to_owned).to_vec();
    for (path, _) in GROUP_VERSIONS {
        names.push((*path).to_owned());
    }
    for row in registry.rows().iter().filter(|row| !row.info.resource.group.is_empty()) {
        names.push(format!("apis/{}", row.info.resource.group));
        if row.kind.custom().is_some() {
            names.push(format!("apis/{}", row.info.resource.api_version()));
        }
    }
    names.sort();
    names.dedup();
    let mut paths = serde_json::Map::new();
    for name in names {
        if let Some(hash) = hash(registry, &name) {
            let url = format!("/openapi/v3/{name}?hash={hash}");
            paths.insert(name, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// The document of a path; `None` where there is none.
///
/// # Errors
///
/// None for the documents of this server, which a test makes.
pub fn document(registry: &Registry, path: &str) -> Result<Option<String>, StatusError> {
    let all = unpack(SCHEMAS).map_err(StatusError::internal)?;
    let all: Texts<'_> = parse(&all)?;
    match part(registry, path) {
        None => Ok(None),
        Some(Part::Packed(packed)) => {
            let text = unpack(packed).map_err(StatusError::internal)?;
            let source: Source<'_> = parse(&text)?;
            let paths = paths(registry, &source);
            let mut schemas = Schemas::new(&all, &source.schemas);
            paths.values().for_each(|text| schemas.need(text.get()));
            Ok(Some(written(&paths, &schemas)))
        }
        Some(Part::Custom(group, version)) => {
            let (paths, schemas) = custom::document(registry, &group, &version);
            let (paths, schemas) = (paths.to_string(), schemas.to_string());
            let (paths, own): (Texts<'_>, Texts<'_>) = (parse(&paths)?, parse(&schemas)?);
            let mut schemas = Schemas::new(&all, &own);
            paths.values().for_each(|text| schemas.need(text.get()));
            Ok(Some(written(&paths, &schemas)))
        }
        Some(Part::Small(schema)) => {
            // Not every list of discovery has a schema.
            let schema = if all.contains_key(schema) { schema } else { "" };
            let text = small(path, schema).to_string();
            let paths: Texts<'_> = parse(&text)?;
            let own = Texts::new();
            let mut schemas = Schemas::new(&all, &own);
            schemas.need_schema(schema);
            Ok(Some(written(&paths, &schemas)))
        }
    }
}

fn written(paths: &Texts<'_>, schemas: &Schemas<'_>) -> String {
    let mut out = String::from(
        "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"Kubernetes\",\"version\":\"unversioned\"},\"paths\":{",
    );
    write_members(&mut out, paths.iter().map(|(name, text)| (*name, text.get())));
    out.push_str("},\"components\":{\"schemas\":{");
    write_members(&mut out, schemas.chosen().map(|(name, text)| (name, text.get())));
    out.push_str("},");
    out.push_str(END);
    out
}

/// Members of an object whose names need no escapes.
fn write_members<'a>(out: &mut String, members: impl Iterator<Item = (&'a str, &'a str)>) {
    for (index, (name, text)) in members.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _infallible = write!(out, "{comma}\"{name}\":{text}");
    }
}

/// The paths of a document that describes a document of discovery.
fn small(path: &str, schema: &str) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    let content = if schema.is_empty() {
        json!({"application/json": {"schema": {"type": "string"}}})
    } else {
        let reference = json!({"schema": {"$ref": format!("#/components/schemas/{schema}")}});
        json!({
            "application/json": reference,
            "application/vnd.kubernetes.protobuf": reference,
            "application/yaml": reference,
        })
    };
    // Lists of discovery are at paths with a slash at the end.
    let slash = if schema.is_empty() { "" } else { "/" };
    json!({format!("/{path}{slash}"): {"get": {
        "description": format!("get the document of {name}"),
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
    }}})
}
