//! Admission that needs other objects than the one that is written.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Namespace;
use reeve_api::status::StatusCause;
use reeve_api::{GroupVersionResource, Reason, StatusError};

use super::Handlers;
use crate::registry::{AnyObject, Row};
use crate::request::{Target, User};
use crate::storage::cache::Version;

const NAMESPACES_PREFIX: &str = "/registry/namespaces/";

impl Handlers {
    /// Namespace lifecycle: nothing is created in a namespace that is absent or ending.
    pub(super) async fn admit_namespace(&self, row: &Row, target: &Target, name: &str) -> Result<(), StatusError> {
        if !row.info.namespaced {
            return Ok(());
        }
        let namespaces = self.stored(NAMESPACES_PREFIX);
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
        let why =
            format!("unable to create new content in namespace {} because it is being terminated", target.namespace);
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
}

/// A node creates only its own Node object, and pods' status only of what the authorizer let through.
pub(super) fn admit_node_identity(user: &User, row: &Row, object: &dyn AnyObject) -> Result<(), StatusError> {
    let Some(node) = user.name.strip_prefix("system:node:") else { return Ok(()) };
    let name = object.metadata().name.as_deref().unwrap_or_default();
    if row.info.resource.group.is_empty() && row.info.resource.resource == "nodes" && name != node {
        let why = format!("node {node:?} is not allowed to modify node {name:?}");
        return Err(StatusError::forbidden(&row.info.resource, name, why));
    }
    if row.info.resource.resource == "leases" && name != node {
        let why = format!("can only access node lease with the same name as the requesting node {node:?}");
        return Err(StatusError::forbidden(&row.info.resource, name, why));
    }
    Ok(())
}

/// Each namespace carries its own name as a label, so that selectors can name it.
pub(super) fn label_namespace(row: &Row, object: &mut dyn AnyObject) {
    if row.info.resource.group.is_empty() && row.info.resource.resource == "namespaces" {
        let metadata = object.metadata_mut();
        if let Some(name) = metadata.name.clone() {
            metadata.labels.get_or_insert_with(BTreeMap::new).insert("kubernetes.io/metadata.name".to_owned(), name);
        }
    }
}

/// The text of an error that says what kind of body was expected.
pub(super) fn wrong_body(message: String) -> StatusError {
    StatusError::new(Reason::BadRequest, message)
}
