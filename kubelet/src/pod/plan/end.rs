//! How pods end: stopped because that is asked for, or because they have ended by themselves.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::Plan;
use super::action::{Action, Target};
use super::state::Termination;
use crate::pod::observed::Container;
use crate::pod::spec;

impl Plan<'_> {
    /// Stops a container, its hook first unless that has begun before.
    pub(super) fn stop(&mut self, container: &Container, since: Timestamp, grace_seconds: i64, message: String) {
        let deadline = since.as_second() + grace_seconds;
        if self.worker.stopping(&container.id, deadline) {
            return;
        }
        let remaining = since
            .checked_add(SignedDuration::from_secs(grace_seconds))
            .map_or(0, |end| end.duration_since(self.now).as_secs().max(0));
        // Upstream never kills without at least two seconds of notice once the kubelet was late itself; we
        // keep what is left of the period, at least one second while some was asked for.
        let grace_seconds = if grace_seconds > 0 { remaining.max(1) } else { 0 };
        self.ask(Action::StopContainer {
            id: container.id.clone(),
            container: container.name.clone(),
            grace_seconds,
            deadline,
            hook: !self.worker.pre_stopped.contains(&container.id),
            message,
        });
    }

    /// Stops a container without its hook and with the least notice.
    pub(super) fn stop_at_once(&mut self, container: &Container, message: String) {
        let deadline = self.now.as_second();
        if self.worker.stopping(&container.id, i64::MAX) {
            return;
        }
        self.ask(Action::StopContainer {
            id: container.id.clone(),
            container: container.name.clone(),
            grace_seconds: 1,
            deadline,
            hook: false,
            message,
        });
    }

    /// Stops all containers that are due. Sidecars go last, the one that started last first; when the grace period is
    /// over all go.
    fn stop_in_order(&mut self, pod: Option<&Pod>, since: Timestamp, grace_seconds: i64) {
        let observed = self.observed;
        let end = since.checked_add(SignedDuration::from_secs(grace_seconds)).unwrap_or(Timestamp::MAX);
        let sidecars: Vec<&str> = pod
            .into_iter()
            .flat_map(spec::init_containers)
            .filter(|it| spec::is_sidecar(it))
            .map(|it| it.name.as_str())
            .collect();
        let starts = self.worker.in_flight.iter().filter_map(|target| match target {
            Target::Start(name) => Some(name.as_str()),
            _ => None,
        });
        // The highest rank goes first: containers that are no sidecars, then the last sidecar, and so on back.
        let rank = |name: &str| sidecars.iter().position(|sidecar| *sidecar == name).unwrap_or(usize::MAX);
        let due = observed.live().map(|it| rank(&it.name)).chain(starts.map(rank)).max();
        for container in observed.live() {
            if Some(rank(&container.name)) == due || self.now >= end {
                let message = format!("Stopping container {}", container.name);
                self.stop(container, since, grace_seconds, message);
            } else {
                self.wake_at(end);
            }
        }
    }

    /// Ends everything of the pod, then removes it where that is asked for.
    pub(super) fn terminate(&mut self, pod: Option<&Pod>, termination: &Termination) {
        let observed = self.observed;
        // The proxies may still send requests: the pod goes on serving them, and nothing of it is stopped.
        if let Some(until) = self.worker.held_until.filter(|it| *it > self.now) {
            self.wake_at(until);
            return;
        }
        let starting = |target: &Target| matches!(target, Target::Start(_) | Target::Sandbox);
        self.stop_in_order(pod, termination.since, termination.grace_seconds);
        // What is being started is stopped when it is there: its id is not known before.
        if observed.live().next().is_some() || self.worker.in_flight.iter().any(starting) {
            return;
        }
        if !self.stop_sandboxes() || !termination.remove {
            return;
        }
        for sandbox in &observed.sandboxes {
            self.ask(Action::RemoveSandbox { id: sandbox.id.clone() });
        }
        for container in &observed.containers {
            if !observed.sandboxes.iter().any(|sandbox| sandbox.id == container.sandbox_id) {
                self.ask(Action::RemoveContainer { id: container.id.clone() });
            }
        }
        if !observed.is_empty() || !self.worker.in_flight.is_empty() {
            return;
        }
        if !self.worker.cleaned {
            self.ask(Action::Cleanup);
        } else if self.worker.object_gone {
            self.ask(Action::Forget);
        } else if self.worker.status_written {
            self.ask(Action::DeleteObject);
        }
    }

    /// Stops every sandbox that is not known to be stopped; true when all are.
    fn stop_sandboxes(&mut self) -> bool {
        let observed = self.observed;
        let mut all = true;
        for sandbox in &observed.sandboxes {
            if sandbox.ready || !self.worker.stopped_sandboxes.contains(&sandbox.id) {
                all = false;
                self.ask(Action::StopSandbox { id: sandbox.id.clone() });
            }
        }
        all
    }

    /// The pod has ended by itself: stop what is left (sidecars, the sandbox), keep the dead containers for
    /// their logs.
    pub(super) fn finish(&mut self, pod: &Pod) {
        let observed = self.observed;
        self.stop_in_order(Some(pod), self.now, spec::grace_seconds(pod));
        if observed.live().next().is_none() && !self.worker.in_flight.contains(&Target::Sandbox) {
            self.stop_sandboxes();
        }
        self.prune();
    }
}
