//! The one task that fills the cache and keeps it up to date.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::resource::Resource;
use super::snapshot::State;
use crate::storage::types::{Change, ChangeBatch, StoreError};
use crate::storage::{SharedStore, final_state};

/// Objects per page of a load.
const PAGE: usize = 500;

/// How many resources are loaded at a time; etcd answers ranges on as many cores.
const PARALLEL_LOADS: usize = 4;

/// The first and the longest pause before a load is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Finds the resource that a key belongs to.
pub(super) struct Router {
    by_prefix: HashMap<String, Resource>,
}

impl Router {
    pub fn new(resources: &[Resource]) -> Self {
        let by_prefix = resources.iter().map(|one| (one.config().prefix.clone(), one.clone())).collect();
        Self { by_prefix }
    }

    fn insert(&mut self, resource: Resource) {
        self.by_prefix.insert(resource.config().prefix.clone(), resource);
    }

    fn remove(&mut self, prefix: &str) -> Option<Resource> {
        self.by_prefix.remove(prefix)
    }

    fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.by_prefix.values()
    }

    /// The resource with the longest prefix of `key`.
    fn route(&self, key: &str) -> Option<&Resource> {
        let mut end = key.len();
        while let Some(slash) = key[..end].rfind('/') {
            if let Some(resource) = self.by_prefix.get(&key[..=slash]) {
                return Some(resource);
            }
            end = slash;
        }
        None
    }

    /// Applies a batch, in runs of changes of one resource.
    fn apply(&self, batch: &ChangeBatch) {
        let mut runs: Vec<(&Resource, &str, Vec<Change>)> = Vec::new();
        for change in &batch.changes {
            let shown = final_state::shown(change);
            let change = shown.as_ref().unwrap_or(change);
            let Some(resource) = self.route(&change.key) else { continue };
            let prefix = resource.config().prefix.as_str();
            if change.key.len() == prefix.len() {
                continue;
            }
            match runs.iter_mut().find(|(_, known, _)| *known == prefix) {
                Some((_, _, changes)) => changes.push(change.clone()),
                None => runs.push((resource, prefix, vec![change.clone()])),
            }
        }
        for (resource, _, changes) in runs {
            resource.apply(&changes);
        }
    }
}

/// A change of what the cache holds, while it runs.
pub(super) enum Command {
    /// Loads a resource and follows it.
    Add { resource: Resource, done: oneshot::Sender<Result<(), StoreError>> },
    /// Ends the watches of a resource and forgets it.
    Remove { prefix: String, done: oneshot::Sender<()> },
}

/// The task's parts.
pub(super) struct Ingest {
    pub store: SharedStore,
    pub progress: Arc<Progress>,
    pub bookmark_period: Duration,
    pub commands: mpsc::Receiver<Command>,
}

impl Ingest {
    /// Runs until `shutdown`.
    pub async fn run(mut self, resources: Vec<Resource>, shutdown: CancellationToken) {
        let mut router = Router::new(&resources);
        drop(resources);
        let mut bookmarks = interval_at(Instant::now() + self.bookmark_period, self.bookmark_period);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = RETRY.0;
        loop {
            let filled = tokio::select! {
                () = shutdown.cancelled() => return,
                filled = fill(&self.store, router.resources().cloned().collect()) => filled,
            };
            let failure = match filled {
                Err(error) => error,
                Ok(revision) => {
                    pause = RETRY.0;
                    self.progress.advance(revision);
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        error = self.follow(&mut router, &mut bookmarks, revision) => error,
                    }
                }
            };
            tracing::warn!(error = %failure, "the watch cache is loaded again");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Applies all changes after `revision`; returns why it cannot go on.
    async fn follow(&mut self, router: &mut Router, bookmarks: &mut Interval, revision: i64) -> StoreError {
        let mut changes = match self.store.watch(revision + 1).await {
            Ok(changes) => changes,
            Err(error) => return error,
        };
        loop {
            tokio::select! {
                batch = changes.next() => {
                    let batch = match batch {
                        Some(Ok(batch)) => batch,
                        Some(Err(error)) => return error,
                        None => return StoreError::Unavailable("the watch ended".into()),
                    };
                    router.apply(&batch);
                    if let Some(last) = batch.changes.last() {
                        self.progress.advance(last.revision);
                    }
                }
                now = bookmarks.tick() => router.resources().for_each(|resource| resource.tick(now)),
                Some(command) = self.commands.recv() => self.carry_out(command, router).await,
            }
        }
    }

    /// Between two batches: what is loaded as of the revision reached misses nothing that follows. The others wait
    /// meanwhile; a resource that is added to a running server is new or small.
    async fn carry_out(&self, command: Command, router: &mut Router) {
        match command {
            Command::Add { resource, done } => {
                let revision = self.progress.reached();
                let loaded = load(self.store.clone(), resource.clone(), revision).await;
                let answer = loaded.map(|state| {
                    resource.replace(state, revision);
                    router.insert(resource);
                });
                // Who asked may have gone; the resource stays until it is removed.
                done.send(answer).ok();
            }
            Command::Remove { prefix, done } => {
                if let Some(resource) = router.remove(&prefix) {
                    resource.replace(State::default(), self.progress.reached());
                }
                done.send(()).ok();
            }
        }
    }
}

/// Loads all resources as of one revision and returns it.
async fn fill(store: &SharedStore, resources: Vec<Resource>) -> Result<i64, StoreError> {
    let begun = Instant::now();
    let revision = store.current_revision().await?;
    // Owned tasks, so that reading one page and fetching another use both cores.
    let mut loaded: Vec<(Resource, State)> = Vec::with_capacity(resources.len());
    let mut loads = futures::stream::iter(resources.into_iter().map(|resource| {
        let store = store.clone();
        let task = tokio::spawn(async move {
            let state = load(store, resource.clone(), revision).await?;
            Ok::<_, StoreError>((resource, state))
        });
        AbortOnDrop(task)
    }))
    .buffer_unordered(PARALLEL_LOADS);
    while let Some(done) = loads.next().await {
        loaded.push(done.map_err(|error| StoreError::Internal(error.to_string()))??);
    }
    let objects: usize = loaded.iter().map(|(_, state)| state.len()).sum();
    // Nobody sees a part: the revision that readers wait for is announced by the caller, afterwards.
    for (resource, state) in loaded {
        resource.replace(state, revision);
    }
    tracing::info!(objects, revision, elapsed = ?begun.elapsed(), "the watch cache is filled");
    Ok(revision)
}

/// A task that goes with whoever waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn load(store: SharedStore, resource: Resource, revision: i64) -> Result<State, StoreError> {
    let mut state = State::default();
    let mut after: Option<String> = None;
    let prefix = &resource.config().prefix;
    let mut next = Some(store.list(prefix, Some(revision), None, PAGE).await?);
    while let Some(page) = next.take() {
        after = page.items.last().map(|(key, _)| key.clone()).or(after);
        if page.more {
            // The next page is on its way while this one is read.
            let fetch = store.list(prefix, Some(revision), after.as_deref(), PAGE);
            let read = async {
                tokio::task::yield_now().await;
                resource.load_into(&mut state, page.items);
            };
            let (fetched, ()) = futures::join!(fetch, read);
            next = Some(fetched?);
        } else {
            resource.load_into(&mut state, page.items);
        }
    }
    Ok(state)
}
