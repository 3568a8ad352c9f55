//! One resource in the cache: its snapshot, recent changes and watchers, and the reads on them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::Stream;
use parking_lot::Mutex;
use reeve_api::{GroupVersionResource, StatusError};
use tokio::time::Instant;

use super::entry::{Entry, Extract};
use super::event::{Event, EventKind};
use super::progress::Progress;
use super::query::{ContinueToken, ListQuery, Version, WatchFrom, WatchQuery, too_large};
use super::ring::{Applied, Ring, RingLimits};
use super::select::Selector;
use super::snapshot::{Entries, Snapshot, State};
use super::watchers::{QueueLimits, Taken, Watcher, Watchers, classify};
use crate::storage::SharedStore;
use crate::storage::types::{Change, Hint, StoreError};

/// How many snapshots a resource keeps for lists that are continued.
const KEPT_SNAPSHOTS: usize = 8;

/// How long after its last use a kept snapshot goes: the time after which the store compacts.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// How many objects are read from the store at a time when a list asks for a version that the cache no
/// longer has.
const STORE_PAGE: usize = 500;

/// The first revision that any client can have been told: at the one before the store was empty.
const FIRST_REVISION: i64 = 2;

/// How many initial events a watch gives at a time.
const INITIAL_BATCH: usize = 128;

/// What the cache needs to know of a resource.
#[derive(Clone)]
pub struct ResourceConfig {
    /// Its name, for error messages.
    pub resource: GroupVersionResource,
    /// The `apiVersion` of stored objects, for bookmarks.
    pub api_version: String,
    /// The kind of its objects, for bookmarks.
    pub kind: String,
    /// The prefix of its keys, with a slash at the end: `/registry/pods/`.
    pub prefix: String,
    /// Reads the selectable fields.
    pub extract: Arc<dyn Extract>,
}

/// What ingest and watch registration change together.
struct Core {
    ring: Ring,
    watchers: Watchers,
    kept: VecDeque<Kept>,
}

struct Kept {
    revision: i64,
    state: Arc<State>,
    used: Instant,
}

struct Inner {
    config: ResourceConfig,
    store: SharedStore,
    progress: Arc<Progress>,
    queue_limits: QueueLimits,
    current: ArcSwap<State>,
    core: Mutex<Core>,
}

/// A handle on a resource of the cache; cheap to clone.
#[derive(Clone)]
pub struct Resource {
    inner: Arc<Inner>,
}

/// The answer of a list.
#[derive(Debug)]
pub struct List {
    /// The `resourceVersion` of the list.
    pub revision: i64,
    /// The objects, in the order of their keys, taken from the snapshot as they are asked for.
    pub items: Items,
    /// The token for the rest, when a limit cut the list.
    pub continue_token: Option<String>,
    /// How many objects the rest has, when that is known without a filter.
    pub remaining: Option<i64>,
}

/// The objects of a list.
#[derive(Debug)]
pub enum Items {
    /// From a snapshot.
    Snapshot(Box<Entries>),
    /// A page.
    Page(std::vec::IntoIter<Arc<Entry>>),
}

impl Iterator for Items {
    type Item = Arc<Entry>;

    fn next(&mut self) -> Option<Arc<Entry>> {
        match self {
            Items::Snapshot(entries) => entries.next(),
            Items::Page(entries) => entries.next(),
        }
    }
}

// === impl Resource: ingest ===

impl Resource {
    pub(super) fn new(
        config: ResourceConfig,
        store: SharedStore,
        progress: Arc<Progress>,
        ring_limits: RingLimits,
        queue_limits: QueueLimits,
    ) -> Self {
        let core = Core { ring: Ring::new(ring_limits), watchers: Watchers::default(), kept: VecDeque::new() };
        let inner =
            Inner { config, store, progress, queue_limits, current: ArcSwap::default(), core: Mutex::new(core) };
        Self { inner: Arc::new(inner) }
    }

    /// Replaces everything by a fresh load. Watches that were running cannot know what they missed: they end
    /// with 410 and their clients list again.
    pub(super) fn replace(&self, mut state: State, revision: i64) {
        state.revision = revision;
        let mut core = self.inner.core.lock();
        let oldest = core.ring.start();
        core.watchers.fail(&StatusError::expired(format!("too old resource version: {oldest} ({revision})")));
        core.ring.reset(revision);
        self.inner.current.store(Arc::new(state));
    }

    /// Applies changes of this resource, in order, and gives them to the watchers.
    pub(super) fn apply(&self, changes: &[Change]) {
        let config = &self.inner.config;
        let mut state = State::clone(&self.inner.current.load());
        let mut applied = Vec::with_capacity(changes.len());
        for change in changes {
            let key = &change.key[config.prefix.len()..];
            state.revision = change.revision;
            let change = match &change.value {
                Some(value) => {
                    let entry = state.entry(key, value, change.revision, &*config.extract);
                    let previous = state.put(entry.clone());
                    Applied { revision: change.revision, previous, current: Some(entry) }
                }
                None => match state.remove(key) {
                    Some(previous) => Applied { revision: change.revision, previous: Some(previous), current: None },
                    None => continue,
                },
            };
            applied.push(Arc::new(change));
        }
        let mut core = self.inner.core.lock();
        self.inner.current.store(Arc::new(state));
        for change in applied {
            core.watchers.dispatch(&change);
            core.ring.push(change);
        }
    }

    /// The minute's tick: bookmarks go out, unused snapshots go away.
    pub(super) fn tick(&self, now: Instant) {
        let mut core = self.inner.core.lock();
        core.kept.retain(|kept| now.duration_since(kept.used) < KEPT_FOR);
        // Read under the lock: all changes up to there have been dispatched.
        let revision = self.inner.progress.reached();
        let event = Event::bookmark(&self.inner.config.api_version, &self.inner.config.kind, revision, false);
        core.watchers.bookmark(&Arc::new(event));
    }

    /// Makes the entries of a page that was read from the store.
    pub(super) fn load_into(&self, state: &mut State, page: Vec<(String, crate::storage::Stored)>) {
        for (key, stored) in page {
            let key = &key[self.inner.config.prefix.len()..];
            let entry = state.entry(key, &stored.value, stored.revision, &*self.inner.config.extract);
            state.put(entry);
        }
    }
}

// === impl Resource: reads ===

impl Resource {
    /// What the resource was registered with.
    pub fn config(&self) -> &ResourceConfig {
        &self.inner.config
    }

    /// The store key of an object; `namespace` is empty for cluster-scoped resources.
    pub fn key(&self, namespace: &str, name: &str) -> String {
        let prefix = &self.inner.config.prefix;
        if namespace.is_empty() { format!("{prefix}{name}") } else { format!("{prefix}{namespace}/{name}") }
    }

    /// The present state, without waiting.
    pub fn snapshot(&self) -> Snapshot {
        // In this order: the state read second holds at least what the revision read first promises.
        let reached = self.inner.progress.reached();
        let state = self.inner.current.load_full();
        Snapshot { revision: reached.max(state.revision), state }
    }

    /// The revision of the newest change of this resource: what was derived from it stays right until it grows.
    pub fn changed(&self) -> i64 {
        self.inner.current.load().revision
    }

    /// What an update of the object may be decided on before the store is asked.
    pub fn hint(&self, namespace: &str, name: &str) -> Hint {
        match self.snapshot().get(namespace, name) {
            Some(entry) => Hint::Present(entry.stored()),
            None => Hint::Absent,
        }
    }

    /// The state as new as `version` asks. `Exact` is only for lists and counts as `NotOlderThan` here.
    ///
    /// # Errors
    ///
    /// `ServiceUnavailable` when the store cannot tell its revision in time, `Timeout` when the version is not
    /// reached in time.
    pub async fn fresh(&self, version: Version) -> Result<Snapshot, StatusError> {
        let progress = &self.inner.progress;
        match version {
            Version::Consistent => progress.consistent().await?,
            Version::Any => progress.ready().await?,
            Version::NotOlderThan(revision) | Version::Exact(revision) => progress.wait_for(revision).await?,
        };
        Ok(self.snapshot())
    }

    /// One object.
    ///
    /// # Errors
    ///
    /// Those of [`Resource::fresh`].
    pub async fn get(&self, namespace: &str, name: &str, version: Version) -> Result<Option<Arc<Entry>>, StatusError> {
        Ok(self.fresh(version).await?.get(namespace, name))
    }

    /// The selected objects.
    ///
    /// # Errors
    ///
    /// Those of [`Resource::fresh`]; `BadRequest` for a malformed token; `Expired` for a version that is gone.
    pub async fn list(&self, query: ListQuery) -> Result<List, StatusError> {
        let token = query.continue_token.as_deref().map(ContinueToken::decode).transpose()?;
        let version = match &token {
            Some(token) if token.rv < 0 => Version::Consistent,
            Some(token) => Version::Exact(token.rv),
            None => query.version,
        };
        let after = token.as_ref().map(ContinueToken::after);
        let Some(selector) = query.selector.normalized() else {
            let revision = self.fresh(version).await?.revision();
            let items = Items::Snapshot(Box::new(Entries::nothing()));
            return Ok(List { revision, items, continue_token: None, remaining: None });
        };
        let snapshot = match version {
            Version::Exact(revision) => match self.exact(revision).await? {
                Some(snapshot) => snapshot,
                None => return self.list_from_store(revision, selector, after, query.limit).await,
            },
            other => self.fresh(other).await?,
        };
        Ok(self.list_snapshot(snapshot, selector, after, query.limit))
    }

    /// The snapshot of exactly a revision, when it is still at hand.
    async fn exact(&self, revision: i64) -> Result<Option<Snapshot>, StatusError> {
        self.inner.progress.wait_for(revision).await?;
        let now = self.snapshot();
        if now.state.revision <= revision {
            return Ok(Some(Snapshot { state: now.state, revision }));
        }
        let mut core = self.inner.core.lock();
        let kept = core.kept.iter_mut().find(|kept| kept.revision == revision);
        Ok(kept.map(|kept| {
            kept.used = Instant::now();
            Snapshot { state: kept.state.clone(), revision }
        }))
    }

    fn list_snapshot(&self, snapshot: Snapshot, selector: Selector, after: Option<&str>, limit: usize) -> List {
        let revision = snapshot.revision;
        let counted = !selector.is_filtered();
        let mut entries = Entries::new(snapshot.state.clone(), selector, after);
        if limit == 0 {
            let items = Items::Snapshot(Box::new(entries));
            return List { revision, items, continue_token: None, remaining: None };
        }
        let page: Vec<Arc<Entry>> = entries.by_ref().take(limit).collect();
        let rest = entries.next();
        let token = page.last().filter(|_| rest.is_some()).map(|last| {
            self.keep(&snapshot);
            ContinueToken::new(revision, last.key()).encode()
        });
        let remaining = (counted && rest.is_some()).then(|| i64::try_from(entries.count() + 1).unwrap_or(i64::MAX));
        List { revision, items: Items::Page(page.into_iter()), continue_token: token, remaining }
    }

    fn keep(&self, snapshot: &Snapshot) {
        let mut core = self.inner.core.lock();
        if core.kept.iter().any(|kept| kept.revision == snapshot.revision) {
            return;
        }
        if core.kept.len() == KEPT_SNAPSHOTS {
            core.kept.pop_front();
        }
        let kept = Kept { revision: snapshot.revision, state: snapshot.state.clone(), used: Instant::now() };
        core.kept.push_back(kept);
    }

    /// A list at a revision that only the store still has.
    async fn list_from_store(
        &self,
        revision: i64,
        selector: Selector,
        after: Option<&str>,
        limit: usize,
    ) -> Result<List, StatusError> {
        let config = &self.inner.config;
        let prefix = match &selector.namespace {
            Some(namespace) => format!("{}{namespace}/", config.prefix),
            None => config.prefix.clone(),
        };
        let mut position = after.map(|after| format!("{}{after}", config.prefix));
        let mut found: Vec<Arc<Entry>> = Vec::new();
        let wanted = if limit == 0 { usize::MAX } else { limit + 1 };
        let mut more = true;
        while more && found.len() < wanted {
            let page = if revision < FIRST_REVISION {
                Err(StoreError::Compacted { oldest: FIRST_REVISION })
            } else {
                self.inner.store.list(&prefix, Some(revision), position.as_deref(), STORE_PAGE).await
            };
            let page = page.map_err(|error| match error {
                StoreError::Compacted { .. } if after.is_none() => {
                    StatusError::expired("The resourceVersion for the provided list is too old.")
                }
                // A token without a version: the rest of the list as it is now.
                StoreError::Compacted { .. } => StatusError {
                    continue_token: after.map(|after| ContinueToken::new(-1, after).encode().into_boxed_str()),
                    ..StatusError::expired(
                        "The provided continue parameter is too old to display a consistent list result. You can start \
                         a new list without the continue parameter, or use the continue token in this response to \
                         retrieve the remainder of the results. Continuing with the provided token results in an \
                         inconsistent list - objects that were created, modified, or deleted between the time the \
                         first chunk was returned and now may show up in the list.",
                    )
                },
                StoreError::Future => too_large(revision, self.inner.progress.reached()),
                other => other.into(),
            })?;
            more = page.more;
            position = page.items.last().map(|(key, _)| key.clone()).or(position);
            for (key, stored) in page.items {
                let key = Arc::from(&key[config.prefix.len()..]);
                let entry = Entry::new(key, &stored.value, stored.revision, &*config.extract, Arc::new);
                if selector.matches(&entry) {
                    found.push(Arc::new(entry));
                }
            }
        }
        let cut = limit > 0 && found.len() > limit;
        if cut {
            found.truncate(limit);
        }
        let token = found.last().filter(|_| cut).map(|last| ContinueToken::new(revision, last.key()).encode());
        Ok(List { revision, items: Items::Page(found.into_iter()), continue_token: token, remaining: None })
    }

    /// Watches the selected objects.
    ///
    /// # Errors
    ///
    /// Those of [`Resource::fresh`]; `Expired` when the changes since the asked revision are no longer known.
    pub async fn watch(&self, query: WatchQuery) -> Result<Watch, StatusError> {
        let progress = &self.inner.progress;
        let state_first = query.initial_events.unwrap_or(!matches!(query.from, WatchFrom::Revision(_)));
        match query.from {
            WatchFrom::Now => progress.consistent().await?,
            WatchFrom::Revision(revision) if state_first => progress.wait_for(revision).await?,
            WatchFrom::Any | WatchFrom::Revision(_) => progress.ready().await?,
        };
        // Contradicting conditions select nothing: no object has an empty name.
        let nothing = || Selector { name: Some(String::new()), ..Selector::default() };
        let selector = query.selector.normalized().unwrap_or_else(nothing);

        let mut core = self.inner.core.lock();
        let replay_from = match query.from {
            WatchFrom::Revision(revision) if !state_first => Some(revision),
            _ => None,
        };
        let missed = match replay_from {
            Some(revision) => Some(core.ring.since(revision).ok_or_else(|| {
                StatusError::expired(format!("too old resource version: {revision} ({})", core.ring.start()))
            })?),
            None => None,
        };
        let snapshot = self.snapshot();
        let after = replay_from.unwrap_or(0).max(core.ring.last()).max(snapshot.state.revision);
        let watcher = core.watchers.add(selector.clone(), after, query.bookmarks, self.inner.queue_limits);
        drop(core);

        let replay: Vec<Arc<Event>> = missed
            .iter()
            .flatten()
            .filter_map(|change| {
                let (kind, entry) = classify(&selector, change)?;
                Some(Arc::new(Event::of(kind, entry.clone(), change.revision)))
            })
            .collect();
        let initial = state_first.then(|| {
            let announce = query.bookmarks && query.initial_events == Some(true);
            Initial {
                end: announce.then(|| Arc::new(self.bookmark(snapshot.revision, true))),
                entries: Entries::new(snapshot.state, selector, None),
            }
        });
        Ok(Watch { resource: self.clone(), watcher, replay, initial, ended: false })
    }

    /// Ends all watches, and those that begin from now on.
    pub fn end_watches(&self) {
        self.inner.core.lock().watchers.end();
    }

    /// How many watches are running.
    pub fn watcher_count(&self) -> usize {
        self.inner.core.lock().watchers.len()
    }

    fn bookmark(&self, revision: i64, initial_end: bool) -> Event {
        Event::bookmark(&self.inner.config.api_version, &self.inner.config.kind, revision, initial_end)
    }
}

/// The state that a watch shows before changes.
struct Initial {
    entries: Entries,
    end: Option<Arc<Event>>,
}

/// A running watch: a stream of batches of events. It ends when the watcher was too slow (after a bookmark
/// to resume from, when it asked for bookmarks), or after an error.
pub struct Watch {
    resource: Resource,
    watcher: Arc<Watcher>,
    replay: Vec<Arc<Event>>,
    initial: Option<Initial>,
    ended: bool,
}

/// Tells a watch where it is, ahead of the periodic bookmarks.
pub struct Announcer {
    resource: Resource,
    watcher: Arc<Watcher>,
}

impl Announcer {
    /// Sends a bookmark, if the watch takes them.
    pub fn bookmark(&self) {
        if !self.watcher.wants_bookmarks() {
            return;
        }
        // Under the lock all changes up to the revision are with the watchers.
        let core = self.resource.inner.core.lock();
        let revision = self.resource.inner.progress.reached();
        self.watcher.announce(Arc::new(self.resource.bookmark(revision, false)));
        drop(core);
    }
}

impl Watch {
    /// What can tell this watch where it is.
    pub fn announcer(&self) -> Announcer {
        Announcer { resource: self.resource.clone(), watcher: self.watcher.clone() }
    }
}

impl Stream for Watch {
    type Item = Result<Vec<Arc<Event>>, StatusError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Some(initial) = &mut this.initial {
            let mut batch: Vec<Arc<Event>> = Vec::new();
            for entry in initial.entries.by_ref().take(INITIAL_BATCH) {
                let revision = entry.revision();
                batch.push(Arc::new(Event::of(EventKind::Added, entry, revision)));
            }
            if batch.len() < INITIAL_BATCH {
                batch.extend(initial.end.take());
                this.initial = None;
            }
            if !batch.is_empty() {
                return Poll::Ready(Some(Ok(batch)));
            }
        }
        if !this.replay.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut this.replay))));
        }
        match std::task::ready!(this.watcher.poll(context)) {
            Taken::Events(events) => Poll::Ready(Some(Ok(events))),
            Taken::Slow(revision) => {
                this.ended = true;
                tracing::info!(
                    resource = %this.resource.inner.config.resource,
                    revision,
                    "closed a watch that did not keep up"
                );
                let bookmark =
                    this.watcher.wants_bookmarks().then(|| Ok(vec![Arc::new(this.resource.bookmark(revision, false))]));
                Poll::Ready(bookmark)
            }
            Taken::Failed(error) => {
                this.ended = true;
                Poll::Ready(Some(Err(error)))
            }
            Taken::End => {
                this.ended = true;
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.resource.inner.core.lock().watchers.remove(&self.watcher);
    }
}
