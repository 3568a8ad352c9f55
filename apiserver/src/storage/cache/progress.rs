//! How far the cache has come, and waiting until it has come far enough.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use reeve_api::StatusError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::query::too_large;
use crate::storage::Store;
use crate::storage::types::StoreError;

/// How many requests may wait for the store's revision at a time; more are turned away.
const WAITING: usize = 16_384;

/// The revision up to which the cache has seen all changes; 0 before it is filled.
#[derive(Debug)]
pub(crate) struct Progress {
    reached: watch::Sender<i64>,
    asks: mpsc::Sender<Ask>,
    patience: Duration,
}

type Ask = oneshot::Sender<Result<i64, StoreError>>;

/// The receiving end, for [`answer`].
#[derive(Debug)]
pub(crate) struct Asks(mpsc::Receiver<Ask>);

impl Progress {
    /// `patience` bounds every wait.
    pub fn new(patience: Duration) -> (Self, Asks) {
        let (asks, receiver) = mpsc::channel(WAITING);
        (Self { reached: watch::Sender::new(0), asks, patience }, Asks(receiver))
    }

    /// All changes up to this revision have been applied and given to the watchers.
    pub fn reached(&self) -> i64 {
        *self.reached.borrow()
    }

    /// Moves on; never back.
    pub fn advance(&self, revision: i64) {
        self.reached.send_if_modified(|reached| {
            let newer = revision > *reached;
            *reached = (*reached).max(revision);
            newer
        });
    }

    /// Waits until the cache is filled.
    pub async fn ready(&self) -> Result<(), StatusError> {
        self.reach(1, Instant::now() + self.patience)
            .await
            .map_err(|()| StatusError::unavailable("the watch cache is not filled yet: no answer from etcd", 1))
    }

    /// Waits until `revision` is reached.
    pub async fn wait_for(&self, revision: i64) -> Result<(), StatusError> {
        self.ready().await?;
        self.reach(revision, Instant::now() + self.patience).await.map_err(|()| too_large(revision, self.reached()))
    }

    /// Waits until all is reached that was written before this call.
    pub async fn consistent(&self) -> Result<(), StatusError> {
        let deadline = Instant::now() + self.patience;
        let late = || StatusError::unavailable("etcd does not answer: a consistent read is not possible now", 1);
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(answer).map_err(|_| late())?;
        let revision = match timeout_at(deadline, answered).await {
            Ok(Ok(Ok(revision))) => revision,
            Ok(Ok(Err(error))) => return Err(error.into()),
            Ok(Err(_)) | Err(_) => return Err(late()),
        };
        self.reach(revision, deadline).await.map_err(|()| late())
    }

    async fn reach(&self, revision: i64, deadline: Instant) -> Result<(), ()> {
        if self.reached() >= revision {
            return Ok(());
        }
        let mut reached = self.reached.subscribe();
        match timeout_at(deadline, reached.wait_for(|reached| *reached >= revision)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(()),
        }
    }
}

/// How many turns the other tasks get, as long as each brings another request, before the revision is read.
const TURNS: usize = 16;

/// How many reads of the revision are under way at a time: while one is answered, another speaks for those that came
/// meanwhile.
const READS: usize = 2;

/// Reads the store's revision for those that ask. All that ask before a read begins share it: one that began before a
/// request came cannot speak for it. Requests that are about to ask are waited for: under load a read for each handful
/// of them would keep the store busier than the requests do.
pub(crate) async fn answer(store: &dyn Store, mut asks: Asks) {
    let mut reads = FuturesUnordered::new();
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            Some(()) = reads.next() => {}
            () = asks.gather(&mut waiting), if reads.len() < READS => {
                if waiting.is_empty() {
                    break;
                }
                let waiting = std::mem::take(&mut waiting);
                reads.push(async move {
                    let revision = store.current_revision().await;
                    for ask in waiting {
                        // Who has gone away meanwhile needs no answer.
                        ask.send(revision.clone()).ok();
                    }
                });
            }
        }
    }
    reads.collect::<()>().await;
}

impl Asks {
    /// Collects those that share the next read; none when nobody can ask any more. May be given up at any await.
    async fn gather(&mut self, waiting: &mut Vec<Ask>) {
        if waiting.is_empty() {
            self.0.recv_many(waiting, WAITING).await;
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            let before = waiting.len();
            while waiting.len() < WAITING
                && let Ok(ask) = self.0.try_recv()
            {
                waiting.push(ask);
            }
            if waiting.len() == before {
                break;
            }
        }
    }
}
