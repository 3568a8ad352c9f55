//! How long placing takes, without IO: `cargo bench -p reeve-scheduler`.
//!
//! Replicas of one Deployment, and then pods that are all different (the worst case: nothing is shared).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use reeve_scheduler::scheduler::{Fate, Limits, Scheduler};
use reeve_scheduler::view::{NodeView, PodView};
use serde_json::json;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn node(number: usize) -> NodeView {
    let labels = json!({"kubernetes.io/hostname": format!("node-{number}"), "topology.kubernetes.io/zone": format!("z{}", number % 3)});
    let allocatable = json!({"cpu": "64", "memory": "256Gi", "pods": "500"});
    let object = json!({"metadata": {"name": format!("node-{number}"), "labels": labels}, "status": {"allocatable": allocatable}});
    serde_json::from_value(object).expect("a node")
}

fn pod(number: usize, kind: usize) -> PodView {
    let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": format!("r{kind}"), "controller": true});
    let metadata = json!({"name": format!("pod-{number}"), "namespace": "default", "uid": format!("u{number}"),
        "labels": {"app": format!("app-{kind}")}, "ownerReferences": [owner]});
    let resources = json!({"requests": {"cpu": "10m", "memory": "16Mi"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": {"containers": [{"resources": resources}]}}))
        .expect("a pod")
}

/// Places pods in the rhythm of the real program: 64 bindings in flight, each confirmed by the watch.
fn place(nodes: usize, pods: usize, kinds: usize) -> Duration {
    let mut scheduler = Scheduler::new("default-scheduler");
    (0..nodes).for_each(|number| scheduler.node_changed(&node(number).facts));
    let pods: Vec<Arc<PodView>> = (0..pods).map(|number| Arc::new(pod(number, number % kinds))).collect();
    let mut random = SmallRng::seed_from_u64(1);
    let start = Instant::now();
    pods.iter().for_each(|pod| scheduler.pod_changed(pod));
    let mut placed = 0;
    loop {
        let plan = scheduler.plan(start, Limits { bindings: 64, refusals: 1 }, &mut random);
        if plan.bindings.is_empty() {
            break;
        }
        for binding in plan.bindings {
            placed += 1;
            scheduler.binding_ended(&binding, Fate::Bound, start);
            let node = Some((&*binding.node).into());
            scheduler.pod_changed(&Arc::new(PodView { node, ..(*binding.pod).clone() }));
        }
    }
    assert_eq!(placed, pods.len(), "all pods fit");
    start.elapsed()
}

fn main() {
    for (nodes, pods, kinds) in
        [(100, 1_000, 1), (100, 1_000, 1_000), (1_000, 10_000, 1), (1_000, 10_000, 100), (1_000, 10_000, 10_000)]
    {
        let mut runs: Vec<Duration> = (0..5).map(|_| place(nodes, pods, kinds)).collect();
        runs.sort();
        let median = runs[runs.len() / 2];
        let each = median / u32::try_from(pods).expect("few pods");
        println!("{pods} pods of {kinds} template(s) on {nodes} nodes: {median:.1?}, {each:.1?} a pod (median of 5)");
    }
}
