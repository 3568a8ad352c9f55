//! An object of a custom kind: metadata, and a tree of values with a schema.

use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec, ScaleStatus};
use reeve_api::ObjectMeta;
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{ErrorList, Path, metadata};
use serde_json::{Map, Value};

use super::json_path::JsonPath;
use super::kind::CustomKind;
use super::{shape, validate};
use crate::registry::AnyObject;
use crate::registry::strategy::RequestContext;

/// An object in its served version.
#[derive(Clone)]
pub struct CustomObject {
    /// The metadata.
    pub metadata: ObjectMeta,
    /// All fields but `apiVersion`, `kind` and `metadata`.
    pub body: Map<String, Value>,
    /// The text of the metadata's `managedFields`.
    pub managers: Option<Box<str>>,
    /// The version.
    pub kind: Arc<CustomKind>,
}

const STATUS: &str = "status";

fn same(other: &dyn AnyObject) -> Option<&CustomObject> {
    other.as_any().downcast_ref()
}

impl CustomObject {
    fn set_status(&mut self, status: Option<Value>) {
        match status {
            Some(status) => {
                self.body.insert(STATUS.to_owned(), status);
            }
            None => {
                self.body.shift_remove(STATUS);
            }
        }
    }

    /// What the generation counts.
    fn desired(&self) -> Map<String, Value> {
        let mut desired = self.body.clone();
        if self.kind.has_status {
            desired.shift_remove(STATUS);
        }
        desired
    }

    fn rules(&self, old: Option<&CustomObject>) -> ErrorList {
        let mut errors = validate::body(&self.body, old.map(|old| &old.body), &self.kind.node);
        if let Some(scale) = &self.kind.scale {
            let root = Value::Object(self.body.clone());
            check_replicas(&root, &scale.replicas, &mut errors);
            check_replicas(&root, &scale.status_replicas, &mut errors);
            if let Some((text, path)) = &scale.selector
                && let Some(value) = path.get(&root).filter(|value| !value.is_string())
            {
                errors.invalid(&Path::new(text), "", accessor_error(text, value, "string"));
            }
        }
        errors
    }

    fn change(&self, old: &dyn AnyObject) -> ErrorList {
        let path = Path::new("metadata");
        let rule = NameRule::Dns1123Subdomain;
        let mut errors = metadata::validate(&self.metadata, self.kind.namespaced, rule, &path);
        errors.extend(metadata::validate_update(&self.metadata, old.metadata(), &path));
        errors.extend(self.rules(same(old)));
        errors
    }
}

fn accessor_error(path: &str, value: &Value, expected: &str) -> String {
    let given = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{path} accessor error: {shown} is of the type {given}, expected {expected}")
}

fn check_replicas(root: &Value, (text, path): &(String, JsonPath), errors: &mut ErrorList) {
    let Some(value) = path.get(root) else { return };
    let at = Path::new(text);
    match value.as_i64() {
        None => errors.invalid(&at, 0, accessor_error(text, value, "int64")),
        Some(replicas) if replicas < 0 => errors.invalid(&at, replicas, "should be a non-negative integer"),
        Some(replicas) if replicas > i64::from(i32::MAX) => {
            errors.invalid(&at, replicas, format!("should be less than or equal to {}", i32::MAX));
        }
        Some(_) => {}
    }
}

impl AnyObject for CustomObject {
    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn managers(&self) -> Option<&str> {
        self.managers.as_deref()
    }

    fn set_managers(&mut self, managers: Option<Box<str>>) {
        self.managers = managers;
    }

    fn encode_unmanaged(&self) -> Result<Vec<u8>, serde_json::Error> {
        self.kind.stored_bytes(&self.metadata, &self.body)
    }

    fn clone_object(&self) -> Box<dyn AnyObject> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn inner(&self) -> &dyn Any {
        self
    }

    fn inner_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn default(&mut self) {
        shape::default(&mut self.body, &self.kind.node);
    }

    fn prepare_for_create(&mut self, _context: &RequestContext) {
        if self.kind.has_status {
            self.set_status(None);
        }
        self.metadata.generation = Some(1);
    }

    fn admit_create(&mut self, _context: &RequestContext) {}

    fn validate(&self) -> ErrorList {
        let (rule, path) = (NameRule::Dns1123Subdomain, Path::new("metadata"));
        let mut errors = metadata::validate(&self.metadata, self.kind.namespaced, rule, &path);
        errors.extend(self.rules(None));
        errors
    }

    fn prepare_for_update(&mut self, _context: &RequestContext, old: &dyn AnyObject) {
        let Some(old) = same(old) else { return };
        if self.kind.has_status {
            self.set_status(old.body.get(STATUS).cloned());
        }
        let before = old.metadata.generation.unwrap_or(1);
        let changed = self.desired() != old.desired();
        self.metadata.generation = Some(if changed { before + 1 } else { before });
    }

    fn validate_update(&self, old: &dyn AnyObject) -> ErrorList {
        self.change(old)
    }

    fn prepare_for_status_update(&mut self, _context: &RequestContext, old: &dyn AnyObject) {
        let Some(old) = same(old) else { return };
        let status = self.body.get(STATUS).cloned();
        self.body.clone_from(&old.body);
        self.set_status(status);
        self.metadata.clone_from(&old.metadata);
    }

    fn validate_status_update(&self, old: &dyn AnyObject) -> ErrorList {
        self.change(old)
    }

    fn prepare_for_subresource_update(&mut self, _: &str, _context: &RequestContext, _old: &dyn AnyObject) {}

    fn validate_subresource_update(&self, _: &str, old: &dyn AnyObject) -> ErrorList {
        self.change(old)
    }

    fn grace_period_seconds(&self, _requested: Option<i64>) -> Option<i64> {
        None
    }

    fn begin_deletion(&mut self) {}

    fn is_held(&self) -> bool {
        false
    }

    fn fields(&self) -> Vec<(Cow<'static, str>, String)> {
        self.kind.selectable_fields(&self.body)
    }

    fn warnings(&self, _old: Option<&dyn AnyObject>) -> Vec<String> {
        Vec::new()
    }

    fn scale(&self) -> Option<Scale> {
        let paths = self.kind.scale.as_ref()?;
        let root = Value::Object(self.body.clone());
        let replicas = |path: &JsonPath| path.get(&root).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
        let selector = paths.selector.as_ref().and_then(|(_, path)| path.get(&root)?.as_str().map(str::to_owned));
        Some(Scale {
            metadata: ObjectMeta {
                name: self.metadata.name.clone(),
                namespace: self.metadata.namespace.clone(),
                uid: self.metadata.uid.clone(),
                resource_version: self.metadata.resource_version.clone(),
                creation_timestamp: self.metadata.creation_timestamp.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(ScaleSpec { replicas: Some(replicas(&paths.replicas.1).unwrap_or(0)) }),
            status: Some(ScaleStatus { replicas: replicas(&paths.status_replicas.1).unwrap_or(0), selector }),
        })
    }

    fn set_replicas(&mut self, replicas: i32) {
        let Some(paths) = &self.kind.scale else { return };
        let mut root = Value::Object(std::mem::take(&mut self.body));
        paths.replicas.1.set(&mut root, replicas.into());
        if let Value::Object(body) = root {
            self.body = body;
        }
    }
}
