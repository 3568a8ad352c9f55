//! What to do next for a pod: a pure function of its spec, the runtime's state, what the worker
//! remembers, and the time.
//!
//! Rules that hold for every answer, and that the property tests check:
//! - an action whose [`Target`] is in flight is never asked for again;
//! - a container is started only while no container of its name is live, and only in a ready sandbox;
//! - a sandbox is made only while no other sandbox of the pod is ready;
//! - a terminating or finished pod starts nothing.

mod action;
mod end;
pub mod rounds;
mod run;
mod state;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

pub use self::action::{Action, Target};
pub use self::state::{Failure, Intent, NodeFacts, Termination, Unhealthy, WorkerState};
use super::observed::{ContainerState, PodObserved};
use super::spec;

/// Whether nothing of the pod will be started again, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All app containers ended with code 0.
    Succeeded,
    /// Something failed for good.
    Failed,
}

/// How the pod ended, if it has ended for good by its restart policy.
pub fn outcome(pod: &Pod, observed: &PodObserved) -> Option<Outcome> {
    if rounds::is_pending(pod, observed) {
        return None;
    }
    let failed_init = spec::init_containers(pod).iter().filter(|init| !spec::is_sidecar(init)).any(|init| {
        observed.latest(&init.name).is_some_and(|it| {
            it.state == ContainerState::Exited && it.exit_code != 0 && !spec::restarts(pod, init, it.exit_code)
        })
    });
    if failed_init {
        return Some(Outcome::Failed);
    }
    let mut outcome = Outcome::Succeeded;
    for container in spec::containers(pod) {
        let latest = observed.latest(&container.name)?;
        if latest.state != ContainerState::Exited || spec::restarts(pod, container, latest.exit_code) {
            return None;
        }
        if latest.exit_code != 0 {
            outcome = Outcome::Failed;
        }
    }
    Some(outcome)
}

/// What to do next. `pod` is absent for a pod that the runtime has and the API does not.
pub fn next_actions(
    pod: Option<&Pod>,
    observed: &PodObserved,
    worker: &WorkerState,
    node: NodeFacts<'_>,
    now: Timestamp,
) -> Vec<Action> {
    let call = pod.and_then(|pod| rounds::last_call(pod, observed));
    let mut plan = Plan { observed, worker, node, now, actions: Vec::new(), wake: None, call };
    match (&worker.intent, pod) {
        (Intent::Terminate(termination), _) => plan.terminate(pod, termination),
        (Intent::Run, Some(pod)) if spec::is_terminal(pod) || outcome(pod, observed).is_some() => {
            plan.finish(pod);
        }
        (Intent::Run, Some(pod)) => plan.run(pod),
        (Intent::Run, None) => {}
    }
    plan.into_actions()
}

struct Plan<'a> {
    observed: &'a PodObserved,
    worker: &'a WorkerState,
    node: NodeFacts<'a>,
    now: Timestamp,
    actions: Vec<Action>,
    wake: Option<Timestamp>,
    /// When all containers were last called to start anew.
    call: Option<Timestamp>,
}

impl Plan<'_> {
    /// Asks for an action unless its target is busy or waits after a failure.
    fn ask(&mut self, action: Action) {
        let Some(target) = action.target() else {
            self.actions.push(action);
            return;
        };
        if self.worker.busy(&target) {
            return;
        }
        if let Some(failure) = self.worker.failures.get(&target.failure_key()) {
            let limits = match target {
                Target::Image(_) => self.node.tuning.image_pull,
                _ => self.node.tuning.retry,
            };
            let ready = failure.backoff.ready_at(failure.at, self.now, limits);
            if ready > self.now {
                self.wake_at(ready);
                return;
            }
        }
        self.actions.push(action);
    }

    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |earlier| earlier.min(time)));
    }

    fn into_actions(mut self) -> Vec<Action> {
        if let Some(time) = self.wake {
            self.actions.push(Action::WakeAt(time));
        }
        self.actions
    }
}
