//! NodeResourcesFit with the strategy LeastAllocated: the more cpu and memory stay free, the better.

use super::BEST;
use crate::cluster::Usage;
use crate::model::{NodeFacts, PodTemplate};

/// The mean of the free shares of cpu and memory with the pod on the node, 0 to [`BEST`].
pub fn score(pod: &PodTemplate, node: &NodeFacts, usage: &Usage) -> i64 {
    let shares = [
        (node.allocatable.milli_cpu, usage.score_milli_cpu.saturating_add(pod.score_milli_cpu)),
        (node.allocatable.memory, usage.score_memory.saturating_add(pod.score_memory)),
    ];
    let (mut sum, mut count) = (0, 0);
    for (offered, used) in shares.into_iter().filter(|(offered, _)| *offered > 0) {
        sum += free_share(offered, used);
        count += 1;
    }
    if count == 0 { 0 } else { sum / count }
}

fn free_share(offered: i64, used: i64) -> i64 {
    if used > offered { 0 } else { (offered - used).saturating_mul(BEST) / offered }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Resources;

    #[test]
    fn the_emptier_node_is_better() {
        let pod = PodTemplate { score_milli_cpu: 100, score_memory: 100, ..PodTemplate::default() };
        let allocatable = Resources { milli_cpu: 1000, memory: 1000, ..Resources::default() };
        let node = NodeFacts { allocatable, ..NodeFacts::default() };
        let used = |cpu, memory| Usage { score_milli_cpu: cpu, score_memory: memory, ..Usage::default() };
        assert_eq!(score(&pod, &node, &used(0, 0)), 90);
        assert_eq!(score(&pod, &node, &used(400, 0)), 70);
        assert_eq!(score(&pod, &node, &used(400, 2000)), 25, "what is overcommitted counts as full");
        assert_eq!(score(&pod, &NodeFacts::default(), &used(0, 0)), 0);
    }
}
