//! All nodes as one template of pods sees them.
//!
//! What was found out for one pod serves all pods of the template: only nodes that changed since are looked at
//! again, and what is left for each pod is a few passes over dense arrays.

use std::sync::Arc;

use rand::Rng;

use crate::cluster::{Cluster, Node, Slot, TemplateId};
use crate::diagnosis::{Diagnosis, Reason};
use crate::filter;
use crate::model::PodTemplate;
use crate::score::{self, weight};
use crate::spread::{NO_DOMAIN, Spread};

/// What a template's pods can expect of a node, as of the versions beside it.
#[derive(Clone, Debug, Default)]
struct Row {
    facts_version: u64,
    usage_version: u64,
    facts_admit: bool,
    usage_admits: bool,
    soft_taints: i64,
    preference: i64,
    resources: i64,
}

/// All nodes as one template of pods sees them.
#[derive(Debug)]
pub struct Evaluation {
    template: Arc<PodTemplate>,
    rows: Vec<Row>,
    spread: Spread,
    facts_version: Option<u64>,
    refused: Option<(u64, Arc<Diagnosis>)>,
    // Scratch space of `select`, kept to save allocations.
    possible: Vec<Slot>,
    costs: Vec<i64>,
    best: Vec<Slot>,
}

impl Evaluation {
    /// An evaluation that has not looked at any node yet.
    pub fn new(template: Arc<PodTemplate>) -> Self {
        let spread = Spread::new(&template);
        Self {
            template,
            rows: Vec::new(),
            spread,
            facts_version: None,
            refused: None,
            possible: Vec::new(),
            costs: Vec::new(),
            best: Vec::new(),
        }
    }

    /// Follows a pod that came to a node or left it; see [`Spread::follow`].
    pub fn follow(&mut self, other: &PodTemplate, id: TemplateId, slot: Slot, came: bool) {
        if self.facts_version.is_some() {
            self.spread.follow(&self.template, other, id, slot, came);
        }
    }

    /// The best node for a pod of the template, or why there is none. Among equals `random` decides.
    pub fn select(&mut self, cluster: &Cluster, random: &mut impl Rng) -> Result<Slot, Arc<Diagnosis>> {
        if let Some((version, diagnosis)) = &self.refused
            && *version == cluster.version()
        {
            return Err(Arc::clone(diagnosis));
        }
        self.refresh(cluster);
        self.find_possible();
        if self.possible.is_empty() {
            let diagnosis = Arc::new(self.diagnose(cluster));
            self.refused = Some((cluster.version(), Arc::clone(&diagnosis)));
            return Err(diagnosis);
        }
        self.refused = None;
        let (soft_taints, preference) = self.possible.iter().fold((0, 0), |(taints, preference), &slot| {
            (taints.max(self.rows[slot].soft_taints), preference.max(self.rows[slot].preference))
        });
        let spread = self.spread_costs();
        let mut greatest = i64::MIN;
        self.best.clear();
        for (index, &slot) in self.possible.iter().enumerate() {
            let row = &self.rows[slot];
            let mut total = row.resources
                + weight::TAINT_TOLERATION * score::normalize_reversed(row.soft_taints, soft_taints)
                + weight::NODE_AFFINITY * score::normalize(row.preference, preference);
            if let Some((least_cost, greatest_cost)) = spread
                && self.spread.is_scored(slot)
            {
                total += weight::POD_TOPOLOGY_SPREAD
                    * score::pod_topology_spread::normalize(self.costs[index], least_cost, greatest_cost);
            }
            if total > greatest {
                greatest = total;
                self.best.clear();
            }
            if total == greatest {
                self.best.push(slot);
            }
        }
        Ok(self.best[random.random_range(0..self.best.len())])
    }

    /// Whether one node could take a pod of the template now, spreading aside.
    pub fn may_fit(template: &PodTemplate, node: &Node) -> bool {
        filter::admits_facts(template, &node.facts) && filter::admits_usage(template, &node.facts, &node.usage)
    }

    /// Looks again at what changed.
    fn refresh(&mut self, cluster: &Cluster) {
        if self.facts_version != Some(cluster.facts_version()) {
            self.facts_version = Some(cluster.facts_version());
            self.rows.resize_with(cluster.slot_count(), Row::default);
            for (slot, row) in self.rows.iter_mut().enumerate() {
                match cluster.node(slot) {
                    None => *row = Row::default(),
                    Some(node) if row.facts_version != node.facts_version => *row = look(&self.template, node),
                    Some(_) => {}
                }
            }
            self.spread.recount(&self.template, cluster);
        }
        for (slot, row) in self.rows.iter_mut().enumerate() {
            if row.facts_admit
                && let Some(node) = cluster.node(slot)
                && row.usage_version != node.usage_version
            {
                look_at_usage(row, &self.template, node);
            }
        }
    }

    fn find_possible(&mut self) {
        let least: Vec<u32> = self.spread.hard.iter().map(least).collect();
        self.possible.clear();
        for (slot, row) in self.rows.iter().enumerate() {
            if row.facts_admit && row.usage_admits && refusal_of_spreading(&self.spread, &least, slot).is_none() {
                self.possible.push(slot);
            }
        }
    }

    /// Fills `costs` and returns the least and the greatest; `None` where nothing is to be spread.
    fn spread_costs(&mut self) -> Option<(i64, i64)> {
        if self.spread.soft.is_empty() {
            return None;
        }
        let scored = |slot: &&Slot| self.spread.is_scored(**slot);
        let scored_nodes = self.possible.iter().filter(scored).count();
        let weights: Vec<f64> = self
            .spread
            .soft
            .iter()
            .map(|counts| {
                if counts.by_hostname {
                    return score::pod_topology_spread::domain_weight(scored_nodes);
                }
                let mut seen = vec![false; counts.by_domain.len()];
                for &slot in self.possible.iter().filter(scored) {
                    if let Some(seen) = seen.get_mut(counts.domain_of[slot]) {
                        *seen = true;
                    }
                }
                score::pod_topology_spread::domain_weight(seen.iter().filter(|seen| **seen).count())
            })
            .collect();
        let (mut least, mut greatest) = (i64::MAX, 0);
        self.costs.clear();
        for &slot in &self.possible {
            let mut cost = 0.0;
            for (counts, weight) in self.spread.soft.iter().zip(&weights) {
                if counts.domain_of[slot] != NO_DOMAIN {
                    let matching = if counts.by_hostname { counts.by_node[slot] } else { counts.in_domain_of(slot) };
                    cost += score::pod_topology_spread::cost(matching, counts.max_skew, *weight);
                }
            }
            let cost = cost.round() as i64;
            if self.spread.is_scored(slot) {
                least = least.min(cost);
                greatest = greatest.max(cost);
            }
            self.costs.push(cost);
        }
        Some((least, greatest))
    }

    /// Why each node refuses.
    fn diagnose(&self, cluster: &Cluster) -> Diagnosis {
        let least: Vec<u32> = self.spread.hard.iter().map(least).collect();
        let nodes = cluster.nodes().map(|(slot, node)| {
            let mut reasons = filter::reasons(&self.template, &node.facts, &node.usage);
            if reasons.is_empty() {
                reasons.extend(refusal_of_spreading(&self.spread, &least, slot));
            }
            (Arc::clone(&node.facts.name), reasons)
        });
        Diagnosis { nodes: nodes.collect() }
    }
}

fn look(template: &PodTemplate, node: &Node) -> Row {
    let mut row = Row {
        facts_version: node.facts_version,
        facts_admit: filter::admits_facts(template, &node.facts),
        soft_taints: score::taint_toleration::raw(template, &node.facts),
        preference: score::node_affinity::raw(template, &node.facts),
        ..Row::default()
    };
    look_at_usage(&mut row, template, node);
    row
}

fn look_at_usage(row: &mut Row, template: &PodTemplate, node: &Node) {
    row.usage_version = node.usage_version;
    row.usage_admits = filter::admits_usage(template, &node.facts, &node.usage);
    row.resources = weight::LEAST_ALLOCATED * score::least_allocated::score(template, &node.facts, &node.usage)
        + weight::BALANCED_ALLOCATION * score::balanced_allocation::score(template, &node.facts, &node.usage);
}

fn least(counts: &crate::spread::Counts) -> u32 {
    filter::pod_topology_spread::least(counts.domains(), counts.min_domains)
}

fn refusal_of_spreading(spread: &Spread, least: &[u32], slot: Slot) -> Option<Reason> {
    spread.hard.iter().zip(least).find_map(|(counts, &least)| {
        if counts.domain_of[slot] == NO_DOMAIN {
            return Some(Reason::SpreadLabelMissing);
        }
        let matching = counts.in_domain_of(slot);
        let admitted = filter::pod_topology_spread::admits(matching, least, counts.selects_itself, counts.max_skew);
        (!admitted).then_some(Reason::SpreadSkew)
    })
}
