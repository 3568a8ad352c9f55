//! The state that pods are placed in: nodes with the sums of what runs on them, and where the pods of each
//! template are.
//!
//! Sums are kept up to date pod by pod, so that placing a pod never looks at the pods that are placed already.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{HostPort, NodeFacts, PodTemplate, Resources};

/// A node's place in the cluster's tables; reused after the node is gone.
pub type Slot = usize;

/// What the pods on a node use together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The sum of requests.
    pub requested: Resources,
    /// The sum of [`PodTemplate::score_milli_cpu`].
    pub score_milli_cpu: i64,
    /// The sum of [`PodTemplate::score_memory`].
    pub score_memory: i64,
    /// How many pods.
    pub pods: i64,
    /// Ports taken on the node's address.
    pub host_ports: Vec<HostPort>,
}

impl Usage {
    fn add(&mut self, template: &PodTemplate) {
        self.requested.add(&template.requests);
        self.score_milli_cpu = self.score_milli_cpu.saturating_add(template.score_milli_cpu);
        self.score_memory = self.score_memory.saturating_add(template.score_memory);
        self.pods += 1;
        self.host_ports.extend(template.host_ports.iter().cloned());
    }

    fn remove(&mut self, template: &PodTemplate) {
        self.requested.subtract(&template.requests);
        self.score_milli_cpu = self.score_milli_cpu.saturating_sub(template.score_milli_cpu);
        self.score_memory = self.score_memory.saturating_sub(template.score_memory);
        self.pods -= 1;
        for port in &template.host_ports {
            if let Some(at) = self.host_ports.iter().position(|taken| taken == port) {
                self.host_ports.swap_remove(at);
            }
        }
    }
}

/// A node and what runs on it.
#[derive(Clone, Debug)]
pub struct Node {
    /// What the node is.
    pub facts: Arc<NodeFacts>,
    /// What its pods use.
    pub usage: Usage,
    /// Grows when the facts change.
    pub facts_version: u64,
    /// Grows when the usage changes.
    pub usage_version: u64,
}

/// Names a template while pods of it are placed.
pub type TemplateId = u64;

/// Where the pods of a template are.
#[derive(Debug)]
pub struct Placed {
    /// Names the template; never used twice.
    pub id: TemplateId,
    /// How many pods of the template are on a node, apart from those being deleted, which spreading does not
    /// count.
    pub staying: HashMap<Slot, u32>,
    pods: u32,
}

/// Nodes, and the pods on them as sums.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<Option<Node>>,
    slots: HashMap<Arc<str>, Slot>,
    free: Vec<Slot>,
    placed: HashMap<Arc<PodTemplate>, Placed>,
    last_template: TemplateId,
    version: u64,
    facts_version: u64,
}

impl Cluster {
    /// Grows with every change; equal versions of one cluster mean equal states.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Grows with every change of a node's facts, and when nodes come or go.
    pub fn facts_version(&self) -> u64 {
        self.facts_version
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.slots.len()
    }

    /// One more than the greatest slot in use.
    pub fn slot_count(&self) -> usize {
        self.nodes.len()
    }

    /// The slot of a node.
    pub fn slot(&self, name: &str) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// The node in a slot.
    pub fn node(&self, slot: Slot) -> Option<&Node> {
        self.nodes.get(slot)?.as_ref()
    }

    /// All nodes with their slots.
    pub fn nodes(&self) -> impl Iterator<Item = (Slot, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(slot, node)| Some((slot, node.as_ref()?)))
    }

    /// All templates of which pods are placed.
    pub fn templates(&self) -> impl Iterator<Item = (&Arc<PodTemplate>, &Placed)> {
        self.placed.iter()
    }

    /// Adds a node or replaces its facts. Returns its slot.
    pub fn set_node(&mut self, facts: Arc<NodeFacts>) -> Slot {
        self.version += 1;
        self.facts_version = self.version;
        if let Some(&slot) = self.slots.get(&facts.name)
            && let Some(Some(node)) = self.nodes.get_mut(slot)
        {
            node.facts = facts;
            node.facts_version = self.version;
            return slot;
        }
        let name = Arc::clone(&facts.name);
        let node = Node { facts, usage: Usage::default(), facts_version: self.version, usage_version: self.version };
        let slot = if let Some(slot) = self.free.pop() {
            self.nodes[slot] = Some(node);
            slot
        } else {
            self.nodes.push(Some(node));
            self.nodes.len() - 1
        };
        self.slots.insert(name, slot);
        slot
    }

    /// Removes a node. The pods on it must have been removed before.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(slot) = self.slots.remove(name) {
            self.version += 1;
            self.facts_version = self.version;
            self.nodes[slot] = None;
            self.free.push(slot);
        }
    }

    /// Accounts for a pod on a node. `staying` is false for a pod that is being deleted.
    pub fn add_pod(&mut self, slot: Slot, template: &Arc<PodTemplate>, staying: bool) -> TemplateId {
        self.version += 1;
        if let Some(Some(node)) = self.nodes.get_mut(slot) {
            node.usage.add(template);
            node.usage_version = self.version;
        }
        let last = &mut self.last_template;
        let placed = self.placed.entry(Arc::clone(template)).or_insert_with(|| {
            *last += 1;
            Placed { id: *last, staying: HashMap::new(), pods: 0 }
        });
        placed.pods += 1;
        if staying {
            *placed.staying.entry(slot).or_default() += 1;
        }
        placed.id
    }

    /// Takes back [`Cluster::add_pod`], with the same arguments.
    pub fn remove_pod(&mut self, slot: Slot, template: &Arc<PodTemplate>, staying: bool) -> Option<TemplateId> {
        self.version += 1;
        if let Some(Some(node)) = self.nodes.get_mut(slot) {
            node.usage.remove(template);
            node.usage_version = self.version;
        }
        let placed = self.placed.get_mut(template)?;
        let id = placed.id;
        placed.pods -= 1;
        if staying && let Some(count) = placed.staying.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                placed.staying.remove(&slot);
            }
        }
        if placed.pods == 0 {
            self.placed.remove(template);
        }
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str) -> Arc<NodeFacts> {
        Arc::new(NodeFacts { name: name.into(), ..NodeFacts::default() })
    }

    #[test]
    fn what_is_added_can_be_taken_back() {
        let mut cluster = Cluster::default();
        let slot = cluster.set_node(facts("n"));
        let requests = Resources { milli_cpu: 100, ..Resources::default() };
        let port = HostPort { address: "0.0.0.0".into(), protocol: "TCP".into(), port: 80 };
        let template = Arc::new(PodTemplate { requests, host_ports: [port].into(), ..PodTemplate::default() });
        let before = cluster.node(slot).map(|node| node.usage.clone());
        cluster.add_pod(slot, &template, true);
        cluster.add_pod(slot, &template, false);
        assert_eq!(cluster.node(slot).map(|node| (node.usage.pods, node.usage.requested.milli_cpu)), Some((2, 200)));
        assert_eq!(cluster.templates().map(|(_, placed)| placed.staying[&slot]).collect::<Vec<_>>(), [1]);
        cluster.remove_pod(slot, &template, true);
        cluster.remove_pod(slot, &template, false);
        assert_eq!(cluster.node(slot).map(|node| node.usage.clone()), before);
        assert_eq!(cluster.templates().count(), 0);
    }

    #[test]
    fn a_slot_is_reused_and_versions_tell_the_nodes_apart() {
        let mut cluster = Cluster::default();
        let slot = cluster.set_node(facts("a"));
        let version = cluster.node(slot).map(|node| node.facts_version);
        cluster.remove_node("a");
        assert_eq!(cluster.node_count(), 0);
        assert_eq!(cluster.set_node(facts("b")), slot);
        assert_ne!(cluster.node(slot).map(|node| node.facts_version), version);
    }
}
