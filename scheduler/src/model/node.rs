//! What scheduling reads of a node.

use std::sync::Arc;

use super::{Labels, Resources, Taint};

/// The facts of a node that pods are placed by; heartbeats and conditions are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `spec.unschedulable`: the node is cordoned.
    pub unschedulable: bool,
    /// `spec.taints`.
    pub taints: Box<[Taint]>,
    /// `status.allocatable`, without `pods`.
    pub allocatable: Resources,
    /// `status.allocatable.pods`.
    pub pods_allowed: i64,
}
