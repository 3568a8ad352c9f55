//! A node, narrowed to its scheduling facts.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use reeve_client::View;
use serde::Deserialize;

use super::amount;
use crate::model::{Labels, NodeFacts, Taint};

/// A node as the scheduler holds it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Node")]
pub struct NodeView {
    /// What pods are placed by.
    pub facts: Arc<NodeFacts>,
    revision: i64,
}

impl From<Node> for NodeView {
    fn from(node: Node) -> Self {
        let revision = node.metadata.revision();
        let spec = node.spec.unwrap_or_default();
        let allocatable = node.status.and_then(|status| status.allocatable);
        let pods = allocatable.as_ref().and_then(|amounts| amounts.get("pods"));
        let taints = spec.taints.unwrap_or_default().into_iter().map(|taint| Taint {
            key: taint.key.into(),
            value: taint.value.unwrap_or_default().into(),
            effect: taint.effect.as_str().into(),
        });
        let facts = NodeFacts {
            name: node.metadata.name().into(),
            unschedulable: spec.unschedulable.unwrap_or_default(),
            taints: taints.collect(),
            pods_allowed: pods.and_then(|pods| amount::whole(pods).ok()).unwrap_or(0),
            allocatable: amount::resources(allocatable.as_ref(), 0),
            labels: Labels::from_iter(node.metadata.labels.unwrap_or_default()),
        };
        Self { facts: Arc::new(facts), revision }
    }
}

impl View for NodeView {
    type Kind = Node;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.resourceVersion",
        "metadata.labels",
        "spec.unschedulable",
        "spec.taints",
        "status.allocatable",
    ];

    fn key(&self) -> ObjectKey {
        ObjectKey::cluster(&*self.facts.name)
    }

    fn revision(&self) -> i64 {
        self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Effect;

    #[test]
    fn a_node_is_narrowed_to_its_facts() {
        let json = serde_json::json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "resourceVersion": "7", "labels": {"zone": "a"}},
            "spec": {"unschedulable": true, "taints": [{"key": "k", "effect": "NoExecute"}]},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "110", "example.com/gpu": "1"}},
        });
        let view: NodeView = serde_json::from_value(json).unwrap();
        let facts = &view.facts;
        assert_eq!((view.revision(), &*facts.name, facts.labels.get("zone")), (7, "n1", Some("a")));
        assert!(facts.unschedulable);
        assert_eq!(facts.taints[0].effect, Effect::NoExecute);
        let amounts =
            (facts.allocatable.milli_cpu, facts.allocatable.memory, facts.allocatable.named("example.com/gpu"));
        assert_eq!((amounts, facts.pods_allowed), ((2000, 1 << 30, 1), 110));
    }
}
