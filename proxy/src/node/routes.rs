//! Which routes lead to other nodes' pods: a pure function of the nodes and the node's links.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::view::NodeView;
use crate::nft::model::Network;

/// Routes by the network they lead to: the gateway of each.
pub type Routes = BTreeMap<Network, Ipv4Addr>;

/// What should be and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The routes that should exist.
    pub routes: Routes,
    /// Nodes on no link of this node: their pods cannot be reached directly.
    pub unreachable: BTreeSet<String>,
}

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Routes to add, in the place of others to the same network.
    pub replace: Routes,
    /// Routes to remove.
    pub remove: Routes,
}

/// The routes from the node `own` to all others. `links` are the networks of this node's own addresses, without
/// the pods' bridge.
pub fn plan<'a>(own: &str, nodes: impl Iterator<Item = &'a NodeView>, links: &[Network]) -> Plan {
    let mut plan = Plan::default();
    for node in nodes.filter(|node| node.metadata.name != own) {
        let (Some(network), Some(gateway)) = (node.pod_network(), node.internal_address()) else { continue };
        if links.iter().any(|link| link.contains(gateway)) {
            plan.routes.insert(network, gateway);
        } else {
            plan.unreachable.insert(node.metadata.name.clone());
        }
    }
    plan
}

/// What leads from the routes that exist to those that should.
pub fn changes(existing: &Routes, wanted: &Routes) -> Changes {
    let missing = wanted.iter().filter(|(network, gateway)| existing.get(network) != Some(gateway));
    let stale = existing.iter().filter(|(network, _)| !wanted.contains_key(network));
    Changes {
        replace: missing.map(|(network, gateway)| (*network, *gateway)).collect(),
        remove: stale.map(|(network, gateway)| (*network, *gateway)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn neighbours_get_a_route_and_strangers_are_named() {
        let nodes = [
            NodeView::for_test("own", "10.244.0.0/24", "192.168.7.10"),
            NodeView::for_test("near", "10.244.1.0/24", "192.168.7.11"),
            NodeView::for_test("far", "10.244.2.0/24", "172.16.0.9"),
            NodeView::for_test("new", "", "192.168.7.12"),
        ];
        let plan = plan("own", nodes.iter(), &[network("192.168.7.0/24")]);
        assert_eq!(plan.routes, Routes::from([(network("10.244.1.0/24"), [192, 168, 7, 11].into())]));
        assert_eq!(plan.unreachable, BTreeSet::from(["far".to_owned()]));
        let existing = Routes::from([
            (network("10.244.1.0/24"), [192, 168, 7, 99].into()),
            (network("10.244.9.0/24"), [192, 168, 7, 19].into()),
        ]);
        let changes = changes(&existing, &plan.routes);
        assert_eq!(changes.replace, plan.routes);
        assert_eq!(changes.remove, Routes::from([(network("10.244.9.0/24"), [192, 168, 7, 19].into())]));
    }
}
