//! Looks at pods in the runtime: when they are made, and how their answers come in.
//!
//! A look is numbered before it is made, so that a later number saw at least as much. A pod has at most one under way;
//! what happens meanwhile has it repeated.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reeve_api::ObjectKey;

use super::Agent;
use super::event::{Event, report};
use super::executor::Executor;
use super::worker::Worker;
use crate::pod::backoff::after;
use crate::pod::observed::{ContainerState, NodeObserved, PodObserved};
use crate::runtime::RuntimeError;

/// A numbered look at one pod in the runtime.
#[derive(Debug)]
pub struct Look {
    number: u64,
    result: Result<PodObserved, RuntimeError>,
}

/// A container that the event stream says ended and the runtime does not yet: asked again after this, doubling.
const ENDED_RECHECK: Duration = Duration::from_millis(5);
const ENDED_RECHECKS: u32 = 10;

/// Ends of containers that nobody knows yet; the oldest are forgotten.
const UNCLAIMED: usize = 256;

impl Agent {
    /// What the whole runtime holds: the first such list, or one after a gap in its events.
    pub(super) fn take_relist(&mut self, node: NodeObserved, now: Timestamp) {
        if self.relisted {
            // After a gap: every pod is looked at anew, since this list may be older than what is known.
            for (uid, found) in node {
                if !self.workers.contains_key(&uid) {
                    self.adopt(uid, ObjectKey::new(found.namespace, found.name));
                }
            }
            for uid in self.uids() {
                self.look_at(&uid);
            }
            return;
        }
        tracing::info!(pods = node.len(), "the runtime's pods are known");
        self.relisted = true;
        for (uid, found) in node {
            self.adopt(uid.clone(), ObjectKey::new(found.namespace, found.name));
            let number = self.looks.fetch_add(1, Ordering::Relaxed);
            if let Some(worker) = self.workers.get_mut(&uid) {
                worker.take_observed(number, found.observed);
                worker.resume_backoff(self.executor.config.tuning.crash);
            }
        }
        self.begin(now);
    }

    /// The first process of a container or sandbox started or ended.
    pub(super) fn container_event(&mut self, id: &str, what: &'static str) {
        let owner = self.workers.iter().find(|(_, worker)| {
            worker.observed.containers.iter().any(|it| it.id == id)
                || worker.observed.sandboxes.iter().any(|it| it.id == id)
        });
        let owner = owner.map(|(uid, _)| uid.clone());
        tracing::debug!(%id, what, pod = owner.as_deref(), "runtime event");
        match owner {
            Some(uid) => {
                if matches!(what, "exit" | "delete")
                    && let Some(worker) = self.workers.get_mut(&uid)
                {
                    worker.ended.insert(id.to_owned(), 0);
                }
                self.look_at(&uid);
            }
            // Of something that is being made now. The action that makes it looks when it is done; a look that is
            // under way for another reason may have begun before this.
            None => {
                if matches!(what, "exit" | "delete") {
                    self.unclaimed.push_back(id.to_owned());
                    if self.unclaimed.len() > UNCLAIMED {
                        self.unclaimed.pop_front();
                    }
                }
                for worker in self.workers.values_mut().filter(|worker| worker.observing) {
                    worker.observe_again = true;
                }
            }
        }
    }

    /// Begins a look at a pod in the runtime, or has the running one repeated.
    pub(super) fn look_at(&mut self, uid: &str) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        if worker.observing {
            worker.observe_again = true;
            return;
        }
        worker.observing = true;
        let (executor, looks, sender, uid) =
            (self.executor.clone(), self.looks.clone(), self.sender.clone(), uid.to_owned());
        tokio::spawn(async move {
            let look = look(&executor, &looks, &uid).await;
            report(&sender, Event::Observed { uid, look }).await;
        });
    }

    /// Takes a look's answer in and brings the pod forward.
    pub(super) fn take_look(&mut self, uid: &str, look: Look, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        match look.result {
            Ok(observed) => {
                if worker.take_observed(look.number, observed) {
                    claim(&mut self.unclaimed, worker);
                }
            }
            Err(error) => {
                if !worker.blind {
                    tracing::warn!(pod = %worker.key, %error, "the pod could not be looked at in the runtime");
                }
                worker.blind = true;
                // A runtime that is gone or hangs tells when it is back; what else fails is tried again, later each time.
                let limits = self.executor.config.tuning.retry;
                worker.look_retry.next(now, limits);
                self.timers.insert((after(now, worker.look_retry.delay()), uid.to_owned()));
            }
        }
        if std::mem::take(&mut worker.observe_again) {
            self.look_at(uid);
        }
        self.recheck_ended(uid, now);
        self.step(uid, now);
    }

    /// containerd tells of an end a moment before CRI's state shows it: such a pod is looked at again.
    pub(super) fn recheck_ended(&mut self, uid: &str, now: Timestamp) {
        let Some(worker) = self.workers.get_mut(uid) else { return };
        worker.ended.retain(|_, tries| *tries < ENDED_RECHECKS);
        let Some(tries) = worker.ended.values().copied().min() else { return };
        worker.ended.values_mut().for_each(|tries| *tries += 1);
        self.timers.insert((after(now, ENDED_RECHECK * (1 << tries)), uid.to_owned()));
    }
}

/// A numbered look at a pod; the number is drawn before the look, so that a later number saw at least as much.
pub(super) async fn look(executor: &Executor, looks: &AtomicU64, uid: &str) -> Look {
    let number = looks.fetch_add(1, Ordering::Relaxed);
    Look { number, result: executor.runtime.observe_pod(uid).await }
}

/// Containers of the pod that were told to have ended before they were known.
fn claim(unclaimed: &mut VecDeque<String>, worker: &mut Worker) {
    let known = |id: &String| {
        worker.observed.containers.iter().any(|it| it.id == *id)
            || worker.observed.sandboxes.iter().any(|it| it.id == *id)
    };
    let (mine, others): (VecDeque<String>, VecDeque<String>) = unclaimed.drain(..).partition(known);
    *unclaimed = others;
    let running =
        |id: &str| worker.observed.containers.iter().any(|it| it.id == id && it.state == ContainerState::Running);
    let late: Vec<String> = mine.into_iter().filter(|id| running(id)).collect();
    worker.ended.extend(late.into_iter().map(|id| (id, 0)));
}
