//! The in-memory store, for tests and the simulation. It behaves like etcd, as the contract suite proves,
//! and can be made unreachable.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use imbl::OrdMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::types::{Action, Change, ChangeBatch, ChangeStream, Decide, Hint, Outcome, Page, StoreError, Stored, Write};
use super::{Store, types::Claim};

/// Revisions per batch of a watch that catches up, as in etcd.
const BATCH: usize = 1000;

type Map = OrdMap<String, Stored>;

#[derive(Debug)]
struct State {
    map: Map,
    revision: i64,
    /// The state after each revision that is kept.
    history: BTreeMap<i64, Map>,
    log: BTreeMap<i64, Vec<Change>>,
    /// Revisions before this one are gone.
    oldest: i64,
    reachable: bool,
    /// Which timer may remove a key.
    timers: HashMap<String, u64>,
    next_timer: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Changed on every write, and when the store comes back.
    news: watch::Sender<i64>,
}

/// A store in memory; clones are the same store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store at revision 1, as etcd begins.
    pub fn new() -> Self {
        let state = State {
            map: Map::new(),
            revision: 1,
            history: BTreeMap::from([(1, Map::new())]),
            log: BTreeMap::new(),
            oldest: 1,
            reachable: true,
            timers: HashMap::new(),
            next_timer: 0,
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), news: watch::Sender::new(1) }) }
    }

    /// Makes the store unreachable or reachable again: requests fail, watches fall silent.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.state.lock().reachable = reachable;
        self.shared.news.send_modify(|_| {});
    }
}

impl State {
    fn check(&self) -> Result<(), StoreError> {
        if self.reachable { Ok(()) } else { Err(StoreError::Unavailable("the store is switched off".into())) }
    }

    /// Writes one transaction; every key at most once, as etcd demands.
    fn commit(&mut self, writes: Vec<(String, Option<Bytes>)>) -> i64 {
        let mut changes = Vec::new();
        let revision = self.revision + 1;
        for (key, value) in writes {
            let changed = match &value {
                Some(value) => {
                    self.map.insert(key.clone(), Stored { value: value.clone(), revision });
                    true
                }
                None => self.map.remove(&key).is_some(),
            };
            self.timers.remove(&key);
            if changed {
                changes.push(Change { key, value, revision });
            }
        }
        if !changes.is_empty() {
            self.revision = revision;
            self.history.insert(revision, self.map.clone());
            self.log.insert(revision, changes);
        }
        self.revision
    }

    fn batch(&self, from: i64) -> Result<Option<ChangeBatch>, StoreError> {
        if from <= self.oldest && from <= self.revision && self.oldest > 1 && from < self.oldest {
            return Err(StoreError::Compacted { oldest: self.oldest });
        }
        if !self.reachable || from > self.revision {
            return Ok(None);
        }
        let changes: Vec<Change> = self.log.range(from..).take(BATCH).flat_map(|(_, one)| one.clone()).collect();
        Ok((!changes.is_empty()).then_some(ChangeBatch { changes }))
    }
}

impl Shared {
    /// Applies a decision under the lock.
    fn apply(
        &self,
        state: &mut State,
        key: &str,
        present: Option<Stored>,
        write: Write,
    ) -> Result<(Outcome, Option<(Duration, u64)>), StoreError> {
        if let Some(taken) = write.claims.iter().find(|claim| state.map.contains_key(&claim.key)) {
            return Err(StoreError::Claimed(taken.key.clone()));
        }
        let mut writes: Vec<(String, Option<Bytes>)> = Vec::new();
        writes.extend(write.note.map(|note| (note.key, Some(note.value))));
        let mut timer = None;
        match &write.action {
            Action::Put { value, ttl } => {
                writes.push((key.to_owned(), Some(value.clone())));
                timer = *ttl;
            }
            Action::Delete if present.is_some() => writes.push((key.to_owned(), None)),
            Action::Delete | Action::Keep => {}
        }
        writes.extend(write.claims.into_iter().map(|Claim { key, value }| (key, Some(value))));
        writes.extend(write.releases.into_iter().map(|key| (key, None)));
        let revision = state.commit(writes);
        let timer = timer.map(|ttl| {
            state.next_timer += 1;
            state.timers.insert(key.to_owned(), state.next_timer);
            (ttl, state.next_timer)
        });
        self.news.send_replace(revision);
        let outcome = match (write.action, present) {
            (Action::Put { value, .. }, previous) => Outcome::Put { stored: Stored { value, revision }, previous },
            (Action::Delete, Some(last)) => Outcome::Deleted { last, revision },
            (Action::Delete | Action::Keep, present) => Outcome::Kept(present),
        };
        Ok((outcome, timer))
    }

    fn expire(&self, key: &str, timer: u64) {
        let mut state = self.state.lock();
        if state.timers.get(key) == Some(&timer) {
            let revision = state.commit(vec![(key.to_owned(), None)]);
            self.news.send_replace(revision);
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(state.map.get(key).cloned())
    }

    async fn update(&self, key: &str, hint: Hint, decide: &mut Decide<'_>) -> Result<Outcome, StoreError> {
        // A hint is tried first, as by the etcd store, so that tests meet stale ones here too.
        let believed = match hint {
            Hint::Unknown => self.get(key).await?,
            Hint::Absent => None,
            Hint::Present(stored) => Some(stored),
        };
        let first = decide(believed.as_ref());
        let (outcome, timer) = {
            let mut state = self.shared.state.lock();
            state.check()?;
            let present = state.map.get(key).cloned();
            let same = present.as_ref().map(|one| one.revision) == believed.as_ref().map(|one| one.revision);
            let write = match first {
                Ok(write) if same => write,
                Err(status) if same => return Err(StoreError::Rejected(status)),
                _ => decide(present.as_ref()).map_err(StoreError::Rejected)?,
            };
            self.shared.apply(&mut state, key, present, write)?
        };
        if let Some((ttl, timer)) = timer {
            let (shared, key): (Weak<Shared>, _) = (Arc::downgrade(&self.shared), key.to_owned());
            tokio::spawn(async move {
                tokio::time::sleep(ttl).await;
                if let Some(shared) = shared.upgrade() {
                    shared.expire(&key, timer);
                }
            });
        }
        Ok(outcome)
    }

    async fn list(
        &self,
        prefix: &str,
        revision: Option<i64>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let state = self.shared.state.lock();
        state.check()?;
        let revision = revision.unwrap_or(state.revision);
        if revision > state.revision {
            return Err(StoreError::Future);
        }
        let map = match state.history.range(..=revision).next_back() {
            Some((_, map)) if revision >= state.oldest => map,
            _ => return Err(StoreError::Compacted { oldest: state.oldest }),
        };
        let start = match after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Included(prefix),
        };
        let range = map.range::<_, str>((start, std::ops::Bound::Unbounded));
        let mut all = range.take_while(|(key, _)| key.starts_with(prefix));
        let limit = if limit == 0 { usize::MAX } else { limit };
        let items: Vec<(String, Stored)> =
            all.by_ref().take(limit).map(|(key, stored)| (key.clone(), stored.clone())).collect();
        let rest = all.count();
        let count = i64::try_from(items.len() + rest).unwrap_or(i64::MAX);
        Ok(Page { items, revision, more: rest > 0, count })
    }

    async fn watch(&self, from: i64) -> Result<ChangeStream, StoreError> {
        let shared = self.shared.clone();
        let news = shared.news.subscribe();
        let changes = stream::unfold(Some((shared, news, from)), |watching| async move {
            let (shared, mut news, from) = watching?;
            loop {
                news.borrow_and_update();
                let batch = shared.state.lock().batch(from);
                match batch {
                    Err(error) => return Some((Err(error), None)),
                    Ok(Some(batch)) => {
                        let next = batch.changes.last().map_or(from, |change| change.revision + 1);
                        return Some((Ok(batch), Some((shared, news, next))));
                    }
                    Ok(None) => news.changed().await.ok()?,
                }
            }
        });
        Ok(Box::pin(changes))
    }

    async fn current_revision(&self) -> Result<i64, StoreError> {
        let state = self.shared.state.lock();
        state.check()?;
        Ok(state.revision)
    }

    async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        let mut state = self.shared.state.lock();
        state.check()?;
        if revision > state.revision {
            return Err(StoreError::Future);
        }
        if revision <= state.oldest && state.oldest > 1 {
            return Err(StoreError::Compacted { oldest: state.oldest });
        }
        state.oldest = revision;
        // The state as of the compacted revision stays readable.
        let base = state.history.range(..=revision).next_back().map(|(_, map)| map.clone()).unwrap_or_default();
        state.history = state.history.split_off(&revision);
        state.history.entry(revision).or_insert(base);
        state.log = state.log.split_off(&revision);
        Ok(())
    }
}
