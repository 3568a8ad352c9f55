//! NodeResourcesBalancedAllocation: the closer the used shares of cpu and memory are to each other, the better.

use super::BEST;
use crate::cluster::Usage;
use crate::model::{NodeFacts, PodTemplate};

/// [`BEST`] less the standard deviation of the used shares with the pod on the node. Pods that request nothing
/// change no balance and are not scored, so that they do not all go to one node.
pub fn score(pod: &PodTemplate, node: &NodeFacts, usage: &Usage) -> i64 {
    if pod.requests.milli_cpu == 0 && pod.requests.memory == 0 {
        return 0;
    }
    let cpu = used_share(node.allocatable.milli_cpu, usage.requested.milli_cpu.saturating_add(pod.requests.milli_cpu));
    let memory = used_share(node.allocatable.memory, usage.requested.memory.saturating_add(pod.requests.memory));
    let deviation = match (cpu, memory) {
        (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * BEST as f64) as i64
}

fn used_share(offered: i64, used: i64) -> Option<f64> {
    (offered > 0).then(|| (used as f64 / offered as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Resources;

    fn amounts(milli_cpu: i64, memory: i64) -> Resources {
        Resources { milli_cpu, memory, ..Resources::default() }
    }

    #[test]
    fn equal_shares_are_best() {
        let node = NodeFacts { allocatable: amounts(1000, 1000), ..NodeFacts::default() };
        let pod = |cpu, memory| PodTemplate { requests: amounts(cpu, memory), ..PodTemplate::default() };
        let usage = Usage { requested: amounts(500, 100), ..Usage::default() };
        assert_eq!(score(&pod(100, 500), &node, &usage), 100);
        assert_eq!(score(&pod(500, 0), &node, &usage), 55);
        assert_eq!(score(&pod(0, 0), &node, &usage), 0);
    }
}
