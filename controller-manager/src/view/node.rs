//! Nodes, narrow.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::{Deserialize, Serialize};

use super::meta::Meta;

/// What controllers read of a node.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeView {
    /// The metadata.
    pub metadata: Meta,
    /// The specification.
    #[serde(default)]
    pub spec: NodeSpecView,
    /// The status.
    #[serde(default)]
    pub status: NodeStatusView,
}

/// The specification's part of the view.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeSpecView {
    /// The first range of pod addresses.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    /// All ranges of pod addresses.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    /// The taints.
    pub taints: Vec<Taint>,
    /// Whether the node was cordoned.
    pub unschedulable: bool,
}

/// The status's part of the view.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeStatusView {
    /// The conditions.
    pub conditions: Vec<NodeCondition>,
    /// The addresses.
    pub addresses: Vec<NodeAddressView>,
}

/// An address of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAddressView {
    /// The address, or a name.
    pub address: String,
}

/// A condition of a node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NodeCondition {
    /// For instance `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The reason word.
    pub reason: String,
    /// The text.
    pub message: String,
    /// When the node last said so.
    pub last_heartbeat_time: Option<Time>,
    /// When the status last changed.
    pub last_transition_time: Option<Time>,
}

impl NodeView {
    /// A condition.
    pub fn condition(&self, type_: &str) -> Option<&NodeCondition> {
        self.status.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// The last sign of life in the node's own status.
    pub fn heartbeat(&self) -> Option<Timestamp> {
        self.condition("Ready")?.last_heartbeat_time.as_ref().map(|time| time.0)
    }

    /// The zone, as the node's labels name it.
    pub fn zone(&self) -> Option<&str> {
        self.metadata.labels.get("topology.kubernetes.io/zone").map(String::as_str)
    }
}

impl View for NodeView {
    type Kind = Node;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.uid",
        "metadata.namespace",
        "metadata.resourceVersion",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.labels",
        "metadata.ownerReferences",
        "metadata.finalizers",
        "spec.podCIDR",
        "spec.podCIDRs",
        "spec.taints",
        "spec.unschedulable",
        "status.conditions",
        "status.addresses",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}
