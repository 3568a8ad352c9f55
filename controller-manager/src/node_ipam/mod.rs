//! Node IPAM: a range of pod addresses for each node, never the same twice.
//!
//! All nodes are decided on together, by one worker that waits until the store shows its own writes.

pub mod shell;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use crate::action::{Action, EventType};
use crate::object::{reference_of, resource};
use crate::view::NodeView;

/// A range of addresses: `10.244.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses like 10.244.0.0/16")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let width = width(address);
        if prefix > width {
            return Err(wrong());
        }
        let host_bits = u32::from(width - prefix);
        let network = number(address).checked_shr(host_bits).unwrap_or(0).checked_shl(host_bits).unwrap_or(0);
        Ok(Cidr { first: address_of(network, width), prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address_of(number: u128, width: u8) -> IpAddr {
    if width == 32 { IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()) } else { IpAddr::V6(number.into()) }
}

impl Cidr {
    /// Whether it is a range of IPv6 addresses.
    pub fn is_v6(&self) -> bool {
        self.first.is_ipv6()
    }

    /// The length of its prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    fn overlaps(&self, other: &Cidr) -> bool {
        if self.is_v6() != other.is_v6() {
            return false;
        }
        let host_bits = u32::from(width(self.first) - self.prefix.min(other.prefix));
        number(self.first).checked_shr(host_bits) == number(other.first).checked_shr(host_bits)
    }

    /// Its parts of a given prefix, in order.
    fn parts(self, prefix: u8) -> impl Iterator<Item = Cidr> {
        let width = width(self.first);
        let count = 1_u128.checked_shl(u32::from(prefix.saturating_sub(self.prefix))).unwrap_or(u128::MAX);
        let size = 1_u128.checked_shl(u32::from(width.saturating_sub(prefix))).unwrap_or(u128::MAX);
        (0..count).map_while(move |index| {
            let first = number(self.first).checked_add(index.checked_mul(size)?)?;
            Some(Cidr { first: address_of(first, width), prefix })
        })
    }
}

/// The pod addresses of the cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster's ranges, at most one a family, and the prefix of a node's part of each.
    pub ranges: Vec<(Cidr, u8)>,
}

/// Gives each node that has none a range of each family.
pub fn reconcile(plan: &Plan, nodes: &[Arc<NodeView>]) -> Vec<Action> {
    let given = |node: &NodeView| -> Vec<Cidr> {
        let all = node.spec.pod_cidrs.iter().chain(&node.spec.pod_cidr);
        all.filter_map(|text| text.parse().ok()).collect()
    };
    let mut used: BTreeSet<Cidr> = nodes.iter().flat_map(|node| given(node)).collect();
    // Ranges that do not lie on our grid (another mask size before) are rare, so they are kept apart.
    let mut actions = Vec::new();
    for node in nodes.iter().filter(|node| node.spec.pod_cidr.is_none() && !node.metadata.is_deleting()) {
        let mut free = Vec::with_capacity(plan.ranges.len());
        for &(range, prefix) in &plan.ranges {
            let odd: Vec<Cidr> = used.iter().copied().filter(|used| used.prefix != prefix).collect();
            let part =
                range.parts(prefix).find(|part| !used.contains(part) && !odd.iter().any(|odd| odd.overlaps(part)));
            free.extend(part);
        }
        if free.len() < plan.ranges.len() {
            actions.push(Action::Event {
                regarding: reference_of::<Node>(&node.metadata),
                event_type: EventType::Normal,
                reason: "CIDRNotAvailable",
                message: format!("Node {} status is now: CIDRNotAvailable", node.metadata.name),
            });
            continue;
        }
        used.extend(&free);
        let texts: Vec<String> = free.iter().map(ToString::to_string).collect();
        actions.push(Action::Patch {
            resource: resource::<Node>(),
            key: node.metadata.key(),
            subresource: "",
            patch: json!({"metadata": {"uid": &*node.metadata.uid}, "spec": {"podCIDR": texts[0], "podCIDRs": texts}}),
        });
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str, cidr: Option<&str>) -> Arc<NodeView> {
        let cidrs: Vec<&str> = cidr.into_iter().collect();
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "uid": name}, "spec": {"podCIDR": cidr, "podCIDRs": cidrs}
            }))
            .unwrap(),
        )
    }

    fn plan(range: &str, prefix: u8) -> Plan {
        Plan { ranges: vec![(range.parse().unwrap(), prefix)] }
    }

    fn given(actions: &[Action]) -> Vec<String> {
        let patches = actions.iter().filter_map(|action| match action {
            Action::Patch { patch, .. } => patch["spec"]["podCIDR"].as_str().map(str::to_owned),
            _ => None,
        });
        patches.collect()
    }

    #[test]
    fn nodes_get_the_lowest_free_ranges() {
        let nodes = [node("a", None), node("b", Some("10.244.0.0/24")), node("c", None)];
        let plan = plan("10.244.0.0/16", 24);
        assert_eq!(given(&reconcile(&plan, &nodes)), ["10.244.1.0/24", "10.244.2.0/24"]);
        let odd = [node("a", None), node("b", Some("10.244.0.0/23"))];
        assert_eq!(given(&reconcile(&plan, &odd)), ["10.244.2.0/24"]);
    }

    #[test]
    fn a_full_range_is_told() {
        let nodes = [node("a", None), node("b", None), node("c", None)];
        let actions = reconcile(&plan("10.0.0.0/23", 24), &nodes);
        assert_eq!(given(&actions), ["10.0.0.0/24", "10.0.1.0/24"]);
        assert_eq!(
            actions[2].to_string(),
            "event Normal CIDRNotAvailable Node/c: Node c status is now: CIDRNotAvailable"
        );
    }

    #[test]
    fn texts_are_checked() {
        assert_eq!("10.244.7.0/16".parse::<Cidr>().unwrap().to_string(), "10.244.0.0/16");
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "fd00::/129"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_range_is_given_twice(rounds in prop::collection::vec(prop::collection::btree_set(0_u8..60, 0..40), 1..6)) {
            let plan = plan("10.0.0.0/19", 24);
            let mut world: std::collections::BTreeMap<u8, Option<String>> = Default::default();
            for round in rounds {
                world.retain(|name, _| round.contains(name));
                for name in round {
                    world.entry(name).or_default();
                }
                let nodes: Vec<_> =
                    world.iter().map(|(name, cidr)| node(&name.to_string(), cidr.as_deref())).collect();
                for action in reconcile(&plan, &nodes) {
                    if let Action::Patch { key, patch, .. } = action {
                        let name: u8 = key.name.parse().unwrap();
                        world.insert(name, patch["spec"]["podCIDR"].as_str().map(str::to_owned));
                    }
                }
                let mut all: Vec<&String> = world.values().flatten().collect();
                prop_assert_eq!(all.len(), world.len().min(32));
                all.sort();
                all.dedup();
                prop_assert_eq!(all.len(), world.len().min(32));
            }
        }
    }
}
