//! How many pods that a template wants to be spread from are in each domain, kept up to date pod by pod.

use std::collections::HashMap;

use crate::cluster::{Cluster, Slot, TemplateId};
use crate::filter;
use crate::model::{NodeFacts, PodTemplate, Requirement, SpreadConstraint, Unsatisfiable};

/// The label that names a node's own domain.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Upstream's system default for pods without constraints: both prefer, neither forbids.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), (ZONE, 5)];
/// Beyond this many remembered templates the memory of who matches is dropped and built anew.
const REMEMBERED_TEMPLATES_MAX: usize = 4096;

/// The domain of a node that lacks the label.
pub const NO_DOMAIN: usize = usize::MAX;

/// Which pods a constraint counts.
#[derive(Clone, Debug)]
enum Selects {
    /// Those of the same controller: the default spreading of pods without constraints.
    SameController,
    /// Those of the namespace that match.
    Labels(Box<[Requirement]>),
    /// None.
    Nothing,
}

/// The pods that one constraint counts, by node and by domain.
#[derive(Clone, Debug)]
pub struct Counts {
    selects: Selects,
    topology_key: Box<str>,
    /// `maxSkew`.
    pub max_skew: i64,
    /// `minDomains`.
    pub min_domains: usize,
    /// The pod counts itself.
    pub selects_itself: bool,
    /// The domains are nodes.
    pub by_hostname: bool,
    hard: bool,
    honor_affinity: bool,
    honor_taints: bool,
    /// Matching pods by slot.
    pub by_node: Vec<u32>,
    /// The node's domain by slot, or [`NO_DOMAIN`].
    pub domain_of: Vec<usize>,
    counted: Vec<bool>,
    /// Matching pods of the nodes that count, by domain.
    pub by_domain: Vec<u32>,
    /// Whether a node that counts is in the domain.
    pub domain_counts: Vec<bool>,
}

impl Counts {
    fn new(pod: &PodTemplate, constraint: &SpreadConstraint) -> Self {
        let selects = constraint.selector.clone().map_or(Selects::Nothing, Selects::Labels);
        let mut counts = Self::empty(selects, &constraint.topology_key, constraint.max_skew);
        counts.min_domains = constraint.min_domains;
        counts.hard = constraint.unsatisfiable == Unsatisfiable::DoNotSchedule;
        counts.honor_affinity = constraint.honor_affinity;
        counts.honor_taints = constraint.honor_taints;
        counts.selects_itself = counts.matches(pod, pod);
        counts
    }

    fn empty(selects: Selects, topology_key: &str, max_skew: i64) -> Self {
        Self {
            selects,
            topology_key: topology_key.into(),
            max_skew,
            min_domains: 1,
            selects_itself: true,
            by_hostname: topology_key == HOSTNAME,
            hard: false,
            honor_affinity: true,
            honor_taints: false,
            by_node: Vec::new(),
            domain_of: Vec::new(),
            counted: Vec::new(),
            by_domain: Vec::new(),
            domain_counts: Vec::new(),
        }
    }

    /// Whether pods of `other` are counted for pods of `pod`.
    fn matches(&self, pod: &PodTemplate, other: &PodTemplate) -> bool {
        other.namespace == pod.namespace
            && match &self.selects {
                Selects::SameController => other.controller == pod.controller,
                Selects::Labels(requirements) => Requirement::all_admit(requirements, &other.labels),
                Selects::Nothing => false,
            }
    }

    /// The matching pods in the domains that count.
    pub fn domains(&self) -> impl Iterator<Item = u32> {
        self.by_domain.iter().zip(&self.domain_counts).filter(|(_, counts)| **counts).map(|(matching, _)| *matching)
    }

    /// The matching pods in the node's domain.
    pub fn in_domain_of(&self, slot: Slot) -> u32 {
        self.by_domain.get(self.domain_of[slot]).copied().unwrap_or(0)
    }

    fn adjust(&mut self, slot: Slot, change: impl Fn(u32) -> u32) {
        let Some(by_node) = self.by_node.get_mut(slot) else { return };
        *by_node = change(*by_node);
        if self.counted[slot]
            && let Some(by_domain) = self.by_domain.get_mut(self.domain_of[slot])
        {
            *by_domain = change(*by_domain);
        }
    }
}

/// The constraints of a template with their counts.
#[derive(Clone, Debug)]
pub struct Spread {
    /// `DoNotSchedule`.
    pub hard: Vec<Counts>,
    /// `ScheduleAnyway`, or the default spreading.
    pub soft: Vec<Counts>,
    /// Nodes that lack a label of a soft constraint get no score (explicit constraints only).
    pub soft_needs_all_labels: bool,
    matching: HashMap<TemplateId, bool>,
}

impl Spread {
    /// The constraints of a template, without counts.
    pub fn new(pod: &PodTemplate) -> Self {
        let all = pod.spread.iter().map(|constraint| Counts::new(pod, constraint));
        let (hard, mut soft): (Vec<_>, Vec<_>) = all.partition(|counts| counts.hard);
        if pod.spread.is_empty() && !pod.controller.is_empty() {
            soft = DEFAULTS.map(|(key, max_skew)| Counts::empty(Selects::SameController, key, max_skew)).into();
        }
        Self { hard, soft, soft_needs_all_labels: !pod.spread.is_empty(), matching: HashMap::new() }
    }

    /// Counts everything anew. Needed when nodes come, go or change; looks at templates, not at pods.
    pub fn recount(&mut self, pod: &PodTemplate, cluster: &Cluster) {
        let all_keys = |counts: &[Counts]| counts.iter().map(|counts| counts.topology_key.clone()).collect::<Vec<_>>();
        let (hard_keys, soft_keys) = (all_keys(&self.hard), all_keys(&self.soft));
        let needed = if self.soft_needs_all_labels { soft_keys } else { Vec::new() };
        for (counts, needed_keys) in self
            .hard
            .iter_mut()
            .map(|counts| (counts, &hard_keys))
            .chain(self.soft.iter_mut().map(|counts| (counts, &needed)))
        {
            counts.by_node = vec![0; cluster.slot_count()];
            counts.domain_of = vec![NO_DOMAIN; cluster.slot_count()];
            counts.counted = vec![false; cluster.slot_count()];
            let mut domains = HashMap::<&str, usize>::new();
            counts.domain_counts.clear();
            for (slot, node) in cluster.nodes() {
                let facts = &*node.facts;
                if let Some(value) = facts.labels.get(&counts.topology_key) {
                    let next = domains.len();
                    let domain = *domains.entry(value).or_insert(next);
                    counts.domain_of[slot] = domain;
                    counts.domain_counts.resize(domains.len(), false);
                    counts.counted[slot] = counts_node(counts, needed_keys, pod, facts);
                    counts.domain_counts[domain] |= counts.counted[slot];
                }
            }
            counts.by_domain = vec![0; domains.len()];
            for (template, placed) in cluster.templates() {
                if counts.matches(pod, template) {
                    for (&slot, &pods) in &placed.staying {
                        counts.adjust(slot, |present| present + pods);
                    }
                }
            }
        }
    }

    /// Follows one pod that came to a node or left it. Returns whether it is counted by some constraint.
    pub fn follow(&mut self, pod: &PodTemplate, other: &PodTemplate, id: TemplateId, slot: Slot, came: bool) -> bool {
        if self.matching.len() > REMEMBERED_TEMPLATES_MAX {
            self.matching.clear();
        }
        let constraints = || self.hard.iter().chain(&self.soft);
        let matches =
            *self.matching.entry(id).or_insert_with(|| constraints().any(|counts| counts.matches(pod, other)));
        if !matches {
            return false;
        }
        for counts in self.hard.iter_mut().chain(&mut self.soft) {
            if counts.matches(pod, other) {
                counts.adjust(slot, |present| if came { present + 1 } else { present.saturating_sub(1) });
            }
        }
        true
    }

    /// Whether the node has the labels that soft constraints need.
    pub fn is_scored(&self, slot: Slot) -> bool {
        !self.soft_needs_all_labels || self.soft.iter().all(|counts| counts.domain_of[slot] != NO_DOMAIN)
    }
}

fn counts_node(counts: &Counts, needed_keys: &[Box<str>], pod: &PodTemplate, facts: &NodeFacts) -> bool {
    needed_keys.iter().all(|key| facts.labels.get(key).is_some())
        && (!counts.honor_affinity || filter::node_affinity::admits(pod, facts))
        && (!counts.honor_taints || filter::taint_toleration::admits(pod, facts))
}
