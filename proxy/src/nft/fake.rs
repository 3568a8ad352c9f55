//! The kernel's twin in memory: applies transactions with the kernel's rules, and prints what it holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::model::{Action, Chain, Element, Key, Match, Name, Rule, Set, Value};
use super::transaction::{Command, Transaction};
use super::{Existing, Kernel, KernelError};

/// What the kernel would have refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FakeError {
    /// Something that is named does not exist.
    #[error("no such object: {0}")]
    Missing(String),
    /// Something is added that is there already.
    #[error("exists already: {0}")]
    Exists(String),
    /// Something is deleted that is still used.
    #[error("still in use: {0}")]
    Busy(String),
    /// An element of another type than its set.
    #[error("wrong type: {0}")]
    Type(String),
}

/// One table in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeTables {
    pub(super) sets: BTreeMap<Name, (Set, BTreeMap<Key, Element>)>,
    pub(super) chains: BTreeMap<Name, Chain>,
    exists: bool,
}

impl FakeTables {
    /// Apply a transaction whole, or leave everything as it was.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<(), FakeError> {
        let mut next = self.clone();
        for command in transaction.commands() {
            next.command(command)?;
        }
        next.check_references()?;
        *self = next;
        Ok(())
    }

    /// Everything in the table, in one stable order.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for (set, elements) in self.sets.values() {
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "{} {} {{ {set} }}", set.noun(), set.name);
            for element in elements.values() {
                let _infallible = writeln!(text, "    {element}");
            }
        }
        for chain in self.chains.values() {
            match chain.hook {
                Some(hook) => _ = writeln!(text, "chain {} {{ {hook} }}", chain.name),
                None => _ = writeln!(text, "chain {}", chain.name),
            }
            for rule in &chain.rules {
                let _infallible = writeln!(text, "    {rule}");
            }
        }
        text
    }

    /// The elements of a set.
    pub fn elements(&self, set: &str) -> Vec<&Element> {
        self.sets.get(&Name::from(set)).map(|(_, elements)| elements.values().collect()).unwrap_or_default()
    }

    /// What a start finds.
    pub fn existing(&self) -> Existing {
        Existing { chains: self.chains.keys().cloned().collect() }
    }

    /// Whether the table exists.
    pub fn exists(&self) -> bool {
        self.exists
    }

    fn command(&mut self, command: &Command) -> Result<(), FakeError> {
        match command {
            Command::ReplaceTable => {
                *self = FakeTables { exists: true, ..FakeTables::default() };
                return Ok(());
            }
            Command::DeleteTable => {
                *self = FakeTables::default();
                return Ok(());
            }
            _ if !self.exists => return Err(FakeError::Missing("table".into())),
            _ => {}
        }
        match command {
            Command::ReplaceTable | Command::DeleteTable => Ok(()),
            Command::AddSet(set) => match self.sets.get(&set.name) {
                None => {
                    self.sets.insert(set.name.clone(), (set.clone(), BTreeMap::new()));
                    Ok(())
                }
                Some((same, _)) if same == set => Ok(()),
                Some(_) => Err(FakeError::Exists(format!("another set {}", set.name))),
            },
            Command::FlushSet(set) => {
                self.set(&set.name)?.1.clear();
                Ok(())
            }
            Command::DeleteSet(set) => {
                if self.rules().any(|rule| sets_of(rule).any(|name| *name == set.name)) {
                    return Err(FakeError::Busy(format!("set {}", set.name)));
                }
                self.sets.remove(&set.name).map(drop).ok_or_else(|| FakeError::Missing(format!("set {}", set.name)))
            }
            Command::AddChain(chain) => match self.chains.get(&chain.name) {
                None => {
                    self.chains.insert(chain.name.clone(), chain.clone());
                    Ok(())
                }
                Some(same) if same.hook == chain.hook => Ok(()),
                Some(_) => Err(FakeError::Exists(format!("another chain {}", chain.name))),
            },
            Command::FlushChain(name) => {
                self.chain(name)?.rules.clear();
                Ok(())
            }
            Command::DeleteChain(name) => {
                if !self.chain(name)?.rules.is_empty() || self.leads_to(name) {
                    return Err(FakeError::Busy(format!("chain {name}")));
                }
                self.chains.remove(name);
                Ok(())
            }
            Command::AddRule(name, rule) => {
                if let Some(missing) = sets_of(rule).find(|set| !self.sets.contains_key(*set)) {
                    return Err(FakeError::Missing(format!("set {missing}")));
                }
                if let Some(missing) = chains_of(rule).find(|chain| !self.chains.contains_key(*chain)) {
                    return Err(FakeError::Missing(format!("chain {missing}")));
                }
                self.chain(name)?.rules.push(rule.clone());
                Ok(())
            }
            Command::AddElement(name, element) => {
                if let Value::Goto(chain) = &element.value {
                    self.chain(chain)?;
                }
                let (set, elements) = self.set(name)?;
                if !set.fits(&element.key, &element.value) {
                    return Err(FakeError::Type(format!("{element} in {name}")));
                }
                match elements.insert(element.key, element.clone()) {
                    None => Ok(()),
                    Some(_) => Err(FakeError::Exists(format!("element {} of {name}", element.key))),
                }
            }
            Command::DeleteElement(name, key) => {
                let (_, elements) = self.set(name)?;
                elements.remove(key).map(drop).ok_or_else(|| FakeError::Missing(format!("element {key} of {name}")))
            }
        }
    }

    fn chain(&mut self, name: &Name) -> Result<&mut Chain, FakeError> {
        self.chains.get_mut(name).ok_or_else(|| FakeError::Missing(format!("chain {name}")))
    }

    fn set(&mut self, name: &Name) -> Result<&mut (Set, BTreeMap<Key, Element>), FakeError> {
        self.sets.get_mut(name).ok_or_else(|| FakeError::Missing(format!("set {name}")))
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.chains.values().flat_map(|chain| &chain.rules)
    }

    fn leads_to(&self, chain: &Name) -> bool {
        self.rules().any(|rule| chains_of(rule).any(|name| name == chain))
            || self
                .sets
                .values()
                .flat_map(|(_, elements)| elements.values())
                .any(|element| matches!(&element.value, Value::Goto(name) if name == chain))
    }

    fn check_references(&self) -> Result<(), FakeError> {
        for rule in self.rules() {
            for set in sets_of(rule) {
                if !self.sets.contains_key(set) {
                    return Err(FakeError::Missing(format!("set {set}")));
                }
            }
        }
        Ok(())
    }
}

fn sets_of(rule: &Rule) -> impl Iterator<Item = &Name> {
    let matched = rule.matches.iter().filter_map(|part| match part {
        Match::In(_, set) | Match::NotIn(_, set) => Some(set),
        _ => None,
    });
    let acted = rule.actions.iter().filter_map(|part| match part {
        Action::VerdictMap(_, set) | Action::DnatMap(_, set) | Action::Remember(_, set) => Some(set),
        _ => None,
    });
    matched.chain(acted)
}

fn chains_of(rule: &Rule) -> impl Iterator<Item = &Name> {
    rule.actions.iter().flat_map(|action| match action {
        Action::Jump(chain) | Action::Goto(chain) => std::slice::from_ref(chain),
        Action::RandomGoto(chains) => chains.as_slice(),
        _ => &[],
    })
}

impl Kernel for FakeTables {
    async fn commit(&mut self, transaction: &Transaction) -> Result<(), KernelError> {
        Ok(self.apply(transaction)?)
    }

    async fn existing(&mut self, _table: &str) -> Result<Option<Existing>, KernelError> {
        Ok(self.exists.then(|| FakeTables::existing(self)))
    }
}
