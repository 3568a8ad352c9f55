//! patch: a change that is made on whatever is newest, unless it names a version.

use bytes::Bytes;
use reeve_api::schema::Schema;
use reeve_api::status::StatusCause;
use reeve_api::{GroupVersionKind, Reason, StatusError, go_text, json, patch};
use serde_json::{Map, Value};

use super::admission::wrong_body;
use super::decoding::with_warnings;
use super::ownership::schema_of;
use super::update::part_of;
use super::{Handlers, ObjectAnswer, PatchKind, WriteOptions, field_validation, owners};
use crate::registry::{
    AnyObject, FieldValidation, MANAGED_FIELDS, Row, SubresourceAction, duplicate_fields, json_patch_fields,
    split_managers,
};
use crate::request::{Target, User, Verb};
use crate::storage::Stored;

impl Handlers {
    /// Changes parts of an object.
    pub async fn patch(
        &self,
        user: &User,
        target: &Target,
        kind: PatchKind,
        body: Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let found = self.row(user, Verb::Patch, target)?;
        let (row, subresource) = found.parts();
        let validation = field_validation(options)?;
        if subresource.is_some_and(|subresource| subresource.action == SubresourceAction::Scale) {
            if let PatchKind::Apply { force } = kind {
                return self.apply_scale(user, row, target, force, &body, options).await;
            }
            let patch = Patch::parse(kind, &body, validation)?;
            return self.patch_scale(user, row, target, &patch, options).await;
        }
        let part = part_of(subresource).ok_or_else(super::method_not_allowed)?;
        if let PatchKind::Apply { force } = kind {
            return self.apply(user, row, target, part, force, &body, options).await;
        }
        let schema = schema_of(row);
        if kind == PatchKind::Strategic && (schema == Schema::Undeclared || row.kind.custom().is_some()) {
            return Err(unsupported());
        }
        // An object that is not there is the first thing to say.
        let parsed = Patch::parse(kind, &body, validation);
        let mut warnings = Vec::new();
        let mut owned = None;
        let mut make = |present: &Stored, _: &dyn AnyObject| -> Result<Box<dyn AnyObject>, StatusError> {
            let patch = parsed.as_ref().map_err(Clone::clone)?;
            let mut patched = |stored: &[u8]| -> Result<Box<dyn AnyObject>, StatusError> {
                let before = super::served(row, json::splice_resource_version(stored, present.revision))?;
                let after = patch.apply(&before, &schema)?;
                warnings.clone_from(&patch.duplicates);
                self.check_other_kind(row, patch, &after)?;
                decode_patched(row, patch, &after, validation, &mut warnings)
            };
            // The managers are half of an object, and hardly any patch is about them.
            let brief = patch.leaves_managers().then(|| patched(&split_managers(&present.value).0));
            // Errors quote the whole object.
            let mut object = match brief {
                Some(Ok(object)) => object,
                _ => patched(&present.value)?,
            };
            check_place(row, target, object.as_ref())?;
            owned = owners::keep_first(object.metadata_mut(), owners::PATCHED);
            Ok(object)
        };
        let result = self.change(user, row, target, part, options, &mut make).await;
        if validation == FieldValidation::Strict {
            // What strictness refuses is told in the error.
            warnings.clear();
        }
        warnings.extend(owned);
        with_warnings(result, warnings)
    }
}

impl Handlers {
    /// A patch that makes an object of another kind is judged by the rules of that one first.
    fn check_other_kind(&self, row: &Row, patch: &Patch, after: &Value) -> Result<(), StatusError> {
        let text = |name: &str| after.get(name).and_then(Value::as_str).unwrap_or_default();
        let given = GroupVersionKind::from_object(text("apiVersion"), text("kind"));
        if given == row.info.kind() {
            return Ok(());
        }
        let registry = self.registry();
        let Some(other) = registry.rows().iter().find(|other| other.info.kind() == given) else { return Ok(()) };
        let bytes = serde_json::to_vec(after).map_err(StatusError::internal)?;
        match other.kind.decode(&bytes, FieldValidation::Ignore) {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(other, &StatusError::from(error).message, patch.quoted(after))),
        }
    }
}

/// The namespace and name of a changed object must be those that were asked for.
pub(super) fn check_place(row: &Row, target: &Target, object: &dyn AnyObject) -> Result<(), StatusError> {
    let namespace = object.metadata().namespace.as_deref().unwrap_or_default();
    if row.info.namespaced && !namespace.is_empty() && namespace != target.namespace {
        return Err(wrong_body(
            "the namespace of the provided object does not match the namespace sent on the request".into(),
        ));
    }
    check_name(target, object)
}

/// The name of a changed object must be the one that was asked for.
fn check_name(target: &Target, object: &dyn AnyObject) -> Result<(), StatusError> {
    let name = object.metadata().name.as_deref().unwrap_or_default();
    if name == target.name {
        return Ok(());
    }
    Err(StatusError::bad_request(format!(
        "the name of the object ({name}) does not match the name on the URL ({})",
        target.name
    )))
}

/// A patch that has been read.
pub(super) struct Patch {
    form: Form,
    /// What is wrong with the patch's own fields, in words.
    duplicates: Vec<String>,
}

enum Form {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Strategic merge patch.
    Strategic(Value),
}

impl Patch {
    pub(super) fn parse(kind: PatchKind, body: &[u8], validation: FieldValidation) -> Result<Self, StatusError> {
        let parsed: Result<Value, String> = serde_json::from_slice(body)
            .map_err(|error| go_text::json_problem(body).unwrap_or_else(|| error.to_string()));
        let is_lax = validation == FieldValidation::Ignore;
        let decoding = |text: String| {
            StatusError::bad_request(if is_lax { text } else { format!("error decoding patch: {text}") })
        };
        let form = match kind {
            PatchKind::Json => Form::Json(parsed.map_err(decoding)?),
            PatchKind::Merge => Form::Merge(parsed.and_then(object).map_err(decoding)?),
            PatchKind::Strategic => Form::Strategic(parsed.and_then(object).map_err(StatusError::bad_request)?),
            PatchKind::Apply { .. } => return Err(unsupported()),
        };
        let duplicates = match (validation, &form) {
            (FieldValidation::Ignore, _) => Vec::new(),
            (_, Form::Json(_)) => json_patch_fields(body),
            (_, Form::Merge(_) | Form::Strategic(_)) => duplicate_fields(body),
        };
        Ok(Self { form, duplicates })
    }

    /// Whether it surely neither reads nor writes `metadata.managedFields`.
    fn leaves_managers(&self) -> bool {
        match &self.form {
            Form::Json(patch) => patch.as_array().is_some_and(|operations| {
                let paths = operations.iter().flat_map(|operation| [operation.get("path"), operation.get("from")]);
                let mut texts = paths.flatten().map(|path| path.as_str().unwrap_or_default());
                // Paths above it hold it, too.
                texts.all(|path| match path.strip_prefix("/metadata") {
                    Some(rest) => !rest.is_empty() && !rest.starts_with("/managedFields"),
                    None => !path.is_empty(),
                })
            }),
            Form::Merge(patch) | Form::Strategic(patch) => {
                let plain = |patch: &Map<String, Value>| !patch.keys().any(|name| name.starts_with('$'));
                patch.as_object().is_some_and(|patch| {
                    plain(patch)
                        && patch.get("metadata").is_none_or(|metadata| {
                            let metadata = metadata.as_object();
                            metadata.is_some_and(|own| plain(own) && !own.contains_key(MANAGED_FIELDS))
                        })
                })
            }
        }
    }

    /// What an error quotes: the patched object, of a strategic merge patch the patch.
    fn quoted<'a>(&'a self, after: &'a Value) -> &'a Value {
        match &self.form {
            Form::Strategic(patch) => patch,
            _ => after,
        }
    }

    /// The object after the patch.
    pub(super) fn apply(&self, before: &[u8], schema: &Schema) -> Result<Value, StatusError> {
        let mut value: Value = serde_json::from_slice(before).map_err(StatusError::internal)?;
        match &self.form {
            Form::Json(patch) => patch::apply_json_patch(&mut value, patch)?,
            Form::Merge(patch) => patch::apply_merge_patch(&mut value, patch.clone()),
            Form::Strategic(patch) => patch::strategic::apply(&mut value, patch.clone(), schema)?,
        }
        Ok(value)
    }
}

fn unsupported() -> StatusError {
    StatusError::new(
        Reason::UnsupportedMediaType,
        "the body of the request was in an unknown format - accepted media types include: \
         application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    )
}

fn object(value: Value) -> Result<Value, String> {
    let what = match &value {
        Value::Object(_) | Value::Null => return Ok(if value.is_null() { Value::Object(Map::new()) } else { value }),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
    };
    Err(format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"))
}

/// The decoded form of a patched object, in the form that is stored.
fn decode_patched(
    row: &Row,
    patch: &Patch,
    after: &Value,
    validation: FieldValidation,
    warnings: &mut Vec<String>,
) -> Result<Box<dyn AnyObject>, StatusError> {
    let bytes = serde_json::to_vec(after).map_err(StatusError::internal)?;
    let bytes = match &row.conversion {
        None => bytes,
        Some(conversion) => conversion.to_stored(&bytes)?,
    };
    let quoted = patch.quoted(after);
    // Fields that are unknown or doubled come together, with those of the patch itself first.
    let lenient = if validation == FieldValidation::Ignore { validation } else { FieldValidation::WarnUnknown };
    let mut decoded =
        row.kind.decode(&bytes, lenient).map_err(|error| refused(row, &StatusError::from(error).message, quoted))?;
    // The patched object is decoded in the order of its names.
    decoded.warnings.sort_unstable();
    warnings.extend(decoded.warnings);
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(refused(row, &format!("strict decoding error: {}", warnings.join(", ")), quoted));
    }
    Ok(decoded.object)
}

/// The error of a patch whose result is no object of the kind.
pub(super) fn refused(row: &Row, why: &str, value: &Value) -> StatusError {
    let introduction = format!(" cannot be handled as a {}: ", row.info.kind);
    let why = why.split_once(&introduction).map_or(why, |(_, why)| why);
    let mut value = value.clone();
    in_go_order(&mut value);
    let text = Value::String(value.to_string());
    StatusError::invalid(
        "",
        "",
        "",
        vec![StatusCause {
            reason: Some("FieldValueInvalid".to_owned()),
            message: Some(format!("Invalid value: {text}: {why}")),
            field: Some("patch".to_owned()),
        }],
    )
}

/// The order in which upstream writes metadata.
const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// An object as upstream quotes it: the patched level by its keys, metadata in the order of its struct.
fn in_go_order(value: &mut Value) {
    let Value::Object(object) = value else { return };
    object.sort_keys();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        in_order(metadata, &METADATA);
        for (field, names) in [("managedFields", &MANAGED[..]), ("ownerReferences", &OWNER[..])] {
            for entry in metadata.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Value::Object(entry) = entry {
                    in_order(entry, names);
                }
            }
        }
    }
}

const MANAGED: [&str; 7] = ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];
const OWNER: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];

fn in_order(object: &mut Map<String, Value>, names: &[&str]) {
    let mut ordered = Map::new();
    for name in names {
        if let Some(value) = object.shift_remove(*name) {
            ordered.insert((*name).to_owned(), value);
        }
    }
    ordered.append(object);
    *object = ordered;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_that_touch_managers_are_told() {
        let leaves = |kind, body: &str| {
            Patch::parse(kind, body.as_bytes(), FieldValidation::Ignore).expect("a patch").leaves_managers()
        };
        for (body, expected) in [
            (r#"[{"op":"add","path":"/metadata/labels/a","value":"b"}]"#, true),
            (r#"[{"op":"remove","path":"/metadata/managedFields/0"}]"#, false),
            (r#"[{"op":"copy","from":"/metadata","path":"/spec/x"}]"#, false),
            (r#"[{"op":"replace","path":"","value":{}}]"#, false),
            ("{}", false),
        ] {
            assert_eq!(leaves(PatchKind::Json, body), expected, "{body}");
        }
        for (body, expected) in [
            (r#"{"metadata":{"labels":{"a":"b"}}}"#, true),
            (r#"{"spec":{}}"#, true),
            (r#"{"metadata":{"managedFields":null}}"#, false),
            (r#"{"metadata":null}"#, false),
            (r#"{"$patch":"replace"}"#, false),
            (r#"{"metadata":{"$retainKeys":["name"]}}"#, false),
        ] {
            assert_eq!(leaves(PatchKind::Strategic, body), expected, "{body}");
            assert_eq!(leaves(PatchKind::Merge, body), expected, "{body}");
        }
    }
}
