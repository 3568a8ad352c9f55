//! How pods come up and stay up: sandbox, init containers in order, sidecars, app containers, restarts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};

use super::action::{Action, Target};
use super::{Plan, rounds};
use crate::pod::observed::ContainerState;
use crate::pod::{resize, spec};

impl Plan<'_> {
    /// Brings a pod up and keeps it running.
    pub(super) fn run(&mut self, pod: &Pod) {
        self.prune();
        let observed = self.observed;
        let Some(sandbox) = observed.ready_sandbox() else {
            self.make_sandbox(pod);
            return;
        };
        // Containers of an earlier sandbox have no network any more.
        let mut stale = false;
        for container in observed.live().filter(|container| container.sandbox_id != sandbox.id) {
            stale = true;
            self.stop(
                container,
                self.now,
                spec::grace_seconds(pod),
                "Pod sandbox changed, it will be killed and re-created.".into(),
            );
        }
        // Those of an earlier round end at once, without their hooks, before any starts anew.
        let call = self.call;
        for container in observed.live().filter(|container| rounds::is_outdated(pod, container, call)) {
            stale = true;
            let message = format!("Container {} will be restarted with all containers of its pod", container.name);
            self.stop_at_once(container, message);
        }
        if stale {
            return;
        }
        // A start looks sub paths up in the very folders that a refresh replaces: one waits for the other.
        if (!self.worker.volumes_ready || self.worker.volumes_stale) && !self.worker.starts_a_container() {
            self.ask(Action::PrepareVolumes);
        }
        // Containers come to their resources first: the pod's own cgroup grew for them, and shrinks after them.
        if resize::pod_is_due(pod, self.worker) && !resize::containers_are_due(pod, observed, self.worker) {
            self.ask(Action::ResizePod { mark: resize::pod_mark(pod) });
        }
        for container in spec::ephemeral_containers(pod) {
            if observed.latest(&container.name).is_none() {
                self.start(&container, &sandbox.id, 0);
            }
        }
        let app_started = spec::containers(pod)
            .iter()
            .filter_map(|app| observed.latest(&app.name))
            .any(|it| it.sandbox_id == sandbox.id && !rounds::is_outdated(pod, it, self.call));
        for init in spec::init_containers(pod) {
            // Once an app container runs, init containers are over, and a sidecar that ended holds nothing up.
            let passed = if spec::is_sidecar(init) {
                self.advance(pod, init, &sandbox.id, true) || app_started
            } else {
                app_started || self.advance(pod, init, &sandbox.id, false)
            };
            if !passed {
                return;
            }
        }
        for app in spec::containers(pod) {
            self.advance(pod, app, &sandbox.id, false);
        }
    }

    fn make_sandbox(&mut self, pod: &Pod) {
        let observed = self.observed;
        let mut clear = true;
        for container in observed.live() {
            clear = false;
            self.stop(
                container,
                self.now,
                spec::grace_seconds(pod),
                "Pod sandbox changed, it will be killed and re-created.".into(),
            );
        }
        if let Some(newest) = observed.sandbox() {
            if !self.worker.stopped_sandboxes.contains(&newest.id) {
                clear = false;
                self.ask(Action::StopSandbox { id: newest.id.clone() });
            }
            // Upstream: a pod that never restarts gets no second sandbox once it had containers.
            if spec::restart_policy(pod) == spec::RestartPolicy::Never && !observed.containers.is_empty() {
                return;
            }
        }
        if !self.worker.volumes_ready {
            self.ask(Action::PrepareVolumes);
            clear = false;
        }
        // The image's presence does not depend on the sandbox: both are seen to together.
        if let Some(first) = spec::init_containers(pod).first() {
            self.ensure_image(first);
        } else {
            for app in spec::containers(pod) {
                self.ensure_image(app);
            }
        }
        if clear && (self.node.network_ready || spec::host_network(pod)) {
            let attempt = observed.sandbox().map_or(0, |sandbox| sandbox.attempt + 1);
            self.ask(Action::CreateSandbox { attempt });
        }
    }

    fn ensure_image(&mut self, container: &ContainerSpec) -> bool {
        if self.worker.images.contains_key(&container.name) {
            return true;
        }
        self.ask(Action::EnsureImage { container: container.name.clone() });
        false
    }

    /// Moves one container on. True when what comes after it may go ahead: a sidecar that has started, any
    /// other container that ended well.
    fn advance(&mut self, pod: &Pod, container: &ContainerSpec, sandbox_id: &str, sidecar: bool) -> bool {
        let observed = self.observed;
        let Some(latest) = observed.latest(&container.name) else {
            self.start(container, sandbox_id, 0);
            return false;
        };
        let here = latest.sandbox_id == sandbox_id;
        match latest.state {
            ContainerState::Running => {
                if latest.hash != spec::hash(container) {
                    let message = format!("Container {} definition changed, will be restarted", latest.name);
                    self.stop(latest, self.now, spec::grace_seconds(pod), message);
                } else if let Some(unhealthy) = self.worker.unhealthy.get(&latest.id) {
                    let grace_seconds = unhealthy.grace_seconds.unwrap_or(spec::grace_seconds(pod));
                    self.stop(latest, self.now, grace_seconds, unhealthy.message.clone());
                } else if let Some(way) = resize::way(pod, container, latest, &self.worker.resized) {
                    let mark = resize::mark(pod, container);
                    match way {
                        resize::Way::InPlace => {
                            self.ask(Action::Resize { id: latest.id.clone(), container: latest.name.clone(), mark });
                        }
                        resize::Way::Restart => {
                            let message = format!("Container {} resize requires restart", latest.name);
                            self.stop(latest, self.now, spec::grace_seconds(pod), message);
                        }
                    }
                } else if spec::has_post_start(container) && !self.worker.post_started.contains(&latest.id) {
                    self.ask(Action::PostStart { id: latest.id.clone(), container: container.name.clone() });
                }
                sidecar && self.worker.started.contains(&latest.id)
            }
            ContainerState::Unknown => {
                let message = format!("Container {} is in unknown state, try killing it before restart", latest.name);
                self.stop(latest, self.now, spec::grace_seconds(pod), message);
                false
            }
            ContainerState::Created => {
                // A start is in flight now, or the kubelet or the runtime ended between create and start: such a
                // container never ran, so it goes and does not count.
                if !self.worker.busy(&Target::Start(container.name.clone())) {
                    self.ask(Action::RemoveContainer { id: latest.id.clone() });
                }
                false
            }
            ContainerState::Exited => {
                let outdated = rounds::is_outdated(pod, latest, self.call);
                let succeeded = latest.exit_code == 0 && !outdated;
                let is_init = spec::init_containers(pod).iter().any(|init| init.name == container.name);
                if is_init && !sidecar && here && succeeded {
                    return true;
                }
                // A new sandbox runs the init containers again, whatever their code.
                let again = (is_init && !here) || outdated || spec::restarts(pod, container, latest.exit_code);
                if !again {
                    return false;
                }
                let ended = latest.finished_at.unwrap_or(latest.created_at);
                let backoff = self.worker.crash.get(&container.name).copied().unwrap_or_default();
                let ready = backoff.ready_at(ended, self.now, self.node.tuning.crash);
                // What ended with its sandbox, or for another container, did not crash: it waits for nothing.
                let crashed = here && (!outdated || spec::restarts_all(container, latest.exit_code));
                if crashed && ready > self.now {
                    self.wake_at(ready);
                } else {
                    self.start(container, sandbox_id, latest.attempt + 1);
                }
                false
            }
        }
    }

    fn start(&mut self, container: &ContainerSpec, sandbox_id: &str, attempt: u32) {
        if self.worker.busy(&Target::Start(container.name.clone())) {
            return;
        }
        let refreshing =
            self.worker.busy(&Target::Volumes) || self.actions.iter().any(|it| matches!(it, Action::PrepareVolumes));
        if self.ensure_image(container) && self.worker.volumes_ready && !refreshing {
            self.ask(Action::StartContainer {
                container: container.name.clone(),
                sandbox_id: sandbox_id.to_owned(),
                attempt,
            });
        }
    }

    /// Removes dead containers but the newest two of each name (the current one and the one before it, for
    /// `logs --previous`), and old sandboxes that hold no container.
    pub(super) fn prune(&mut self) {
        let observed = self.observed;
        let mut kept: BTreeMap<&str, u32> = BTreeMap::new();
        for container in &observed.containers {
            let seen = kept.entry(&container.name).or_default();
            *seen += 1;
            let dead = matches!(container.state, ContainerState::Exited | ContainerState::Created);
            if *seen > 2 && dead {
                self.ask(Action::RemoveContainer { id: container.id.clone() });
            }
        }
        for sandbox in observed.sandboxes.iter().skip(1) {
            if observed.containers.iter().any(|container| container.sandbox_id == sandbox.id) {
                continue;
            }
            if self.worker.stopped_sandboxes.contains(&sandbox.id) {
                self.ask(Action::RemoveSandbox { id: sandbox.id.clone() });
            } else {
                self.ask(Action::StopSandbox { id: sandbox.id.clone() });
            }
        }
    }
}
