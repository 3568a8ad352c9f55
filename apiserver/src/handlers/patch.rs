//! patch: a change that is made on whatever is newest, unless it names a version.

use bytes::Bytes;
use reeve_api::{Reason, StatusError, json, patch};
use serde_json::Value;

use super::update::{decode_patched, part_of};
use super::{Handlers, ObjectAnswer, PatchKind, WriteOptions, field_validation};
use crate::registry::{AnyObject, SubresourceAction};
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
        let (row, subresource) = self.row(user, Verb::Patch, target)?;
        let patch = Patch::parse(kind, &body)?;
        if subresource.is_some_and(|subresource| subresource.action == SubresourceAction::Scale) {
            return self.patch_scale(user, row, target, &patch, options).await;
        }
        let part = part_of(subresource).ok_or_else(super::method_not_allowed)?;
        let validation = field_validation(options)?;
        let mut warnings = Vec::new();
        let mut make = |present: &Stored, _: &dyn AnyObject| -> Result<Box<dyn AnyObject>, StatusError> {
            let stored = json::splice_resource_version(&present.value, present.revision);
            let before = super::served(row, stored)?;
            let after = patch.apply(&before)?;
            let after = match &row.conversion {
                None => after,
                Some(conversion) => conversion.to_stored(&after)?,
            };
            let mut object = decode_patched(row, &after, validation, &mut warnings)?;
            // Only a version that the patch itself names is a precondition.
            if !patch.names_version() {
                object.metadata_mut().resource_version = None;
            }
            if object.metadata().name.as_deref() != Some(&target.name) {
                return Err(StatusError::bad_request(format!(
                    "the name of the object ({}) does not match the name on the URL ({})",
                    object.metadata().name.as_deref().unwrap_or_default(),
                    target.name
                )));
            }
            Ok(object)
        };
        let mut answer = self.change(user, row, target, part, options, &mut make).await?;
        answer.warnings.splice(0..0, warnings);
        Ok(answer)
    }
}

/// A patch that has been read.
pub(super) enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
}

impl Patch {
    fn parse(kind: PatchKind, body: &[u8]) -> Result<Self, StatusError> {
        match kind {
            PatchKind::Json => serde_json::from_slice(body)
                .map(Patch::Json)
                .map_err(|error| StatusError::bad_request(format!("error decoding patch: {error}"))),
            PatchKind::Merge => {
                let value: Value = serde_json::from_slice(body)
                    .map_err(|error| StatusError::bad_request(format!("error decoding patch: {error}")))?;
                if !value.is_object() {
                    return Err(StatusError::bad_request("a merge patch must be an object"));
                }
                Ok(Patch::Merge(value))
            }
            PatchKind::Strategic => Err(StatusError::new(
                Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json",
            )),
            PatchKind::Apply { .. } => Err(StatusError::new(
                Reason::UnsupportedMediaType,
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json",
            )),
        }
    }

    /// The object after the patch.
    pub(super) fn apply(&self, before: &[u8]) -> Result<Vec<u8>, StatusError> {
        let mut value: Value = serde_json::from_slice(before).map_err(StatusError::internal)?;
        match self {
            Patch::Json(patch) => patch::apply_json_patch(&mut value, patch)?,
            Patch::Merge(patch) => patch::apply_merge_patch(&mut value, patch.clone()),
        }
        serde_json::to_vec(&value).map_err(StatusError::internal)
    }

    fn names_version(&self) -> bool {
        match self {
            Patch::Json(operations) => operations.as_array().into_iter().flatten().any(|operation| {
                let path = operation["path"].as_str().unwrap_or_default();
                operation["op"] != "test" && (path == "/metadata/resourceVersion" || path == "/metadata")
            }),
            Patch::Merge(value) => {
                value.pointer("/metadata/resourceVersion").is_some_and(|version| version.as_str().is_some())
            }
        }
    }
}
