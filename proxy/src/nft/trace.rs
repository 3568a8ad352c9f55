//! Walking a virtual packet through the twin: where does the first packet of a connection land?
//!
//! The walk follows the hooks in the kernel's order: a packet from outside or from a pod enters at prerouting,
//! one of the node's own processes at output; after address translation it is input, or forward and postrouting.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::fake::FakeTables;
use super::model::{Action, Hook, Key, Match, Name, Protocol, Rule, Selector, Value};

/// The first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// Where it is sent to.
    pub destination: SocketAddrV4,
    /// Its protocol.
    pub protocol: Protocol,
    /// What the random numbers of this walk are: each is this modulo its bound.
    pub random: u32,
}

/// Where a connection lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It reaches the address.
    Reaches {
        /// The address after translation.
        destination: SocketAddrV4,
        /// Whether the endpoint sees this node as its source.
        masqueraded: bool,
    },
    /// It is refused with an ICMP error.
    Rejected,
    /// It vanishes.
    Dropped,
}

/// The node around the table.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// The node's own addresses, as `fib type local` knows them.
    pub local: BTreeSet<Ipv4Addr>,
}

enum Verdict {
    Continue,
    Accept,
    Reject,
    Drop,
}

struct Walk<'a> {
    tables: &'a FakeTables,
    node: &'a Node,
    packet: Packet,
    mark: u32,
    translated: bool,
    masqueraded: bool,
    remembered: Vec<(Name, Ipv4Addr)>,
}

impl FakeTables {
    /// Walk a packet that arrives on an interface (from a pod or from outside), or, when its source is an
    /// address of the node, one that a process of the node sends. Sets that rules fill are filled.
    pub fn trace(&mut self, node: &Node, packet: Packet) -> Landing {
        let from_node = node.local.contains(&packet.source);
        let mut walk =
            Walk { tables: self, node, packet, mark: 0, translated: false, masqueraded: false, remembered: Vec::new() };
        let landing = walk.hooks(from_node);
        for (name, address) in std::mem::take(&mut walk.remembered) {
            if let Some((_, elements)) = self.sets.get_mut(&name) {
                let element =
                    super::model::Element { key: Key::Address(address), value: Value::Nothing, comment: "".into() };
                elements.insert(element.key, element);
            }
        }
        landing
    }
}

impl Walk<'_> {
    fn hooks(&mut self, from_node: bool) -> Landing {
        let entry: &[Hook] = if from_node { &[Hook::NatOutput, Hook::FilterOutput] } else { &[Hook::NatPrerouting] };
        for hook in entry {
            if let Some(end) = self.hook(*hook) {
                return end;
            }
        }
        let local = self.node.local.contains(self.packet.destination.ip());
        let exit: &[Hook] = match (local, from_node) {
            (true, _) => &[Hook::FilterInput],
            (false, true) => &[Hook::NatPostrouting],
            (false, false) => &[Hook::FilterForward, Hook::NatPostrouting],
        };
        for hook in exit {
            if let Some(end) = self.hook(*hook) {
                return end;
            }
        }
        Landing::Reaches { destination: self.packet.destination, masqueraded: self.masqueraded }
    }

    fn hook(&mut self, hook: Hook) -> Option<Landing> {
        let tables = self.tables;
        for chain in tables.chains.values().filter(|chain| chain.hook == Some(hook)) {
            match self.chain(&chain.name) {
                Verdict::Continue | Verdict::Accept => {}
                Verdict::Reject => return Some(Landing::Rejected),
                Verdict::Drop => return Some(Landing::Dropped),
            }
        }
        None
    }

    fn chain(&mut self, name: &Name) -> Verdict {
        let tables = self.tables;
        for rule in tables.chains.get(name).map(|chain| chain.rules.as_slice()).unwrap_or_default() {
            if !rule.matches.iter().all(|condition| self.holds(condition)) {
                continue;
            }
            match self.rule(rule) {
                Verdict::Continue => {}
                end => return end,
            }
        }
        Verdict::Continue
    }

    /// The actions of one rule. A goto ends the chain: in a base chain's tree that accepts.
    fn rule(&mut self, rule: &Rule) -> Verdict {
        for action in &rule.actions {
            let next = match action {
                Action::VerdictMap(selector, map) => match self.look_up(*selector, map).map(|e| e.value.clone()) {
                    Some(Value::Goto(chain)) => self.goto(&chain),
                    Some(Value::Drop) => Verdict::Drop,
                    _ => Verdict::Continue,
                },
                Action::RandomGoto(chains) => match chains.get(self.random(chains.len())) {
                    Some(chain) => self.goto(&chain.clone()),
                    None => Verdict::Continue,
                },
                Action::Jump(chain) => self.chain(chain),
                Action::Goto(chain) => self.goto(chain),
                Action::DnatMap(selector, map) => match self.look_up(*selector, map).map(|e| e.value.clone()) {
                    Some(Value::Endpoint(endpoint)) => self.translate(endpoint),
                    _ => Verdict::Continue,
                },
                Action::Dnat(endpoint) => self.translate(*endpoint),
                Action::SetMark(mark) => {
                    self.mark |= mark;
                    Verdict::Continue
                }
                Action::ClearMark(mark) => {
                    self.mark &= !mark;
                    Verdict::Continue
                }
                Action::Masquerade => {
                    self.masqueraded = true;
                    Verdict::Accept
                }
                Action::Reject | Action::Reset => Verdict::Reject,
                Action::Drop => Verdict::Drop,
                Action::Remember(_, set) => {
                    self.remembered.push((set.clone(), self.packet.source));
                    Verdict::Continue
                }
            };
            if !matches!(next, Verdict::Continue) {
                return next;
            }
        }
        Verdict::Continue
    }

    fn goto(&mut self, chain: &Name) -> Verdict {
        match self.chain(chain) {
            Verdict::Continue => Verdict::Accept,
            end => end,
        }
    }

    fn translate(&mut self, endpoint: SocketAddrV4) -> Verdict {
        self.packet.destination = endpoint;
        self.translated = true;
        Verdict::Accept
    }

    fn random(&self, bound: usize) -> usize {
        usize::try_from(self.packet.random).unwrap_or(0) % bound.max(1)
    }

    fn holds(&self, condition: &Match) -> bool {
        let destination = *self.packet.destination.ip();
        match condition {
            Match::In(selector, set) => self.look_up(*selector, set).is_some(),
            Match::NotIn(selector, set) => self.look_up(*selector, set).is_none(),
            Match::DestinationIn(networks) => networks.iter().any(|network| network.contains(destination)),
            Match::SourceNotIn(networks) => !networks.iter().any(|network| network.contains(self.packet.source)),
            // What the node sends to itself is all that the twin has on loopback.
            Match::NotFromLoopback => !self.node.local.contains(&self.packet.source),
            Match::DestinationNotIn(network) => !network.contains(destination),
            Match::DestinationLocal => self.node.local.contains(&destination),
            Match::DestinationNotLocal => !self.node.local.contains(&destination),
            Match::SourceNotLocal => !self.node.local.contains(&self.packet.source),
            Match::Marked(mark) => self.mark & mark == *mark,
            Match::NewConnection => true,
            Match::Tcp => self.packet.protocol == Protocol::Tcp,
        }
    }

    fn look_up(&self, selector: Selector, set: &Name) -> Option<&super::model::Element> {
        let (_, elements) = self.tables.sets.get(set)?;
        let (address, port) = (*self.packet.destination.ip(), self.packet.destination.port());
        let protocol = self.packet.protocol;
        let of_address = |address: Ipv4Addr| {
            elements.values().find(|element| match element.key {
                Key::Address(member) => member == address,
                Key::Network(network) => network.contains(address),
                _ => false,
            })
        };
        match selector {
            Selector::Source => of_address(self.packet.source),
            Selector::Destination => of_address(address),
            Selector::Pair => elements.get(&Key::AddressPair(self.packet.source, address)),
            Selector::Service => elements.get(&Key::Service(address, protocol, port)),
            Selector::NodePort => elements.get(&Key::NodePort(protocol, port)),
            Selector::ServiceSlot(of, slots) if of == protocol => {
                elements.get(&Key::ServiceSlot(address, protocol, port, self.packet.random % slots.max(1)))
            }
            Selector::NodePortSlot(of, slots) if of == protocol => {
                elements.get(&Key::NodePortSlot(protocol, port, self.packet.random % slots.max(1)))
            }
            Selector::ServiceSlot(..) | Selector::NodePortSlot(..) => None,
        }
    }
}
