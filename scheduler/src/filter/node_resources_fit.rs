//! NodeResourcesFit: what the pod requests must fit into what the node's pods leave of its allocatable amounts.

use crate::cluster::Usage;
use crate::diagnosis::{Reason, Shortage};
use crate::model::{NodeFacts, PodTemplate};

/// Whether the pod fits.
pub fn admits(pod: &PodTemplate, node: &NodeFacts, usage: &Usage) -> bool {
    let (wanted, offered, used) = (&pod.requests, &node.allocatable, &usage.requested);
    usage.pods < node.pods_allowed
        && fits(wanted.milli_cpu, offered.milli_cpu, used.milli_cpu)
        && fits(wanted.memory, offered.memory, used.memory)
        && fits(wanted.ephemeral_storage, offered.ephemeral_storage, used.ephemeral_storage)
        && wanted.named.iter().all(|(name, amount)| fits(*amount, offered.named(name), used.named(name)))
}

/// A request of zero fits even where others have taken too much.
fn fits(wanted: i64, offered: i64, used: i64) -> bool {
    wanted <= 0 || wanted <= offered.saturating_sub(used)
}

/// All resources that the node is short of.
pub fn reasons(pod: &PodTemplate, node: &NodeFacts, usage: &Usage) -> Vec<Reason> {
    let (wanted, offered, used) = (&pod.requests, &node.allocatable, &usage.requested);
    let mut reasons = Vec::new();
    if usage.pods >= node.pods_allowed {
        reasons.push(Reason::TooManyPods { allowed: node.pods_allowed });
    }
    let built_in = [
        ("cpu", wanted.milli_cpu, offered.milli_cpu, used.milli_cpu),
        ("memory", wanted.memory, offered.memory, used.memory),
        ("ephemeral-storage", wanted.ephemeral_storage, offered.ephemeral_storage, used.ephemeral_storage),
    ];
    let named = wanted.named.iter().map(|(name, amount)| (&**name, *amount, offered.named(name), used.named(name)));
    for (resource, wanted, offered, used) in built_in.into_iter().chain(named) {
        if !fits(wanted, offered, used) {
            let shortage = Shortage { resource: resource.into(), wanted, offered, used };
            reasons.push(Reason::Insufficient(shortage));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Resources;

    fn amounts(milli_cpu: i64, memory: i64, gpus: i64) -> Resources {
        let mut amounts = Resources { milli_cpu, memory, ..Resources::default() };
        amounts.change("example.com/gpu", |_| gpus);
        amounts
    }

    #[test]
    fn every_amount_must_fit_and_every_shortage_is_told() {
        let node = NodeFacts { allocatable: amounts(1000, 100, 1), pods_allowed: 2, ..NodeFacts::default() };
        let usage = |requested, pods| Usage { requested, pods, ..Usage::default() };
        let pod = |requests| PodTemplate { requests, ..PodTemplate::default() };
        let told = |pod: &PodTemplate, usage: &Usage| {
            let reasons: Vec<String> = reasons(pod, &node, usage).iter().map(ToString::to_string).collect();
            assert_eq!(admits(pod, &node, usage), reasons.is_empty());
            reasons.join("; ")
        };
        assert_eq!(told(&pod(amounts(400, 10, 0)), &usage(amounts(600, 90, 0), 1)), "");
        assert_eq!(
            told(&pod(amounts(401, 11, 0)), &usage(amounts(600, 90, 0), 1)),
            "Insufficient cpu; Insufficient memory"
        );
        assert_eq!(told(&pod(amounts(0, 0, 2)), &usage(amounts(0, 0, 0), 0)), "Insufficient example.com/gpu");
        assert_eq!(told(&pod(amounts(0, 0, 0)), &usage(amounts(0, 0, 0), 2)), "Too many pods");
        assert_eq!(told(&pod(amounts(0, 0, 0)), &usage(amounts(2000, 0, 0), 1)), "", "asking for nothing always fits");
    }
}
