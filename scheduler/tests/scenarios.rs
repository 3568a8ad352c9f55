//! What users see: where pods go, why they wait, and what lets them go on.

mod harness;

use std::time::Duration;

use harness::{Answer, World, asks, node, owned};
use serde_json::json;

fn world(nodes: &[(&str, &str)]) -> World {
    let mut world = World::new(1);
    for (name, zone) in nodes {
        let labels = json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone});
        world.set_node(node(name, "4", labels, json!({})));
    }
    world
}

#[test]
fn pods_of_a_controller_are_spread_over_nodes_and_zones() {
    let mut world = world(&[("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")]);
    for replica in 0..8 {
        world.create(&format!("web-{replica}"), owned("web"), asks("100m"), None);
    }
    world.settle();
    for name in ["a1", "a2", "b1", "b2"] {
        assert_eq!(world.on(name).len(), 2, "{name}: {:?}", world.record);
    }
}

#[test]
fn a_pod_that_fits_nowhere_says_why_once_and_goes_when_a_node_comes() {
    let mut world = world(&[("a", "z")]);
    world.create("big", json!({}), asks("8"), None);
    world.settle();
    assert_eq!(world.refusals.len(), 1);
    let why = world.refusals[0].diagnosis.to_string();
    assert_eq!(why, "0/1 nodes are available: 1 Insufficient cpu.");
    world.set_node(node("small", "2", json!({}), json!({})));
    world.settle();
    assert_eq!((world.node_of("big"), world.refusals.len()), (None, 1), "a node that cannot help wakes nobody");
    world.set_node(node("large", "16", json!({}), json!({})));
    world.settle();
    assert_eq!(world.node_of("big"), Some("large"));
}

#[test]
fn a_pod_that_goes_lets_exactly_one_waiting_pod_in() {
    let mut world = world(&[("a", "z")]);
    for replica in 0..10 {
        world.create(&format!("p{replica}"), json!({}), asks("100m"), None);
    }
    world.settle();
    assert_eq!(world.on("a").len(), 8, "the node allows eight pods");
    assert_eq!(world.scheduler.queue_lengths(), (0, 2, 0));
    world.delete("p0");
    world.settle();
    assert_eq!(world.scheduler.queue_lengths(), (0, 1, 0));
    world.delete("p1");
    world.delete("p2");
    world.settle();
    assert_eq!((world.on("a").len(), world.scheduler.queue_lengths()), (7, (0, 0, 0)));
}

#[test]
fn uncordoning_and_removing_a_taint_wake_who_waits() {
    let mut world = World::new(1);
    world.set_node(node("a", "4", json!({}), json!({"unschedulable": true})));
    world.set_node(node("b", "4", json!({}), json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})));
    world.create("p", json!({}), asks("1"), None);
    world.settle();
    let why = world.refusals[0].diagnosis.to_string();
    let reasons = "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable.";
    assert!(why.starts_with(reasons), "{why}");
    world.set_node(node("b", "4", json!({}), json!({})));
    world.settle();
    assert_eq!(world.node_of("p"), Some("b"));
}

#[test]
fn a_conflict_is_tried_again_after_a_second() {
    let mut world = world(&[("a", "z")]);
    world.create("p", json!({}), asks("1"), None);
    world.deliver(usize::MAX);
    world.plan(1);
    world.answer(Answer::Conflict);
    assert!(world.plan(1).bindings.is_empty());
    assert_eq!(world.scheduler.next_deadline(), Some(world.now + Duration::from_secs(1)));
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.node_of("p"), Some("a"));
}

#[test]
fn a_binding_whose_answer_was_lost_counts_until_the_watch_tells() {
    let mut world = world(&[("a", "z")]);
    world.create("p", json!({}), asks("3"), None);
    world.create("q", json!({}), asks("3"), None);
    world.deliver(usize::MAX);
    world.plan(1);
    world.answer(Answer::StoredButLost);
    assert!(world.plan(1).bindings.is_empty(), "q must not take p's place");
    world.pass(Duration::from_secs(2));
    world.settle();
    assert_eq!((world.node_of("p"), world.node_of("q")), (Some("a"), None));
    world.create("r", json!({}), asks("1"), None);
    world.deliver(usize::MAX);
    world.plan(1);
    world.answer(Answer::Lost);
    world.pass(Duration::from_secs(2));
    world.settle();
    assert_eq!(world.node_of("r"), Some("a"), "what was not stored is tried again");
}

#[test]
fn pods_bound_before_their_node_is_known_count_when_it_comes() {
    let mut world = World::new(1);
    world.create("early", json!({}), asks("3"), Some("a"));
    world.create("late", json!({}), asks("3"), None);
    world.settle();
    world.set_node(node("a", "4", json!({}), json!({})));
    world.settle();
    assert_eq!(world.node_of("late"), None);
    world.delete("early");
    world.settle();
    assert_eq!(world.node_of("late"), Some("a"));
}

#[test]
fn a_node_that_vanishes_under_a_binding_does_not_lose_the_pod() {
    let mut world = world(&[("a", "z")]);
    world.create("p", json!({}), asks("1"), None);
    world.deliver(usize::MAX);
    world.plan(1);
    world.remove_node("a");
    world.deliver(usize::MAX);
    world.answer(Answer::Stored);
    world.set_node(node("b", "4", json!({}), json!({})));
    world.pass(Duration::from_secs(1));
    world.settle();
    assert_eq!(world.node_of("p"), Some("b"));
}

#[test]
fn others_pods_gated_pods_and_deleted_pods_are_left_alone() {
    let mut world = world(&[("a", "z")]);
    world.create("other", json!({}), json!({"schedulerName": "mine"}), None);
    world.create("gated", json!({}), json!({"schedulingGates": [{"name": "g"}]}), None);
    world.create("deleted", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"}), asks("1"), None);
    world.settle();
    assert!(world.record.is_empty(), "{:?}", world.record);
    world.create("gated", json!({}), json!({}), None);
    world.settle();
    assert_eq!(world.node_of("gated"), Some("a"));
}

#[test]
fn a_hard_constraint_keeps_zones_even_and_says_so() {
    let mut world = world(&[("a1", "a"), ("b1", "b")]);
    let spec = json!({"containers": [], "topologySpreadConstraints": [{"topologyKey": "topology.kubernetes.io/zone",
        "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let labels = json!({"labels": {"app": "web"}});
    for replica in 0..4 {
        world.create(&format!("w{replica}"), labels.clone(), spec.clone(), None);
    }
    world.settle();
    assert_eq!((world.on("a1").len(), world.on("b1").len()), (2, 2));
    world.set_node(node("b1", "4", json!({"topology.kubernetes.io/zone": "b"}), json!({"unschedulable": true})));
    world.create("w4", labels.clone(), spec.clone(), None);
    world.settle();
    assert_eq!(world.on("a1").len(), 3);
    world.create("w5", labels.clone(), spec, None);
    world.settle();
    let why = world.refusals[0].diagnosis.to_string();
    assert!(
        why.contains("1 node(s) didn't match pod topology spread constraints, 1 node(s) were unschedulable"),
        "{why}"
    );
    world.delete("w4");
    world.settle();
    assert_eq!(world.node_of("w5"), Some("a1"), "the zone has room again");
}
