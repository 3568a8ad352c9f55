//! Pods that wait for a node: ready to be placed, parked until something changes that can help, or backing off.
//!
//! Parked pods are kept by template. One of them, the scout, is tried when a change may help; each success wakes
//! the next, so that a change costs nothing for pods that it cannot help.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reeve_api::ObjectKey;

use crate::diagnosis::Diagnosis;
use crate::model::PodTemplate;

/// The first wait after a failed binding; doubled by each further failure.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest wait after a failed binding.
pub const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Higher priority first, then who came first.
type Rank = (Reverse<i32>, u64);

#[derive(Debug)]
enum Wait {
    Ready,
    Parked,
    Until(Instant),
}

#[derive(Debug)]
struct Entry {
    template: Arc<PodTemplate>,
    rank: Rank,
    wait: Wait,
    told: Option<Arc<Diagnosis>>,
}

#[derive(Debug)]
struct ParkedTemplate {
    pods: BTreeMap<Rank, ObjectKey>,
    diagnosis: Arc<Diagnosis>,
}

/// Pods that wait for a node.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<ObjectKey, Entry>,
    ready: BTreeMap<Rank, ObjectKey>,
    parked: HashMap<Arc<PodTemplate>, ParkedTemplate>,
    backing_off: BTreeSet<(Instant, Rank, ObjectKey)>,
    failures: HashMap<ObjectKey, u32>,
    arrivals: u64,
}

impl Queue {
    /// Adds a pod that is ready to be placed, or replaces the template of one that waits. A pod that waits with the
    /// same template stays as it is.
    pub fn add(&mut self, key: &ObjectKey, template: &Arc<PodTemplate>) {
        if self.entries.get(key).is_some_and(|entry| entry.template == *template) {
            return;
        }
        self.withdraw(key);
        self.arrivals += 1;
        let rank = (Reverse(template.priority), self.arrivals);
        let entry = Entry { template: Arc::clone(template), rank, wait: Wait::Ready, told: None };
        self.ready.insert(rank, key.clone());
        self.entries.insert(key.clone(), entry);
    }

    /// Forgets a pod: it is gone, or bound.
    pub fn remove(&mut self, key: &ObjectKey) {
        self.withdraw(key);
        self.failures.remove(key);
    }

    /// Takes out a pod that will not be tried. If it was ready, it may have been the scout of parked ones, which the
    /// change that woke it may still help: the next goes in its place.
    fn withdraw(&mut self, key: &ObjectKey) {
        if let Some(Entry { template, wait: Wait::Ready, .. }) = self.take_out(key) {
            self.wake_next(&template);
        }
    }

    fn take_out(&mut self, key: &ObjectKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        match entry.wait {
            Wait::Ready => {
                self.ready.remove(&entry.rank);
            }
            Wait::Until(when) => {
                self.backing_off.remove(&(when, entry.rank, key.clone()));
            }
            Wait::Parked => {
                if let Some(parked) = self.parked.get_mut(&entry.template) {
                    parked.pods.remove(&entry.rank);
                    if parked.pods.is_empty() {
                        self.parked.remove(&entry.template);
                    }
                }
            }
        }
        Some(entry)
    }

    /// The pod to place next. It stays at its place until it is parked or removed.
    pub fn next(&self) -> Option<(&ObjectKey, &Arc<PodTemplate>)> {
        let (_, key) = self.ready.first_key_value()?;
        Some((key, &self.entries.get(key)?.template))
    }

    /// Takes the pod out because a node was found; its failures stay remembered until [`Queue::remove`].
    pub fn placed(&mut self, key: &ObjectKey) {
        self.take_out(key);
    }

    /// Parks a pod that fits nowhere. Returns whether its user has not been told so yet, in these words.
    pub fn park(&mut self, key: &ObjectKey, diagnosis: &Arc<Diagnosis>) -> bool {
        let Some(mut entry) = self.take_out(key) else { return false };
        let news = entry.told.as_ref().is_none_or(|told| !Arc::ptr_eq(told, diagnosis) && **told != **diagnosis);
        entry.told = Some(Arc::clone(diagnosis));
        entry.wait = Wait::Parked;
        let parked = self
            .parked
            .entry(Arc::clone(&entry.template))
            .or_insert_with(|| ParkedTemplate { pods: BTreeMap::new(), diagnosis: Arc::clone(diagnosis) });
        parked.diagnosis = Arc::clone(diagnosis);
        parked.pods.insert(entry.rank, key.clone());
        self.entries.insert(key.clone(), entry);
        news
    }

    /// Lets a pod wait after a failed binding: 1 s, doubled each time, at most 10 s.
    pub fn back_off(&mut self, key: &ObjectKey, template: &Arc<PodTemplate>, now: Instant) {
        self.take_out(key);
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = BACKOFF_FIRST.saturating_mul(1 << (*failures).min(4)).min(BACKOFF_MAX);
        *failures = failures.saturating_add(1);
        self.arrivals += 1;
        let rank = (Reverse(template.priority), self.arrivals);
        let until = now + wait;
        let entry = Entry { template: Arc::clone(template), rank, wait: Wait::Until(until), told: None };
        self.backing_off.insert((until, rank, key.clone()));
        self.entries.insert(key.clone(), entry);
    }

    /// When the next back-off ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.backing_off.first().map(|(until, ..)| *until)
    }

    /// Makes pods ready whose back-off is over, and returns them.
    pub fn end_back_offs(&mut self, now: Instant) -> Vec<ObjectKey> {
        let mut ended = Vec::new();
        while let Some((until, ..)) = self.backing_off.first()
            && *until <= now
            && let Some((_, rank, key)) = self.backing_off.pop_first()
        {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.wait = Wait::Ready;
                self.ready.insert(rank, key.clone());
            }
            ended.push(key);
        }
        ended
    }

    /// Wakes the first pod of each parked template for which `helps` says that a change may help.
    pub fn wake(&mut self, helps: impl Fn(&PodTemplate, &Diagnosis) -> bool) {
        let scouts: Vec<ObjectKey> = self
            .parked
            .iter()
            .filter(|(template, parked)| helps(template, &parked.diagnosis))
            .filter_map(|(_, parked)| parked.pods.first_key_value().map(|(_, key)| key.clone()))
            .collect();
        scouts.iter().for_each(|key| self.make_ready(key));
    }

    /// Wakes the next parked pod of a template of which one has just been placed.
    pub fn wake_next(&mut self, template: &PodTemplate) {
        let next = self.parked.get(template).and_then(|parked| parked.pods.first_key_value());
        if let Some(key) = next.map(|(_, key)| key.clone()) {
            self.make_ready(&key);
        }
    }

    fn make_ready(&mut self, key: &ObjectKey) {
        if let Some(mut entry) = self.take_out(key) {
            entry.wait = Wait::Ready;
            self.ready.insert(entry.rank, key.clone());
            self.entries.insert(key.clone(), entry);
        }
    }

    /// Why a parked pod waits.
    pub fn why(&self, key: &ObjectKey) -> Option<&Arc<Diagnosis>> {
        let entry = self.entries.get(key)?;
        Some(&self.parked.get(&entry.template)?.diagnosis)
    }

    /// Whether a template has pods that wait.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many pods are ready, parked, and backing off.
    pub fn lengths(&self) -> (usize, usize, usize) {
        let parked = self.parked.values().map(|parked| parked.pods.len()).sum();
        (self.ready.len(), parked, self.backing_off.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    fn template(priority: i32) -> Arc<PodTemplate> {
        Arc::new(PodTemplate { priority, ..PodTemplate::default() })
    }

    fn next(queue: &Queue) -> Option<&str> {
        queue.next().map(|(key, _)| key.name.as_str())
    }

    #[test]
    fn higher_priority_goes_first_then_who_came_first() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 0), ("c", 7)] {
            queue.add(&key(name), &template(priority));
        }
        let mut order = Vec::new();
        while let Some(name) = next(&queue).map(str::to_owned) {
            queue.placed(&key(&name));
            order.push(name);
        }
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn one_scout_is_woken_and_its_success_wakes_the_next() {
        let mut queue = Queue::default();
        let diagnosis = Arc::new(Diagnosis::default());
        for name in ["a", "b"] {
            queue.add(&key(name), &template(0));
            assert!(queue.park(&key(name), &diagnosis));
        }
        assert_eq!(queue.lengths(), (0, 2, 0));
        queue.wake(|_, _| false);
        assert_eq!(next(&queue), None);
        queue.wake(|_, _| true);
        assert_eq!((next(&queue), queue.lengths()), (Some("a"), (1, 1, 0)));
        queue.placed(&key("a"));
        queue.wake_next(&template(0));
        assert_eq!(next(&queue), Some("b"));
        assert!(!queue.park(&key("b"), &diagnosis), "the same words are told once");
    }

    #[test]
    fn a_scout_that_is_deleted_hands_its_turn_on() {
        let mut queue = Queue::default();
        for name in ["a", "b"] {
            queue.add(&key(name), &template(0));
            queue.park(&key(name), &Arc::new(Diagnosis::default()));
        }
        queue.wake(|_, _| true);
        queue.remove(&key("a"));
        assert_eq!(next(&queue), Some("b"));
    }

    #[test]
    fn back_off_doubles_up_to_its_limit() {
        let mut queue = Queue::default();
        let start = Instant::now();
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                queue.back_off(&key("a"), &template(0), start);
                queue.next_deadline().map_or(0, |until| (until - start).as_secs())
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        assert!(queue.end_back_offs(start).is_empty());
        assert_eq!(queue.end_back_offs(start + BACKOFF_MAX), [key("a")]);
        assert_eq!(next(&queue), Some("a"));
        queue.remove(&key("a"));
        assert!(queue.is_empty());
    }
}
