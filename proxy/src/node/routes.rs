//! How the pods of other nodes are reached: a pure function of the nodes and the node's links.
//!
//! Nodes on the link of this node's own address are sent to directly, all others through a tunnel. "The link of the
//! node's own address" and not "any link": both nodes then decide alike, each knowing nothing of the other but its
//! address. A node that is on two links would else send directly what the other expects from the tunnel.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::tunnel::{self, Tunnel};
use super::view::NodeView;
use crate::nft::model::Network;

/// Where packets for a network of pods go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// To a node on the same link.
    Link(Ipv4Addr),
    /// To the tunnel's end of a node, by its address inside of the tunnel.
    Tunnel(Ipv4Addr),
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hop::Link(gateway) => write!(f, "{gateway}"),
            Hop::Tunnel(gateway) => write!(f, "{gateway} in the tunnel"),
        }
    }
}

/// Routes by the network they lead to: the first hop of each.
pub type Routes = BTreeMap<Network, Hop>;

/// An address of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// The network that its link is on.
    pub network: Network,
    /// The largest packet that the link takes, in bytes.
    pub mtu: u32,
}

/// What should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The routes that should exist.
    pub routes: Routes,
    /// The tunnel that they need, if any does.
    pub tunnel: Option<Tunnel>,
}

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Routes to add, in the place of others to the same network.
    pub replace: Routes,
    /// Routes to remove.
    pub remove: Routes,
}

/// The routes from the node `own` to all others. `addresses` are this node's own, without those of the pods' bridge.
pub fn plan<'a>(own: &str, nodes: impl Iterator<Item = &'a NodeView> + Clone, addresses: &[OwnAddress]) -> Plan {
    let own_node = nodes.clone().find(|node| node.metadata.name == own);
    let own_address = own_node.and_then(NodeView::internal_address);
    let home = addresses.iter().find(|known| Some(known.address) == own_address);
    let is_near = |address: Ipv4Addr| match home {
        Some(home) => home.network.contains(address),
        // The node's address is translated somewhere: any link will do.
        None => addresses.iter().any(|known| known.network.contains(address)),
    };
    let mut routes = Routes::new();
    let mut peers = BTreeMap::new();
    for node in nodes.filter(|node| node.metadata.name != own) {
        let (Some(network), Some(address)) = (node.pod_network(), node.internal_address()) else { continue };
        if is_near(address) {
            routes.insert(network, Hop::Link(address));
        } else {
            peers.insert(network.address(), address);
            routes.insert(network, Hop::Tunnel(network.address()));
        }
    }
    let own_network = own_node.and_then(NodeView::pod_network);
    let tunnel = match (own_address, own_network) {
        (Some(local), Some(network)) if !peers.is_empty() => Some(Tunnel {
            local,
            inside: network.address(),
            mtu: home.map_or(tunnel::USUAL_MTU, |home| home.mtu).saturating_sub(tunnel::OVERHEAD),
            peers,
        }),
        _ => None,
    };
    if tunnel.is_none() {
        // Without pods of its own the node has nothing to send from inside of the tunnel.
        routes.retain(|_, hop| matches!(hop, Hop::Link(_)));
    }
    Plan { routes, tunnel }
}

/// What leads from the routes that exist to those that should.
pub fn changes(existing: &Routes, wanted: &Routes) -> Changes {
    let missing = wanted.iter().filter(|(network, hop)| existing.get(network) != Some(hop));
    let stale = existing.iter().filter(|(network, _)| !wanted.contains_key(network));
    Changes {
        replace: missing.map(|(network, hop)| (*network, *hop)).collect(),
        remove: stale.map(|(network, hop)| (*network, *hop)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    fn own_address(address: [u8; 4], prefix: u8, mtu: u32) -> OwnAddress {
        let address = Ipv4Addr::from(address);
        OwnAddress { address, network: Network::new(address, prefix).expect("a prefix"), mtu }
    }

    #[test]
    fn neighbours_are_sent_to_directly_and_the_rest_through_the_tunnel() {
        let nodes = [
            NodeView::for_test("own", "10.244.0.0/24", "192.168.7.10"),
            NodeView::for_test("near", "10.244.1.0/24", "192.168.7.11"),
            NodeView::for_test("far", "10.244.2.0/24", "172.16.0.9"),
            NodeView::for_test("new", "", "192.168.7.12"),
        ];
        let addresses = [own_address([192, 168, 7, 10], 24, 1400)];
        let plan = plan("own", nodes.iter(), &addresses);
        let near = (network("10.244.1.0/24"), Hop::Link([192, 168, 7, 11].into()));
        let far = (network("10.244.2.0/24"), Hop::Tunnel([10, 244, 2, 0].into()));
        assert_eq!(plan.routes, Routes::from([near, far]));
        let tunnel = Tunnel {
            local: [192, 168, 7, 10].into(),
            inside: [10, 244, 0, 0].into(),
            mtu: 1350,
            peers: BTreeMap::from([([10, 244, 2, 0].into(), [172, 16, 0, 9].into())]),
        };
        assert_eq!(plan.tunnel, Some(tunnel));
        let existing = Routes::from([
            (network("10.244.1.0/24"), Hop::Link([192, 168, 7, 99].into())),
            (network("10.244.2.0/24"), Hop::Link([10, 244, 2, 0].into())),
            (network("10.244.9.0/24"), Hop::Link([192, 168, 7, 19].into())),
        ]);
        let changes = changes(&existing, &plan.routes);
        assert_eq!(changes.replace, plan.routes);
        assert_eq!(changes.remove, Routes::from([(network("10.244.9.0/24"), Hop::Link([192, 168, 7, 19].into()))]));
    }

    #[test]
    fn two_nodes_decide_alike_also_where_one_is_on_two_links() {
        let nodes = [
            NodeView::for_test("gate", "10.244.0.0/24", "10.1.0.1"),
            NodeView::for_test("leaf", "10.244.1.0/24", "10.2.0.5"),
        ];
        let of_gate = [own_address([10, 1, 0, 1], 24, 1500), own_address([10, 2, 0, 1], 24, 1500)];
        assert!(plan("gate", nodes.iter(), &of_gate).tunnel.is_some());
        assert!(plan("leaf", nodes.iter(), &[own_address([10, 2, 0, 5], 24, 1500)]).tunnel.is_some());
        // An address that a router translates is on no link; then all links count.
        let translated = [own_address([10, 9, 0, 1], 24, 1500), own_address([10, 2, 0, 1], 24, 1500)];
        let plan_of_gate = plan("gate", nodes.iter(), &translated);
        assert_eq!((plan_of_gate.tunnel, plan_of_gate.routes.len()), (None, 1));
    }

    #[test]
    fn there_is_no_tunnel_without_a_network_of_own_pods() {
        let nodes =
            [NodeView::for_test("own", "", "192.168.7.10"), NodeView::for_test("far", "10.244.2.0/24", "172.16.0.9")];
        assert_eq!(plan("own", nodes.iter(), &[own_address([192, 168, 7, 10], 24, 1500)]), Plan::default());
    }
}
