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
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use entry::{Entry, Extract, NoFields, Term};
pub use event::{Event, EventKind};
pub(crate) use query::ContinueToken;
pub use query::{ListQuery, Version, WatchFrom, WatchQuery};
pub use resource::{Announcer, Items, List, Resource, ResourceConfig, Watch};
pub use ring::RingLimits;
pub use select::{FieldRequirement, LabelOperator, LabelRequirement, Selector};
pub use snapshot::{Entries, Snapshot};
pub use watchers::QueueLimits;

use super::{SharedStore, StoreError};
use ingest::{Command, Ingest};
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

/// How many changes of what the cache holds may wait: custom resources come one by one.
const COMMANDS: usize = 16;

/// The cache over a store. Register resources, then start it; more can be added while it runs.
pub struct Cache {
    store: SharedStore,
    options: CacheOptions,
    progress: Arc<Progress>,
    resources: Mutex<Vec<Resource>>,
    commands: mpsc::Sender<Command>,
    /// What the task takes when it starts.
    idle: Mutex<Option<(Asks, mpsc::Receiver<Command>)>>,
}

impl Cache {
    /// A cache that is not filled yet.
    pub fn new(store: SharedStore, options: CacheOptions) -> Self {
        let (progress, asks) = Progress::new(options.patience);
        let (commands, received) = mpsc::channel(COMMANDS);
        Self {
            store,
            options,
            progress: Arc::new(progress),
            resources: Mutex::default(),
            commands,
            idle: Mutex::new(Some((asks, received))),
        }
    }

    /// Adds a resource; before [`Cache::start`]. The handle serves reads as soon as the cache is filled.
    pub fn register(&self, config: ResourceConfig) -> Resource {
        let resource = self.resource(config);
        self.resources.lock().push(resource.clone());
        resource
    }

    fn resource(&self, config: ResourceConfig) -> Resource {
        Resource::new(config, self.store.clone(), self.progress.clone(), self.options.ring, self.options.queue)
    }

    /// Adds a resource while the cache runs. The handle serves reads at once.
    ///
    /// # Errors
    ///
    /// Those of the store, when the resource cannot be loaded; nothing is added then.
    pub async fn add(&self, config: ResourceConfig) -> Result<Resource, StoreError> {
        let resource = self.resource(config);
        let (done, answer) = oneshot::channel();
        self.command(Command::Add { resource: resource.clone(), done }).await?;
        answer.await.map_err(|_| stopped())??;
        Ok(resource)
    }

    /// Forgets the resource with this prefix; its watches end with 410.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the cache has stopped.
    pub async fn remove(&self, prefix: &str) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.command(Command::Remove { prefix: prefix.to_owned(), done }).await?;
        answer.await.map_err(|_| stopped())
    }

    async fn command(&self, command: Command) -> Result<(), StoreError> {
        self.commands.send(command).await.map_err(|_| stopped())
    }

    /// Starts filling and following; once. The task ends with `shutdown`.
    pub fn start(&self, shutdown: CancellationToken) -> JoinHandle<()> {
        let idle = self.idle.lock().take();
        let resources = std::mem::take(&mut *self.resources.lock());
        let (store, progress) = (self.store.clone(), self.progress.clone());
        let bookmark_period = self.options.bookmark_period;
        tokio::spawn(async move {
            let Some((asks, commands)) = idle else {
                tracing::error!("the watch cache was started twice");
                return;
            };
            let answers = async {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = progress::answer(&*store, asks) => {}
                }
            };
            let ingest = Ingest { store: store.clone(), progress, bookmark_period, commands };
            futures::join!(answers, ingest.run(resources, shutdown.clone()));
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

fn stopped() -> StoreError {
    StoreError::Unavailable("the watch cache has stopped".into())
}
