//! Why a pod fits on no node: data first, upstream's sentence second.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How much of a resource a node lacks for a pod. Cpu in thousandths of a core, the rest in whole units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// `cpu`, `memory`, `example.com/gpu`.
    pub resource: Box<str>,
    /// What the pod requests.
    pub wanted: i64,
    /// What the node has in all.
    pub offered: i64,
    /// What its pods have requested already.
    pub used: i64,
}

/// Why a node does not admit a pod. Displayed in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// NodeUnschedulable.
    Unschedulable,
    /// NodeName.
    OtherNodeName,
    /// TaintToleration.
    UntoleratedTaint,
    /// NodeAffinity.
    AffinityMismatch,
    /// NodePorts.
    PortsTaken,
    /// NodeResourcesFit, the number of pods.
    TooManyPods {
        /// `status.allocatable.pods`.
        allowed: i64,
    },
    /// NodeResourcesFit.
    Insufficient(Shortage),
    /// PodTopologySpread: the node's domain has too many matching pods already.
    SpreadSkew,
    /// PodTopologySpread: the node lacks the label that names its domain.
    SpreadLabelMissing,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::OtherNodeName => "node(s) didn't match the requested node name",
            Self::UntoleratedTaint => "node(s) had untolerated taint(s)",
            Self::AffinityMismatch => "node(s) didn't match Pod's node affinity/selector",
            Self::PortsTaken => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods { .. } => "Too many pods",
            Self::Insufficient(shortage) => return write!(f, "Insufficient {}", shortage.resource),
            Self::SpreadSkew => "node(s) didn't match pod topology spread constraints",
            Self::SpreadLabelMissing => "node(s) didn't match pod topology spread constraints (missing required label)",
        })
    }
}

/// Why a pod fits on no node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Every node with the reasons of the first plugin that refused.
    pub nodes: Vec<(Arc<str>, Vec<Reason>)>,
}

impl Diagnosis {
    /// Whether some node refuses for how pods are spread over other nodes, so that changes there can help.
    pub fn depends_on_spreading(&self) -> bool {
        self.nodes.iter().flat_map(|(_, reasons)| reasons).any(|reason| *reason == Reason::SpreadSkew)
    }
}

/// Upstream's sentence, as in the event and in the pod's condition. It ends where upstream's goes on to tell what
/// preemption came to: there is none here.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes.is_empty() {
            return f.write_str("no nodes available to schedule pods");
        }
        let mut counts = BTreeMap::<String, usize>::new();
        for reason in self.nodes.iter().flat_map(|(_, reasons)| reasons) {
            *counts.entry(reason.to_string()).or_default() += 1;
        }
        let total = self.nodes.len();
        write!(f, "0/{total} nodes are available: {}.", histogram(counts))
    }
}

/// `2 this, 1 that`, sorted as text, as upstream does.
fn histogram(counts: impl IntoIterator<Item = (String, usize)>) -> String {
    let present = counts.into_iter().filter(|(_, count)| *count > 0);
    let mut parts: Vec<String> = present.map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_of_cpu(wanted: i64) -> Reason {
        Reason::Insufficient(Shortage { resource: "cpu".into(), wanted, offered: 1000, used: 900 })
    }

    fn diagnosis(nodes: &[Reason]) -> Diagnosis {
        let nodes = nodes.iter().enumerate().map(|(i, reason)| (format!("n{i}").into(), vec![reason.clone()]));
        Diagnosis { nodes: nodes.collect() }
    }

    #[test]
    fn reasons_are_counted_and_sorted_as_upstream_does() {
        let text = diagnosis(&[Reason::UntoleratedTaint, short_of_cpu(500), Reason::UntoleratedTaint]).to_string();
        assert_eq!(text, "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).");
    }

    #[test]
    fn no_nodes_at_all() {
        assert_eq!(Diagnosis::default().to_string(), "no nodes available to schedule pods");
    }
}
