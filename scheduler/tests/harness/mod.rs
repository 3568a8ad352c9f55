//! An API server in miniature and a scheduler that follows it: what the scheduler plans is recorded, and how each
//! binding ends is decided by the test.
#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use reeve_api::ObjectKey;
use reeve_scheduler::cluster::Usage;
use reeve_scheduler::model::{NodeFacts, PodTemplate};
use reeve_scheduler::scheduler::{Binding, Fate, Limits, Plan, Refusal, Scheduler};
use reeve_scheduler::view::PodView;
use serde_json::{Value, json};

/// What a watch tells.
#[derive(Clone, Debug)]
enum Event {
    Node(Arc<NodeFacts>),
    NodeGone(Arc<str>),
    Pod(Arc<PodView>),
    PodGone(ObjectKey),
}

/// How the server answers a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Stores it.
    Stored,
    /// Refuses it although the pod is free: another write was first.
    Conflict,
    /// Stores it, but the answer is lost.
    StoredButLost,
    /// The request is lost.
    Lost,
}

/// The server's state, the scheduler, and what is between them.
pub struct World {
    pub nodes: BTreeMap<Arc<str>, Arc<NodeFacts>>,
    pub pods: BTreeMap<ObjectKey, Arc<PodView>>,
    pub scheduler: Scheduler,
    pub in_flight: VecDeque<Binding>,
    pub refusals: Vec<Refusal>,
    pub record: Vec<String>,
    pub now: Instant,
    undelivered: VecDeque<Event>,
    random: SmallRng,
    created: u32,
}

/// Decodes a pod as the watch would.
pub fn pod(name: &str, metadata: Value, spec: Value, node: Option<&str>, uid: u32) -> Arc<PodView> {
    let mut object =
        json!({"metadata": {"name": name, "namespace": "default", "uid": format!("u{uid}")}, "spec": spec});
    if let (Some(into), Value::Object(from)) = (object["metadata"].as_object_mut(), metadata) {
        into.extend(from);
    }
    if let Some(node) = node {
        object["spec"]["nodeName"] = json!(node);
    }
    Arc::new(serde_json::from_value(object).expect("a pod"))
}

/// Decodes a node as the watch would.
pub fn node(name: &str, cpu: &str, labels: Value, spec: Value) -> Arc<NodeFacts> {
    let object = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": "16Gi", "pods": "8"}},
    });
    let view: reeve_scheduler::view::NodeView = serde_json::from_value(object).expect("a node");
    view.facts
}

/// Metadata of a pod that a controller owns.
pub fn owned(controller: &str) -> Value {
    json!({"labels": {"app": controller}, "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": controller, "uid": controller, "controller": true}]})
}

/// The spec of a pod that requests cpu.
pub fn asks(cpu: &str) -> Value {
    json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]})
}

impl World {
    /// An empty world; equal seeds and equal steps give equal records.
    pub fn new(seed: u64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            scheduler: Scheduler::new("default-scheduler"),
            in_flight: VecDeque::new(),
            refusals: Vec::new(),
            record: Vec::new(),
            now: Instant::now(),
            undelivered: VecDeque::new(),
            random: SmallRng::seed_from_u64(seed),
            created: 0,
        }
    }

    pub fn set_node(&mut self, facts: Arc<NodeFacts>) {
        self.nodes.insert(Arc::clone(&facts.name), Arc::clone(&facts));
        self.undelivered.push_back(Event::Node(facts));
    }

    pub fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
        self.undelivered.push_back(Event::NodeGone(name.into()));
    }

    pub fn create(&mut self, name: &str, metadata: Value, spec: Value, node: Option<&str>) {
        self.created += 1;
        let pod = pod(name, metadata, spec, node, self.created);
        self.pods.insert(pod.key.clone(), Arc::clone(&pod));
        self.undelivered.push_back(Event::Pod(pod));
    }

    pub fn delete(&mut self, name: &str) {
        let key = ObjectKey::new("default", name);
        if self.pods.remove(&key).is_some() {
            self.undelivered.push_back(Event::PodGone(key));
        }
    }

    /// Lets the scheduler see at most so many changes.
    pub fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            match self.undelivered.pop_front() {
                Some(Event::Node(facts)) => self.scheduler.node_changed(&facts),
                Some(Event::NodeGone(name)) => self.scheduler.node_removed(&name),
                Some(Event::Pod(pod)) => self.scheduler.pod_changed(&pod),
                Some(Event::PodGone(key)) => self.scheduler.pod_removed(&key),
                None => break,
            }
        }
    }

    /// Lets the scheduler plan.
    pub fn plan(&mut self, bindings: usize) -> Plan {
        let plan = self.scheduler.plan(self.now, Limits { bindings, refusals: 100 }, &mut self.random);
        self.record.extend(plan.bindings.iter().map(|binding| format!("{} -> {}", binding.pod.key.name, binding.node)));
        self.in_flight.extend(plan.bindings.iter().cloned());
        self.refusals.extend(plan.refusals.iter().cloned());
        plan
    }

    /// Ends the oldest binding in flight.
    pub fn answer(&mut self, answer: Answer) {
        let Some(binding) = self.in_flight.pop_front() else { return };
        let free = self
            .pods
            .get(&binding.pod.key)
            .filter(|pod| pod.uid == binding.pod.uid && pod.node.is_none() && self.nodes.contains_key(&binding.node));
        let fate = match (answer, free.cloned()) {
            (Answer::Lost, _) => Fate::Unknown,
            (Answer::Conflict, _) | (_, None) => Fate::Refused,
            (Answer::Stored | Answer::StoredButLost, Some(pod)) => {
                let bound = Arc::new(PodView { node: Some((&*binding.node).into()), ..(*pod).clone() });
                self.pods.insert(bound.key.clone(), Arc::clone(&bound));
                self.undelivered.push_back(Event::Pod(bound));
                if answer == Answer::Stored { Fate::Bound } else { Fate::Unknown }
            }
        };
        self.record.push(format!("{} {fate:?}", binding.pod.key.name));
        self.scheduler.binding_ended(&binding, fate, self.now);
    }

    /// Delivers everything, plans and binds until nothing more happens.
    pub fn settle(&mut self) {
        loop {
            self.deliver(usize::MAX);
            if self.plan(usize::MAX).bindings.is_empty() && self.in_flight.is_empty() {
                break;
            }
            while !self.in_flight.is_empty() {
                self.answer(Answer::Stored);
            }
        }
    }

    /// Lets time pass, after the scheduler has seen everything.
    pub fn pass(&mut self, time: Duration) {
        self.deliver(usize::MAX);
        self.now += time;
    }

    /// Which node a pod is bound to.
    pub fn node_of(&self, name: &str) -> Option<&str> {
        self.pods.get(&ObjectKey::new("default", name))?.node.as_deref()
    }

    /// The pods bound to a node.
    pub fn on(&self, node: &str) -> Vec<&Arc<PodView>> {
        self.pods.values().filter(|pod| pod.node.as_deref() == Some(node)).collect()
    }

    /// The usage of a node, summed up anew.
    pub fn usage(&self, node: &str) -> Usage {
        let mut usage = Usage::default();
        for template in self.on(node).iter().map(|pod| &pod.template) {
            usage.requested.add(&template.requests);
            usage.score_milli_cpu += template.score_milli_cpu;
            usage.score_memory += template.score_memory;
            usage.pods += 1;
            usage.host_ports.extend(template.host_ports.iter().cloned());
        }
        usage
    }

    /// Nodes that hold more than they can.
    pub fn overfull(&self) -> Vec<&str> {
        let overfull = |facts: &&Arc<NodeFacts>| {
            let usage = self.usage(&facts.name);
            usage.pods > facts.pods_allowed
                || usage.requested.milli_cpu > facts.allocatable.milli_cpu
                || usage.requested.memory > facts.allocatable.memory
        };
        self.nodes.values().filter(overfull).map(|facts| &*facts.name).collect()
    }

    /// The template of a pod.
    pub fn template(&self, name: &str) -> Arc<PodTemplate> {
        Arc::clone(&self.pods[&ObjectKey::new("default", name)].template)
    }
}
