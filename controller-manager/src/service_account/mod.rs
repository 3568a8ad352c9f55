//! The service account `default` in every namespace.

pub mod shell;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use reeve_api::meta::MetaExt as _;
use serde_json::json;

use crate::action::Action;
use crate::object::resource;

/// The name that pods without a service account get.
pub const DEFAULT: &str = "default";

/// Creates the account where it is missing.
pub fn reconcile(namespace: &Namespace, exists: bool) -> Option<Action> {
    if exists || namespace.metadata.is_deleting() {
        return None;
    }
    Some(Action::Create {
        resource: resource::<ServiceAccount>(),
        namespace: namespace.metadata.name().to_owned(),
        object: Arc::new(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": DEFAULT, "namespace": namespace.metadata.name()},
        })),
        copies: 1,
        told: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_where_it_is_missing() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("shop".into());
        assert_eq!(reconcile(&namespace, false).unwrap().to_string(), "create serviceaccounts shop/default");
        assert_eq!(reconcile(&namespace, true), None);
    }
}
