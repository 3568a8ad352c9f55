//! Pods: what their state comes down to in one word.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};
use crate::age;

/// What the columns tell of a pod's containers.
#[derive(Default)]
struct Summary {
    status: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn restart_of(&mut self, container: View<'_>) {
        self.restarts += container.number("restartCount");
        self.restarted_at(container);
    }

    fn restarted_at(&mut self, container: View<'_>) {
        let finished = container.time("lastState.terminated.finishedAt");
        self.last_restart = self.last_restart.max(finished);
    }

    fn restarts(&self, now: Timestamp) -> String {
        match self.last_restart {
            Some(moment) if self.restarts > 0 => {
                format!("{} ({} ago)", self.restarts, age::since(Some(moment), now))
            }
            _ => self.restarts.to_string(),
        }
    }
}

pub(super) fn cells(pod: View<'_>, now: Timestamp) -> Vec<Value> {
    let summary = summary(pod);
    let address = pod.list("status.podIPs").next().map_or("", |address| address.text("ip"));
    let address = or(address, pod.text("status.podIP"));
    vec![
        object_name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.status.as_str().into(),
        summary.restarts(now).into(),
        age(pod, now),
        or(address, "<none>").into(),
        or(pod.text("spec.nodeName"), "<none>").into(),
        or(pod.text("status.nominatedNodeName"), "<none>").into(),
        gates(pod).into(),
    ]
}

fn gates(pod: View<'_>) -> String {
    let total = pod.list("spec.readinessGates").count();
    if total == 0 {
        return "<none>".to_owned();
    }
    let open = pod.list("spec.readinessGates").filter(|gate| has_condition(pod, gate.text("conditionType"))).count();
    format!("{open}/{total}")
}

fn has_condition(pod: View<'_>, kind: &str) -> bool {
    pod.list("status.conditions").any(|condition| condition.text("type") == kind && condition.text("status") == "True")
}

fn ended(terminated: View<'_>, prefix: &str) -> String {
    let reason = terminated.text("reason");
    if !reason.is_empty() {
        return format!("{prefix}{reason}");
    }
    match terminated.number("signal") {
        0 => format!("{prefix}ExitCode:{}", terminated.number("exitCode")),
        signal => format!("{prefix}Signal:{signal}"),
    }
}

fn is_restartable(pod: View<'_>, name: &str) -> bool {
    pod.list("spec.initContainers")
        .any(|container| container.text("name") == name && container.text("restartPolicy") == "Always")
}

/// Follows the init containers; true while they are not done.
fn initializing(pod: View<'_>, summary: &mut Summary) -> bool {
    let total = pod.list("spec.initContainers").count();
    for (index, container) in pod.list("status.initContainerStatuses").enumerate() {
        let restartable = is_restartable(pod, container.text("name"));
        summary.restarted_at(container);
        if restartable {
            summary.restart_of(container);
        }
        if container.has("state.terminated") && container.number("state.terminated.exitCode") == 0 {
            continue;
        }
        if restartable && container.flag("started") {
            if container.flag("ready") {
                summary.ready += 1;
            }
            continue;
        }
        let waiting = container.text("state.waiting.reason");
        summary.status = if container.has("state.terminated") {
            ended(container.at("state.terminated"), "Init:")
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{total}")
        };
        if !restartable {
            // The containers' own restarts do not count yet.
            summary.restarts += container.number("restartCount");
        }
        return true;
    }
    false
}

fn summary(pod: View<'_>) -> Summary {
    let containers = pod.list("spec.containers").count();
    let sidecars =
        pod.list("spec.initContainers").filter(|container| container.text("restartPolicy") == "Always").count();
    let mut summary = Summary {
        status: or(pod.text("status.reason"), pod.text("status.phase")).to_owned(),
        total: containers + sidecars,
        ..Summary::default()
    };
    let gated = pod
        .list("status.conditions")
        .any(|condition| condition.text("type") == "PodScheduled" && condition.text("reason") == "SchedulingGated");
    if gated {
        summary.status = "SchedulingGated".to_owned();
    }
    let initializing = initializing(pod, &mut summary);
    if !initializing || has_condition(pod, "Initialized") {
        running(pod, &mut summary);
    }
    if pod.has("metadata.deletionTimestamp") {
        let phase = pod.text("status.phase");
        if pod.text("status.reason") == "NodeLost" {
            summary.status = "Unknown".to_owned();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            summary.status = "Terminating".to_owned();
        }
    }
    summary
}

/// Follows the app containers; the first one that is not running gives the word.
fn running(pod: View<'_>, summary: &mut Summary) {
    let mut has_running = false;
    for container in pod.list("status.containerStatuses").rev() {
        summary.restart_of(container);
        let waiting = container.text("state.waiting.reason");
        if !waiting.is_empty() {
            summary.status = waiting.to_owned();
        } else if container.has("state.terminated") {
            summary.status = ended(container.at("state.terminated"), "");
        } else if container.flag("ready") && container.has("state.running") {
            has_running = true;
            summary.ready += 1;
        }
    }
    if summary.status == "Completed" && has_running {
        let ready = has_condition(pod, "Ready");
        summary.status = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}
