//! Schemas of the built-in kinds.

use super::{ObjectRef, Schema, table};

/// The schema of a built-in kind (`apps/v1`, `Deployment`).
pub fn builtin(api_version: &str, kind: &str) -> Option<Schema> {
    let index = table::kind(api_version, kind)?;
    Some(Schema::Object { fields: ObjectRef::Builtin(index), atomic: false })
}
