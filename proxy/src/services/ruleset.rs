//! All frontends of the node, and the transaction that each change of them takes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use reeve_api::ObjectKey;

use super::frontend::{Endpoint, Frontend, FrontendKey, keep_slots};
use super::objects::{self, Fixed, Object, ObjectId, Ownership, Surroundings, TABLE};
use crate::nft::model::{Chain, KeyType, Name, Set};
use crate::nft::{Existing, InvalidObject, Transaction};

/// What the kernel should hold.
///
/// Invariant: applying every transaction that was returned, in order, gives the same table as applying
/// [`RuleSet::whole`], to an empty kernel or to any former state.
#[derive(Debug)]
pub struct RuleSet {
    surroundings: Surroundings,
    frontends: BTreeMap<FrontendKey, (ObjectKey, Frontend)>,
    owned: BTreeMap<ObjectKey, BTreeSet<FrontendKey>>,
    /// Frontends that others than their owner want too.
    contested: BTreeMap<FrontendKey, BTreeSet<ObjectKey>>,
    /// How many frontends have a shared object in common.
    shared: HashMap<ObjectId, usize>,
    /// The chains that are there whether a frontend needs them or not.
    common: BTreeMap<Name, Chain>,
}

/// What a change of Services means.
#[derive(Debug, Default)]
pub struct Update {
    /// What changes in the table.
    pub commands: Vec<Change>,
    /// Services that wanted a frontend which is free now: look at them again.
    pub freed: BTreeSet<ObjectKey>,
    /// Frontends that a Service wants but another one has.
    pub refused: Vec<(ObjectKey, FrontendKey)>,
    /// Frontends that may have flows to something else than their endpoints, and what those are now.
    pub touched: BTreeMap<FrontendKey, Vec<Endpoint>>,
}

/// An object before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    old: Option<Object>,
    new: Option<Object>,
}

impl Update {
    /// The changes as transactions to be applied in order.
    ///
    /// The kernel applies each at once, but a packet that it is just walking can see the state before in one
    /// lookup and the state after in the next. So what is new is there before anything leads to it, and what goes
    /// is led to by nothing when it goes. Most changes take one transaction, at most it is three.
    pub fn transactions(&self) -> Result<Vec<Transaction>, InvalidObject> {
        let (mut prepare, mut switch, mut clean) = (Vec::new(), Vec::new(), Vec::new());
        for change in &self.commands {
            match (&change.old, &change.new) {
                (None, Some(Object::Set(_) | Object::Chain(_))) => prepare.push(change),
                (Some(old), None) if objects::goes_last(&old.id()) => clean.push(change),
                _ => switch.push(change),
            }
        }
        let mut transactions = Vec::new();
        for changes in [prepare, switch, clean] {
            let mut transaction = Transaction::new(TABLE)?;
            write(&mut transaction, &changes)?;
            if !transaction.is_empty() {
                transactions.push(transaction);
            }
        }
        Ok(transactions)
    }
}

impl RuleSet {
    /// Without any Service.
    pub fn new(surroundings: Surroundings) -> RuleSet {
        RuleSet {
            surroundings,
            frontends: BTreeMap::new(),
            owned: BTreeMap::new(),
            contested: BTreeMap::new(),
            shared: HashMap::new(),
            common: BTreeMap::new(),
        }
    }

    /// Everything, in the place of whatever the kernel holds, in one transaction. What is there and has the same
    /// form is kept and refilled, so that no connection falls between the old state and the new.
    pub fn whole(&self, existing: Option<&Existing>) -> Result<Transaction, InvalidObject> {
        let mut transaction = Transaction::new(TABLE)?;
        let mut seen = BTreeSet::new();
        let all = objects::fixed(&self.surroundings)
            .into_iter()
            .chain(self.common.values().cloned().map(Object::Chain))
            .chain(self.frontends.values().flat_map(|(_, frontend)| objects::of_frontend(frontend)))
            .filter(|object| match objects::ownership(object) {
                Ownership::Own => true,
                Ownership::Shared | Ownership::Common => seen.insert(object.id()),
            });
        let changes: Vec<Change> = all.map(|object| Change { old: None, new: Some(object) }).collect();
        match existing {
            Some(existing) if existing.chains.contains(&Name::from(objects::LAYOUT)) => {
                self.clear(&mut transaction, existing, &changes)?;
            }
            _ => transaction.replace_table(),
        }
        write(&mut transaction, &changes.iter().collect::<Vec<_>>())?;
        Ok(transaction)
    }

    /// Empties what stays and removes what does not, sparing the sets that remember clients.
    fn clear(
        &self,
        transaction: &mut Transaction,
        existing: &Existing,
        wanted: &[Change],
    ) -> Result<(), InvalidObject> {
        let wanted: BTreeSet<ObjectId> = wanted
            .iter()
            .filter_map(|change| change.new.as_ref())
            .filter(|object| matches!(object, Object::Set(_) | Object::Chain(_)))
            .map(Object::id)
            .collect();
        // The layout is there, so all of its sets and maps are: they came in one transaction.
        for set in Fixed::all().iter().map(|fixed| fixed.set()) {
            transaction.flush_set(&set)?;
        }
        for chain in &existing.chains {
            transaction.flush_chain(chain)?;
        }
        for chain in existing.chains.iter().filter(|chain| !wanted.contains(&ObjectId::Chain((*chain).clone()))) {
            transaction.delete_chain(chain)?;
        }
        let remembering = existing.chains.iter().filter(|chain| objects::has_set(chain));
        for set in remembering.filter(|set| !wanted.contains(&ObjectId::Set((*set).clone()))) {
            transaction.delete_set(&Set::plain(set.clone(), KeyType::Address))?;
        }
        Ok(())
    }

    /// What a frontend leads to.
    pub fn frontend(&self, key: FrontendKey) -> Option<&Frontend> {
        self.frontends.get(&key).map(|(_, frontend)| frontend)
    }

    /// All frontends.
    pub fn frontends(&self) -> impl Iterator<Item = &Frontend> {
        self.frontends.values().map(|(_, frontend)| frontend)
    }

    /// The node's surroundings.
    pub fn surroundings(&self) -> &Surroundings {
        &self.surroundings
    }

    /// Take the node's new surroundings.
    pub fn set_surroundings(&mut self, surroundings: Surroundings) -> Update {
        let mut net = Net::default();
        for object in objects::fixed(&self.surroundings) {
            net.remove(object);
        }
        for object in objects::fixed(&surroundings) {
            net.add(object);
        }
        self.surroundings = surroundings;
        Update { commands: net.changes(), ..Update::default() }
    }

    /// Take what the Services lead to now; nothing for one that is gone.
    pub fn update(&mut self, services: impl IntoIterator<Item = (ObjectKey, Vec<Frontend>)>) -> Update {
        let services: Vec<(ObjectKey, Vec<Frontend>)> = services.into_iter().collect();
        let mut update = Update::default();
        let mut net = Net::default();
        // Those who leave make room first, so that a frontend can pass from one to the other at once.
        for (service, wanted) in &services {
            let wanted: BTreeSet<FrontendKey> = wanted.iter().map(|frontend| frontend.key).collect();
            let leaving: Vec<FrontendKey> =
                self.owned.get(service).map(|owned| owned.difference(&wanted).copied().collect()).unwrap_or_default();
            for key in leaving {
                self.release(service, key, &mut net, &mut update);
            }
            self.contested.retain(|key, contenders| {
                if !wanted.contains(key) {
                    contenders.remove(service);
                }
                !contenders.is_empty()
            });
        }
        for (service, wanted) in services {
            for frontend in wanted {
                self.take(&service, frontend, &mut net, &mut update);
            }
        }
        update.commands = net.changes();
        update
    }

    fn release(&mut self, service: &ObjectKey, key: FrontendKey, net: &mut Net, update: &mut Update) {
        if let Some((_, old)) = self.frontends.remove(&key) {
            for object in objects::of_frontend(&old) {
                self.remove(object, net);
            }
            update.touched.insert(key, Vec::new());
        }
        if let Some(owned) = self.owned.get_mut(service) {
            owned.remove(&key);
            if owned.is_empty() {
                self.owned.remove(service);
            }
        }
        update.freed.extend(self.contested.remove(&key).unwrap_or_default());
    }

    fn take(&mut self, service: &ObjectKey, mut frontend: Frontend, net: &mut Net, update: &mut Update) {
        let key = frontend.key;
        let before = match self.frontends.get(&key) {
            Some((owner, _)) if owner != service => {
                self.contested.entry(key).or_default().insert(service.clone());
                update.refused.push((service.clone(), key));
                return;
            }
            Some((_, before)) => Some(before.clone()),
            None => None,
        };
        if let Some(before) = &before {
            frontend.endpoints = keep_slots(&before.endpoints, frontend.endpoints);
            let outside_before = before.outside.as_deref().unwrap_or_default();
            frontend.outside = frontend.outside.map(|outside| keep_slots(outside_before, outside));
            if *before == frontend {
                return;
            }
        }
        if before.as_ref().is_none_or(|before| may_leave_flows(before, &frontend)) {
            let mut endpoints = frontend.endpoints.clone();
            endpoints.extend(frontend.outside.iter().flatten());
            update.touched.insert(key, endpoints);
        }
        for object in before.iter().flat_map(objects::of_frontend) {
            self.remove(object, net);
        }
        for object in objects::of_frontend(&frontend) {
            self.add(object, net);
        }
        self.owned.entry(service.clone()).or_default().insert(key);
        self.frontends.insert(key, (service.clone(), frontend));
    }

    fn add(&mut self, object: Object, net: &mut Net) {
        let is_new = match (objects::ownership(&object), &object) {
            (Ownership::Common, Object::Chain(chain)) => {
                self.common.insert(chain.name.clone(), chain.clone()).is_none()
            }
            (Ownership::Shared, _) => {
                let count = self.shared.entry(object.id()).or_default();
                *count += 1;
                *count == 1
            }
            _ => true,
        };
        if is_new {
            net.add(object);
        }
    }

    fn remove(&mut self, object: Object, net: &mut Net) {
        let is_last = match objects::ownership(&object) {
            Ownership::Common => false,
            Ownership::Shared => match self.shared.get_mut(&object.id()) {
                Some(count) if *count > 1 => {
                    *count -= 1;
                    false
                }
                _ => self.shared.remove(&object.id()).is_some(),
            },
            Ownership::Own => true,
        };
        if is_last {
            net.remove(object);
        }
    }
}

/// Whether flows may lead to something else than the endpoints now: one went, or there was none and clients tried.
fn may_leave_flows(before: &Frontend, now: &Frontend) -> bool {
    let lost = |before: &[Endpoint], now: &[Endpoint]| {
        let now: BTreeSet<_> = now.iter().map(|endpoint| endpoint.address).collect();
        before.is_empty() && !now.is_empty() || before.iter().any(|endpoint| !now.contains(&endpoint.address))
    };
    let outside = |frontend: &Frontend| frontend.outside.clone().unwrap_or_else(|| frontend.endpoints.clone());
    lost(&before.endpoints, &now.endpoints) || lost(&outside(before), &outside(now))
}

/// The net effect of many removals and additions.
#[derive(Default)]
struct Net {
    changes: BTreeMap<ObjectId, Change>,
}

impl Net {
    fn add(&mut self, object: Object) {
        let entry = self.changes.entry(object.id()).or_insert(Change { old: None, new: None });
        entry.new = Some(object);
    }

    fn remove(&mut self, object: Object) {
        let entry = self.changes.entry(object.id()).or_insert(Change { old: None, new: None });
        // What was added in the same update was never in the kernel.
        if entry.new.take().is_none() {
            entry.old = Some(object);
        }
    }

    fn changes(self) -> Vec<Change> {
        self.changes.into_values().filter(|change| change.old != change.new).collect()
    }
}

/// The order in which the kernel takes them: first everything that leads to what goes, then what goes, then what
/// is new, then everything that leads to it.
fn write(transaction: &mut Transaction, changes: &[&Change]) -> Result<(), InvalidObject> {
    // The set of an element, made once for each fixed set instead of once for each element.
    let sets: BTreeMap<Fixed, _> = Fixed::all().into_iter().map(|fixed| (fixed, fixed.set())).collect();
    let old = || changes.iter().filter_map(|change| change.old.as_ref().map(|old| (old, change.new.as_ref())));
    let new = || changes.iter().filter_map(|change| change.new.as_ref().map(|new| (new, change.old.as_ref())));
    for (object, _) in old() {
        if let Object::Element(fixed, element) = object
            && let Some(set) = sets.get(fixed)
        {
            transaction.delete_element(set, element.key)?;
        }
    }
    for (object, _) in old() {
        if let Object::Chain(chain) = object {
            transaction.flush_chain(&chain.name)?;
        }
    }
    for (object, after) in old() {
        match object {
            Object::Chain(chain) if after.is_none() => transaction.delete_chain(&chain.name)?,
            _ => {}
        }
    }
    for (object, _) in old() {
        if let Object::Set(set) = object {
            transaction.delete_set(set)?;
        }
    }
    for (object, _) in new() {
        if let Object::Set(set) = object {
            transaction.add_set(set)?;
        }
    }
    for (object, before) in new() {
        match object {
            Object::Chain(chain) if before.is_none() => transaction.add_chain(chain)?,
            _ => {}
        }
    }
    for (object, _) in new() {
        if let Object::Chain(chain) = object {
            transaction.add_rules(chain)?;
        }
    }
    for (object, _) in new() {
        if let Object::Element(fixed, element) = object
            && let Some(set) = sets.get(fixed)
        {
            transaction.add_element(set, element.clone())?;
        }
    }
    Ok(())
}
