//! Keyed work: never two workers on a key; a key that fails is tried again, later each time.
//!
//! A key that is added while it waits is done once; one that is added while it is worked on is done once
//! more. The queue is bounded by the number of distinct keys.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key as DelayKey;

use crate::backoff::Backoff;

/// How a runner works.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// Names the work in logs and metrics.
    pub name: &'static str,
    /// How many keys are worked on at a time.
    pub workers: usize,
    /// How long a failed key waits.
    pub backoff: Backoff,
}

/// When to work on a key again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When it is added again.
    Done,
    /// After this time at the latest.
    After(Duration),
}

struct State<K> {
    ready: VecDeque<K>,
    /// Keys in `ready`.
    queued: HashSet<K>,
    running: HashSet<K>,
    /// Keys that were added while running.
    again: HashSet<K>,
    failures: HashMap<K, u32>,
    /// Keys to add later; the runner moves them into its timer.
    delayed: Vec<(K, Duration)>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    counters: Counters,
}

/// What a runner has done so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Keys added.
    pub adds: AtomicU64,
    /// Runs that succeeded.
    pub done: AtomicU64,
    /// Runs that failed.
    pub errors: AtomicU64,
    /// Runs that panicked.
    pub panics: AtomicU64,
}

/// Where keys are put. Cheap to clone.
pub struct Queue<K> {
    shared: Arc<Shared<K>>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Asks for work on a key as soon as possible.
    pub fn add(&self, key: K) {
        self.shared.counters.adds.fetch_add(1, Ordering::Relaxed);
        self.shared.state.lock().add(key);
        self.shared.changed.notify_one();
    }

    /// Asks for work on a key after a while. The earliest wish counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.shared.state.lock().delayed.push((key, delay));
        self.shared.changed.notify_one();
    }

    /// How many keys wait.
    pub fn depth(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    fn add(&mut self, key: K) {
        if self.running.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        let fresh = self.running.insert(key.clone());
        assert!(fresh, "two workers on one key");
        Some(key)
    }

    fn finish(&mut self, key: &K) {
        self.running.remove(key);
        if self.again.remove(key) {
            self.add(key.clone());
        }
    }
}

/// Takes keys from its queue and works on them.
pub struct Runner<K> {
    shared: Arc<Shared<K>>,
    config: RunnerConfig,
}

/// A queue and its runner.
pub fn runner<K: Clone + Eq + Hash>(config: RunnerConfig) -> (Queue<K>, Runner<K>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            again: HashSet::new(),
            failures: HashMap::new(),
            delayed: Vec::new(),
        }),
        changed: Notify::new(),
        counters: Counters::default(),
    });
    (Queue { shared: shared.clone() }, Runner { shared, config })
}

enum Outcome {
    Done(Next),
    Failed(String),
}

impl<K: Clone + Eq + Hash + Debug + Send + Sync + 'static> Runner<K> {
    /// Works until `shutdown`, then lets the running keys end.
    pub async fn run<W, F, E>(self, shutdown: CancellationToken, work: W)
    where
        W: Fn(K) -> F,
        F: Future<Output = Result<Next, E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let mut tasks: JoinSet<(K, Outcome)> = JoinSet::new();
        let mut task_keys: HashMap<tokio::task::Id, K> = HashMap::new();
        let mut timer: DelayQueue<K> = DelayQueue::new();
        let mut timed: HashMap<K, DelayKey> = HashMap::new();
        loop {
            for (key, delay) in std::mem::take(&mut self.shared.state.lock().delayed) {
                schedule(&mut timer, &mut timed, key, delay);
            }
            while tasks.len() < self.config.workers {
                let Some(key) = self.shared.state.lock().take() else {
                    break;
                };
                let future = work(key.clone());
                let task_key = key.clone();
                let handle = tasks.spawn(async move {
                    match future.await {
                        Ok(next) => (task_key, Outcome::Done(next)),
                        Err(error) => (task_key, Outcome::Failed(error.to_string())),
                    }
                });
                task_keys.insert(handle.id(), key);
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.shared.changed.notified() => {}
                Some(expired) = timer.next(), if !timer.is_empty() => {
                    let key = expired.into_inner();
                    timed.remove(&key);
                    self.shared.state.lock().add(key);
                }
                Some(joined) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    let (key, outcome) = match joined {
                        Ok((id, (key, outcome))) => {
                            task_keys.remove(&id);
                            (key, outcome)
                        }
                        Err(error) => {
                            let Some(key) = task_keys.remove(&error.id()) else { continue };
                            self.shared.counters.panics.fetch_add(1, Ordering::Relaxed);
                            (key, Outcome::Failed(format!("panic: {error}")))
                        }
                    };
                    if let Some(delay) = self.settle(&key, outcome) {
                        schedule(&mut timer, &mut timed, key, delay);
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Books a finished run; returns when to run again.
    fn settle(&self, key: &K, outcome: Outcome) -> Option<Duration> {
        let mut state = self.shared.state.lock();
        state.finish(key);
        match outcome {
            Outcome::Done(next) => {
                self.shared.counters.done.fetch_add(1, Ordering::Relaxed);
                state.failures.remove(key);
                match next {
                    Next::Done => None,
                    Next::After(delay) => Some(delay),
                }
            }
            Outcome::Failed(error) => {
                self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
                let failures = state.failures.entry(key.clone()).or_insert(0);
                *failures = failures.saturating_add(1);
                let delay = self.config.backoff.delay(*failures, rand::random());
                tracing::warn!(
                    work = self.config.name, ?key, %error, failures, retry_in_ms = delay.as_millis() as u64,
                    "a key failed and will be tried again"
                );
                Some(delay)
            }
        }
    }
}

/// Sets the timer of a key to the earlier of its present time and `delay` from now.
fn schedule<K: Clone + Eq + Hash>(
    timer: &mut DelayQueue<K>,
    timed: &mut HashMap<K, DelayKey>,
    key: K,
    delay: Duration,
) {
    let at = tokio::time::Instant::now() + delay;
    if let Some(present) = timed.get(&key) {
        if at < timer.deadline(present) {
            timer.reset_at(present, at);
        }
        return;
    }
    timed.insert(key.clone(), timer.insert_at(key, at));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn config(workers: usize) -> RunnerConfig {
        RunnerConfig { name: "test", workers, backoff: Backoff::RETRY }
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_a_key_and_once_more_for_an_add_in_between() {
        let (queue, runner) = runner::<u8>(config(4));
        let running = Arc::new(AtomicUsize::new(0));
        let runs = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        queue.add(1);
        queue.add(1);
        let work = {
            let (queue, running, runs, stop) = (queue.clone(), running.clone(), runs.clone(), stop.clone());
            move |key: u8| {
                let (queue, running, runs, stop) = (queue.clone(), running.clone(), runs.clone(), stop.clone());
                async move {
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                    let run = runs.fetch_add(1, Ordering::SeqCst);
                    if run == 0 {
                        queue.add(key);
                        queue.add(key);
                    } else {
                        stop.cancel();
                    }
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, String>(Next::Done)
                }
            }
        };
        runner.run(stop, work).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_and_panics_are_tried_again_and_time_is_kept() {
        let (queue, runner) = runner::<u8>(config(1));
        let runs = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        queue.add_after(7, Duration::from_secs(30));
        let started = tokio::time::Instant::now();
        let work = {
            let (runs, stop) = (runs.clone(), stop.clone());
            move |_: u8| {
                let (runs, stop) = (runs.clone(), stop.clone());
                async move {
                    match runs.fetch_add(1, Ordering::SeqCst) {
                        0 => Err("first".to_owned()),
                        1 => panic!("second"),
                        2 => Ok(Next::After(Duration::from_secs(60))),
                        _ => {
                            stop.cancel();
                            Ok(Next::Done)
                        }
                    }
                }
            }
        };
        runner.run(stop, work).await;
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        let took = started.elapsed();
        assert!(took >= Duration::from_secs(90) && took < Duration::from_secs(92), "{took:?}");
        assert_eq!(queue.counters().panics.load(Ordering::SeqCst), 1);
        assert_eq!(queue.counters().errors.load(Ordering::SeqCst), 2);
    }
}
