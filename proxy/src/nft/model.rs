//! The objects of a table: names, sets and maps, their elements, chains and rules.
//!
//! Each type covers what this program needs and no more, so that the twin in memory can interpret all of it.
//! `Display` is the syntax that `nft -f` reads (nft(8)).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// The longest name the kernel accepts for a chain or a set (`NFT_NAME_MAXLEN` less the terminator).
pub const NAME_MAX: usize = 255;

/// The longest comment of an element (`NFTNL_UDATA_COMMENT_MAXLEN` less the terminator).
pub const COMMENT_MAX: usize = 127;

/// The name of a chain or a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// A name as given; a [`super::Transaction`] refuses it when it is not one that nft can parse.
    pub fn new(text: impl Into<Arc<str>>) -> Name {
        Name(text.into())
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nft reads the name back as one word and the kernel has room for it.
    pub fn is_valid(&self) -> bool {
        let mut characters = self.0.chars();
        self.0.len() <= NAME_MAX
            && characters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Name {
        Name::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The transport protocols that Services have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IP protocol number (IANA).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// An IPv4 network in canonical form: the bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: Ipv4Addr,
    prefix: u8,
}

impl Network {
    /// A network of `address` cut to `prefix` bits; `None` when the prefix is above 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Option<Network> {
        let mask = Network::mask_of(prefix)?;
        Some(Network { address: Ipv4Addr::from(u32::from(address) & mask), prefix })
    }

    fn mask_of(prefix: u8) -> Option<u32> {
        match prefix {
            0 => Some(0),
            1..=32 => Some(u32::MAX << (32 - prefix)),
            _ => None,
        }
    }

    /// The network's first address.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// The prefix length in bits, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in the network.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        Network::mask_of(self.prefix).is_some_and(|mask| u32::from(address) & mask == u32::from(self.address))
    }

    /// Whether the two networks share an address.
    pub fn overlaps(self, other: Network) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// The first address after the network's own: the gateway of a pod network.
    pub fn first_host(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address).saturating_add(1))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Why a text is no IPv4 network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no IPv4 network; write ADDRESS/PREFIX, such as 10.244.0.0/16")]
pub struct InvalidNetwork(String);

impl std::str::FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Network, InvalidNetwork> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            Network::new(address.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| InvalidNetwork(text.to_owned()))
    }
}

/// What the keys of a set are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// An address.
    Address,
    /// Networks; the set holds intervals.
    Network,
    /// Source and destination address.
    AddressPair,
    /// Destination address, protocol and destination port.
    Service,
    /// Protocol and destination port.
    NodePort,
    /// Destination address, destination port of the protocol, and a slot number.
    ServiceSlot(Protocol),
    /// Destination port of the protocol and a slot number.
    NodePortSlot(Protocol),
}

/// What a map's keys lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A plain set.
    Nothing,
    /// A verdict map.
    Verdict,
    /// A map to address and port.
    Endpoint,
}

/// A set or a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name in the table.
    pub name: Name,
    /// The type of its keys.
    pub key: KeyType,
    /// The type of its values.
    pub value: ValueType,
    /// For sets that rules fill: seconds after which an element that was not renewed goes.
    pub timeout: Option<u32>,
}

/// How many elements a set that rules fill may have: bounds the kernel memory that strangers can use up.
const DYNAMIC_SET_SIZE: u32 = 65_536;

impl Set {
    /// A plain set.
    pub fn plain(name: impl Into<Name>, key: KeyType) -> Set {
        Set { name: name.into(), key, value: ValueType::Nothing, timeout: None }
    }

    /// A map.
    pub fn map(name: impl Into<Name>, key: KeyType, value: ValueType) -> Set {
        Set { name: name.into(), key, value, timeout: None }
    }

    /// A set that rules fill, with a timeout in seconds.
    pub fn recent(name: impl Into<Name>, timeout: u32) -> Set {
        Set { name: name.into(), key: KeyType::Address, value: ValueType::Nothing, timeout: Some(timeout) }
    }

    /// `set` or `map`, as nft's commands call it.
    pub fn noun(&self) -> &'static str {
        match self.value {
            ValueType::Nothing => "set",
            ValueType::Verdict | ValueType::Endpoint => "map",
        }
    }

    /// Whether an element has this set's shape.
    pub fn fits(&self, key: &Key, value: &Value) -> bool {
        key.key_type() == self.key && value.value_type() == self.value
    }
}

impl fmt::Display for Set {
    /// The body between the braces. Keys that end in a slot number need `typeof`: nft has no word for their type.
    /// Such maps are for one protocol each, because nft takes `th dport` as part of a key but not of a value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key {
            KeyType::Address | KeyType::Network => f.write_str("type ipv4_addr")?,
            KeyType::AddressPair => f.write_str("type ipv4_addr . ipv4_addr")?,
            KeyType::Service => f.write_str("type ipv4_addr . inet_proto . inet_service")?,
            KeyType::NodePort => f.write_str("type inet_proto . inet_service")?,
            KeyType::ServiceSlot(protocol) => {
                write!(f, "typeof ip daddr . {protocol} dport . numgen random mod 2")?;
            }
            KeyType::NodePortSlot(protocol) => write!(f, "typeof {protocol} dport . numgen random mod 2")?,
        }
        match (self.value, self.key) {
            (ValueType::Nothing, _) => {}
            (ValueType::Verdict, _) => f.write_str(" : verdict")?,
            (ValueType::Endpoint, KeyType::ServiceSlot(protocol) | KeyType::NodePortSlot(protocol)) => {
                write!(f, " : ip daddr . {protocol} dport")?;
            }
            (ValueType::Endpoint, _) => f.write_str(" : ipv4_addr . inet_service")?,
        }
        f.write_str(";")?;
        match self.timeout {
            Some(seconds) => write!(f, " flags dynamic,timeout; timeout {seconds}s; size {DYNAMIC_SET_SIZE};"),
            None if self.key == KeyType::Network => f.write_str(" flags interval;"),
            None => Ok(()),
        }
    }
}

/// The key of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An address.
    Address(Ipv4Addr),
    /// A network.
    Network(Network),
    /// Source and destination.
    AddressPair(Ipv4Addr, Ipv4Addr),
    /// Destination address, protocol, destination port.
    Service(Ipv4Addr, Protocol, u16),
    /// Protocol and destination port.
    NodePort(Protocol, u16),
    /// A service's slot.
    ServiceSlot(Ipv4Addr, Protocol, u16, u32),
    /// A node port's slot.
    NodePortSlot(Protocol, u16, u32),
}

impl Key {
    /// The type of sets that hold such keys.
    pub fn key_type(&self) -> KeyType {
        match self {
            Key::Address(..) => KeyType::Address,
            Key::Network(..) => KeyType::Network,
            Key::AddressPair(..) => KeyType::AddressPair,
            Key::Service(..) => KeyType::Service,
            Key::NodePort(..) => KeyType::NodePort,
            Key::ServiceSlot(_, protocol, ..) => KeyType::ServiceSlot(*protocol),
            Key::NodePortSlot(protocol, ..) => KeyType::NodePortSlot(*protocol),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Address(address) => write!(f, "{address}"),
            Key::Network(network) => write!(f, "{network}"),
            Key::AddressPair(source, destination) => write!(f, "{source} . {destination}"),
            Key::Service(address, protocol, port) => write!(f, "{address} . {protocol} . {port}"),
            Key::NodePort(protocol, port) => write!(f, "{protocol} . {port}"),
            Key::ServiceSlot(address, _, port, slot) => write!(f, "{address} . {port} . {slot}"),
            Key::NodePortSlot(_, port, slot) => write!(f, "{port} . {slot}"),
        }
    }
}

/// What an element's key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Member of a set.
    Nothing,
    /// Continue in the chain, without coming back.
    Goto(Name),
    /// Drop the packet.
    Drop,
    /// Address and port.
    Endpoint(SocketAddrV4),
}

impl Value {
    /// The type of maps that hold such values.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Nothing => ValueType::Nothing,
            Value::Goto(_) | Value::Drop => ValueType::Verdict,
            Value::Endpoint(_) => ValueType::Endpoint,
        }
    }
}

/// A key, its value, and a remark for whoever lists the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// Shown by `nft list`; empty for none.
    pub comment: Arc<str>,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if !self.comment.is_empty() {
            write!(f, " comment \"{}\"", self.comment)?;
        }
        match &self.value {
            Value::Nothing => Ok(()),
            Value::Goto(chain) => write!(f, " : goto {chain}"),
            Value::Drop => f.write_str(" : drop"),
            Value::Endpoint(endpoint) => write!(f, " : {} . {}", endpoint.ip(), endpoint.port()),
        }
    }
}

/// What part of a packet is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The source address.
    Source,
    /// The destination address.
    Destination,
    /// Source and destination address.
    Pair,
    /// Destination address, protocol, destination port.
    Service,
    /// Protocol and destination port.
    NodePort,
    /// Destination address, port of the protocol, and a random slot below the number.
    ServiceSlot(Protocol, u32),
    /// Port of the protocol, and a random slot below the number.
    NodePortSlot(Protocol, u32),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Source => f.write_str("ip saddr"),
            Selector::Destination => f.write_str("ip daddr"),
            Selector::Pair => f.write_str("ip saddr . ip daddr"),
            Selector::Service => f.write_str("ip daddr . meta l4proto . th dport"),
            Selector::NodePort => f.write_str("meta l4proto . th dport"),
            Selector::ServiceSlot(protocol, slots) => {
                write!(f, "ip daddr . {protocol} dport . numgen random mod {slots}")
            }
            Selector::NodePortSlot(protocol, slots) => write!(f, "{protocol} dport . numgen random mod {slots}"),
        }
    }
}

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The selected part is in the set.
    In(Selector, Name),
    /// The selected part is not in the set.
    NotIn(Selector, Name),
    /// The destination lies in one of the networks.
    DestinationIn(Vec<Network>),
    /// The destination lies outside the network.
    DestinationNotIn(Network),
    /// The source lies outside of all networks.
    SourceNotIn(Vec<Network>),
    /// The packet came in by another link than the loopback.
    NotFromLoopback,
    /// The destination is an address of this node.
    DestinationLocal,
    /// The destination is no address of this node.
    DestinationNotLocal,
    /// The source is no address of this node.
    SourceNotLocal,
    /// The packet carries all bits of the mark.
    Marked(u32),
    /// The packet begins a connection.
    NewConnection,
    /// The packet is one of TCP.
    Tcp,
}

/// Networks and the end of the braces around them.
fn list(f: &mut fmt::Formatter<'_>, networks: &[Network]) -> fmt::Result {
    for (index, network) in networks.iter().enumerate() {
        write!(f, "{}{network}", if index == 0 { "" } else { ", " })?;
    }
    f.write_str(" }")
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::In(selector, set) => write!(f, "{selector} @{set}"),
            Match::NotIn(selector, set) => write!(f, "{selector} != @{set}"),
            Match::DestinationIn(networks) => {
                f.write_str("ip daddr { ")?;
                list(f, networks)
            }
            Match::SourceNotIn(networks) => {
                f.write_str("ip saddr != { ")?;
                list(f, networks)
            }
            Match::NotFromLoopback => f.write_str("iif != lo"),
            Match::DestinationNotIn(network) => write!(f, "ip daddr != {network}"),
            Match::DestinationLocal => f.write_str("fib daddr type local"),
            Match::DestinationNotLocal => f.write_str("fib daddr type != local"),
            Match::SourceNotLocal => f.write_str("fib saddr type != local"),
            Match::Marked(mark) => write!(f, "meta mark & {mark:#x} == {mark:#x}"),
            Match::NewConnection => f.write_str("ct state new"),
            Match::Tcp => f.write_str("meta l4proto tcp"),
        }
    }
}

/// What a rule does when its conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The verdict that the map has for the selected part; go on when it has none.
    VerdictMap(Selector, Name),
    /// A verdict by a random number below the length.
    RandomGoto(Vec<Name>),
    /// Continue in a chain and come back.
    Jump(Name),
    /// Continue in a chain.
    Goto(Name),
    /// Send the connection to what the map has for the selected part; go on when it has nothing.
    DnatMap(Selector, Name),
    /// Send the connection to the endpoint.
    Dnat(SocketAddrV4),
    /// Set bits of the packet's mark.
    SetMark(u32),
    /// Clear bits of the packet's mark.
    ClearMark(u32),
    /// Give the connection this node's address as source.
    Masquerade,
    /// Answer with ICMP port unreachable.
    Reject,
    /// Answer with a reset of TCP.
    Reset,
    /// Drop the packet.
    Drop,
    /// Remember the selected part in the set, from now on for the set's timeout.
    Remember(Selector, Name),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::VerdictMap(selector, map) => write!(f, "{selector} vmap @{map}"),
            Action::RandomGoto(chains) => {
                write!(f, "numgen random mod {} vmap {{ ", chains.len())?;
                for (index, chain) in chains.iter().enumerate() {
                    write!(f, "{}{index} : goto {chain}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(" }")
            }
            Action::Jump(chain) => write!(f, "jump {chain}"),
            Action::Goto(chain) => write!(f, "goto {chain}"),
            Action::DnatMap(selector, map) => write!(f, "dnat ip to {selector} map @{map}"),
            // A port in the target needs the protocol known to nft's own check; `meta l4proto` satisfies it.
            Action::Dnat(endpoint) => write!(f, "meta l4proto {{ tcp, udp, sctp }} dnat to {endpoint}"),
            Action::SetMark(mark) => write!(f, "meta mark set meta mark | {mark:#x}"),
            Action::ClearMark(mark) => write!(f, "meta mark set meta mark & {:#x}", !mark),
            Action::Masquerade => f.write_str("masquerade fully-random"),
            Action::Reject => f.write_str("reject"),
            Action::Reset => f.write_str("reject with tcp reset"),
            Action::Drop => f.write_str("drop"),
            Action::Remember(selector, set) => write!(f, "update @{set} {{ {selector} }}"),
        }
    }
}

/// A rule: all conditions must hold, then the actions happen in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rule {
    /// The conditions.
    pub matches: Vec<Match>,
    /// The actions.
    pub actions: Vec<Action>,
}

impl Rule {
    /// A rule of conditions and actions.
    pub fn new(matches: impl Into<Vec<Match>>, actions: impl Into<Vec<Action>>) -> Rule {
        Rule { matches: matches.into(), actions: actions.into() }
    }

    /// A rule without conditions.
    pub fn always(actions: impl Into<Vec<Action>>) -> Rule {
        Rule::new([], actions)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for part in &self.matches {
            write!(f, "{separator}{part}")?;
            separator = " ";
        }
        for part in &self.actions {
            write!(f, "{separator}{part}")?;
            separator = " ";
        }
        Ok(())
    }
}

/// Where a base chain is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Address translation of what arrives.
    NatPrerouting,
    /// Address translation of what this node's processes send.
    NatOutput,
    /// Address translation of what leaves.
    NatPostrouting,
    /// Filter of what is for this node's processes.
    FilterInput,
    /// Filter of what passes through.
    FilterForward,
    /// Filter of what this node's processes send.
    FilterOutput,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::NatPrerouting => "type nat hook prerouting priority dstnat;",
            // Not every nft knows the name dstnat for the output hook; -100 is its value.
            Hook::NatOutput => "type nat hook output priority -100;",
            Hook::NatPostrouting => "type nat hook postrouting priority srcnat;",
            Hook::FilterInput => "type filter hook input priority filter;",
            Hook::FilterForward => "type filter hook forward priority filter;",
            Hook::FilterOutput => "type filter hook output priority filter;",
        })
    }
}

/// A chain and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name in the table.
    pub name: Name,
    /// The hook of a base chain.
    pub hook: Option<Hook>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// A chain that others lead to.
    pub fn regular(name: impl Into<Name>, rules: impl Into<Vec<Rule>>) -> Chain {
        Chain { name: name.into(), hook: None, rules: rules.into() }
    }

    /// A chain that the kernel calls.
    pub fn base(name: impl Into<Name>, hook: Hook, rules: impl Into<Vec<Rule>>) -> Chain {
        Chain { name: name.into(), hook: Some(hook), rules: rules.into() }
    }
}
