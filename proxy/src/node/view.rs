//! What the proxy reads of Nodes.

use std::net::Ipv4Addr;

use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use crate::nft::model::Network;

/// A Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// Its identity.
    pub metadata: NodeMetadata,
    spec: NodeSpecView,
    status: NodeStatusView,
}

/// `Node.metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeMetadata {
    /// Its name.
    pub name: String,
    /// Its UID, for events about it.
    pub uid: String,
    resource_version: String,
    labels: NodeLabels,
    deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeLabels {
    #[serde(rename = "topology.kubernetes.io/zone")]
    zone: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpecView {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatusView {
    addresses: Vec<NodeAddressView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddressView {
    #[serde(rename = "type")]
    type_: String,
    address: String,
}

impl NodeView {
    /// The IPv4 network of its pods.
    pub fn pod_network(&self) -> Option<Network> {
        let mut texts = self.spec.pod_cidrs.iter().chain(std::iter::once(&self.spec.pod_cidr));
        texts.find_map(|text| text.parse().ok())
    }

    /// Whether it is about to go.
    pub fn is_leaving(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// Its zone.
    pub fn zone(&self) -> Option<&str> {
        self.metadata.labels.zone.as_deref()
    }

    /// Its IPv4 addresses, inside the cluster and outside.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.status.addresses.iter().filter_map(|address| address.address.parse().ok())
    }

    /// Its IPv4 address inside the cluster.
    pub fn internal_address(&self) -> Option<Ipv4Addr> {
        let internal = self.status.addresses.iter().filter(|address| address.type_ == "InternalIP");
        internal.filter_map(|address| address.address.parse().ok()).next()
    }

    /// A node of a test.
    #[cfg(test)]
    pub fn for_test(name: &str, pod_network: &str, address: &str) -> NodeView {
        NodeView {
            metadata: NodeMetadata { name: name.into(), ..NodeMetadata::default() },
            spec: NodeSpecView { pod_cidr: pod_network.into(), pod_cidrs: Vec::new() },
            status: NodeStatusView {
                addresses: vec![NodeAddressView { type_: "InternalIP".into(), address: address.into() }],
            },
        }
    }
}

impl View for NodeView {
    type Kind = k8s_openapi::api::core::v1::Node;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.labels",
        "metadata.deletionTimestamp",
        "spec.podCIDR",
        "spec.podCIDRs",
        "status.addresses",
    ];

    fn key(&self) -> ObjectKey {
        ObjectKey::new("", self.metadata.name.as_str())
    }

    fn revision(&self) -> i64 {
        self.metadata.resource_version.parse().unwrap_or(0)
    }
}
