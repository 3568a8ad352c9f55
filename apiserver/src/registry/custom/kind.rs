//! A version of a custom kind: its schema compiled once, and how its objects are read and written.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps,
};
use reeve_api::resource::split_api_version;
use reeve_api::schema::Schema;
use reeve_api::validation::{ErrorList, Path};
use reeve_api::{GroupVersionKind, ObjectMeta, StatusError};
use serde_json::{Map, Value};

use super::columns::Column;
use super::json_path::JsonPath;
use super::object::CustomObject;
use super::schema::Node;
use super::shape;
use crate::registry::decode::{DecodeError, FieldValidation, duplicate_fields};
use crate::registry::encode;
use crate::registry::{AnyObject, Conversion, Decoded, Kind, split_managers};
use crate::storage::cache::Extract;

/// Where an object keeps what a `Scale` shows.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    /// The wanted replicas.
    pub replicas: (String, JsonPath),
    /// The present replicas.
    pub status_replicas: (String, JsonPath),
    /// The selector as text.
    pub selector: Option<(String, JsonPath)>,
}

/// A version of a custom kind.
pub struct CustomKind {
    /// Group, version and kind of what is served.
    pub served: GroupVersionKind,
    /// The kind of their lists.
    pub list_kind: String,
    /// The version in which objects are stored.
    pub storage_version: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether the status is written through its own subresource.
    pub has_status: bool,
    /// Where replicas are.
    pub scale: Option<ScalePaths>,
    /// The columns of tables.
    pub columns: Vec<Column>,
    /// The schema as its author wrote it, for documentation.
    pub props: Option<JSONSchemaProps>,
    /// The schema of the served version.
    pub node: Arc<Node>,
    /// The schema of the stored version.
    pub stored: Arc<Node>,
    /// The names of all versions.
    versions: Vec<String>,
    merge: Schema,
    selectable: Vec<(String, JsonPath)>,
}

fn node_of(version: &CustomResourceDefinitionVersion) -> Node {
    let props = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    props.map_or_else(|| Node { preserve: true, ..Node::default() }, Node::compile)
}

fn path(text: &str) -> Option<(String, JsonPath)> {
    Some((text.to_owned(), JsonPath::parse(text)?))
}

impl CustomKind {
    /// A version of a definition.
    pub fn new(definition: &CustomResourceDefinition, version: &CustomResourceDefinitionVersion) -> Self {
        let spec = &definition.spec;
        let storage = spec.versions.iter().find(|version| version.storage).unwrap_or(version);
        let subresources = version.subresources.as_ref();
        let scale = subresources.and_then(|subresources| subresources.scale.as_ref()).and_then(|scale| {
            Some(ScalePaths {
                replicas: path(&scale.spec_replicas_path)?,
                status_replicas: path(&scale.status_replicas_path)?,
                selector: scale.label_selector_path.as_deref().and_then(path),
            })
        });
        let mut node = node_of(version);
        node.preserve |= spec.preserve_unknown_fields.unwrap_or(false);
        let mut stored = node_of(storage);
        stored.preserve |= spec.preserve_unknown_fields.unwrap_or(false);
        let selectable: Vec<(String, JsonPath)> = version
            .selectable_fields
            .iter()
            .flatten()
            .filter_map(|field| {
                let name = field.json_path.trim_start_matches('.');
                Some((name.to_owned(), JsonPath::parse(&field.json_path)?))
            })
            .collect();
        let names = definition.status.as_ref().and_then(|status| status.accepted_names.as_ref());
        Self {
            served: GroupVersionKind {
                group: spec.group.clone(),
                version: version.name.clone(),
                kind: names.map_or_else(|| spec.names.kind.clone(), |names| names.kind.clone()),
            },
            list_kind: names
                .and_then(|names| names.list_kind.clone())
                .unwrap_or_else(|| format!("{}List", spec.names.kind)),
            storage_version: storage.name.clone(),
            namespaced: spec.scope == "Namespaced",
            has_status: subresources.is_some_and(|subresources| subresources.status.is_some()),
            scale,
            columns: Column::of(version),
            props: version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.clone()),
            versions: spec.versions.iter().map(|version| version.name.clone()).collect(),
            merge: node.merge_schema(),
            node: Arc::new(node),
            stored: Arc::new(stored),
            selectable,
        }
    }

    /// What patches and server-side apply know of the objects.
    pub fn merge_schema(&self) -> &Schema {
        &self.merge
    }

    /// The selectable fields of an object's own fields.
    pub fn selectable_fields(&self, body: &Map<String, Value>) -> Vec<(Cow<'static, str>, String)> {
        let root = Value::Object(body.clone());
        self.selectable
            .iter()
            .map(|(name, path)| {
                let text = match path.get(&root) {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                };
                (Cow::Owned(name.clone()), text)
            })
            .collect()
    }

    fn is_storage(&self) -> bool {
        self.served.version == self.storage_version
    }

    /// The canonical bytes that are stored. `body` is in the served version.
    pub fn stored_bytes(&self, metadata: &ObjectMeta, body: &Map<String, Value>) -> Result<Vec<u8>, serde_json::Error> {
        let mut body = body.clone();
        if !self.is_storage() {
            shape::prune(&mut body, &self.stored, &mut Vec::new());
            shape::default(&mut body, &self.stored);
        }
        let stored = GroupVersionKind { version: self.storage_version.clone(), ..self.served.clone() };
        written(&stored, &encode::canonical(metadata)?, body)
    }

    /// Bytes of any version in the shape of a schema; the metadata stays as it is.
    fn reshaped(&self, bytes: &[u8], version: &str, node: &Node) -> Result<Vec<u8>, serde_json::Error> {
        let mut body: Map<String, Value> = serde_json::from_slice(bytes)?;
        let metadata = body.shift_remove("metadata").unwrap_or_else(|| Value::Object(Map::new()));
        body.shift_remove("apiVersion");
        body.shift_remove("kind");
        shape::prune(&mut body, node, &mut Vec::new());
        shape::default(&mut body, node);
        let kind = GroupVersionKind { version: version.to_owned(), ..self.served.clone() };
        written(&kind, &serde_json::to_vec(&metadata)?, body)
    }

    fn refuse(&self, why: &str) -> DecodeError {
        let (kind, version) = (&self.served.kind, &self.served.version);
        DecodeError::Unreadable(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
    }

    /// The unknown fields of an object in another version of the kind. A version that does not exist knows none.
    fn unknown_elsewhere(&self, parts: &mut Parts) -> Vec<String> {
        let given = GroupVersionKind::from_object(&parts.api_version, &parts.kind);
        if given.group != self.served.group || given.kind != self.served.kind {
            return Vec::new();
        }
        if given.version == self.storage_version {
            shape::prune(&mut parts.body, &self.stored, &mut parts.unknown);
        } else if !self.versions.contains(&given.version) {
            shape::prune(&mut parts.body, &Node::default(), &mut parts.unknown);
        }
        parts.unknown.sort_unstable();
        parts.unknown.iter().map(|path| format!("unknown field {path:?}")).collect()
    }

    /// The error of an object in another version than the one that was asked for.
    fn wrong_version(&self, given: &str, told: Vec<String>, validation: FieldValidation) -> DecodeError {
        if validation == FieldValidation::Strict && !told.is_empty() {
            let (kind, (_, version)) = (&self.served.kind, split_api_version(given));
            return DecodeError::Unreadable(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                told.join(", ")
            ));
        }
        let wanted = self.served.api_version();
        let error = StatusError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({wanted})"
        ));
        let told = if validation == FieldValidation::Ignore { Vec::new() } else { told };
        DecodeError::Refused(Box::new(error.warned(told)))
    }

    /// Metadata and own fields of bytes, with the paths of what was not known.
    fn parts(&self, json: &[u8]) -> Result<Parts, DecodeError> {
        let kind = &self.served.kind;
        let mut body: Map<String, Value> = serde_json::from_slice(json).map_err(|error| {
            DecodeError::Unreadable(format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse \
                 error: {error}"
            ))
        })?;
        let mut text = |name: &str| match body.shift_remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let mut unknown = Vec::new();
        let metadata = match body.shift_remove("metadata") {
            None | Some(Value::Null) => ObjectMeta::default(),
            Some(metadata) => serde_ignored::deserialize(metadata, |path| unknown.push(format!("metadata.{path}")))
                .map_err(|error: serde_json::Error| self.refuse(&format!("metadata: {error}")))?,
        };
        Ok(Parts { api_version, kind, metadata, body, unknown })
    }
}

struct Parts {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    body: Map<String, Value>,
    unknown: Vec<String>,
}

fn written(kind: &GroupVersionKind, metadata: &[u8], body: Map<String, Value>) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Value::Object(body);
    body.sort_all_objects();
    let body = serde_json::to_vec(&body)?;
    let mut out = Vec::with_capacity(body.len() + metadata.len() + 96);
    out.extend_from_slice(b"{\"apiVersion\":");
    out.extend_from_slice(&serde_json::to_vec(&kind.api_version())?);
    out.extend_from_slice(b",\"kind\":");
    out.extend_from_slice(&serde_json::to_vec(&kind.kind)?);
    out.extend_from_slice(b",\"metadata\":");
    out.extend_from_slice(metadata);
    if body.len() > 2 {
        out.push(b',');
    }
    out.extend_from_slice(&body[1..]);
    Ok(out)
}

impl fmt::Debug for CustomKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.served)
    }
}

/// The [`Kind`] of a version; objects share the version.
#[derive(Clone, Debug)]
pub struct Version(pub Arc<CustomKind>);

impl Kind for Version {
    fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind { version: self.0.storage_version.clone(), ..self.0.served.clone() }
    }

    fn decode(&self, json: &[u8], validation: FieldValidation) -> Result<Decoded, DecodeError> {
        let kind = &self.0;
        let mut parts = kind.parts(json)?;
        if parts.kind.is_empty() {
            return Err(DecodeError::Unreadable(format!(
                "Object 'Kind' is missing in '{}'",
                String::from_utf8_lossy(json)
            )));
        }
        let wanted = kind.served.api_version();
        if parts.api_version != wanted {
            let told = kind.unknown_elsewhere(&mut parts);
            return Err(kind.wrong_version(&parts.api_version, told, validation));
        }
        if parts.kind != kind.served.kind {
            let mut errors = ErrorList::new();
            errors.invalid(&Path::new("kind"), &parts.kind, format!("must be {}", kind.served.kind));
            let name = parts.metadata.name.as_deref().unwrap_or_default();
            let refusal = StatusError::invalid(&kind.served.group, &parts.kind, name, errors.into_causes());
            return Err(DecodeError::Refused(Box::new(refusal)));
        }
        shape::prune(&mut parts.body, &kind.node, &mut parts.unknown);
        let mut warnings = Vec::new();
        if validation != FieldValidation::Ignore {
            parts.unknown.sort_unstable();
            if validation != FieldValidation::WarnUnknown {
                warnings = duplicate_fields(json);
            }
            warnings.extend(parts.unknown.iter().map(|path| format!("unknown field {path:?}")));
        }
        if validation == FieldValidation::Strict && !warnings.is_empty() {
            return Err(kind.refuse(&format!("strict decoding error: {}", warnings.join(", "))));
        }
        let object = CustomObject { metadata: parts.metadata, body: parts.body, managers: None, kind: kind.clone() };
        Ok(Decoded { object: Box::new(object), warnings })
    }

    fn decode_stored(&self, json: &[u8]) -> Result<Box<dyn AnyObject>, DecodeError> {
        let (json, managers) = split_managers(json);
        let mut parts = self.0.parts(&json)?;
        shape::prune(&mut parts.body, &self.0.node, &mut parts.unknown);
        shape::default(&mut parts.body, &self.0.node);
        Ok(Box::new(CustomObject { metadata: parts.metadata, body: parts.body, managers, kind: self.0.clone() }))
    }

    fn field_names(&self) -> Vec<&str> {
        self.0.selectable.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn allows_create_on_update(&self) -> bool {
        false
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn custom(&self) -> Option<&CustomKind> {
        Some(&self.0)
    }
}

/// A served version that is not the stored one: only `apiVersion` and the schema differ (strategy `None`).
#[derive(Debug)]
pub struct View(pub Arc<CustomKind>);

impl Conversion for View {
    fn to_stored(&self, served: &[u8]) -> Result<Vec<u8>, StatusError> {
        // The objects of the version write themselves in the stored form.
        Ok(served.to_vec())
    }

    fn to_served(&self, stored: &[u8]) -> Result<Vec<u8>, StatusError> {
        self.0.reshaped(stored, &self.0.served.version, &self.0.node).map_err(StatusError::internal)
    }
}

/// What the cache reads of stored objects: fields of all versions, and the shape of the present schema.
pub struct Reader(pub Vec<Arc<CustomKind>>);

impl Extract for Reader {
    fn fields(&self, value: &[u8]) -> Vec<(Cow<'static, str>, String)> {
        if self.0.iter().all(|kind| kind.selectable.is_empty()) {
            return Vec::new();
        }
        let Ok(body) = serde_json::from_slice::<Map<String, Value>>(value) else { return Vec::new() };
        let mut fields: Vec<_> = self.0.iter().flat_map(|kind| kind.selectable_fields(&body)).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn shape(&self, value: &[u8]) -> Option<Vec<u8>> {
        let kind = self.0.first()?;
        match kind.reshaped(value, &kind.storage_version, &kind.stored) {
            Ok(bytes) if bytes != value => Some(bytes),
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, ?kind, "a stored object cannot be read; it is served as it is");
                None
            }
        }
    }
}
