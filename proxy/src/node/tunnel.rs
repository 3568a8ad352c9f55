//! The tunnel to nodes on other links: what its device and its tables should hold. Pure.
//!
//! It is VXLAN (RFC 7348) with one device on each node. The device's MAC address follows from the node's address, so
//! whoever knows a node knows both, and nothing is announced, learned or flooded:
//!
//! ```text
//! route      10.244.2.0/24 via 10.244.2.0          the far node's pods, by its address inside of the tunnel
//! neighbour  10.244.2.0 is at 02:52:ac:10:00:09    its device's MAC address
//! forwarding 02:52:ac:10:00:09 to 172.16.0.9       where the datagrams go
//! ```
//!
//! The address inside of the tunnel is the first of the node's pod network, which no pod gets. What the node itself
//! sends to far pods comes from it, so that the answers return through the tunnel.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The device. Everything on it is this program's.
pub const TUNNEL_LINK: &str = "reeve-vxlan";

/// The network identifier: any, the same on all nodes, and none that other pod networks take by default.
pub const NETWORK_IDENTIFIER: u32 = 201;

/// What the tunnel adds to a packet, in bytes: the inner Ethernet header, and headers of VXLAN, UDP and IPv4.
pub const OVERHEAD: u32 = 14 + 8 + 8 + 20;

/// The largest packet of a link that is not known, in bytes.
pub const USUAL_MTU: u32 = 1500;

/// A MAC address.
pub type Mac = [u8; 6];

/// What the tunnel should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The node's address: the datagrams come from it.
    pub local: Ipv4Addr,
    /// The node's address inside.
    pub inside: Ipv4Addr,
    /// The largest packet inside, in bytes.
    pub mtu: u32,
    /// The far nodes: the address of each by its address inside.
    pub peers: BTreeMap<Ipv4Addr, Ipv4Addr>,
}

/// The MAC address of a node's device: `02:52` (unicast, locally administered) and the four bytes of its address.
pub fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    [0x02, 0x52, a, b, c, d]
}

/// What the device's two tables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// The neighbours: MAC addresses by addresses inside.
    pub neighbours: BTreeMap<Ipv4Addr, Mac>,
    /// The forwarding table: nodes' addresses by MAC addresses.
    pub forwarding: BTreeMap<Mac, Ipv4Addr>,
}

impl Tunnel {
    /// What the device's tables should hold.
    pub fn entries(&self) -> Entries {
        Entries {
            neighbours: self.peers.iter().map(|(inside, node)| (*inside, mac_of(*node))).collect(),
            forwarding: self.peers.values().map(|node| (mac_of(*node), *node)).collect(),
        }
    }
}

impl Entries {
    /// What these have and `others` have not, or have otherwise.
    pub fn without(&self, others: &Entries) -> Entries {
        let is_new = |(address, mac): &(&Ipv4Addr, &Mac)| others.neighbours.get(*address) != Some(mac);
        let is_forwarded = |(mac, address): &(&Mac, &Ipv4Addr)| others.forwarding.get(*mac) != Some(address);
        Entries {
            neighbours: self.neighbours.iter().filter(is_new).map(|(address, mac)| (*address, *mac)).collect(),
            forwarding: self.forwarding.iter().filter(is_forwarded).map(|(mac, address)| (*mac, *address)).collect(),
        }
    }

    /// What these have under keys that `others` do not have.
    pub fn unknown_to(&self, others: &Entries) -> Entries {
        let mut stale = self.clone();
        stale.neighbours.retain(|address, _| !others.neighbours.contains_key(address));
        stale.forwarding.retain(|mac, _| !others.forwarding.contains_key(mac));
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(peers: &[([u8; 4], [u8; 4])]) -> Tunnel {
        let peers = peers.iter().map(|(inside, node)| ((*inside).into(), (*node).into())).collect();
        Tunnel { local: [192, 168, 7, 10].into(), inside: [10, 244, 0, 0].into(), mtu: 1450, peers }
    }

    #[test]
    fn a_node_that_moved_is_replaced_and_one_that_went_is_removed() {
        let before = tunnel(&[([10, 244, 1, 0], [172, 16, 0, 9]), ([10, 244, 2, 0], [172, 16, 0, 8])]).entries();
        assert_eq!(before.neighbours.get(&[10, 244, 1, 0].into()), Some(&[2, 0x52, 172, 16, 0, 9]));
        let after = tunnel(&[([10, 244, 1, 0], [172, 16, 0, 7])]).entries();
        let added = after.without(&before);
        assert_eq!(added, after, "the same address inside is at another node");
        let removed = before.unknown_to(&after);
        assert_eq!(removed.neighbours.keys().collect::<Vec<_>>(), [&Ipv4Addr::new(10, 244, 2, 0)]);
        assert_eq!(
            removed.forwarding.values().collect::<Vec<_>>(),
            [&Ipv4Addr::new(172, 16, 0, 8), &Ipv4Addr::new(172, 16, 0, 9)]
        );
        assert_eq!(after.without(&after), Entries::default());
    }
}
