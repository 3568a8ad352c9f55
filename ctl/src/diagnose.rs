//! `why`: what keeps a pod, a claim, a node or a namespace from being as it should, and what would help. Pure.

use serde_json::Value;

use crate::value::{at, count, flag, items, name, plain, text};

/// Something that is wrong, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is so.
    pub cause: String,
    /// What would change it.
    pub remedy: String,
}

fn finding(cause: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { cause: cause.into(), remedy: remedy.into() }
}

/// The answer about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The state in one line, such as `is Pending: no node fits`.
    pub state: String,
    /// The causes.
    pub findings: Vec<Finding>,
}

/// What is the matter with an object; `events` are those about it.
pub fn diagnose(kind: &str, object: &Value, events: &[Value]) -> Answer {
    if !text(object, "metadata.deletionTimestamp").is_empty() {
        return terminating(kind, object);
    }
    match kind {
        "Pod" => pod(object, events),
        "Node" => node(object),
        "PersistentVolumeClaim" => claim(object, events),
        _ => other(object, events),
    }
}

fn answer(state: impl Into<String>, findings: Vec<Finding>) -> Answer {
    Answer { state: state.into(), findings }
}

/// An object that goes but is still there.
fn terminating(kind: &str, object: &Value) -> Answer {
    let mut findings: Vec<Finding> = Vec::new();
    let finalizers = items(object, "metadata.finalizers").iter().chain(items(object, "spec.finalizers"));
    for finalizer in finalizers.map(plain).filter(|finalizer| finalizer != "kubernetes") {
        findings.push(finding(
            format!("the finalizer {finalizer} is still there"),
            "Its controller must finish and remove it: see that the controller runs. Removing it by hand (rctl edit) \
             leaves behind what it would have cleaned up.",
        ));
    }
    for condition in items(object, "status.conditions").iter().filter(|one| text(one, "status") == "True") {
        let reason = text(condition, "type");
        if reason.starts_with("Namespace") {
            findings.push(finding(text(condition, "message"), "See what is left: rctl get all -n NAMESPACE"));
        }
    }
    if findings.is_empty() && kind == "Pod" {
        let seconds = count(object, "metadata.deletionGracePeriodSeconds");
        findings.push(finding(
            format!("its containers have {seconds}s to end, and its node must report that they did"),
            format!(
                "If its node {:?} is gone for good, delete the node, or the pod with --grace-period=0 --force.",
                text(object, "spec.nodeName")
            ),
        ));
    }
    let since = text(object, "metadata.deletionTimestamp");
    answer(format!("is Terminating (it was to be gone at {since})"), findings)
}

fn pod(pod: &Value, events: &[Value]) -> Answer {
    let phase = text(pod, "status.phase");
    let condition = |kind: &str| items(pod, "status.conditions").iter().find(|one| text(one, "type") == kind);
    if text(pod, "spec.nodeName").is_empty() && !matches!(phase, "Succeeded" | "Failed") {
        return unscheduled(pod, condition("PodScheduled"));
    }
    let mut findings = Vec::new();
    for (list, what) in [("initContainerStatuses", "init container"), ("containerStatuses", "container")] {
        for status in items(pod, &format!("status.{list}")) {
            container(pod, what, status, events, &mut findings);
        }
    }
    match phase {
        "Succeeded" => return answer("has Succeeded: all its containers ended well", Vec::new()),
        "Failed" => {
            let (reason, message) = (text(pod, "status.reason"), text(pod, "status.message"));
            if !reason.is_empty() {
                let remedy = match reason {
                    "Evicted" => {
                        "Its node was short of something: ask for what it needs (requests), or make room there."
                    }
                    "DeadlineExceeded" => "Raise activeDeadlineSeconds, or make it faster.",
                    _ => "See its events: rctl describe pod.",
                };
                findings.insert(0, finding(format!("{reason}: {message}"), remedy));
            }
            return answer("has Failed", findings);
        }
        _ => {}
    }
    if findings.is_empty() {
        // Nothing about containers: volumes and the network come before them.
        findings.extend(warnings(events));
    }
    let ready = condition("Ready");
    if ready.is_some_and(|ready| text(ready, "status") == "True") {
        return answer("runs and is ready: nothing is wrong", findings);
    }
    for gate in items(pod, "spec.readinessGates") {
        let kind = text(gate, "conditionType");
        if condition(kind).is_none_or(|one| text(one, "status") != "True") {
            let remedy = "Whoever sets this condition of the pod must do so.";
            findings.push(finding(format!("the readiness gate {kind} is not True"), remedy));
        }
    }
    let state = if phase == "Running" { "runs but is not ready" } else { "is Pending: it is bound but does not run" };
    answer(state, findings)
}

/// What keeps a container from running, or from being ready.
fn container(pod: &Value, what: &str, status: &Value, events: &[Value], findings: &mut Vec<Finding>) {
    let container = text(status, "name");
    let who = format!("{what} {container}");
    let image = text(status, "image");
    let (reason, message) = (text(status, "state.waiting.reason"), text(status, "state.waiting.message"));
    match reason {
        "" | "PodInitializing" => {}
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => findings.push(finding(
            format!("{who}: the image {image} cannot be had: {message}"),
            "Check the image's name and tag, that the node reaches the registry, and imagePullSecrets for a private one.",
        )),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => findings.push(finding(
            format!("{who}: {reason}: {message}"),
            "Create what it names (config map, secret, key), or correct the pod's specification.",
        )),
        "CrashLoopBackOff" => {
            let restarts = count(status, "restartCount");
            findings.push(finding(
                format!("{who}: it ended {restarts} times; the last time {}", ended(at(status, "lastState.terminated"))),
                format!("{} What it said: rctl logs {} -c {container} --previous", advice(status), name(pod)),
            ));
        }
        "ContainerCreating" => {
            let before = findings.len();
            findings.extend(warnings(events));
            if findings.len() == before {
                let remedy = "Nothing failed so far: its image is pulled or its volumes are prepared. rctl events --for pod/NAME tells more.";
                findings.push(finding(format!("{who} is being created"), remedy));
            }
        }
        reason => findings.push(finding(format!("{who}: {reason}: {message}"), "See its events: rctl describe pod.")),
    }
    if at(status, "state.running").is_some() && !flag(status, "ready") && what == "container" {
        let unhealthy = events.iter().rev().find(|event| text(event, "reason") == "Unhealthy");
        let said = unhealthy.map(|event| format!(": {}", text(event, "message").trim())).unwrap_or_default();
        findings.push(finding(
            format!("{who} runs but is not ready{said}"),
            "Its readiness probe decides: try what the probe asks for from inside (rctl exec), and see its log.",
        ));
    }
    let terminated = at(status, "state.terminated");
    if let Some(end) = terminated.filter(|end| count(end, "exitCode") != 0) {
        findings.push(finding(
            format!("{who} {}", ended(Some(end))),
            format!("What it said: rctl logs {} -c {container}", name(pod)),
        ));
    }
}

/// `ended with exit code 137 (OOMKilled)`.
fn ended(end: Option<&Value>) -> String {
    let Some(end) = end else { return "without a word".to_owned() };
    let reason = text(end, "reason");
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("ended with exit code {}{reason}", count(end, "exitCode"))
}

/// What an exit code says.
fn advice(status: &Value) -> &'static str {
    let reason = text(status, "lastState.terminated.reason");
    match count(status, "lastState.terminated.exitCode") {
        _ if reason == "OOMKilled" => "It needs more memory than its limit: raise resources.limits.memory.",
        0 => {
            "It ended by itself: a container that is to run on must not, or the pod's restartPolicy should be OnFailure."
        }
        126 => "Its command cannot be run: is the file a program?",
        127 => "Its command was not found in the image: check command and args.",
        137 => "It was killed: by a failing liveness probe, or for memory.",
        143 => "It was asked to end (SIGTERM): a failing liveness probe does that.",
        _ => "It fails by itself.",
    }
}

/// The last warning of each reason.
fn warnings(events: &[Value]) -> Vec<Finding> {
    let mut seen: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for event in events.iter().rev().filter(|event| text(event, "type") == "Warning") {
        let reason = text(event, "reason");
        if seen.contains(&reason) {
            continue;
        }
        seen.push(reason);
        let remedy = match reason {
            "FailedMount" | "FailedAttachVolume" => {
                "Create the volume's source (claim, config map, secret, path of the node) or correct what the pod says of it."
            }
            "FailedCreatePodSandBox" => "The node's network is not ready: see that its proxy and its CNI plugins run.",
            _ => "The event names the cause.",
        };
        findings.push(finding(format!("{reason}: {}", text(event, "message").trim()), remedy));
    }
    findings
}

/// A pod that no node has taken.
fn unscheduled(pod: &Value, scheduled: Option<&Value>) -> Answer {
    let gates: Vec<String> =
        items(pod, "spec.schedulingGates").iter().map(|gate| text(gate, "name").to_owned()).collect();
    if !gates.is_empty() {
        let cause = format!("scheduling gates hold it back: {}", gates.join(", "));
        return answer(
            "is Pending",
            vec![finding(cause, "Whoever set the gates must remove them from spec.schedulingGates.")],
        );
    }
    let Some(condition) = scheduled.filter(|condition| text(condition, "status") == "False") else {
        let cause = "no scheduler has looked at it yet";
        let scheduler = match text(pod, "spec.schedulerName") {
            "" => "default-scheduler",
            named => named,
        };
        let remedy = format!("See that the scheduler {scheduler:?} runs: rctl get lease -n kube-system kube-scheduler");
        return answer("is Pending", vec![finding(cause, remedy)]);
    };
    let message = text(condition, "message");
    let findings = reasons(message)
        .into_iter()
        .map(|(count, reason)| {
            let nodes = match count {
                Some(count) => format!("{count} node{}: {reason}", if count == 1 { "" } else { "s" }),
                None => reason.to_owned(),
            };
            finding(nodes, remedy(reason))
        })
        .collect();
    let summary = message.split(':').next().unwrap_or(message);
    answer(format!("is Pending: no node fits ({summary})"), findings)
}

/// The parts of `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b}. preemption: ...`.
fn reasons(message: &str) -> Vec<(Option<u64>, &str)> {
    let list = message.split_once(": ").map_or(message, |(_, list)| list);
    let list = list.split(" preemption:").next().unwrap_or(list).trim().trim_end_matches('.');
    // A comma inside braces belongs to a taint.
    let mut depth = 0_i32;
    let parts = list.split(|letter| {
        match letter {
            '{' | '(' => depth += 1,
            '}' | ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth <= 0
    });
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once(' ').map(|(count, rest)| (count.parse(), rest)) {
            Some((Ok(count), rest)) => (Some(count), rest.trim_start_matches("node(s) ")),
            _ => (None, part),
        })
        .collect()
}

/// What would make a node fit.
fn remedy(reason: &str) -> String {
    let lower = reason.to_lowercase();
    if let Some(resource) = lower.strip_prefix("insufficient ") {
        return format!("Request less {resource}, delete what holds it, or add a node that has more of it.");
    }
    let text = if lower == "too many pods" {
        "The nodes hold as many pods as they may: delete some, or add a node."
    } else if lower.contains("untolerated taint") {
        "Add a toleration for the taint to the pod, or take the taint away: rctl taint nodes NODE KEY-"
    } else if lower.contains("node affinity/selector") {
        "Label a node as nodeSelector and node affinity ask (rctl label node), or relax them."
    } else if lower.contains("unschedulable") {
        "The nodes are cordoned: rctl uncordon NODE"
    } else if lower.contains("anti-affinity") {
        "Its anti-affinity keeps it away from pods that run there: relax it, or add a node."
    } else if lower.contains("affinity") {
        "No node runs the pods that its affinity asks for: start them first, or relax it."
    } else if lower.contains("topology spread") {
        "Another place would make the spread too uneven: relax maxSkew or whenUnsatisfiable, or add a node there."
    } else if lower.contains("free ports") {
        "Another pod has the host port: use another one, or none."
    } else if lower.contains("persistentvolumeclaim")
        || lower.contains("persistent volume")
        || lower.contains("volume node")
    {
        "See what its claim waits for: rctl why pvc NAME"
    } else if lower.contains("no nodes available") {
        "The cluster has no node: see rctl get nodes."
    } else {
        "See rctl describe nodes."
    };
    text.to_owned()
}

fn node(node: &Value) -> Answer {
    let mut findings = Vec::new();
    for condition in items(node, "status.conditions") {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        let cause = format!("{kind} is {status}: {}", text(condition, "message"));
        match (kind, status) {
            ("Ready", "True") | (_, "False") if kind != "Ready" || status == "True" => {}
            ("Ready", "Unknown") => {
                findings.push(finding(
                    cause,
                    "Its kubelet is silent: see that the machine, its network and the kubelet run.",
                ));
            }
            ("Ready", _) => findings.push(finding(cause, "The kubelet says what it lacks; see its log on the node.")),
            _ => findings.push(finding(cause, "Make room on the node, or move pods away: rctl drain")),
        }
    }
    if flag(node, "spec.unschedulable") {
        let remedy = format!("When it may: rctl uncordon {}", name(node));
        findings.push(finding("it is cordoned: no new pods come here", remedy));
    }
    if findings.is_empty() {
        answer("is ready: nothing is wrong", findings)
    } else {
        answer("is not as it should be", findings)
    }
}

fn claim(claim: &Value, events: &[Value]) -> Answer {
    match text(claim, "status.phase") {
        "Bound" => return answer("is Bound: nothing is wrong", Vec::new()),
        "Lost" => {
            let volume = text(claim, "spec.volumeName");
            let cause = format!("its volume {volume:?} does not exist any more");
            return answer(
                "is Lost",
                vec![finding(cause, "Its data is gone with it: delete the claim and make a new one.")],
            );
        }
        _ => {}
    }
    let mut findings: Vec<Finding> = events
        .iter()
        .rev()
        .take(1)
        .map(|event| {
            finding(
                format!("{}: {}", text(event, "reason"), text(event, "message").trim()),
                "The event names the cause.",
            )
        })
        .collect();
    if findings.is_empty() {
        let class = text(claim, "spec.storageClassName");
        let remedy = if class.is_empty() {
            "It names no storage class and there is no default one: name one (rctl get storageclass), or create a fitting volume.".to_owned()
        } else {
            format!(
                "See that the class exists (rctl get storageclass {class}) and that its provisioner runs, or create a fitting volume."
            )
        };
        findings.push(finding("no volume fits it, and none was made for it", remedy));
    }
    answer("is Pending", findings)
}

/// An object of another kind: conditions that tell of failure, and warnings.
fn other(object: &Value, events: &[Value]) -> Answer {
    let bad = |one: &&Value| {
        let (kind, status) = (text(one, "type"), text(one, "status"));
        (matches!(kind, "Available" | "Ready" | "Progressing" | "Complete") && status == "False")
            || (kind.contains("Fail") && status == "True")
    };
    let mut findings: Vec<Finding> = items(object, "status.conditions")
        .iter()
        .filter(bad)
        .map(|one| {
            let cause = format!(
                "{} is {}: {}: {}",
                text(one, "type"),
                text(one, "status"),
                text(one, "reason"),
                text(one, "message")
            );
            finding(cause, "See its pods below, and its events: rctl describe.")
        })
        .collect();
    findings.extend(warnings(events));
    if findings.is_empty() {
        answer("tells of nothing wrong", findings)
    } else {
        answer("is not as it should be", findings)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn causes(answer: &Answer) -> Vec<&str> {
        answer.findings.iter().map(|finding| finding.cause.as_str()).collect()
    }

    #[test]
    fn a_pod_that_does_not_fit_says_what_would_help() {
        let message = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {a: b, c: d}. \
                       preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.";
        let pod = json!({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}});
        let answer = diagnose("Pod", &pod, &[]);
        assert_eq!(answer.state, "is Pending: no node fits (0/3 nodes are available)");
        assert_eq!(causes(&answer), ["1 node: Insufficient cpu", "2 nodes: had untolerated taint {a: b, c: d}"]);
        assert!(answer.findings[0].remedy.contains("Request less cpu"));
        assert!(answer.findings[1].remedy.contains("toleration"));
    }

    #[test]
    fn a_crashing_pod_tells_how_it_ended() {
        let pod = json!({"metadata": {"name": "web"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running", "containerStatuses": [{
            "name": "c", "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}});
        let answer = diagnose("Pod", &pod, &[]);
        assert_eq!(answer.state, "runs but is not ready");
        assert_eq!(
            causes(&answer),
            ["container c: it ended 4 times; the last time ended with exit code 137 (OOMKilled)"]
        );
        assert!(answer.findings[0].remedy.starts_with("It needs more memory"), "{:?}", answer.findings);
    }

    #[test]
    fn what_goes_tells_what_holds_it() {
        let pod = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}});
        assert_eq!(causes(&diagnose("Pod", &pod, &[])), ["the finalizer a.b/c is still there"]);
    }

    #[test]
    fn what_is_well_has_no_findings() {
        let pod = json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(diagnose("Pod", &pod, &[]), answer("runs and is ready: nothing is wrong", Vec::new()));
        let node = |status: &str| {
            json!({"status": {"conditions": [
            {"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": status}]}})
        };
        assert!(diagnose("Node", &node("True"), &[]).findings.is_empty());
        assert_eq!(diagnose("Node", &node("Unknown"), &[]).findings.len(), 1);
    }
}
