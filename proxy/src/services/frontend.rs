//! What each port of a Service leads to: a pure function of the Service, its slices and the place of the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::view::{EndpointSliceView, EndpointView, HintsView, ServicePortView, ServiceView};
use crate::nft::model::{COMMENT_MAX, Network, Protocol};

/// What clients connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKey {
    /// An address of the Service and its port.
    Address(Ipv4Addr, Protocol, u16),
    /// A port on the nodes' addresses.
    NodePort(Protocol, u16),
}

impl FrontendKey {
    /// The protocol.
    pub fn protocol(self) -> Protocol {
        match self {
            FrontendKey::Address(_, protocol, _) | FrontendKey::NodePort(protocol, _) => protocol,
        }
    }
}

impl std::fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrontendKey::Address(address, protocol, port) => write!(f, "{address}:{port}/{protocol}"),
            FrontendKey::NodePort(protocol, port) => write!(f, "node port {port}/{protocol}"),
        }
    }
}

/// Where a connection may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address and port.
    pub address: SocketAddrV4,
    /// Whether it runs on this node.
    pub local: bool,
}

/// Whether clients are expected inside or outside of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A cluster address.
    Internal,
    /// A node port, an external or a load balancer's address.
    External,
}

/// What clients get when no endpoint can take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// An ICMP error: nobody is there.
    Reject,
    /// Silence: there are endpoints, but the traffic policy keeps this node from using them.
    Drop,
}

/// One thing that clients connect to, and where they land.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// What clients connect to.
    pub key: FrontendKey,
    /// Where clients are expected.
    pub side: Side,
    /// The endpoints, in slot order.
    pub endpoints: Vec<Endpoint>,
    /// With external traffic policy `Local`: what clients outside the cluster get instead.
    pub outside: Option<Vec<Endpoint>>,
    /// What happens without endpoints.
    pub without: Without,
    /// Seconds for which a client stays with its endpoint.
    pub affinity: Option<u32>,
    /// Who may connect; empty for everybody. Others are dropped.
    pub allowed: Vec<Network>,
    /// Whether the address belongs to Services alone: what is sent there and reaches no endpoint is refused.
    pub exclusive: bool,
    /// `namespace/service:port` for whoever lists the table.
    pub comment: Arc<str>,
}

/// Where the node is.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The node's name.
    pub node: &'a str,
    /// Its zone, where it has one.
    pub zone: Option<&'a str>,
    /// The addresses of the cluster's nodes. No Service may take them as external addresses: it would take the
    /// traffic of the nodes' own servers.
    pub nodes: &'a BTreeSet<Ipv4Addr>,
}

/// The external addresses of a Service that are addresses of nodes, and refused therefore.
pub fn refused_addresses(service: &ServiceView, nodes: &BTreeSet<Ipv4Addr>) -> Vec<Ipv4Addr> {
    service.spec.external_ips.iter().filter_map(|text| text.parse().ok()).filter(|ip| nodes.contains(ip)).collect()
}

/// The frontends of a Service on a node. Ports, addresses and protocols that cannot be used are left
/// out: validation has told their author.
pub fn frontends<'a>(
    service: &ServiceView,
    slices: impl Iterator<Item = &'a EndpointSliceView> + Clone,
    place: Place<'_>,
) -> Vec<Frontend> {
    let spec = &service.spec;
    let Ok(cluster_ip) = spec.cluster_ip.parse::<Ipv4Addr>() else {
        // Headless, ExternalName, not allocated yet, or IPv6.
        return Vec::new();
    };
    if spec.type_ == "ExternalName" {
        return Vec::new();
    }
    let external: BTreeSet<Ipv4Addr> = spec.external_ips.iter().filter_map(|address| address.parse().ok()).collect();
    let mut balanced = BTreeSet::new();
    if spec.type_ == "LoadBalancer" {
        balanced.extend(service.status.load_balancer_addresses());
    }
    let allowed = allowed(&spec.load_balancer_source_ranges);
    let has_node_ports = matches!(spec.type_.as_str(), "NodePort" | "LoadBalancer");
    let affinity = spec.affinity_seconds();

    let mut found = Vec::new();
    for port in &spec.ports {
        let Some(protocol) = protocol(&port.protocol) else { continue };
        let candidates = Candidates::of(port, slices.clone(), place.node);
        let comment: Arc<str> = comment(service, port).into();
        let everywhere = candidates.everywhere(place);
        let (internal, without) = if spec.internal_traffic_policy == "Local" {
            let without = if everywhere.is_empty() { Without::Reject } else { Without::Drop };
            (candidates.local(), without)
        } else {
            (everywhere.clone(), Without::Reject)
        };
        found.push(Frontend {
            key: FrontendKey::Address(cluster_ip, protocol, port.port),
            side: Side::Internal,
            endpoints: internal,
            outside: None,
            without,
            affinity,
            allowed: Vec::new(),
            exclusive: true,
            comment: comment.clone(),
        });
        let addresses = external.difference(place.nodes).filter(|address| !balanced.contains(*address));
        let addresses = addresses.chain(&balanced).map(|address| FrontendKey::Address(*address, protocol, port.port));
        let node_port =
            (has_node_ports && port.node_port != 0).then_some(FrontendKey::NodePort(protocol, port.node_port));
        for key in addresses.chain(node_port) {
            let (is_balanced, is_node) = match key {
                FrontendKey::Address(address, ..) => (balanced.contains(&address), place.nodes.contains(&address)),
                FrontendKey::NodePort(..) => (false, false),
            };
            found.push(Frontend {
                key,
                side: Side::External,
                endpoints: everywhere.clone(),
                outside: (spec.external_traffic_policy == "Local").then(|| candidates.local()),
                without: Without::Reject,
                affinity,
                allowed: if is_balanced { allowed.clone() } else { Vec::new() },
                exclusive: is_balanced && !is_node,
                comment: comment.clone(),
            });
        }
    }
    found
}

/// The IPv4 networks of source ranges, none of which lies in another: nft refuses sets that overlap.
fn allowed(ranges: &[String]) -> Vec<Network> {
    let mut networks: Vec<Network> = ranges.iter().filter_map(|range| range.trim().parse().ok()).collect();
    networks.sort_unstable_by_key(|network| (network.prefix(), *network));
    let mut kept: Vec<Network> = Vec::new();
    for network in networks {
        if !kept.iter().any(|wider| wider.overlaps(network)) {
            kept.push(network);
        }
    }
    kept
}

/// How many endpoints of a Service on this node take traffic: what load balancers ask for.
pub fn local_endpoints<'a>(slices: impl Iterator<Item = &'a EndpointSliceView>, node: &str) -> usize {
    let ready = |endpoint: &&EndpointView| endpoint.node_name.as_deref() == Some(node) && endpoint.is_ready();
    let slices = slices.filter(|slice| slice.address_type == "IPv4");
    let addresses: BTreeSet<Ipv4Addr> =
        slices.flat_map(|slice| slice.endpoints.iter().filter(ready).filter_map(EndpointView::ipv4)).collect();
    addresses.len()
}

/// The protocol that a text names; TCP where it is empty.
pub fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

fn comment(service: &ServiceView, port: &ServicePortView) -> String {
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    let mut text =
        if port.name.is_empty() { format!("{namespace}/{name}") } else { format!("{namespace}/{name}:{}", port.name) };
    // Names are ASCII by validation; whatever else comes must not break the script.
    text.retain(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
    text.truncate(COMMENT_MAX);
    text
}

/// The endpoints of a port by state. When none is ready, those that terminate but still serve are used, so that
/// the last requests of a Service that goes are answered.
#[derive(Default)]
struct Candidates<'a> {
    ready: BTreeMap<SocketAddrV4, Candidate<'a>>,
    leaving: BTreeMap<SocketAddrV4, Candidate<'a>>,
}

struct Candidate<'a> {
    local: bool,
    hints: Option<&'a HintsView>,
}

impl<'a> Candidates<'a> {
    fn of(port: &ServicePortView, slices: impl Iterator<Item = &'a EndpointSliceView>, node: &str) -> Candidates<'a> {
        let mut candidates = Candidates::default();
        for slice in slices.filter(|slice| slice.address_type == "IPv4") {
            let target = slice.ports.iter().find(|candidate| {
                candidate.name == port.name && protocol(&candidate.protocol) == protocol(&port.protocol)
            });
            let Some(number) = target.and_then(|target| target.port) else { continue };
            for endpoint in &slice.endpoints {
                let Some(address) = endpoint.ipv4() else { continue };
                let local = endpoint.node_name.as_deref() == Some(node);
                let list = match state(endpoint) {
                    State::Ready => &mut candidates.ready,
                    State::Leaving => &mut candidates.leaving,
                    State::Out => continue,
                };
                list.insert(SocketAddrV4::new(address, number), Candidate { local, hints: endpoint.hints.as_deref() });
            }
        }
        candidates
    }

    /// All endpoints, or those near the node where every one says whom it is for and some are for this node.
    fn everywhere(&self, place: Place<'_>) -> Vec<Endpoint> {
        let of = |list: &BTreeMap<SocketAddrV4, Candidate<'_>>, wanted: &dyn Fn(&Candidate<'_>) -> bool| {
            let wanted = list.iter().filter(|(_, candidate)| wanted(candidate));
            wanted.map(|(&address, candidate)| Endpoint { address, local: candidate.local }).collect::<Vec<_>>()
        };
        if self.ready.is_empty() {
            return of(&self.leaving, &|_| true);
        }
        let hints = |candidate: &Candidate<'_>| candidate.hints.map_or((0, 0), HintsView::counts);
        if self.ready.values().all(|candidate| hints(candidate).0 > 0) {
            let near = of(&self.ready, &|candidate| candidate.hints.is_some_and(|hints| hints.is_for_node(place.node)));
            if !near.is_empty() {
                return near;
            }
        }
        if let Some(zone) = place.zone
            && self.ready.values().all(|candidate| hints(candidate).1 > 0)
        {
            let near = of(&self.ready, &|candidate| candidate.hints.is_some_and(|hints| hints.is_for_zone(zone)));
            if !near.is_empty() {
                return near;
            }
        }
        of(&self.ready, &|_| true)
    }

    fn local(&self) -> Vec<Endpoint> {
        let of = |list: &BTreeMap<SocketAddrV4, Candidate<'_>>| -> Vec<Endpoint> {
            let local = list.iter().filter(|(_, candidate)| candidate.local);
            local.map(|(&address, _)| Endpoint { address, local: true }).collect()
        };
        let ready = of(&self.ready);
        if ready.is_empty() { of(&self.leaving) } else { ready }
    }
}

enum State {
    Ready,
    Leaving,
    Out,
}

fn state(endpoint: &EndpointView) -> State {
    if endpoint.is_ready() {
        State::Ready
    } else if endpoint.is_serving_last_requests() {
        State::Leaving
    } else {
        State::Out
    }
}

/// Puts the wanted endpoints into slots such that as few as possible change: who stays keeps its slot, newcomers
/// take the slots of those who go, and the last fill what holes remain.
pub fn keep_slots(before: &[Endpoint], mut wanted: Vec<Endpoint>) -> Vec<Endpoint> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut slots: Vec<Option<Endpoint>> =
        before.iter().map(|endpoint| wanted.binary_search(endpoint).ok().map(|_| *endpoint)).collect();
    let staying: std::collections::BTreeSet<Endpoint> = slots.iter().flatten().copied().collect();
    let mut fresh = wanted.iter().filter(|endpoint| !staying.contains(endpoint)).copied();
    for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
        *slot = fresh.next();
    }
    slots.extend(fresh.map(Some));
    let mut index = 0;
    while index < slots.len() {
        match slots.get(index) {
            // The last takes the hole; when the hole is the last itself, it is gone.
            Some(None) => drop(slots.swap_remove(index)),
            _ => index += 1,
        }
    }
    slots.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn endpoint(last: u8) -> Endpoint {
        Endpoint { address: SocketAddrV4::new([10, 244, 0, last].into(), 80), local: false }
    }

    proptest! {
        #[test]
        fn slots_hold_exactly_the_wanted_and_who_stays_moves_only_into_a_hole(
            before in proptest::collection::btree_set(0u8..20, 0..20),
            wanted in proptest::collection::btree_set(0u8..20, 0..20),
        ) {
            let slots_before: Vec<Endpoint> = before.iter().map(|last| endpoint(*last)).collect();
            let after = keep_slots(&slots_before, wanted.iter().map(|last| endpoint(*last)).collect());
            let mut sorted = after.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, wanted.iter().map(|last| endpoint(*last)).collect::<Vec<_>>());
            let moved = slots_before
                .iter()
                .enumerate()
                .filter(|(slot, old)| after.contains(old) && after.get(*slot) != Some(old))
                .count();
            let holes = before.difference(&wanted).count().saturating_sub(wanted.difference(&before).count());
            prop_assert!(moved <= holes, "{} moved for {} holes", moved, holes);
        }
    }

    #[test]
    fn one_that_goes_is_replaced_by_the_last() {
        let before = [endpoint(1), endpoint(2), endpoint(3)];
        assert_eq!(keep_slots(&before, vec![endpoint(3), endpoint(2)]), [endpoint(3), endpoint(2)]);
        assert_eq!(
            keep_slots(&before, vec![endpoint(9), endpoint(1), endpoint(3)]),
            [endpoint(1), endpoint(9), endpoint(3)]
        );
    }
}
