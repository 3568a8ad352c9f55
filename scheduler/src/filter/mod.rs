//! Which nodes a pod can run on: one file per plugin of upstream, in upstream's order.
//!
//! Three kinds, by what they depend on: the node's facts ([`admits_facts`]), what runs on the node
//! ([`admits_usage`]), and what runs on other nodes ([`pod_topology_spread`], asked by
//! [`crate::evaluation`], which holds the counts). Inter-pod affinity will be of the third kind.

pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources_fit;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod taint_toleration;

use crate::cluster::Usage;
use crate::diagnosis::Reason;
use crate::model::{NodeFacts, PodTemplate};

/// Whether the node's facts admit the pod. Changes only with the node.
pub fn admits_facts(pod: &PodTemplate, node: &NodeFacts) -> bool {
    node_unschedulable::admits(pod, node)
        && node_name::admits(pod, node)
        && taint_toleration::admits(pod, node)
        && node_affinity::admits(pod, node)
}

/// Whether what runs on the node leaves room for the pod. Changes with each pod on the node.
pub fn admits_usage(pod: &PodTemplate, node: &NodeFacts, usage: &Usage) -> bool {
    node_ports::admits(pod, usage) && node_resources_fit::admits(pod, node, usage)
}

/// Why a node does not admit the pod, apart from spreading: the reasons of the first plugin that refuses, as
/// upstream tells them; empty if none does.
pub fn reasons(pod: &PodTemplate, node: &NodeFacts, usage: &Usage) -> Vec<Reason> {
    if !node_unschedulable::admits(pod, node) {
        vec![Reason::Unschedulable]
    } else if !node_name::admits(pod, node) {
        vec![Reason::OtherNodeName]
    } else if !taint_toleration::admits(pod, node) {
        vec![Reason::UntoleratedTaint]
    } else if !node_affinity::admits(pod, node) {
        vec![Reason::AffinityMismatch]
    } else if !node_ports::admits(pod, usage) {
        vec![Reason::PortsTaken]
    } else {
        node_resources_fit::reasons(pod, node, usage)
    }
}
