//! NodeName: a pod that names a node runs on no other.

use crate::model::{NodeFacts, PodTemplate};

/// Whether the pod names this node or none.
pub fn admits(pod: &PodTemplate, node: &NodeFacts) -> bool {
    pod.node_name.is_empty() || *pod.node_name == *node.name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_node_is_the_only_one() {
        let node = NodeFacts { name: "a".into(), ..NodeFacts::default() };
        let pod = |name: &str| PodTemplate { node_name: name.into(), ..PodTemplate::default() };
        assert!(admits(&pod(""), &node));
        assert!(admits(&pod("a"), &node));
        assert!(!admits(&pod("b"), &node));
    }
}
