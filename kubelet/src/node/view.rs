//! The node's own object as the API has it: what of it decides whether pods are taken.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

/// Labels and taints of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    uid: String,
    resource_version: String,
    labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    taints: Vec<Taint>,
}

impl NodeView {
    /// The node's UID.
    pub fn uid(&self) -> &str {
        &self.metadata.uid
    }

    /// The node's labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.metadata.labels
    }

    /// The node's taints.
    pub fn taints(&self) -> &[Taint] {
        &self.spec.taints
    }
}

impl View for NodeView {
    type Kind = Node;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.labels",
        "spec.taints",
    ];

    fn key(&self) -> ObjectKey {
        ObjectKey::new(String::new(), self.metadata.name.clone())
    }

    fn revision(&self) -> i64 {
        self.metadata.resource_version.parse().unwrap_or_default()
    }
}
