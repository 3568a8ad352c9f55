//! Brings pods forward: asks the pure core, hands its actions to the executor, bounds how many start at once.

use std::collections::VecDeque;

use jiff::Timestamp;
use reeve_client::EventType;

use super::Agent;
use super::event::{Event, report};
use super::executor::{Done, Subject};
use super::look::{Look, look};
use super::worker::Worker;
use crate::pod::plan::{Action, NodeFacts, Target, Unhealthy, next_actions};
use crate::pod::resize;

impl Agent {
    /// Brings one pod forward: intent, probes, status, actions.
    pub(super) fn step(&mut self, uid: &str, now: Timestamp) {
        // What the files say is known from the start; what the API says has to come first. A static pod that was
        // removed or replaced is one too.
        let known = |worker: &Worker| self.synced || worker.is_static() || worker.state.object_gone;
        if !self.relisted || !self.workers.get(uid).is_some_and(known) {
            return;
        }
        self.judge(uid, now);
        self.hold(uid, now);
        self.judge_resize(uid);
        let Some(worker) = self.workers.get_mut(uid) else { return };
        if worker.blind {
            return;
        }
        let had_failed = worker.failure.is_some();
        worker.decide_intent(now);
        if let Some((reason, message)) = worker.failure.as_ref().filter(|_| !had_failed) {
            self.executor.event(&subject_of(uid, worker), None, EventType::Normal, reason, message);
        }
        if let Some(deadline) = worker.deadline().filter(|it| *it > now) {
            self.timers.insert((deadline, uid.to_owned()));
        }
        self.inventory.put(worker.inventory(uid));
        self.update_probes(uid);
        self.write_status(uid, now);
        let Some(worker) = self.workers.get(uid) else { return };
        if worker.is_static() && self.has_predecessor(uid, &worker.key) && worker.observed.is_empty() {
            return;
        }
        let network_ready = self.health.borrow().is_ready();
        let node = NodeFacts { network_ready, tuning: &self.executor.config.tuning };
        let actions = next_actions(worker.pod.as_deref(), &worker.observed, &worker.state, node, now);
        for action in actions {
            match action {
                Action::WakeAt(time) => {
                    self.timers.insert((time, uid.to_owned()));
                }
                Action::Forget => {
                    self.forget(uid, now);
                    return;
                }
                action => self.dispatch(uid, action, now),
            }
        }
    }

    pub(super) fn dispatch(&mut self, uid: &str, action: Action, now: Timestamp) {
        let Some(target) = action.target() else { return };
        reeve_client::pages::stir();
        let tuning = &self.executor.config.tuning;
        if action.is_start() {
            if self.starts >= tuning.starts_in_flight {
                let rank = usize::from(matches!(action, Action::CreateSandbox { .. }));
                if !self.waiting[rank].iter().any(|waiting| waiting == uid) {
                    self.waiting[rank].push_back(uid.to_owned());
                }
                return;
            }
            self.starts += 1;
        }
        let Some(worker) = self.workers.get_mut(uid) else { return };
        // A start after a crash lengthens the wait for the next one; what ended with its sandbox did not crash.
        if let Action::StartContainer { container, attempt, sandbox_id } = &action
            && *attempt > 0
            && worker.observed.latest(container).is_some_and(|it| it.sandbox_id == *sandbox_id)
        {
            worker.state.crash.entry(container.clone()).or_default().next(now, tuning.crash);
        }
        if matches!(action, Action::PrepareVolumes) {
            worker.state.volumes_stale = false;
        }
        if let Action::StopContainer { id, hook: true, .. } = &action {
            worker.state.pre_stopped.insert(id.clone());
        }
        let mark = match &action {
            Action::Resize { mark, .. } | Action::ResizePod { mark } => Some(mark.clone()),
            Action::CreateSandbox { .. } => worker.pod.as_ref().map(|pod| resize::pod_mark(pod)),
            _ => None,
        };
        worker.state.in_flight.insert(target.clone());
        let subject = subject_of(uid, worker);
        let (executor, looks, sender) = (self.executor.clone(), self.looks.clone(), self.sender.clone());
        tokio::spawn(async move {
            let done = executor.perform(&subject, &action).await;
            let look = match action.changes_runtime() {
                true => Some(look(&executor, &looks, &subject.uid).await),
                false => None,
            };
            let done = match (done, mark) {
                (Done::Ok, Some(mark)) => Done::Resized(mark),
                (done, _) => done,
            };
            report(&sender, Event::WorkerDone { uid: subject.uid, target, done, look }).await;
        });
    }

    /// An action ended: what it came to is remembered, and the look after it taken in.
    pub(super) fn worker_done(&mut self, uid: &str, target: Target, done: Done, look: Option<Look>, now: Timestamp) {
        if matches!(target, Target::Start(_) | Target::Sandbox) {
            self.starts = self.starts.saturating_sub(1);
        }
        let tuning = self.executor.config.tuning;
        if let Some(worker) = self.workers.get_mut(uid) {
            worker.state.in_flight.remove(&target);
            let limits = if matches!(target, Target::Image(_)) { tuning.image_pull } else { tuning.retry };
            if let (Target::PostStart(id), Done::HookFailed { message }) = (&target, &done) {
                tracing::debug!(pod = %worker.key, %message, "the container ends for its hook");
                let unhealthy = Unhealthy { message: "FailedPostStartHook".into(), grace_seconds: None };
                worker.state.unhealthy.insert(id.clone(), unhealthy);
            } else if let Done::Failed { reason, message } = done {
                tracing::debug!(pod = %worker.key, ?target, %message, "an action failed");
                let failure = worker.state.failures.entry(target.failure_key()).or_default();
                failure.reason = reason.to_owned();
                failure.message = message;
                failure.at = now;
                failure.backoff.next(now, limits);
                match &target {
                    Target::Volumes => worker.state.volumes_stale = true,
                    // The image may be what is missing: it is looked at again before the next start.
                    Target::Start(container) => {
                        worker.state.images.remove(container);
                    }
                    _ => {}
                }
            } else {
                worker.state.failures.remove(&target.failure_key());
                match (&target, done) {
                    (Target::Image(container), Done::Image(image)) => {
                        worker.state.images.insert(container.clone(), image);
                    }
                    (Target::Volumes, Done::Volumes(refresh_at)) => {
                        worker.state.volumes_ready = true;
                        worker.refresh_volumes_at = refresh_at;
                        self.timers.extend(refresh_at.map(|time| (time, uid.to_owned())));
                    }
                    // The next start looks at the image again, by the pull policy.
                    (Target::Start(container), _) => {
                        worker.state.images.remove(container);
                    }
                    (Target::Resize(id), Done::Resized(mark)) => {
                        worker.state.resized.insert(id.clone(), mark);
                    }
                    (Target::ResizePod | Target::Sandbox, Done::Resized(mark)) => worker.state.pod_limits = Some(mark),
                    (Target::PostStart(id), _) => {
                        worker.state.post_started.insert(id.clone());
                    }
                    (Target::StopSandbox(id), _) => {
                        worker.state.stopped_sandboxes.insert(id.clone());
                    }
                    (Target::Cleanup, _) => worker.state.cleaned = true,
                    (Target::Object, _) => worker.state.object_gone = true,
                    _ => {}
                }
            }
        }
        match look {
            Some(look) => self.take_look(uid, look, now),
            None => self.step(uid, now),
        }
        self.admit(now);
    }

    /// Lets waiting pods go ahead while starts are free.
    pub(super) fn admit(&mut self, now: Timestamp) {
        while self.starts < self.executor.config.tuning.starts_in_flight {
            let next = self.waiting.iter_mut().find_map(VecDeque::pop_front);
            let Some(uid) = next else { return };
            self.step(&uid, now);
        }
    }

    /// A moment came that pods asked to be woken at.
    pub(super) fn wake(&mut self, now: Timestamp) {
        while let Some((time, uid)) = self.timers.first().cloned() {
            if time > now {
                return;
            }
            self.timers.pop_first();
            let Some(worker) = self.workers.get_mut(&uid) else { continue };
            if worker.refresh_volumes_at.is_some_and(|at| at <= now) {
                worker.refresh_volumes_at = None;
                worker.state.volumes_stale = true;
            }
            if worker.blind || !worker.ended.is_empty() {
                self.look_at(&uid);
            } else {
                self.step(&uid, now);
            }
        }
    }
}

/// The pod as an action sees it.
pub(super) fn subject_of(uid: &str, worker: &Worker) -> Subject {
    Subject {
        uid: uid.to_owned(),
        key: worker.key.clone(),
        pod: worker.pod.clone(),
        observed: worker.observed.clone(),
        images: worker.state.images.clone(),
    }
}
