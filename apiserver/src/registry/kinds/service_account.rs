//! ServiceAccount: an identity for pods.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::registry::strategy::Strategy;

/// The strategy.
pub struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    type Object = ServiceAccount;
}
