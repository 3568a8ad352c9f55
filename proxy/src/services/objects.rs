//! Which nftables objects a frontend takes, and the fixed objects around them.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::frontend::{Endpoint, Frontend, FrontendKey, Side, Without};
use crate::nft::model::{
    Action, Chain, Element, Hook, Key, KeyType, Match, Name, Network, Protocol, Rule, Selector, Set, Value, ValueType,
};

/// The table that holds everything of ours. No other is ever touched.
pub const TABLE: &str = "reeve-proxy";

/// The mark of packets whose connection gets this node's address as source (upstream's bit).
pub const MASQUERADE_MARK: u32 = 0x4000;

/// An empty chain. Its name says which version of this program's fixed sets the table has: change it with them.
pub const LAYOUT: &str = "layout-3";

/// The chain that marks clients which are no pods.
const MARK_STRANGERS: &str = "mark-strangers";

/// Where node ports answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// On every address of the node but loopback.
    AllLocal,
    /// On those in the networks.
    In(Vec<Network>),
}

/// What the fixed objects depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The networks of the cluster's pods. Traffic from elsewhere to cluster addresses, and traffic of pods to
    /// elsewhere, gets the node's address as source. Empty: the pod network is somebody else's business.
    pub pod_networks: Vec<Network>,
    /// Where node ports answer.
    pub node_ports: NodePortAddresses,
    /// The networks of Services' addresses, none within another. What is sent to an address of them that no Service
    /// has goes nowhere.
    pub service_ranges: Vec<Network>,
}

/// An object of the table that can be added and removed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A set or map, without elements.
    Set(Set),
    /// A chain with its rules.
    Chain(Chain),
    /// An element of one of the fixed sets.
    Element(Fixed, Element),
}

/// What makes two objects the same one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectId {
    /// A set by its name.
    Set(Name),
    /// A chain by its name.
    Chain(Name),
    /// An element by its set and key.
    Element(Fixed, Key),
}

impl Object {
    /// The object's identity.
    pub fn id(&self) -> ObjectId {
        match self {
            Object::Set(set) => ObjectId::Set(set.name.clone()),
            Object::Chain(chain) => ObjectId::Chain(chain.name.clone()),
            Object::Element(set, element) => ObjectId::Element(*set, element.key),
        }
    }
}

/// The fixed sets and maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fixed {
    /// The cluster's pod networks.
    PodNetworks,
    /// All addresses that belong to Services alone: what is sent there and not translated is refused.
    ClusterIps,
    /// The networks of Services' addresses.
    ServiceRanges,
    /// Endpoints of this node as (source, destination) of themselves: one that reaches itself through a Service
    /// must see another source, or it would answer itself directly.
    Hairpin,
    /// Address frontends and what happens to their connections.
    Services,
    /// Node ports and what happens to their connections.
    NodePorts,
    /// The same for clients outside the cluster, where that differs.
    ServicesOutside,
    /// The same for clients outside the cluster, where that differs.
    NodePortsOutside,
    /// Endpoints by frontend and slot.
    Endpoints(Protocol),
    /// Endpoints by node port and slot.
    NodePortEndpoints(Protocol),
    /// The same for clients outside the cluster, where that differs.
    EndpointsOutside(Protocol),
    /// The same for clients outside the cluster, where that differs.
    NodePortEndpointsOutside(Protocol),
    /// External addresses without endpoints.
    RejectedServices,
    /// Node ports without endpoints.
    RejectedNodePorts,
}

impl Fixed {
    /// All of them.
    pub fn all() -> Vec<Fixed> {
        let mut all = vec![
            Fixed::PodNetworks,
            Fixed::ClusterIps,
            Fixed::ServiceRanges,
            Fixed::Hairpin,
            Fixed::Services,
            Fixed::NodePorts,
            Fixed::ServicesOutside,
            Fixed::NodePortsOutside,
            Fixed::RejectedServices,
            Fixed::RejectedNodePorts,
        ];
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            all.push(Fixed::Endpoints(protocol));
            all.push(Fixed::NodePortEndpoints(protocol));
            all.push(Fixed::EndpointsOutside(protocol));
            all.push(Fixed::NodePortEndpointsOutside(protocol));
        }
        all
    }

    /// The set's name in the table.
    pub fn name(self) -> Name {
        let fixed = match self {
            Fixed::PodNetworks => "pod-networks",
            Fixed::ClusterIps => "cluster-ips",
            Fixed::ServiceRanges => "service-ranges",
            Fixed::Hairpin => "hairpin",
            Fixed::Services => "services",
            Fixed::NodePorts => "node-ports",
            Fixed::ServicesOutside => "services-outside",
            Fixed::NodePortsOutside => "node-ports-outside",
            Fixed::RejectedServices => "rejected-services",
            Fixed::RejectedNodePorts => "rejected-node-ports",
            Fixed::Endpoints(protocol) => return Name::new(format!("endpoints-{protocol}")),
            Fixed::NodePortEndpoints(protocol) => return Name::new(format!("node-port-endpoints-{protocol}")),
            Fixed::EndpointsOutside(protocol) => return Name::new(format!("endpoints-outside-{protocol}")),
            Fixed::NodePortEndpointsOutside(protocol) => {
                return Name::new(format!("node-port-endpoints-outside-{protocol}"));
            }
        };
        Name::from(fixed)
    }

    /// The set itself.
    pub fn set(self) -> Set {
        let (key, value) = match self {
            Fixed::PodNetworks | Fixed::ServiceRanges => (KeyType::Network, ValueType::Nothing),
            Fixed::ClusterIps => (KeyType::Address, ValueType::Nothing),
            Fixed::Hairpin => (KeyType::AddressPair, ValueType::Nothing),
            Fixed::Services | Fixed::ServicesOutside => (KeyType::Service, ValueType::Verdict),
            Fixed::NodePorts | Fixed::NodePortsOutside => (KeyType::NodePort, ValueType::Verdict),
            Fixed::Endpoints(protocol) | Fixed::EndpointsOutside(protocol) => {
                (KeyType::ServiceSlot(protocol), ValueType::Endpoint)
            }
            Fixed::NodePortEndpoints(protocol) | Fixed::NodePortEndpointsOutside(protocol) => {
                (KeyType::NodePortSlot(protocol), ValueType::Endpoint)
            }
            Fixed::RejectedServices => (KeyType::Service, ValueType::Nothing),
            Fixed::RejectedNodePorts => (KeyType::NodePort, ValueType::Nothing),
        };
        Set::map(self.name(), key, value)
    }

    fn member(self, key: Key) -> Object {
        Object::Element(self, Element { key, value: Value::Nothing, comment: "".into() })
    }
}

/// The objects that are there whatever Services there are.
///
/// ```text
/// prerouting, output ── services ──┬─ (client outside) ── outside ── vmap @services-outside, @node-ports-outside
///                                  ├─ vmap @services ── goto <family>-<number of endpoints>
///                                  └─ (address of the node) vmap @node-ports
/// input, forward, output ── refuse: cluster addresses that nothing translated, frontends without endpoints
/// forward, output ── drop: addresses of the ranges of Services that no Service has
/// postrouting ── masquerade: by mark, hairpin, pods that leave the cluster
/// ```
pub fn fixed(surroundings: &Surroundings) -> Vec<Object> {
    let mut objects: Vec<Object> = Fixed::all().into_iter().map(|set| Object::Set(set.set())).collect();
    objects.extend(surroundings.pod_networks.iter().map(|network| Fixed::PodNetworks.member(Key::Network(*network))));

    let to_node_ports: Vec<Match> = match &surroundings.node_ports {
        NodePortAddresses::AllLocal => {
            vec![Match::DestinationLocal].into_iter().chain(loopback().map(Match::DestinationNotIn)).collect()
        }
        NodePortAddresses::In(networks) => vec![Match::DestinationLocal, Match::DestinationIn(networks.clone())],
    };
    let verdict =
        |matches: &[Match], selector, map: Fixed| Rule::new(matches, [Action::VerdictMap(selector, map.name())]);
    let from_outside = [Match::NotIn(Selector::Source, Fixed::PodNetworks.name()), Match::SourceNotLocal];
    let services = [
        Rule::new(from_outside, [Action::Jump("outside".into())]),
        verdict(&[], Selector::Service, Fixed::Services),
        verdict(&to_node_ports, Selector::NodePort, Fixed::NodePorts),
    ];
    let outside = [
        verdict(&[], Selector::Service, Fixed::ServicesOutside),
        verdict(&to_node_ports, Selector::NodePort, Fixed::NodePortsOutside),
    ];
    objects.extend(surroundings.service_ranges.iter().map(|range| Fixed::ServiceRanges.member(Key::Network(*range))));
    let mut refused = refuse(vec![Match::In(Selector::Destination, Fixed::ClusterIps.name())]);
    refused.extend(refuse(vec![Match::NewConnection, Match::In(Selector::Service, Fixed::RejectedServices.name())]));
    let mut refused_node_port = vec![Match::NewConnection];
    refused_node_port.extend(to_node_ports);
    refused_node_port.push(Match::In(Selector::NodePort, Fixed::RejectedNodePorts.name()));

    let mut postrouting = vec![
        Rule::new([Match::Marked(MASQUERADE_MARK)], [Action::ClearMark(MASQUERADE_MARK), Action::Masquerade]),
        Rule::new([Match::In(Selector::Pair, Fixed::Hairpin.name())], [Action::Masquerade]),
    ];
    if !surroundings.pod_networks.is_empty() {
        let mut leaving = vec![
            Match::In(Selector::Source, Fixed::PodNetworks.name()),
            Match::NotIn(Selector::Destination, Fixed::PodNetworks.name()),
        ];
        leaving.extend(multicast().map(Match::DestinationNotIn));
        postrouting.push(Rule::new(leaving, [Action::Masquerade]));
    }
    // Without pod networks everything would be outside of them: the pod network is then somebody else's, who
    // routes answers back.
    let strangers = (!surroundings.pod_networks.is_empty()).then(|| {
        Rule::new([Match::NotIn(Selector::Source, Fixed::PodNetworks.name())], [Action::SetMark(MASQUERADE_MARK)])
    });
    // This node itself has the address of the cluster's DNS.
    let nobodys = Rule::new(
        [
            Match::NewConnection,
            Match::In(Selector::Destination, Fixed::ServiceRanges.name()),
            Match::DestinationNotLocal,
        ],
        [Action::Drop],
    );
    let passing = [refused.clone(), vec![nobodys]].concat();
    // Host ports answer on loopback too, so its addresses are routed; that is for this node's processes alone.
    let to_loopback = Rule::new(
        [Match::NotFromLoopback, Match::DestinationIn(loopback().into_iter().collect()), Match::NewConnection],
        [Action::Drop],
    );
    let goto_services = || [Rule::always([Action::Jump("services".into())])];
    objects.extend(
        [
            Chain::regular(LAYOUT, []),
            Chain::regular("services", services),
            Chain::regular("outside", outside),
            Chain::regular(MARK_STRANGERS, Vec::from_iter(strangers)),
            Chain::base("nat-prerouting", Hook::NatPrerouting, goto_services()),
            Chain::base("nat-output", Hook::NatOutput, goto_services()),
            Chain::base("nat-postrouting", Hook::NatPostrouting, postrouting),
            Chain::base(
                "filter-input",
                Hook::FilterInput,
                [vec![to_loopback], refuse(refused_node_port), refused].concat(),
            ),
            Chain::base("filter-forward", Hook::FilterForward, passing.clone()),
            Chain::base("filter-output", Hook::FilterOutput, passing),
        ]
        .map(Object::Chain),
    );
    objects
}

/// Answers at once that nobody is there. TCP gets a reset: the kernel sends few ICMP errors to one client, and who gets
/// none tries again for a second.
fn refuse(matches: Vec<Match>) -> Vec<Rule> {
    let of_tcp = [matches.clone(), vec![Match::Tcp]].concat();
    vec![Rule::new(of_tcp, [Action::Reset]), Rule::new(matches, [Action::Reject])]
}

fn loopback() -> Option<Network> {
    Network::new(Ipv4Addr::new(127, 0, 0, 0), 8)
}

fn multicast() -> Option<Network> {
    Network::new(Ipv4Addr::new(224, 0, 0, 0), 4)
}

/// How the chain that chooses an endpoint treats the connection's source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Cluster addresses: clients outside the pod networks are masqueraded, the answer would pass this node by.
    ClusterIp,
    /// External addresses: always masqueraded.
    External,
    /// Node ports: always masqueraded.
    NodePort,
    /// External traffic policy `Local`: the endpoint sees its client.
    Outside,
    /// The same for node ports.
    NodePortOutside,
}

impl Family {
    fn of(frontend: &Frontend, outside: bool) -> Family {
        match (frontend.key, frontend.side, outside) {
            (FrontendKey::Address(..), _, true) => Family::Outside,
            (FrontendKey::NodePort(..), _, true) => Family::NodePortOutside,
            (FrontendKey::Address(..), Side::Internal, false) => Family::ClusterIp,
            (FrontendKey::Address(..), Side::External, false) => Family::External,
            (FrontendKey::NodePort(..), _, false) => Family::NodePort,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Family::ClusterIp => "cluster-ip",
            Family::External => "external",
            Family::NodePort => "node-port",
            Family::Outside => "outside",
            Family::NodePortOutside => "node-port-outside",
        }
    }

    fn verdicts(self) -> Fixed {
        match self {
            Family::ClusterIp | Family::External => Fixed::Services,
            Family::NodePort => Fixed::NodePorts,
            Family::Outside => Fixed::ServicesOutside,
            Family::NodePortOutside => Fixed::NodePortsOutside,
        }
    }

    fn endpoints(self, protocol: Protocol) -> Fixed {
        match self {
            Family::ClusterIp | Family::External => Fixed::Endpoints(protocol),
            Family::NodePort => Fixed::NodePortEndpoints(protocol),
            Family::Outside => Fixed::EndpointsOutside(protocol),
            Family::NodePortOutside => Fixed::NodePortEndpointsOutside(protocol),
        }
    }

    fn mark(self) -> Option<Rule> {
        let mark = [Action::SetMark(MASQUERADE_MARK)];
        match self {
            Family::ClusterIp => Some(Rule::always([Action::Jump(MARK_STRANGERS.into())])),
            Family::External | Family::NodePort => Some(Rule::always(mark)),
            Family::Outside | Family::NodePortOutside => None,
        }
    }
}

/// The objects that a frontend takes. Chains that choose among so many endpoints, cluster addresses and hairpin
/// elements may come from several frontends; all others are this one's own.
pub fn of_frontend(frontend: &Frontend) -> Vec<Object> {
    let mut objects = Vec::new();
    if let (FrontendKey::Address(address, ..), true) = (frontend.key, frontend.exclusive) {
        objects.push(Fixed::ClusterIps.member(Key::Address(address)));
    }
    if frontend.endpoints.is_empty() {
        objects.extend(of_empty(frontend));
    } else {
        choose(&mut objects, frontend, false, &frontend.endpoints);
        match frontend.outside.as_deref() {
            None => {}
            Some([]) => {
                objects.push(verdict(frontend, Family::of(frontend, true).verdicts(), Value::Drop));
            }
            Some(endpoints) => choose(&mut objects, frontend, true, endpoints),
        }
    }
    objects
}

/// Who has an object of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This frontend alone.
    Own,
    /// All frontends that need it; it goes with the last.
    Shared,
    /// Nobody: there are few of its kind, it holds nothing of a frontend, and it stays once it is there.
    Common,
}

/// Who has an object of a frontend.
pub fn ownership(object: &Object) -> Ownership {
    match object {
        Object::Element(Fixed::ClusterIps | Fixed::Hairpin, _) => Ownership::Shared,
        Object::Chain(chain) if !is_own(&chain.name) => Ownership::Common,
        Object::Element(..) | Object::Chain(_) | Object::Set(_) => Ownership::Own,
    }
}

/// Whether a chain belongs to one frontend.
fn is_own(chain: &Name) -> bool {
    [STICKY, RECENT, GUARD].iter().any(|prefix| chain.as_str().starts_with(prefix))
}

/// When in a change an object goes: whatever a packet on its way may still need goes last.
pub fn goes_last(id: &ObjectId) -> bool {
    match id {
        ObjectId::Set(_) | ObjectId::Chain(_) => true,
        ObjectId::Element(set, _) => matches!(
            set,
            Fixed::Hairpin
                | Fixed::Endpoints(_)
                | Fixed::NodePortEndpoints(_)
                | Fixed::EndpointsOutside(_)
                | Fixed::NodePortEndpointsOutside(_)
        ),
    }
}

fn verdict(frontend: &Frontend, map: Fixed, value: Value) -> Object {
    let key = match frontend.key {
        FrontendKey::Address(address, protocol, port) => Key::Service(address, protocol, port),
        FrontendKey::NodePort(protocol, port) => Key::NodePort(protocol, port),
    };
    Object::Element(map, Element { key, value, comment: frontend.comment.clone() })
}

fn of_empty(frontend: &Frontend) -> Option<Object> {
    match (frontend.without, frontend.key, frontend.side) {
        (Without::Drop, ..) => Some(verdict(frontend, Family::of(frontend, false).verdicts(), Value::Drop)),
        // Cluster addresses that nothing translates are refused by themselves.
        (Without::Reject, FrontendKey::Address(..), Side::Internal) => None,
        (Without::Reject, FrontendKey::Address(..), Side::External) => {
            Some(verdict(frontend, Fixed::RejectedServices, Value::Nothing))
        }
        (Without::Reject, FrontendKey::NodePort(..), _) => {
            Some(verdict(frontend, Fixed::RejectedNodePorts, Value::Nothing))
        }
    }
}

fn choose(objects: &mut Vec<Object>, frontend: &Frontend, outside: bool, endpoints: &[Endpoint]) {
    let family = Family::of(frontend, outside);
    objects.extend(endpoints.iter().filter(|endpoint| endpoint.local).map(|endpoint| {
        let address = *endpoint.address.ip();
        Fixed::Hairpin.member(Key::AddressPair(address, address))
    }));
    let chain = match frontend.affinity {
        Some(timeout) => sticky(objects, frontend, family, endpoints, timeout),
        None => spread(objects, frontend, family, endpoints),
    };
    let chain = if frontend.allowed.is_empty() { chain } else { guard(objects, frontend, family, chain) };
    objects.push(verdict(frontend, family.verdicts(), Value::Goto(chain)));
}

/// What the name of a chain begins with that lets only some clients through.
const GUARD: &str = "guard-";

/// Leads to the chain only those who are allowed.
fn guard(objects: &mut Vec<Object>, frontend: &Frontend, family: Family, chain: Name) -> Name {
    let suffix = match frontend.key {
        FrontendKey::Address(address, protocol, port) => format!("{address}-{protocol}-{port}"),
        FrontendKey::NodePort(protocol, port) => format!("{protocol}-{port}"),
    };
    let name = Name::new(format!("{GUARD}{}-{suffix}", family.name()));
    let strangers = Rule::new([Match::SourceNotIn(frontend.allowed.clone())], [Action::Drop]);
    objects.push(Object::Chain(Chain::regular(name.clone(), [strangers, Rule::always([Action::Goto(chain)])])));
    name
}

/// Any endpoint for each connection: one chain for all frontends of the family and protocol with as many endpoints.
fn spread(objects: &mut Vec<Object>, frontend: &Frontend, family: Family, endpoints: &[Endpoint]) -> Name {
    let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
    let protocol = frontend.key.protocol();
    let selector = match frontend.key {
        FrontendKey::Address(..) => Selector::ServiceSlot(protocol, count),
        FrontendKey::NodePort(..) => Selector::NodePortSlot(protocol, count),
    };
    let map = family.endpoints(protocol);
    let name = Name::new(format!("{}-{protocol}-{count}", family.name()));
    let mut rules: Vec<Rule> = family.mark().into_iter().collect();
    rules.push(Rule::always([Action::DnatMap(selector, map.name())]));
    // A packet that the kernel walks just while a transaction takes effect can see the verdict of one state and
    // the slots of the other. Dropped, its client tries again; refused, it would give up.
    rules.push(Rule::always([Action::Drop]));
    objects.push(Object::Chain(Chain::regular(name.clone(), rules)));
    objects.extend((0..count).zip(endpoints).map(|(slot, endpoint)| {
        let key = match frontend.key {
            FrontendKey::Address(address, protocol, port) => Key::ServiceSlot(address, protocol, port, slot),
            FrontendKey::NodePort(protocol, port) => Key::NodePortSlot(protocol, port, slot),
        };
        let value = Value::Endpoint(endpoint.address);
        Object::Element(map, Element { key, value, comment: Arc::default() })
    }));
    name
}

/// What the name of a frontend's chain for session affinity begins with.
const STICKY: &str = "sticky-";

/// What the name of an endpoint's chain for session affinity, and of its set of clients, begins with.
const RECENT: &str = "recent-";

/// Whether a chain has a set of the same name.
pub fn has_set(chain: &Name) -> bool {
    chain.as_str().starts_with(RECENT)
}

/// Session affinity: a chain for the frontend, and a chain and a set of recent clients for each endpoint.
fn sticky(
    objects: &mut Vec<Object>,
    frontend: &Frontend,
    family: Family,
    endpoints: &[Endpoint],
    timeout: u32,
) -> Name {
    // The timeout is part of the names: a set's timeout cannot be changed, so another one is another set.
    let family_name = family.name();
    let suffix = match frontend.key {
        FrontendKey::Address(address, protocol, port) => {
            format!("{timeout}s-{family_name}-{address}-{protocol}-{port}")
        }
        FrontendKey::NodePort(protocol, port) => format!("{timeout}s-{family_name}-{protocol}-{port}"),
    };
    let name = Name::new(format!("{STICKY}{suffix}"));
    let of_endpoint =
        |endpoint: SocketAddrV4| Name::new(format!("{RECENT}{suffix}-{}-{}", endpoint.ip(), endpoint.port()));
    let mut rules: Vec<Rule> = family.mark().into_iter().collect();
    let mut all = Vec::new();
    for endpoint in endpoints {
        let own = of_endpoint(endpoint.address);
        rules.push(Rule::new([Match::In(Selector::Source, own.clone())], [Action::Goto(own.clone())]));
        objects.push(Object::Set(Set::recent(own.clone(), timeout)));
        let remember = Action::Remember(Selector::Source, own.clone());
        let rule = Rule::always([remember, Action::Dnat(endpoint.address)]);
        objects.push(Object::Chain(Chain::regular(own.clone(), [rule])));
        all.push(own);
    }
    rules.push(Rule::always([Action::RandomGoto(all)]));
    objects.push(Object::Chain(Chain::regular(name.clone(), rules)));
    name
}
