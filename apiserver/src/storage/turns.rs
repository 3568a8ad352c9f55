//! Writers of one key take turns.
//!
//! Two writers that decide on the same state cannot both succeed: the second is refused by the transaction and
//! decides again, and with many writers most of the work is for nothing. So the writers of a key queue up, and each
//! learns from the one before what it left. Between processes the transaction still decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::Store;
use super::types::{ChangeStream, Decide, Hint, Outcome, Page, StoreError, Stored};

/// A store whose writers of one key take turns, first come, first served.
pub struct Turns<S> {
    store: S,
    /// How long a writer waits for its turn.
    patience: Duration,
    /// The keys that are being written now.
    lanes: Mutex<HashMap<String, Arc<Lane>>>,
}

/// The queue of a key.
struct Lane {
    turn: Semaphore,
    /// What the last writer left.
    left: Mutex<Hint>,
}

impl<S> Turns<S> {
    /// Puts the queues before `store`. A writer that has not had its turn after `patience` is told to come again:
    /// without a bound, writers of one key would wait for the sum of all timeouts when the store hangs.
    pub fn new(store: S, patience: Duration) -> Self {
        Self { store, patience, lanes: Mutex::default() }
    }

    fn enter(&self, key: &str) -> Place<'_, S> {
        let mut lanes = self.lanes.lock();
        let lane = match lanes.get(key) {
            Some(lane) => lane.clone(),
            None => {
                let lane = Arc::new(Lane { turn: Semaphore::new(1), left: Mutex::default() });
                lanes.insert(key.to_owned(), lane.clone());
                lane
            }
        };
        Place { turns: self, key: key.to_owned(), lane }
    }
}

/// A place in a queue. The last one to leave takes the queue away.
struct Place<'a, S> {
    turns: &'a Turns<S>,
    key: String,
    lane: Arc<Lane>,
}

impl<S> Place<'_, S> {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        match timeout(self.turns.patience, self.lane.turn.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(StoreError::Internal("the queue of a key is closed".into())),
            Err(_) => Err(StoreError::Unavailable(format!(
                "other writes of {} have not ended within {:?}",
                self.key, self.turns.patience
            ))),
        }
    }
}

impl<S> Drop for Place<'_, S> {
    fn drop(&mut self) {
        let mut lanes = self.turns.lanes.lock();
        // The map's own and this one: clones are made only under the lock of the map.
        if Arc::strong_count(&self.lane) == 2 {
            lanes.remove(&self.key);
        }
    }
}

/// The newer of what the last writer left and what the caller believes. An absent key has no revision to compare:
/// the last writer knew better.
fn newer(left: &Hint, own: Hint) -> Hint {
    match (left, own) {
        (Hint::Unknown, own) => own,
        (Hint::Present(left), Hint::Present(own)) if own.revision > left.revision => Hint::Present(own),
        (left, _) => left.clone(),
    }
}

/// What the next writer finds.
fn left_by(outcome: &Outcome) -> Hint {
    match outcome {
        Outcome::Put { stored, .. } => Hint::Present(stored.clone()),
        Outcome::Deleted { .. } => Hint::Absent,
        Outcome::Kept(present) => present.clone().into(),
    }
}

#[async_trait]
impl<S: Store> Store for Turns<S> {
    async fn get(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.store.get(key).await
    }

    async fn update(&self, key: &str, hint: Hint, decide: &mut Decide<'_>) -> Result<Outcome, StoreError> {
        let place = self.enter(key);
        let _turn = place.turn().await?;
        let hint = newer(&place.lane.left.lock(), hint);
        let result = self.store.update(key, hint, decide).await;
        match &result {
            Ok(outcome) => *place.lane.left.lock() = left_by(outcome),
            // A refusal changed nothing, and what was left is a hint only: the transaction checks it.
            Err(StoreError::Rejected(_)) => {}
            Err(_) => *place.lane.left.lock() = Hint::Unknown,
        }
        result
    }

    async fn list(
        &self,
        prefix: &str,
        revision: Option<i64>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.store.list(prefix, revision, after, limit).await
    }

    async fn watch(&self, from: i64) -> Result<ChangeStream, StoreError> {
        self.store.watch(from).await
    }

    async fn current_revision(&self) -> Result<i64, StoreError> {
        self.store.current_revision().await
    }

    async fn compact(&self, revision: i64) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::super::{MemoryStore, Write};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn writers_of_a_key_decide_once_each() {
        let store = Turns::new(MemoryStore::new(), PATIENCE);
        let decisions = AtomicUsize::new(0);
        let (store, decisions) = (&store, &decisions);
        let writers = (0..20).map(|_| async move {
            let mut decide = |present: Option<&Stored>| {
                decisions.fetch_add(1, Ordering::Relaxed);
                let mut value = present.map_or(vec![], |stored| stored.value.to_vec());
                value.push(b'x');
                Ok(Write::put(value))
            };
            store.update("/a", Hint::Absent, &mut decide).await.unwrap();
        });
        let first = store.enter("/a");
        let turn = first.turn().await.unwrap();
        let mut all = pin!(join_all(writers));
        assert!(futures::poll!(&mut all).is_pending(), "all queue up");
        drop(turn);
        drop(first);
        all.await;
        assert_eq!(store.get("/a").await.unwrap().unwrap().value.len(), 20);
        assert_eq!(decisions.load(Ordering::Relaxed), 20);
        assert!(store.lanes.lock().is_empty(), "queues end with their last writer");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told() {
        let store = Turns::new(MemoryStore::new(), PATIENCE);
        let before = store.enter("/a");
        let turn = before.turn().await.unwrap();
        let refused = store.update("/a", Hint::Unknown, &mut |_| Ok(Write::put("1"))).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        drop(turn);
        store.update("/a", Hint::Unknown, &mut |_| Ok(Write::put("1"))).await.unwrap();
        drop(before);
        assert!(store.lanes.lock().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_lets_the_next_one_in() {
        let store = Turns::new(MemoryStore::new(), PATIENCE);
        let first = store.enter("/a");
        let turn = first.turn().await.unwrap();
        {
            let mut decide = |_: Option<&Stored>| Ok(Write::put("gone"));
            let mut waiting = pin!(store.update("/a", Hint::Unknown, &mut decide));
            assert!(futures::poll!(&mut waiting).is_pending());
        }
        drop(turn);
        drop(first);
        store.update("/a", Hint::Unknown, &mut |_| Ok(Write::put("1"))).await.unwrap();
        assert_eq!(&store.get("/a").await.unwrap().unwrap().value[..], b"1");
    }
}
