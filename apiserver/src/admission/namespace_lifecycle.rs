//! NamespaceLifecycle: nothing is created in a namespace that is absent or ending, and some namespaces stay.

use k8s_openapi::api::core::v1::Namespace;
use reeve_api::status::StatusCause;
use reeve_api::{GroupVersionResource, StatusError};

use crate::registry::Row;
use crate::request::Target;
use crate::storage::cache::{Resource, Version};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Checks the namespace that something is created in.
///
/// # Errors
/// `NotFound` when it is absent, `Forbidden` when it is ending.
pub async fn admit_create(namespaces: &Resource, row: &Row, target: &Target, name: &str) -> Result<(), StatusError> {
    if !row.info.namespaced {
        return Ok(());
    }
    let present = match namespaces.snapshot().get("", &target.namespace) {
        Some(entry) => Some(entry),
        // The cache may be behind: a namespace that was just created counts.
        None => namespaces.get("", &target.namespace, Version::Consistent).await?,
    };
    let Some(entry) = present else {
        return Err(StatusError::not_found(&GroupVersionResource::of::<Namespace>(), &target.namespace));
    };
    let namespace: Namespace = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
    if namespace.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {} because it is being terminated", target.namespace);
    let mut error = StatusError::forbidden(&target.resource, name, why);
    if let Some(details) = &mut error.details {
        details.causes = Some(vec![StatusCause {
            reason: Some("NamespaceTerminating".into()),
            message: Some(format!("namespace {} is being terminated", target.namespace)),
            field: Some("metadata.namespace".into()),
        }]);
    }
    Err(error)
}

/// Checks the deletion of a namespace.
///
/// # Errors
/// `Forbidden` for those that every cluster needs.
pub fn admit_delete(row: &Row, name: &str) -> Result<(), StatusError> {
    let resource = &row.info.resource;
    if resource.group.is_empty() && resource.resource == "namespaces" && IMMORTAL.contains(&name) {
        return Err(StatusError::forbidden(resource, name, "this namespace may not be deleted"));
    }
    Ok(())
}
