//! The watch cache: all objects as ready bytes, kept up to date by one watch over the whole store.
//!
//! One task ingests the store's changes and files them by resource. Per resource there is an immutable
//! snapshot (readers never lock), a bounded history for watches that begin in the past, and the watchers,
//! indexed by what they select. A consistent read asks the store for its revision (one cheap read shared by
//! all that wait) and is answered from the cache as soon as that revision has been seen.
//!
//! Invariants: a snapshot is published before its revision is announced; a change is in the history and with
//! the watchers in the same critical section that publishes it; nothing here waits for a watcher.

mod entry;
mod event;
mod ingest;
mod progress;
mod query;
mod resource;
mod ring;
mod select;
mod snapshot;
#[cfg(test)]
mod tests;
mod watchers;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_api::StatusError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use entry::{Entry, Extract, NoFields, Term};
pub use event::{Event, EventKind};
pub use query::{ListQuery, Version, WatchFrom, WatchQuery};
pub use resource::{Items, List, Resource, ResourceConfig, Watch};
pub use ring::RingLimits;
pub use select::{FieldRequirement, LabelOperator, LabelRequirement, Selector};
pub use snapshot::{Entries, Snapshot};
pub use watchers::QueueLimits;

use super::SharedStore;
use progress::{Asks, Progress};

/// Limits and periods of the cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheOptions {
    /// History per resource.
    pub ring: RingLimits,
    /// What may wait for one watcher.
    pub queue: QueueLimits,
    /// How long a read waits for the cache to become as new as it asks.
    pub patience: Duration,
    /// How often watchers that asked get a bookmark.
    pub bookmark_period: Duration,
}

impl Default for CacheOptions {
    /// Upstream's: reads wait three seconds, bookmarks come about once a minute.
    fn default() -> Self {
        Self {
            ring: RingLimits::default(),
            queue: QueueLimits::default(),
            patience: Duration::from_secs(3),
            bookmark_period: Duration::from_secs(60),
        }
    }
}

/// The cache over a store. Register resources, then start it.
pub struct Cache {
    store: SharedStore,
    options: CacheOptions,
    progress: Arc<Progress>,
    asks: Mutex<Option<Asks>>,
    resources: Mutex<Vec<Resource>>,
}

impl Cache {
    /// A cache that is not filled yet.
    pub fn new(store: SharedStore, options: CacheOptions) -> Self {
        let (progress, asks) = Progress::new(options.patience);
        Self { store, options, progress: Arc::new(progress), asks: Mutex::new(Some(asks)), resources: Mutex::default() }
    }

    /// Adds a resource; before [`Cache::start`]. The handle serves reads as soon as the cache is filled.
    pub fn register(&self, config: ResourceConfig) -> Resource {
        let (ring, queue) = (self.options.ring, self.options.queue);
        let resource = Resource::new(config, self.store.clone(), self.progress.clone(), ring, queue);
        self.resources.lock().push(resource.clone());
        resource
    }

    /// Starts filling and following; once. The task ends with `shutdown`.
    pub fn start(&self, shutdown: CancellationToken) -> JoinHandle<()> {
        let asks = self.asks.lock().take();
        let resources = self.resources.lock().clone();
        let (store, progress) = (self.store.clone(), self.progress.clone());
        let period = self.options.bookmark_period;
        tokio::spawn(async move {
            let Some(asks) = asks else {
                tracing::error!("the watch cache was started twice");
                return;
            };
            let answers = async {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = progress::answer(&*store, asks) => {}
                }
            };
            let follow = ingest::run(store.clone(), resources, progress, period, shutdown.clone());
            futures::join!(answers, follow);
        })
    }

    /// Resolves as soon as the cache is filled.
    ///
    /// # Errors
    ///
    /// `ServiceUnavailable` when that takes longer than reads wait; call again.
    pub async fn ready(&self) -> Result<(), StatusError> {
        self.progress.ready().await
    }

    /// The revision up to which all changes have been seen; 0 before the cache is filled.
    pub fn revision(&self) -> i64 {
        self.progress.reached()
    }

    /// Waits until `revision` has been seen, for instance that of an own write.
    ///
    /// # Errors
    ///
    /// `Timeout` when it takes longer than reads wait.
    pub async fn wait_for(&self, revision: i64) -> Result<(), StatusError> {
        self.progress.wait_for(revision).await
    }
}
