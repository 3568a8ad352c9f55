//! ComponentStatus: a deprecated kind of which nothing is stored.

use k8s_openapi::api::core::v1::ComponentStatus;

use crate::registry::strategy::Strategy;

/// The strategy.
pub struct ComponentStatuses;

impl Strategy for ComponentStatuses {
    type Object = ComponentStatus;
}
