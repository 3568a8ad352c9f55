//! The node's own object as the API has it: what of it decides whether pods are taken, and whether it was given up.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Taint};
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

/// Labels, taints and conditions of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    metadata: Metadata,
    spec: Spec,
    status: Status,
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

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// The conditions that the kubelet itself tells. Others are not for it to answer.
const OWN: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

impl NodeView {
    /// Whether the control plane has given the node up: conditions of the kubelet are `Unknown`, which it never says.
    pub fn is_given_up(&self) -> bool {
        self.status.conditions.iter().any(|it| it.status == "Unknown" && OWN.contains(&it.kind.as_str()))
    }

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
        "status.conditions",
    ];

    fn key(&self) -> ObjectKey {
        ObjectKey::new(String::new(), self.metadata.name.clone())
    }

    fn revision(&self) -> i64 {
        self.metadata.resource_version.parse().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_given_up_when_its_own_conditions_are_unknown() {
        let node = |kind: &str, status: &str| -> NodeView {
            let conditions = json!([{"type": "Ready", "status": "True"}, {"type": kind, "status": status}]);
            serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap()
        };
        assert!(node("MemoryPressure", "Unknown").is_given_up());
        assert!(!node("MemoryPressure", "False").is_given_up());
        // Somebody else's: an answer to it would be followed by the next one.
        assert!(!node("example.com/Disk", "Unknown").is_given_up());
        assert!(!NodeView::default().is_given_up());
    }
}
