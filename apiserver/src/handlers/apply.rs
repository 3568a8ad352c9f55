//! Server-side apply: a configuration whose fields the manager owns, and owns no longer when it omits them.

use bytes::Bytes;
use reeve_api::patch::apply::{mistakes, mistakes_text};
use reeve_api::schema::{Schema, builtin};
use reeve_api::{GroupVersionKind, Reason, StatusError};
use serde_json::{Value, json};

use super::decoding::{repeated_in_apply, with_warnings};
use super::ownership::{Ownership, Tracker, schema_of};
use super::patch::{check_place, refused};
use super::update::Part;
use super::{Handlers, ObjectAnswer, WriteOptions};
use crate::registry::{AnyObject, FieldValidation, Row};
use crate::request::{Target, User};
use crate::storage::Stored;

/// How often an apply that finds no object, and then cannot create one, starts again.
const TURNS_MAX: u32 = 5;

impl Handlers {
    /// Applies a configuration; an object that is not there is created.
    #[allow(clippy::too_many_arguments)]
    pub(super) async fn apply(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        part: Part,
        force: bool,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let config: Value = serde_json::from_slice(body)
            .map_err(|error| StatusError::bad_request(format!("error decoding YAML: {error}")))?;
        let mut told = Vec::new();
        let result = self.apply_config(user, row, target, part, force, &config, options, &mut told).await;
        with_warnings(result, told)
    }

    #[allow(clippy::too_many_arguments)]
    async fn apply_config(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        part: Part,
        force: bool,
        config: &Value,
        options: &WriteOptions,
        told: &mut Vec<String>,
    ) -> Result<ObjectAnswer, StatusError> {
        let mut turn = 0;
        loop {
            turn += 1;
            let registry = self.registry();
            let tracker = Tracker::new(&registry, row, &target.subresource, user, options, self.now());
            let mut make = |present: &Stored, _: &dyn AnyObject| -> Result<Box<dyn AnyObject>, StatusError> {
                check_config(row, config)?;
                let mut applied = tracker.apply(Some(&present.value), config, force)?;
                *told = repeated_in_apply(options)?;
                // The configuration's version, if it has one, is the precondition.
                if config.pointer("/metadata/resourceVersion").is_none()
                    && let Some(metadata) = applied.get_mut("metadata").and_then(Value::as_object_mut)
                {
                    metadata.shift_remove("resourceVersion");
                }
                decode_applied(row, target, &applied)
            };
            let result = self.change_owned(user, row, target, part, Ownership::Given, options, &mut make).await;
            let absent = match result {
                Err(error) if error.reason == Reason::NotFound && target.subresource.is_empty() => error,
                result => return result,
            };
            check_config(row, config)?;
            if let Some(uid) = config.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty()) {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(StatusError::conflict(&target.resource, &target.name, why));
            }
            let applied = tracker.apply(None, config, force)?;
            *told = repeated_in_apply(options)?;
            decode_applied(row, target, &applied)?;
            let bytes = serde_json::to_vec(&applied).map_err(StatusError::internal)?;
            let collection = Target { name: String::new(), ..target.clone() };
            let unrepeated = WriteOptions { repeated: Vec::new(), ..options.clone() };
            let create = self.create_owned(user, &collection, bytes.into(), Ownership::Given, &unrepeated);
            match Box::pin(create).await {
                // Somebody else was first, or an object that was there has just gone: look again.
                Err(error) if error.reason == Reason::AlreadyExists && turn < TURNS_MAX => {}
                Err(error) if error.reason == Reason::MethodNotAllowed => return Err(absent),
                result => return result,
            }
        }
    }
}

impl Handlers {
    /// Applies a `Scale`: a configuration of its object that says nothing but the replicas.
    pub(super) async fn apply_scale(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        force: bool,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let scale: Value = serde_json::from_slice(body)
            .map_err(|error| StatusError::bad_request(format!("error decoding YAML: {error}")))?;
        let schema = builtin("autoscaling/v1", "Scale").unwrap_or(Schema::Undeclared);
        check_kind_config(&GroupVersionKind::from_object("autoscaling/v1", "Scale"), &schema, &scale)?;
        let kind = row.info.kind();
        let mut config = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.kind,
            "metadata": {"name": scale.pointer("/metadata/name")},
            "spec": {},
        });
        if let Some(version) = scale.pointer("/metadata/resourceVersion") {
            config["metadata"]["resourceVersion"] = version.clone();
        }
        if let Some(replicas) = scale.pointer("/spec/replicas") {
            config["spec"]["replicas"] = replicas.clone();
        }
        let body = serde_json::to_vec(&config).map_err(StatusError::internal)?.into();
        let answer = self.apply(user, row, target, Part::Main, force, &body, options).await?;
        self.scale_answer(row, &answer.bytes)
    }
}

/// What a configuration must be before it is merged with anything.
fn check_config(row: &Row, config: &Value) -> Result<(), StatusError> {
    check_kind_config(&row.info.kind(), &schema_of(row), config)
}

fn check_kind_config(wanted: &GroupVersionKind, schema: &Schema, config: &Value) -> Result<(), StatusError> {
    let text = |path: &str| config.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let group_version = if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") };
    if kind.is_empty() {
        return Err(StatusError::bad_request(format!(
            "Object 'Kind' is missing in '{}'",
            String::from_utf8_lossy(&serde_json::to_vec(config).unwrap_or_default())
        )));
    }
    if api_version != wanted.api_version() || kind != wanted.kind {
        return Err(StatusError::bad_request(format!("invalid object type: {group_version}, Kind={kind}")));
    }
    if config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(StatusError::bad_request("metadata.managedFields must be nil"));
    }
    let mistakes = mistakes(config, schema);
    if !mistakes.is_empty() {
        return Err(StatusError::new(
            Reason::Unknown,
            format!(
                "failed to create typed patch object ({}/{}; {group_version}, Kind={kind}): {}",
                text("/metadata/namespace"),
                text("/metadata/name"),
                mistakes_text(&mistakes)
            ),
        ));
    }
    Ok(())
}

/// The merged object, in its stored form.
fn decode_applied(row: &Row, target: &Target, applied: &Value) -> Result<Box<dyn AnyObject>, StatusError> {
    let bytes = serde_json::to_vec(applied).map_err(StatusError::internal)?;
    let bytes = match &row.conversion {
        None => bytes,
        Some(conversion) => conversion.to_stored(&bytes)?,
    };
    let decoded = row
        .kind
        .decode(&bytes, FieldValidation::Ignore)
        .map_err(|error| refused(row, &StatusError::from(error).message, applied))?;
    check_place(row, target, decoded.object.as_ref())?;
    Ok(decoded.object)
}
