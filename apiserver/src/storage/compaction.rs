//! Forgetting old history: of all API servers one compacts the store every five minutes, to where it was
//! five minutes before, as upstream does.
//!
//! They agree by one key. Whoever finds it untouched since its own last look writes it and compacts; the
//! others see that it was written and wait for the next turn.

use std::time::Duration;

use bytes::Bytes;
use reeve_api::{Reason, StatusError};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::Store;
use super::types::{Hint, Outcome, StoreError, Write};

/// The key that API servers agree by; upstream's.
pub const COMPACT_KEY: &str = "compact_rev_key";

/// Upstream's period.
pub const PERIOD: Duration = Duration::from_secs(300);

/// What an API server remembers from one turn to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The revision of the key at the last look; 0 when absent.
    key_revision: i64,
    /// The store's revision at the last look; 0 before the first.
    store_revision: i64,
}

/// One turn. Returns what to remember, and the revision compacted to, if it was ours to do.
///
/// # Errors
///
/// Those of the store; the turn before stays valid.
pub async fn turn(store: &dyn Store, last: Turn) -> Result<(Turn, Option<i64>), StoreError> {
    let seen = std::sync::atomic::AtomicI64::new(0);
    let value = Bytes::from(last.store_revision.to_string());
    let written = store
        .update(COMPACT_KEY, Hint::Unknown, &mut |present| {
            let revision = present.map_or(0, |present| present.revision);
            seen.store(revision, std::sync::atomic::Ordering::Relaxed);
            if revision == last.key_revision {
                Ok(Write::put(value.clone()))
            } else {
                Err(StatusError::new(Reason::Conflict, "another API server compacts"))
            }
        })
        .await;
    match written {
        Ok(Outcome::Put { stored, .. }) => {
            let next = Turn { key_revision: stored.revision, store_revision: stored.revision };
            if last.store_revision == 0 {
                return Ok((next, None));
            }
            match store.compact(last.store_revision).await {
                Ok(()) => Ok((next, Some(last.store_revision))),
                // Someone compacted further.
                Err(StoreError::Compacted { .. }) => Ok((next, None)),
                Err(error) => Err(error),
            }
        }
        Ok(_) => Err(StoreError::Internal("an update that puts did not put".into())),
        Err(StoreError::Rejected(_)) => {
            let key_revision = seen.into_inner();
            let store_revision = store.current_revision().await?;
            Ok((Turn { key_revision, store_revision }, None))
        }
        Err(error) => Err(error),
    }
}

/// Takes turns until `shutdown`.
pub async fn run(store: &dyn Store, period: Duration, shutdown: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Turn::default();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        match turn(store, last).await {
            Ok((next, compacted)) => {
                last = next;
                if let Some(revision) = compacted {
                    tracing::info!(revision, "compacted the store's history");
                }
            }
            Err(error) => tracing::warn!(%error, "the store's history was not compacted; trying again next time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStore;

    #[tokio::test]
    async fn one_of_two_servers_compacts_to_the_turn_before() {
        let store = MemoryStore::new();
        let (mut first, compacted) = turn(&store, Turn::default()).await.unwrap();
        assert_eq!(compacted, None);
        let (mut second, _) = turn(&store, Turn::default()).await.unwrap();
        for round in 0..3 {
            let before = first.store_revision;
            let (next, by_first) = turn(&store, first).await.unwrap();
            first = next;
            let (next, by_second) = turn(&store, second).await.unwrap();
            second = next;
            assert_eq!(by_first, Some(before).filter(|_| round == 0 || by_first.is_some()), "round {round}");
            assert!(by_first.is_none() || by_second.is_none());
            assert!(by_first.is_some() || by_second.is_some() || round == 0);
        }
    }
}
