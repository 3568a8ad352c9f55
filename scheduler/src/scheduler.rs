//! The scheduler as a state machine: changes of nodes and pods and the fate of bindings go in, plans come out.
//!
//! No clock, no IO: the time and the randomness that break ties are passed in, so that equal input gives equal
//! plans. Between two changes a plan sees one unchanging state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use rand::Rng;
use reeve_api::ObjectKey;

use crate::cluster::{Cluster, Slot};
use crate::diagnosis::Diagnosis;
use crate::evaluation::Evaluation;
use crate::model::{NodeFacts, PodTemplate};
use crate::queue::Queue;
use crate::view::PodView;

/// How many rows all evaluations together may have. A row is a node as a template sees it and takes about 100 bytes.
const ROWS_MAX: usize = 32 * 1024;
/// Few nodes allow many evaluations, but each follows every placed pod.
const EVALUATIONS_MAX: usize = 128;
/// Many nodes allow few.
const EVALUATIONS_MIN: usize = 8;

/// A pod that is to be bound to a node. It is accounted for there until the binding's fate is known.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The pod, as it was when the plan was made.
    pub pod: Arc<PodView>,
    /// The node.
    pub node: Arc<str>,
}

/// A pod that fits nowhere, whose user has not been told so yet.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The pod.
    pub pod: Arc<PodView>,
    /// Why.
    pub diagnosis: Arc<Diagnosis>,
}

/// What to do now.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Pods to bind.
    pub bindings: Vec<Binding>,
    /// Pods to report as unschedulable.
    pub refusals: Vec<Refusal>,
}

/// How much a plan may hold, so that what is decided is also done soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bindings that can be started now.
    pub bindings: usize,
    /// Reports that can be started now.
    pub refusals: usize,
}

/// How a binding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The API server stored it.
    Bound,
    /// The API server refused it: somebody else was first, or the pod is gone.
    Refused,
    /// No answer: it may have been stored or not.
    Unknown,
}

#[derive(Debug)]
enum Place {
    /// In the queue, or not ours to schedule.
    None,
    /// Sent to a node (`on` is `None` while that is gone), not yet confirmed by the watch. `lapses` when its
    /// back-off ends without a confirmation.
    Assumed { node: Arc<str>, on: Option<Account>, lapses: bool },
    /// Bound, says the watch. `None` while the node is not known.
    Bound(Option<Account>),
}

/// What was added to a node for a pod, so that exactly that can be taken back.
#[derive(Debug)]
struct Account {
    slot: Slot,
    template: Arc<PodTemplate>,
    staying: bool,
}

#[derive(Debug)]
struct Record {
    pod: Arc<PodView>,
    place: Place,
}

/// The state machine.
#[derive(Debug)]
pub struct Scheduler {
    name: Box<str>,
    cluster: Cluster,
    pods: HashMap<ObjectKey, Record>,
    homeless: HashMap<Box<str>, HashSet<ObjectKey>>,
    queue: Queue,
    evaluations: Vec<(Arc<PodTemplate>, Evaluation)>,
}

impl Scheduler {
    /// A scheduler that serves the pods whose `schedulerName` is `name`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            cluster: Cluster::default(),
            pods: HashMap::new(),
            homeless: HashMap::new(),
            queue: Queue::default(),
            evaluations: Vec::new(),
        }
    }

    /// The nodes with their sums.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Why a parked pod waits.
    pub fn why(&self, pod: &ObjectKey) -> Option<&Arc<Diagnosis>> {
        self.queue.why(pod)
    }

    /// How many pods are ready, parked and backing off.
    pub fn queue_lengths(&self) -> (usize, usize, usize) {
        self.queue.lengths()
    }

    /// A node is new or changed.
    pub fn node_changed(&mut self, facts: &Arc<NodeFacts>) {
        let known = self.cluster.slot(&facts.name).and_then(|slot| self.cluster.node(slot));
        if known.is_some_and(|node| *node.facts == **facts) {
            return;
        }
        let slot = self.cluster.set_node(Arc::clone(facts));
        for key in self.homeless.remove(&*facts.name).unwrap_or_default() {
            if let Some(record) = self.pods.get(&key) {
                let account = self.account(slot, &Arc::clone(&record.pod));
                if let Some(record) = self.pods.get_mut(&key) {
                    match &mut record.place {
                        // A binding that was under way when the node went may yet arrive at the one that came back.
                        Place::Assumed { on, .. } => *on = Some(account),
                        place => *place = Place::Bound(Some(account)),
                    }
                }
            }
        }
        self.wake(slot);
    }

    /// A node is gone. Pods bound to it stay bound until they are deleted.
    pub fn node_removed(&mut self, name: &str) {
        let Some(slot) = self.cluster.slot(name) else { return };
        let on_it = |record: &Record| match &record.place {
            Place::Assumed { on: Some(on), .. } | Place::Bound(Some(on)) => on.slot == slot,
            _ => false,
        };
        let keys: Vec<ObjectKey> =
            self.pods.iter().filter(|(_, record)| on_it(record)).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let place = match self.pods.get(&key) {
                Some(Record { place: Place::Assumed { node, lapses, .. }, .. }) => {
                    Place::Assumed { node: Arc::clone(node), on: None, lapses: *lapses }
                }
                _ => Place::Bound(None),
            };
            self.leave(&key);
            self.homeless.entry(name.into()).or_default().insert(key.clone());
            if let Some(record) = self.pods.get_mut(&key) {
                record.place = place;
            }
        }
        self.cluster.remove_node(name);
        self.queue.wake(|_, diagnosis| diagnosis.depends_on_spreading());
    }

    /// A pod is new or changed.
    pub fn pod_changed(&mut self, pod: &Arc<PodView>) {
        if let Some(record) = self.pods.get(&pod.key)
            && record.pod.uid != pod.uid
        {
            self.pod_removed(&pod.key);
        }
        if pod.finished {
            return self.pod_removed(&pod.key);
        }
        let assumed = match self.pods.get_mut(&pod.key) {
            Some(record) => {
                record.pod = Arc::clone(pod);
                matches!(record.place, Place::Assumed { .. })
            }
            None => {
                let record = Record { pod: Arc::clone(pod), place: Place::None };
                self.pods.insert(pod.key.clone(), record);
                false
            }
        };
        match &pod.node {
            Some(node) => self.settle(pod, node),
            // The watch has not seen our binding yet.
            None if assumed => {}
            None if pod.deleting || pod.gated || pod.scheduler.as_ref() != &*self.name => self.queue.remove(&pod.key),
            None => self.queue.add(&pod.key, &pod.template),
        }
    }

    /// A pod is gone.
    pub fn pod_removed(&mut self, key: &ObjectKey) {
        self.queue.remove(key);
        let left = self.leave(key);
        if let Some(record) = self.pods.remove(key)
            && let Some(node) = &record.pod.node
        {
            self.no_longer_homeless(node, key);
        }
        if let Some(slot) = left {
            self.wake(slot);
        }
    }

    /// How a binding of a plan ended.
    pub fn binding_ended(&mut self, binding: &Binding, fate: Fate, now: Instant) {
        let key = &binding.pod.key;
        let Some(record) = self.pods.get_mut(key) else { return };
        let Place::Assumed { lapses, .. } = &mut record.place else { return };
        if record.pod.uid != binding.pod.uid {
            return;
        }
        let template = Arc::clone(&record.pod.template);
        match fate {
            Fate::Bound => {}
            Fate::Unknown => {
                *lapses = true;
                self.queue.back_off(key, &template, now);
            }
            Fate::Refused => {
                if let Some(slot) = self.leave(key) {
                    self.wake(slot);
                }
                self.queue.back_off(key, &template, now);
            }
        }
    }

    /// When to ask for a plan again although nothing happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.next_deadline()
    }

    /// What to do now. Pods that do not fit are parked; those that do are accounted for on their nodes.
    pub fn plan(&mut self, now: Instant, limits: Limits, random: &mut impl Rng) -> Plan {
        for key in self.queue.end_back_offs(now) {
            let lapsed = matches!(self.pods.get(&key), Some(Record { place: Place::Assumed { lapses: true, .. }, .. }));
            if lapsed && let Some(slot) = self.leave(&key) {
                self.wake(slot);
            }
        }
        let mut plan = Plan::default();
        while plan.bindings.len() < limits.bindings
            && plan.refusals.len() < limits.refusals
            && let Some((key, template)) = self.queue.next()
        {
            let (key, template) = (key.clone(), Arc::clone(template));
            let Some(pod) = self.pods.get(&key).map(|record| Arc::clone(&record.pod)) else {
                self.queue.remove(&key);
                continue;
            };
            let at = self.evaluation(&template);
            match self.evaluations[at].1.select(&self.cluster, random) {
                Ok(slot) => {
                    self.queue.placed(&key);
                    let account = self.account(slot, &pod);
                    if let Some(node) = self.cluster.node(slot) {
                        let node = Arc::clone(&node.facts.name);
                        if let Some(record) = self.pods.get_mut(&key) {
                            record.place = Place::Assumed { node: Arc::clone(&node), on: Some(account), lapses: false };
                        }
                        plan.bindings.push(Binding { pod, node });
                    }
                    self.queue.wake_next(&template);
                    // One more pod may even out what kept others from being spread.
                    self.queue.wake(|parked, diagnosis| *parked != *template && diagnosis.depends_on_spreading());
                }
                Err(diagnosis) => {
                    if self.queue.park(&key, &diagnosis) {
                        plan.refusals.push(Refusal { pod, diagnosis });
                    }
                }
            }
        }
        plan
    }

    /// The index of a template's evaluation, which becomes the most recently used one.
    fn evaluation(&mut self, template: &Arc<PodTemplate>) -> usize {
        match self.evaluations.iter().rposition(|(known, _)| known == template) {
            Some(at) if at + 1 == self.evaluations.len() => {}
            Some(at) => {
                let found = self.evaluations.remove(at);
                self.evaluations.push(found);
            }
            None => {
                let limit = ROWS_MAX / self.cluster.slot_count().max(1);
                let limit = limit.clamp(EVALUATIONS_MIN, EVALUATIONS_MAX);
                let excess = (self.evaluations.len() + 1).saturating_sub(limit);
                self.evaluations.drain(..excess);
                self.evaluations.push((Arc::clone(template), Evaluation::new(Arc::clone(template))));
            }
        }
        self.evaluations.len() - 1
    }

    /// Accounts for a pod where the watch says that it is.
    fn settle(&mut self, pod: &Arc<PodView>, node: &str) {
        self.queue.remove(&pod.key);
        let slot = self.cluster.slot(node);
        let Some(record) = self.pods.get_mut(&pod.key) else { return };
        let place = std::mem::replace(&mut record.place, Place::None);
        match place {
            Place::Assumed { on: Some(on), .. } | Place::Bound(Some(on)) => {
                let same = Some(on.slot) == slot && on.template == pod.template && on.staying != pod.deleting;
                record.place = Place::Bound(Some(on));
                if same {
                    return;
                }
            }
            Place::Assumed { node, on: None, .. } => self.no_longer_homeless(&node, &pod.key),
            Place::Bound(None) | Place::None => {}
        }
        let left = self.leave(&pod.key);
        let account = slot.map(|slot| self.account(slot, pod));
        if account.is_none() {
            self.homeless.entry(node.into()).or_default().insert(pod.key.clone());
        }
        if let Some(record) = self.pods.get_mut(&pod.key) {
            record.place = Place::Bound(account);
        }
        if let Some(left) = left {
            self.wake(left);
        }
    }

    fn account(&mut self, slot: Slot, pod: &Arc<PodView>) -> Account {
        let account = Account { slot, template: Arc::clone(&pod.template), staying: !pod.deleting };
        let id = self.cluster.add_pod(slot, &account.template, account.staying);
        if account.staying {
            self.evaluations.iter_mut().for_each(|(_, evaluation)| evaluation.follow(&pod.template, id, slot, true));
        }
        account
    }

    /// Takes back what a pod was accounted for, and returns where.
    fn leave(&mut self, key: &ObjectKey) -> Option<Slot> {
        let record = self.pods.get_mut(key)?;
        let on = match std::mem::replace(&mut record.place, Place::None) {
            Place::Assumed { node, on: None, .. } => {
                self.no_longer_homeless(&node, key);
                return None;
            }
            Place::Assumed { on, .. } | Place::Bound(on) => on?,
            Place::None => return None,
        };
        let id = self.cluster.remove_pod(on.slot, &on.template, on.staying)?;
        if on.staying {
            self.evaluations.iter_mut().for_each(|(_, evaluation)| evaluation.follow(&on.template, id, on.slot, false));
        }
        Some(on.slot)
    }

    fn no_longer_homeless(&mut self, node: &str, key: &ObjectKey) {
        if let Some(homeless) = self.homeless.get_mut(node) {
            homeless.remove(key);
            if homeless.is_empty() {
                self.homeless.remove(node);
            }
        }
    }

    /// Wakes parked pods that a change of a node may help.
    fn wake(&mut self, slot: Slot) {
        if let Some(node) = self.cluster.node(slot) {
            self.queue
                .wake(|template, diagnosis| diagnosis.depends_on_spreading() || Evaluation::may_fit(template, node));
        }
    }
}
