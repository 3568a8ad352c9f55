//! Where objects live: one [`Store`] trait with one conditional update primitive, an etcd store and an
//! in-memory one behind the same contract suite, and the watch cache of ready bytes that serves reads.
//!
//! Values are canonical JSON without `metadata.resourceVersion`; the version is the store's revision and is
//! spliced in once, when the cache ingests an event. The key layout is upstream's:
//! `/registry/<resource>/<namespace>/<name>`.

pub mod cache;
pub mod compaction;
#[cfg(test)]
mod contract;
pub mod etcd;
#[cfg(test)]
mod etcd_process;
pub mod final_state;
mod leases;
pub mod memory;
pub mod turns;
pub mod types;

use std::sync::Arc;

use async_trait::async_trait;

pub use cache::{Cache, CacheOptions, Resource, ResourceConfig};
pub use etcd::EtcdStore;
pub use memory::MemoryStore;
pub use turns::Turns;
pub use types::{
    Action, Change, ChangeBatch, ChangeStream, Claim, Decide, Hint, Note, Outcome, Page, StoreError, Stored, Write,
};

/// A revisioned key-value store with watch: etcd, or its in-memory twin.
///
/// Every write makes a new revision of the whole store; a key's revision is that of its last write.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest state of a key (linearizable).
    async fn get(&self, key: &str) -> Result<Option<Stored>, StoreError>;

    /// The one way to write. `decide` is called with the present state of `key` and says what becomes of it;
    /// the write happens only if the state is still the same, else `decide` is called again with the newer
    /// state. It must be repeatable: no effects but its answer.
    ///
    /// `hint` is the state that the caller believes present (from the cache) and saves a read; a stale hint
    /// costs one more round and never a wrong answer: when `decide` fails on a hint, the state is read and
    /// `decide` is asked again before the failure counts.
    ///
    /// # Errors
    ///
    /// [`StoreError::Rejected`] with what `decide` refused, [`StoreError::Claimed`] when a claimed key is
    /// taken, [`StoreError::Uncertain`] when the write may or may not have happened,
    /// [`StoreError::Unavailable`] when it certainly did not.
    async fn update(&self, key: &str, hint: Hint, decide: &mut Decide<'_>) -> Result<Outcome, StoreError>;

    /// The keys under `prefix` in order, from after `after` on, at most `limit` (0: all that are left), as of
    /// `revision` (`None`: the newest).
    ///
    /// # Errors
    ///
    /// [`StoreError::Compacted`] when `revision` is no longer kept.
    async fn list(
        &self,
        prefix: &str,
        revision: Option<i64>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// All changes of the whole key space with a revision of `from` or later, in order.
    ///
    /// The watch spans the whole key space on purpose: every revision of the store then shows up as a change,
    /// so that a reader that has seen revision R knows that it has seen all up to R. etcd's own progress
    /// notifications, which would tell that for a narrower watch, are not reliable in 3.4. The changes carry
    /// no previous values: the cache holds them, and asking for them makes etcd read once more for each change.
    ///
    /// A lost connection is restored inside. The stream ends only after an error:
    /// [`StoreError::Compacted`] when revisions that it needs are gone.
    async fn watch(&self, from: i64) -> Result<ChangeStream, StoreError>;

    /// The newest revision (linearizable).
    async fn current_revision(&self) -> Result<i64, StoreError>;

    /// Forgets the history before `revision`.
    async fn compact(&self, revision: i64) -> Result<(), StoreError>;
}

/// A store that many parts share.
pub type SharedStore = Arc<dyn Store>;
