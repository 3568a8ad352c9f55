//! Binding: the choice of a node for a pod. It is not stored: it changes the pod.

use k8s_openapi::api::core::v1::Binding;

use crate::registry::strategy::Strategy;

/// The strategy.
pub struct Bindings;

impl Strategy for Bindings {
    type Object = Binding;
}
