//! The state of one resource at one moment: a persistent ordered map with postings for the terms of
//! labels and selectable fields. Copies share structure, so a reader's copy costs nothing.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use imbl::{HashMap, OrdMap, OrdSet};

use super::entry::{Entry, Extract, Term};
use super::select::Selector;

/// Postings up to this length are flat: most terms of a cluster belong to a few objects, and a tree node
/// for each would cost more than the objects' keys.
const FLAT_POSTING: usize = 32;

/// How many entries an iterator takes from the map at a time.
const CHUNK: usize = 128;

/// The keys of the objects that have a term, in order.
#[derive(Clone, Debug)]
enum Posting {
    Few(Arc<[Arc<str>]>),
    Many(OrdSet<Arc<str>>),
}

impl Posting {
    fn insert(&mut self, key: Arc<str>) {
        match self {
            Posting::Few(keys) => {
                let Err(at) = keys.binary_search(&key) else { return };
                if keys.len() < FLAT_POSTING {
                    let mut grown = Vec::with_capacity(keys.len() + 1);
                    grown.extend_from_slice(&keys[..at]);
                    grown.push(key);
                    grown.extend_from_slice(&keys[at..]);
                    *keys = grown.into();
                } else {
                    let mut set: OrdSet<Arc<str>> = keys.iter().cloned().collect();
                    set.insert(key);
                    *self = Posting::Many(set);
                }
            }
            Posting::Many(keys) => {
                keys.insert(key);
            }
        }
    }

    /// Removes a key and tells whether none is left.
    fn remove(&mut self, key: &str) -> bool {
        match self {
            Posting::Few(keys) => {
                *keys = keys.iter().filter(|one| &***one != key).cloned().collect();
                keys.is_empty()
            }
            Posting::Many(keys) => {
                keys.remove(key);
                if keys.len() <= FLAT_POSTING / 2 {
                    *self = Posting::Few(keys.iter().cloned().collect());
                }
                false
            }
        }
    }

    /// Appends up to `limit` keys from `from` on.
    fn take(&self, from: Bound<&str>, limit: usize, out: &mut Vec<Arc<str>>) {
        match self {
            Posting::Few(keys) => {
                let start = match from {
                    Bound::Unbounded => 0,
                    Bound::Included(bound) => keys.partition_point(|key| &**key < bound),
                    Bound::Excluded(bound) => keys.partition_point(|key| &**key <= bound),
                };
                out.extend(keys[start..].iter().take(limit).cloned());
            }
            Posting::Many(keys) => out.extend(keys.range::<_, str>((from, Bound::Unbounded)).take(limit).cloned()),
        }
    }
}

/// The objects of a resource and their indexes.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    objects: OrdMap<Arc<str>, Arc<Entry>>,
    terms: HashMap<Arc<Term>, Posting>,
    /// The revision of the last change of this resource (or of the load).
    pub revision: i64,
}

impl State {
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.objects.get(key)
    }

    /// Makes an entry whose terms are shared with the entries that are there.
    pub fn entry(&self, key: &str, value: &[u8], revision: i64, extract: &dyn Extract) -> Arc<Entry> {
        let key = self.objects.get_key_value(key).map_or_else(|| Arc::from(key), |(known, _)| known.clone());
        let intern = |term: Term| match self.terms.get_key_value(&term) {
            Some((known, _)) => known.clone(),
            None => Arc::new(term),
        };
        Arc::new(Entry::new(key, value, revision, extract, intern))
    }

    /// Puts an entry and returns the one that it replaces.
    pub fn put(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let previous = self.objects.insert(entry.key().clone(), entry.clone());
        let old = previous.as_ref().map_or(&[][..], |previous| previous.terms());
        for term in entry.terms() {
            if !old.contains(term) {
                match self.terms.get_mut(term) {
                    Some(posting) => posting.insert(entry.key().clone()),
                    None => {
                        let posting = Posting::Few([entry.key().clone()].into());
                        self.terms.insert(term.clone(), posting);
                    }
                }
            }
        }
        for term in old {
            if !entry.terms().contains(term) {
                self.unpost(term, entry.key());
            }
        }
        previous
    }

    /// Removes an entry and returns it.
    pub fn remove(&mut self, key: &str) -> Option<Arc<Entry>> {
        let previous = self.objects.remove(key)?;
        for term in previous.terms() {
            self.unpost(term, key);
        }
        Some(previous)
    }

    fn unpost(&mut self, term: &Arc<Term>, key: &str) {
        let Some(posting) = self.terms.get_mut(term) else { return };
        if posting.remove(key) {
            self.terms.remove(term);
        }
    }
}

/// A readable state of a resource. It stays as it is whatever is written later.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) state: Arc<State>,
    pub(crate) revision: i64,
}

impl Snapshot {
    /// The revision of the store that this state is true of.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An object; `namespace` is empty for cluster-scoped resources.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        if namespace.is_empty() {
            return self.state.get(name).cloned();
        }
        self.state.get(&format!("{namespace}/{name}")).cloned()
    }

    /// All objects in the order of their keys.
    pub fn entries(&self) -> Entries {
        Entries::new(self.state.clone(), Selector::default(), None)
    }

    /// The selected objects in the order of their keys.
    pub fn select(&self, selector: Selector) -> Entries {
        match selector.normalized() {
            Some(selector) => Entries::new(self.state.clone(), selector, None),
            None => Entries::nothing(),
        }
    }
}

/// An iterator over selected entries that owns its state: it may live as long as a slow response.
#[derive(Debug)]
pub struct Entries {
    state: Arc<State>,
    selector: Selector,
    driver: Driver,
    position: Bound<Arc<str>>,
    chunk: VecDeque<Arc<Entry>>,
    done: bool,
}

/// What the iterator walks along.
#[derive(Debug)]
enum Driver {
    /// One key.
    One(String),
    /// The whole map, or those keys that begin with a namespace.
    Range(Option<String>),
    /// The keys that have a term.
    Term(Term),
}

impl Entries {
    /// `selector` must be normalized. `after` is the last key of a page before.
    pub(crate) fn new(state: Arc<State>, selector: Selector, after: Option<&str>) -> Self {
        let prefix = selector.namespace.as_ref().map(|namespace| format!("{namespace}/"));
        let driver = match (&selector.name, &prefix, selector.term()) {
            (Some(name), Some(prefix), _) => Driver::One(format!("{prefix}{name}")),
            (_, _, Some(term)) => Driver::Term(term),
            (_, _, None) => Driver::Range(prefix.clone()),
        };
        let start = match (&driver, prefix) {
            (Driver::Range(_) | Driver::Term(_), Some(prefix)) => Bound::Included(Arc::from(prefix)),
            _ => Bound::Unbounded,
        };
        let position = match (after, start) {
            (Some(after), Bound::Included(start)) if *start > *after => Bound::Included(start),
            (Some(after), _) => Bound::Excluded(Arc::from(after)),
            (None, start) => start,
        };
        Self { state, selector, driver, position, chunk: VecDeque::new(), done: false }
    }

    pub(crate) fn nothing() -> Self {
        let mut entries = Self::new(Arc::default(), Selector::all(), None);
        entries.done = true;
        entries
    }

    fn refill(&mut self) {
        let from = match &self.position {
            Bound::Included(key) => Bound::Included(&**key),
            Bound::Excluded(key) => Bound::Excluded(&**key),
            Bound::Unbounded => Bound::Unbounded,
        };
        let mut found: Vec<Arc<Entry>> = Vec::new();
        match &self.driver {
            Driver::One(key) => {
                let passed = matches!(from, Bound::Excluded(after) if after >= key.as_str());
                if !passed {
                    found.extend(self.state.get(key).cloned());
                }
                self.done = true;
            }
            Driver::Range(prefix) => {
                let range = self.state.objects.range::<_, str>((from, Bound::Unbounded)).take(CHUNK);
                found.extend(range.map(|(_, entry)| entry.clone()));
                self.done = found.len() < CHUNK;
                if let Some(prefix) = prefix {
                    let inside = found.partition_point(|entry| entry.key().starts_with(prefix.as_str()));
                    self.done |= inside < found.len();
                    found.truncate(inside);
                }
            }
            Driver::Term(term) => {
                let mut keys = Vec::with_capacity(CHUNK.min(16));
                if let Some(posting) = self.state.terms.get(term) {
                    posting.take(from, CHUNK, &mut keys);
                }
                self.done = keys.len() < CHUNK;
                found.extend(keys.iter().filter_map(|key| self.state.get(key).cloned()));
            }
        }
        if let Some(last) = found.last() {
            self.position = Bound::Excluded(last.key().clone());
        }
        self.chunk.extend(found);
    }
}

impl Iterator for Entries {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        loop {
            match self.chunk.pop_front() {
                Some(entry) if self.selector.matches(&entry) => return Some(entry),
                Some(_) => {}
                None if self.done => return None,
                None => self.refill(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::NoFields;
    use super::*;

    fn state(objects: impl IntoIterator<Item = (String, String)>) -> Snapshot {
        let mut state = State::default();
        for (revision, (key, app)) in objects.into_iter().enumerate() {
            let value = format!(r#"{{"metadata":{{"labels":{{"app":"{app}"}}}}}}"#);
            let entry = state.entry(&key, value.as_bytes(), revision as i64 + 1, &NoFields);
            state.put(entry);
        }
        Snapshot { revision: state.revision, state: Arc::new(state) }
    }

    fn keys(entries: Entries) -> Vec<String> {
        entries.map(|entry| entry.key().to_string()).collect()
    }

    #[test]
    fn selections_use_every_driver_and_agree_with_a_scan() {
        let objects = (0..1000).map(|i| (format!("n{}/p{i:04}", i % 3), format!("a{}", i % 7)));
        let snapshot = state(objects);
        let selectors = [
            Selector::all(),
            Selector::namespace("n1"),
            Selector::all().label("app", "a3"),
            Selector::namespace("n2").label("app", "a3"),
            Selector::namespace("n1").field("metadata.name", "p0001"),
            Selector::all().field("metadata.name", "p0001"),
            Selector::namespace("n"),
            Selector::all().label("app", "none"),
        ];
        for selector in selectors {
            let normal = selector.clone().normalized().unwrap();
            let expected: Vec<String> = snapshot
                .state
                .objects
                .values()
                .filter(|entry| normal.matches(entry))
                .map(|entry| entry.key().to_string())
                .collect();
            assert_eq!(keys(snapshot.select(selector.clone())), expected, "{selector:?}");
            // Any page boundary gives the same whole.
            for cut in [0, 1, expected.len() / 2, expected.len().saturating_sub(1)] {
                if let Some(after) = expected.get(cut) {
                    let rest = Entries::new(snapshot.state.clone(), normal.clone(), Some(after));
                    assert_eq!(keys(rest), expected[cut + 1..], "{selector:?} after {after}");
                }
            }
        }
    }

    #[test]
    fn postings_follow_changes_of_terms() {
        let mut state = (*state((0..100).map(|i| (format!("p{i:03}"), "x".to_owned()))).state).clone();
        let before = Snapshot { state: Arc::new(state.clone()), revision: 0 };
        for i in 0..95 {
            let entry = state.entry(&format!("p{i:03}"), br#"{"metadata":{"labels":{"app":"y"}}}"#, 200, &NoFields);
            state.put(entry);
        }
        state.remove("p099");
        let after = Snapshot { state: Arc::new(state.clone()), revision: 0 };
        assert_eq!(keys(after.select(Selector::all().label("app", "x"))), ["p095", "p096", "p097", "p098"]);
        assert_eq!(after.select(Selector::all().label("app", "y")).count(), 95);
        assert_eq!(before.select(Selector::all().label("app", "x")).count(), 100);
        for i in 0..100 {
            state.remove(&format!("p{i:03}"));
        }
        assert!(state.terms.is_empty());
    }
}
