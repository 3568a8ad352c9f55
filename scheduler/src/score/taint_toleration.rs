//! TaintToleration: the fewer taints `PreferNoSchedule` the pod does not tolerate, the better.

use crate::model::{Effect, NodeFacts, PodTemplate};

/// The number of soft taints that are not tolerated; fewer is better ([`super::normalize_reversed`]).
pub fn raw(pod: &PodTemplate, node: &NodeFacts) -> i64 {
    let untolerated = node
        .taints
        .iter()
        .filter(|taint| taint.effect == Effect::PreferNoSchedule)
        .filter(|taint| !pod.tolerations.iter().any(|toleration| toleration.tolerates(taint)));
    i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::toleration::Comparison;
    use crate::model::{Taint, Toleration};

    #[test]
    fn only_soft_taints_that_are_not_tolerated_count() {
        let taint = |key: &str, effect| Taint { key: key.into(), value: "".into(), effect };
        let soft = Effect::PreferNoSchedule;
        let taints = [taint("a", soft), taint("b", soft), taint("c", Effect::NoSchedule)];
        let node = NodeFacts { taints: taints.into(), ..NodeFacts::default() };
        let toleration =
            Toleration { key: "a".into(), comparison: Comparison::Exists, value: "".into(), effect: Some(soft) };
        let pod = PodTemplate { tolerations: [toleration].into(), ..PodTemplate::default() };
        assert_eq!(raw(&pod, &node), 1);
        assert_eq!(raw(&PodTemplate::default(), &node), 2);
    }
}
