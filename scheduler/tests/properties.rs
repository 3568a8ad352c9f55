//! What must hold whatever happens: no node over capacity, the best node as an obvious computation finds it, and
//! equal plans for equal input.

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use harness::{Answer, World, asks, node, owned};
use proptest::prelude::*;
use reeve_scheduler::filter;
use reeve_scheduler::model::{NodeFacts, PodTemplate, Requirement, SpreadConstraint, Unsatisfiable};
use reeve_scheduler::score::{self, weight};
use serde_json::{Value, json};

/// A step of a story.
#[derive(Clone, Copy, Debug)]
enum Step {
    Node { name: u8, shape: u8 },
    NodeGone(u8),
    Create { name: u8, kind: u8 },
    Delete(u8),
    Deliver(usize),
    Plan(usize),
    Answer(Answer),
    Second,
}

fn step() -> impl Strategy<Value = Step> {
    let answers = prop::sample::select(vec![
        Answer::Stored,
        Answer::Stored,
        Answer::Stored,
        Answer::Conflict,
        Answer::StoredButLost,
        Answer::Lost,
    ]);
    prop_oneof![
        2 => (0..6_u8, 0..6_u8).prop_map(|(name, shape)| Step::Node { name, shape }),
        1 => (0..6_u8).prop_map(Step::NodeGone),
        8 => (0..40_u8, 0..9_u8).prop_map(|(name, kind)| Step::Create { name, kind }),
        3 => (0..40_u8).prop_map(Step::Delete),
        4 => (1..9_usize).prop_map(Step::Deliver),
        4 => (1..5_usize).prop_map(Step::Plan),
        6 => answers.prop_map(Step::Answer),
        1 => Just(Step::Second),
    ]
}

/// The node's size stays that of its name: shrinking a node may well leave it overfull.
fn node_of(name: u8, shape: u8) -> Arc<NodeFacts> {
    let cpu = ["1", "2", "4"][usize::from(name % 3)];
    let (key, zone) = (format!("n{name}"), format!("z{}", name % 2));
    let disk = if shape.is_multiple_of(2) { "ssd" } else { "hdd" };
    let mut labels = json!({"kubernetes.io/hostname": key, "topology.kubernetes.io/zone": zone, "disk": disk});
    if shape == 5 {
        labels = json!({});
    }
    let taint = |effect: &str| json!({"taints": [{"key": "k", "value": "v", "effect": effect}]});
    let spec = match shape {
        1 => json!({"unschedulable": true}),
        2 => taint("NoSchedule"),
        3 => taint("PreferNoSchedule"),
        _ => json!({}),
    };
    node(&key, cpu, labels, spec)
}

fn pod_of(kind: u8) -> (Value, Value) {
    let mut spec = asks(["100m", "300m", "900m"][usize::from(kind % 3)]);
    let spread = |when: &str, key: &str, skew: u8| {
        json!([{"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "spread"}}}])
    };
    let zone = "topology.kubernetes.io/zone";
    match kind {
        3 => spec["nodeSelector"] = json!({"disk": "ssd"}),
        4 => spec["tolerations"] = json!([{"key": "k", "operator": "Exists"}]),
        5 => {
            spec["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 30, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd"]}]}}]}});
        }
        6 => spec["topologySpreadConstraints"] = spread("DoNotSchedule", zone, 1),
        7 => spec["topologySpreadConstraints"] = spread("ScheduleAnyway", "kubernetes.io/hostname", 2),
        8 => spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]),
        _ => {}
    }
    let metadata =
        if kind >= 6 { json!({"labels": {"app": "spread"}}) } else { owned(["x", "y"][usize::from(kind % 2)]) };
    (metadata, spec)
}

fn play(world: &mut World, step: Step) {
    match step {
        Step::Node { name, shape } => world.set_node(node_of(name, shape)),
        Step::NodeGone(name) => {
            let name = format!("n{name}");
            // Pods of a node that is gone are deleted before a node of that name comes back.
            let there: Vec<String> = world.on(&name).iter().map(|pod| pod.key.name.clone()).collect();
            there.iter().for_each(|pod| world.delete(pod));
            world.remove_node(&name);
        }
        Step::Create { name, kind } => {
            let name = format!("p{name}");
            if !world.pods.contains_key(&reeve_api::ObjectKey::new("default", &name)) {
                let (metadata, spec) = pod_of(kind);
                world.create(&name, metadata, spec, None);
            }
        }
        Step::Delete(name) => world.delete(&format!("p{name}")),
        Step::Deliver(count) => world.deliver(count),
        Step::Plan(bindings) => {
            world.plan(bindings);
        }
        Step::Answer(answer) => world.answer(answer),
        Step::Second => world.pass(Duration::from_secs(1)),
    }
}

/// The value of a node's label.
fn domain<'a>(facts: &'a NodeFacts, key: &str) -> Option<&'a str> {
    facts.labels.get(key)
}

/// How many pods that a constraint counts are on a node.
fn matching(world: &World, facts: &NodeFacts, pod: &PodTemplate, selector: Option<&[Requirement]>) -> u32 {
    let counted = world.on(&facts.name).into_iter().filter(|other| match selector {
        Some(selector) => !other.deleting && Requirement::all_admit(selector, &other.template.labels),
        None => !other.deleting && other.template.controller == pod.controller,
    });
    u32::try_from(counted.count()).expect("few pods")
}

fn admits_spreading(world: &World, pod: &PodTemplate, facts: &NodeFacts) -> bool {
    let hard: Vec<&SpreadConstraint> =
        pod.spread.iter().filter(|constraint| constraint.unsatisfiable == Unsatisfiable::DoNotSchedule).collect();
    hard.iter().all(|constraint| {
        let mut domains = BTreeMap::<&str, u32>::new();
        for other in world.nodes.values() {
            let complete = hard.iter().all(|constraint| domain(other, &constraint.topology_key).is_some());
            if complete && filter::node_affinity::admits(pod, other) {
                let pods = matching(world, other, pod, constraint.selector.as_deref());
                *domains.entry(domain(other, &constraint.topology_key).expect("complete")).or_default() += pods;
            }
        }
        let Some(own) = domain(facts, &constraint.topology_key) else { return false };
        let least = domains.values().copied().min().unwrap_or(0);
        let here = domains.get(own).copied().unwrap_or(0);
        i64::from(here) + 1 - i64::from(least) <= constraint.max_skew
    })
}

/// The names of the best nodes for a pod, by adding everything up anew.
fn best_nodes(world: &World, pod: &PodTemplate) -> BTreeSet<String> {
    let possible: Vec<&Arc<NodeFacts>> = world
        .nodes
        .values()
        .filter(|facts| filter::reasons(pod, facts, &world.usage(&facts.name)).is_empty())
        .filter(|facts| admits_spreading(world, pod, facts))
        .collect();
    let greatest =
        |raw: fn(&PodTemplate, &NodeFacts) -> i64| possible.iter().map(|facts| raw(pod, facts)).max().unwrap_or(0);
    let (taints, preference) = (greatest(score::taint_toleration::raw), greatest(score::node_affinity::raw));

    let hostname = "kubernetes.io/hostname";
    let explicit = !pod.spread.is_empty();
    let soft: Vec<(&str, i64, Option<&[Requirement]>)> = if explicit {
        let soft = pod.spread.iter().filter(|constraint| constraint.unsatisfiable == Unsatisfiable::ScheduleAnyway);
        soft.map(|soft| (&*soft.topology_key, soft.max_skew, soft.selector.as_deref())).collect()
    } else if pod.controller.is_empty() {
        Vec::new()
    } else {
        vec![(hostname, 3, None), ("topology.kubernetes.io/zone", 5, None)]
    };
    let scored = |facts: &NodeFacts| !explicit || soft.iter().all(|(key, ..)| domain(facts, key).is_some());
    let cost = |facts: &NodeFacts| -> i64 {
        let mut cost = 0.0;
        for (key, max_skew, selector) in &soft {
            let Some(own) = domain(facts, key) else { continue };
            let among = possible.iter().filter(|facts| scored(facts));
            let (size, here) = if *key == hostname {
                (among.count(), matching(world, facts, pod, *selector))
            } else {
                let domains: BTreeSet<_> = among.filter_map(|facts| domain(facts, key)).collect();
                let same = world.nodes.values().filter(|other| {
                    domain(other, key) == Some(own) && scored(other) && filter::node_affinity::admits(pod, other)
                });
                (domains.len(), same.map(|other| matching(world, other, pod, *selector)).sum())
            };
            cost += f64::from(here) * (size as f64 + 2.0).ln() + (*max_skew - 1) as f64;
        }
        cost.round() as i64
    };
    let costs: Vec<i64> = possible.iter().filter(|facts| scored(facts)).map(|facts| cost(facts)).collect();
    let (least_cost, greatest_cost) =
        (costs.iter().min().copied().unwrap_or(0), costs.iter().max().copied().unwrap_or(0));

    let mut totals = BTreeMap::<i64, BTreeSet<String>>::new();
    for facts in &possible {
        let usage = world.usage(&facts.name);
        let mut total = score::least_allocated::score(pod, facts, &usage)
            + score::balanced_allocation::score(pod, facts, &usage)
            + weight::TAINT_TOLERATION * score::normalize_reversed(score::taint_toleration::raw(pod, facts), taints)
            + weight::NODE_AFFINITY * score::normalize(score::node_affinity::raw(pod, facts), preference);
        if !soft.is_empty() && scored(facts) {
            total += weight::POD_TOPOLOGY_SPREAD
                * score::pod_topology_spread::normalize(cost(facts), least_cost, greatest_cost);
        }
        totals.entry(total).or_default().insert(facts.name.to_string());
    }
    totals.pop_last().map(|(_, names)| names).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_node_is_ever_over_capacity(steps in prop::collection::vec(step(), 1..150), seed: u64) {
        let mut world = World::new(seed);
        for step in steps {
            play(&mut world, step);
            prop_assert_eq!(world.overfull(), Vec::<&str>::new(), "after {:?}: {:?}", step, world.record);
        }
        while !world.in_flight.is_empty() {
            world.answer(Answer::Lost);
        }
        for _ in 0..5 {
            world.pass(Duration::from_secs(10));
            world.settle();
        }
        prop_assert_eq!(world.overfull(), Vec::<&str>::new());
        // What still waits has no node that would take it.
        for (key, pod) in &world.pods {
            if pod.node.is_none() {
                prop_assert_eq!(best_nodes(&world, &pod.template), BTreeSet::new(), "{} waits: {:?}", key, world.record);
            }
        }
        // The sums are those of the pods.
        for (_, node) in world.scheduler.cluster().nodes() {
            let mut kept = node.usage.clone();
            let mut summed = world.usage(&node.facts.name);
            kept.host_ports.sort();
            summed.host_ports.sort();
            prop_assert_eq!(kept, summed, "{}", node.facts.name);
        }
    }

    #[test]
    fn the_fast_choice_is_one_of_the_obvious_ones(steps in prop::collection::vec(step(), 1..120), seed: u64) {
        let mut world = World::new(seed);
        for step in steps {
            if matches!(step, Step::Plan(_) | Step::Deliver(_) | Step::Answer(_)) {
                world.deliver(usize::MAX);
                while !world.plan(1).bindings.is_empty() {
                    let binding = world.in_flight.back().cloned().expect("just planned");
                    let best = best_nodes(&world, &binding.pod.template);
                    prop_assert!(best.contains(&*binding.node), "{} on {}, best {:?}", binding.pod.key, binding.node, best);
                    world.answer(Answer::Stored);
                    world.deliver(usize::MAX);
                }
            } else {
                play(&mut world, step);
            }
        }
    }

    #[test]
    fn equal_input_gives_equal_plans(steps in prop::collection::vec(step(), 1..120), seed: u64) {
        let mut records = (0..2).map(|_| {
            let mut world = World::new(seed);
            steps.iter().for_each(|step| play(&mut world, *step));
            world.record
        });
        prop_assert_eq!(records.next(), records.next());
    }
}
