//! TaintToleration: every taint `NoSchedule` or `NoExecute` of the node must be tolerated.

use crate::model::{Effect, NodeFacts, PodTemplate};

/// Whether the pod tolerates all taints that keep pods away.
pub fn admits(pod: &PodTemplate, node: &NodeFacts) -> bool {
    node.taints
        .iter()
        .filter(|taint| matches!(taint.effect, Effect::NoSchedule | Effect::NoExecute))
        .all(|taint| pod.tolerations.iter().any(|toleration| toleration.tolerates(taint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::toleration::Comparison;
    use crate::model::{Taint, Toleration};

    #[test]
    fn hard_taints_must_be_tolerated_and_soft_ones_need_not() {
        let tainted = |effect| NodeFacts {
            taints: [Taint { key: "k".into(), value: "".into(), effect }].into(),
            ..NodeFacts::default()
        };
        let toleration = Toleration { key: "k".into(), comparison: Comparison::Exists, value: "".into(), effect: None };
        let tolerant = PodTemplate { tolerations: [toleration].into(), ..PodTemplate::default() };
        for (effect, admitted) in
            [(Effect::NoSchedule, false), (Effect::NoExecute, false), (Effect::PreferNoSchedule, true)]
        {
            assert_eq!(admits(&PodTemplate::default(), &tainted(effect)), admitted, "{effect:?}");
            assert!(admits(&tolerant, &tainted(effect)));
        }
    }
}
