//! NodeUnschedulable: a cordoned node takes only pods that tolerate `node.kubernetes.io/unschedulable`.

use std::sync::LazyLock;

use crate::model::{Effect, NodeFacts, PodTemplate, Taint};

static CORDON: LazyLock<Taint> = LazyLock::new(|| Taint {
    key: "node.kubernetes.io/unschedulable".into(),
    value: "".into(),
    effect: Effect::NoSchedule,
});

/// Whether the node is not cordoned, or the pod tolerates that it is.
pub fn admits(pod: &PodTemplate, node: &NodeFacts) -> bool {
    !node.unschedulable || pod.tolerations.iter().any(|toleration| toleration.tolerates(&CORDON))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Toleration;
    use crate::model::toleration::Comparison;

    #[test]
    fn a_cordoned_node_takes_only_those_who_tolerate_it() {
        let cordoned = NodeFacts { unschedulable: true, ..NodeFacts::default() };
        let all = Toleration { key: "".into(), comparison: Comparison::Exists, value: "".into(), effect: None };
        let tolerant = PodTemplate { tolerations: [all].into(), ..PodTemplate::default() };
        assert!(admits(&PodTemplate::default(), &NodeFacts::default()));
        assert!(!admits(&PodTemplate::default(), &cordoned));
        assert!(admits(&tolerant, &cordoned));
    }
}
