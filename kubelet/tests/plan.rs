//! The pure core, driven by a runtime of plain values: order of starts, back-off, ends, and the rules that hold
//! whatever happens.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use proptest::prelude::*;
use reeve_kubelet::agent::patch::merge_diff;
use reeve_kubelet::config::Tuning;
use reeve_kubelet::pod::observed::{Container, ContainerState, PodObserved, Sandbox};
use reeve_kubelet::pod::plan::{Action, Intent, NodeFacts, Target, Termination, Unhealthy, WorkerState, next_actions};
use reeve_kubelet::pod::status::{StatusInput, status};
use reeve_kubelet::pod::user::PresentImage;
use reeve_kubelet::pod::{resize, spec};
use serde_json::json;

/// A pod, a runtime and a clock, all of them values.
struct World {
    pod: Pod,
    observed: PodObserved,
    worker: WorkerState,
    tuning: Tuning,
    now: Timestamp,
    next_id: u32,
    started_after_end: bool,
}

fn pod(spec: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec,
    }))
    .unwrap()
}

impl World {
    fn new(pod: Pod) -> Self {
        Self {
            pod,
            observed: PodObserved::default(),
            worker: WorkerState::default(),
            tuning: Tuning::new(2),
            now: Timestamp::from_second(1_000_000).unwrap(),
            next_id: 0,
            started_after_end: false,
        }
    }

    fn plan(&self) -> Vec<Action> {
        let node = NodeFacts { network_ready: true, tuning: &self.tuning };
        next_actions(Some(&self.pod), &self.observed, &self.worker, node, self.now)
    }

    fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("c{}", self.next_id)
    }

    /// Does one action at once, as the executor and the runtime would.
    fn perform(&mut self, action: &Action) {
        match action {
            Action::PrepareVolumes => self.worker.volumes_ready = true,
            Action::EnsureImage { container } => {
                self.worker.images.insert(container.clone(), PresentImage::default());
            }
            Action::CreateSandbox { attempt } => {
                assert!(self.observed.ready_sandbox().is_none(), "two sandboxes");
                self.started_after_end |= self.worker.intent != Intent::Run;
                let id = self.id();
                let sandbox =
                    Sandbox { id, attempt: *attempt, ready: true, ips: vec!["10.0.0.1".into()], created_at: self.now };
                self.observed.sandboxes.push(sandbox);
            }
            Action::StartContainer { container, sandbox_id, attempt } => {
                assert!(self.observed.live().all(|it| it.name != *container), "two running containers of one name");
                assert!(
                    self.observed.ready_sandbox().is_some_and(|it| it.id == *sandbox_id),
                    "started outside of the sandbox"
                );
                self.started_after_end |= self.worker.intent != Intent::Run;
                if *attempt > 0 {
                    self.worker.crash.entry(container.clone()).or_default().next(self.now, self.tuning.crash);
                }
                let definition = spec::container(&self.pod, container).unwrap();
                let made = Container {
                    id: String::new(),
                    name: container.clone(),
                    sandbox_id: sandbox_id.clone(),
                    attempt: *attempt,
                    restart_count: i32::try_from(*attempt).unwrap(),
                    hash: spec::hash(definition),
                    resources: reeve_kubelet::pod::resize::mark(&self.pod, definition),
                    image: "i".into(),
                    image_id: "sha".into(),
                    state: ContainerState::Running,
                    created_at: self.now,
                    started_at: Some(self.now),
                    finished_at: None,
                    exit_code: 0,
                    reason: String::new(),
                    message: String::new(),
                    log_path: String::new(),
                };
                let made = Container { id: self.id(), ..made };
                self.worker.started.insert(made.id.clone());
                self.worker.images.remove(container);
                self.observed.containers.push(made);
            }
            Action::PostStart { id, .. } => {
                self.worker.post_started.insert(id.clone());
            }
            Action::Resize { id, mark, .. } => {
                self.worker.resized.insert(id.clone(), mark.clone());
            }
            Action::ResizePod { mark } => self.worker.pod_limits = Some(mark.clone()),
            Action::StopContainer { id, .. } => self.end(&id.clone(), 143),
            Action::StopSandbox { id } => {
                self.worker.stopped_sandboxes.insert(id.clone());
                self.observed.sandboxes.iter_mut().filter(|it| it.id == *id).for_each(|it| it.ready = false);
            }
            Action::RemoveSandbox { id } => {
                self.observed.sandboxes.retain(|it| it.id != *id);
                self.observed.containers.retain(|it| it.sandbox_id != *id);
            }
            Action::RemoveContainer { id } => self.observed.containers.retain(|it| it.id != *id),
            Action::Cleanup => self.worker.cleaned = true,
            Action::DeleteObject => self.worker.object_gone = true,
            Action::Forget | Action::WakeAt(_) => {}
        }
        self.observed.sort();
    }

    fn end(&mut self, id: &str, code: i32) {
        let now = self.now;
        for container in self.observed.containers.iter_mut().filter(|it| it.id == id && it.is_live()) {
            container.state = ContainerState::Exited;
            container.exit_code = code;
            container.finished_at = Some(now);
        }
    }

    fn end_named(&mut self, name: &str, code: i32) {
        let id = self.observed.latest(name).unwrap().id.clone();
        self.end(&id, code);
    }

    /// Does everything that is asked for until nothing is; returns it in words.
    fn settle(&mut self) -> Vec<String> {
        let mut trace = Vec::new();
        for _ in 0..100 {
            let actions = self.plan();
            let Some(action) = actions.iter().find(|it| !matches!(it, Action::WakeAt(_) | Action::Forget)).cloned()
            else {
                if let Some(Action::WakeAt(time)) = actions.first() {
                    trace.push(format!("wait {}s", time.duration_since(self.now).as_secs()));
                }
                return trace;
            };
            trace.push(match &action {
                Action::StartContainer { container, attempt, .. } => format!("start {container} {attempt}"),
                Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
                Action::StopContainer { container, grace_seconds, .. } => format!("stop {container} {grace_seconds}s"),
                Action::PostStart { container, .. } => format!("hook {container}"),
                Action::EnsureImage { container } => format!("image {container}"),
                other => format!("{other:?}").split([' ', '(']).next().unwrap_or_default().to_owned(),
            });
            self.perform(&action);
        }
        panic!("never settles: {trace:?}");
    }

    fn status(&self) -> PodStatus {
        let ready = self.worker.started.clone();
        let input = StatusInput {
            pod: &self.pod,
            observed: &self.observed,
            worker: &self.worker,
            ready: &ready,
            node: NodeFacts { network_ready: true, tuning: &self.tuning },
            host_ip: "192.0.2.1",
            rejected: false,
            failure: None,
        };
        status(input, self.now)
    }

    /// Writes the status; the API answers with all that its form has. Returns what would be written then.
    fn write_status(&mut self) -> Option<serde_json::Value> {
        let mut stored = serde_json::to_value(self.status()).unwrap();
        for list in ["initContainerStatuses", "containerStatuses"] {
            for container in stored.get_mut(list).and_then(serde_json::Value::as_array_mut).into_iter().flatten() {
                for part in ["state", "lastState"] {
                    container.as_object_mut().unwrap().entry(part).or_insert(json!({}));
                }
            }
        }
        self.pod.status = serde_json::from_value(stored).unwrap();
        let value = |status: &PodStatus| serde_json::to_value(status).unwrap();
        merge_diff(&value(self.pod.status.as_ref().unwrap()), &value(&self.status()))
    }

    fn phase(&self) -> String {
        let status = self.status();
        let ready = status.conditions.iter().flatten().find(|it| it.type_ == "Ready").map(|it| it.status.clone());
        let first =
            status.container_statuses.iter().flatten().next().and_then(|it| it.state.clone()).unwrap_or_default();
        let state = if let Some(waiting) = first.waiting {
            waiting.reason.unwrap_or_default()
        } else if let Some(ended) = first.terminated {
            ended.reason.unwrap_or_default()
        } else {
            "Running".into()
        };
        format!("{} ready={} {state}", status.phase.unwrap_or_default(), ready.unwrap_or_default())
    }
}

#[test]
fn init_containers_come_one_after_the_other_then_all_apps() {
    let mut world = World::new(pod(json!({
        "initContainers": [{"name": "i1"}, {"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}, {"name": "b"}],
    })));
    assert_eq!(world.phase(), "Pending ready=False PodInitializing");
    assert_eq!(world.settle(), ["PrepareVolumes", "image i1", "sandbox 0", "start i1 0"]);
    world.end_named("i1", 0);
    assert_eq!(world.settle(), ["image side", "start side 0", "image a", "start a 0", "image b", "start b 0"]);
    assert_eq!(world.phase(), "Running ready=True Running");
}

#[test]
fn a_crash_is_restarted_at_once_then_backs_off() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    world.end_named("a", 1);
    assert_eq!(world.settle(), ["image a", "start a 1"]);
    world.end_named("a", 1);
    assert_eq!(world.settle(), ["wait 10s"]);
    assert_eq!(world.phase(), "Running ready=False CrashLoopBackOff");
    world.pass(10);
    // Of the dead ones the newest stays, for `logs --previous`.
    assert_eq!(world.settle(), ["image a", "start a 2", "RemoveContainer"]);
    world.end_named("a", 1);
    assert_eq!(world.settle(), ["wait 20s"]);
    world.pass(20);
    world.settle();
    assert_eq!(world.observed.containers.len(), 2);
}

#[test]
fn restart_policies() {
    for (policy, code, expected) in [
        ("Always", 0, "Running ready=True Running"),
        ("Always", 1, "Running ready=True Running"),
        ("OnFailure", 0, "Succeeded ready=False Completed"),
        ("OnFailure", 1, "Running ready=True Running"),
        ("Never", 0, "Succeeded ready=False Completed"),
        ("Never", 1, "Failed ready=False Error"),
    ] {
        let mut world = World::new(pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]})));
        world.settle();
        world.end_named("a", code);
        world.settle();
        assert_eq!(world.phase(), expected, "{policy} {code}");
    }
}

#[test]
fn containers_have_policies_and_rules_of_their_own() {
    let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}});
    let mut world = World::new(pod(json!({"restartPolicy": "Always", "containers": [
        {"name": "a", "restartPolicy": "Never", "restartPolicyRules": [rule]}, {"name": "b", "restartPolicy": "OnFailure"},
    ]})));
    world.settle();
    world.end_named("a", 42);
    assert_eq!(world.settle(), ["image a", "start a 1"]);
    world.end_named("a", 1);
    assert_eq!(world.settle(), Vec::<String>::new());
    world.end_named("b", 1);
    assert_eq!(world.settle(), ["image b", "start b 1"]);
    world.end_named("b", 0);
    assert_eq!(world.settle(), ["StopSandbox"]);
    assert_eq!(world.phase(), "Failed ready=False Error");
}

#[test]
fn a_rule_of_one_container_starts_all_anew() {
    let rule = json!({"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}});
    let mut world = World::new(pod(json!({
        "restartPolicy": "Never", "initContainers": [{"name": "i"}],
        "containers": [{"name": "a", "restartPolicy": "Never", "restartPolicyRules": [rule]}, {"name": "b"}],
    })));
    world.settle();
    world.pass(1);
    world.end_named("i", 0);
    world.settle();
    world.pass(1);
    world.end_named("a", 42);
    assert_eq!(world.phase(), "Running ready=False PodInitializing");
    assert_eq!(world.settle(), ["stop b 1s", "image i", "start i 1"]);
    world.pass(1);
    world.end_named("i", 0);
    assert_eq!(world.settle(), ["image a", "start a 1", "image b", "start b 1"]);
    assert_eq!(world.phase(), "Running ready=True Running");
    // Any other end is that of one container.
    world.pass(1);
    world.end_named("b", 1);
    assert_eq!(world.settle(), Vec::<String>::new());
    world.end_named("a", 0);
    assert_eq!(world.settle(), ["StopSandbox"]);
    assert_eq!(world.phase(), "Failed ready=False Completed");
}

#[test]
fn a_deleted_pod_goes_in_order_and_keeps_its_grace() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    world.worker.intent = Intent::Terminate(Termination { since: world.now, grace_seconds: 30, remove: true });
    world.pass(3);
    assert_eq!(world.settle(), ["stop a 27s", "StopSandbox", "RemoveSandbox", "Cleanup"]);
    world.worker.status_written = true;
    assert_eq!(world.settle(), ["DeleteObject"]);
    assert_eq!(world.plan(), [Action::Forget]);
}

#[test]
fn a_pod_that_is_held_serves_until_it_is_let_go() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    world.worker.intent = Intent::Terminate(Termination { since: world.now, grace_seconds: 30, remove: true });
    world.worker.held_until = Some(world.now.checked_add(SignedDuration::from_secs(3)).unwrap());
    assert_eq!(world.settle(), ["wait 3s"]);
    world.pass(1);
    world.worker.held_until = None;
    assert_eq!(world.settle()[0], "stop a 29s");
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    world.worker.intent = Intent::Terminate(Termination { since: world.now, grace_seconds: 30, remove: true });
    world.worker.held_until = Some(world.now.checked_add(SignedDuration::from_secs(3)).unwrap());
    world.pass(3);
    assert_eq!(world.settle()[0], "stop a 27s");
}

#[test]
fn what_is_in_flight_is_not_asked_for_again_and_failures_wait() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.worker.volumes_ready = true;
    let sandbox = Action::CreateSandbox { attempt: 0 };
    assert!(world.plan().contains(&sandbox));
    world.worker.in_flight.insert(Target::Sandbox);
    assert!(!world.plan().contains(&sandbox));
    world.worker.in_flight.clear();
    let failure = world.worker.failures.entry(Target::Sandbox).or_default();
    failure.at = world.now;
    failure.backoff.next(world.now, world.tuning.retry);
    assert!(!world.plan().contains(&sandbox));
    world.now = world.now.checked_add(SignedDuration::try_from(Duration::from_millis(500)).unwrap()).unwrap();
    assert!(world.plan().contains(&sandbox));
}

#[test]
fn resources_change_in_place_and_the_pods_own_after_those_of_its_containers() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    world.worker.pod_limits = Some(resize::pod_mark(&world.pod));
    let resources = json!({"requests": {"cpu": "1"}});
    let set = |world: &mut World| {
        let spec = world.pod.spec.as_mut().unwrap();
        spec.containers[0].resources = serde_json::from_value(resources.clone()).unwrap();
    };
    set(&mut world);
    assert_eq!(world.settle(), ["Resize", "ResizePod"]);
    assert_eq!(world.settle(), Vec::<String>::new());
    // What the pod asks for as a whole, and no container has to change for it.
    let whole = json!({"requests": {"cpu": "2"}});
    world.pod.spec.as_mut().unwrap().resources = serde_json::from_value(whole).unwrap();
    assert_eq!(world.settle(), ["ResizePod"]);
    assert_eq!(world.settle(), Vec::<String>::new());
}

#[test]
fn a_container_that_never_ran_does_not_count() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    let container = &mut world.observed.containers[0];
    (container.state, container.started_at) = (ContainerState::Created, None);
    world.worker.in_flight.insert(Target::Start("a".into()));
    assert_eq!(world.plan(), []);
    world.worker.in_flight.clear();
    assert_eq!(world.settle(), ["RemoveContainer", "image a", "start a 0"]);
}

#[test]
fn a_lost_sandbox_is_replaced_with_the_next_attempt() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    world.observed.sandboxes[0].ready = false;
    world.end_named("a", 137);
    assert_eq!(world.settle(), ["StopSandbox", "image a", "sandbox 1", "start a 1"]);
}

const WITH_SIDECARS: &str = r#"{
    "initContainers": [{"name": "s1", "restartPolicy": "Always"}, {"name": "i"}, {"name": "s2", "restartPolicy": "Always"}],
    "containers": [{"name": "a"}, {"name": "b"}]
}"#;

fn with_sidecars(restart_policy: &str) -> World {
    let mut spec: serde_json::Value = serde_json::from_str(WITH_SIDECARS).unwrap();
    spec["restartPolicy"] = json!(restart_policy);
    let mut world = World::new(pod(spec));
    world.settle();
    world.end_named("i", 0);
    world.settle();
    assert_eq!(world.phase(), "Running ready=True Running");
    world
}

#[test]
fn sidecars_end_after_all_others_the_last_one_first() {
    let mut world = with_sidecars("Always");
    world.worker.intent = Intent::Terminate(Termination { since: world.now, grace_seconds: 30, remove: false });
    assert_eq!(world.settle(), ["stop a 30s", "stop b 30s", "stop s2 30s", "stop s1 30s", "StopSandbox"]);
}

#[test]
fn sidecars_do_not_outlive_the_grace_period() {
    let mut world = with_sidecars("Always");
    world.worker.intent = Intent::Terminate(Termination { since: world.now, grace_seconds: 30, remove: false });
    let stops = |world: &World| {
        let actions = world.plan().into_iter();
        let names = actions.filter_map(|it| match it {
            Action::StopContainer { container, .. } => Some(container),
            _ => None,
        });
        names.collect::<Vec<_>>()
    };
    assert_eq!(stops(&world), ["a", "b"]);
    assert!(world.plan().contains(&Action::WakeAt(world.now.checked_add(SignedDuration::from_secs(30)).unwrap())));
    world.pass(30);
    assert_eq!(stops(&world), ["s1", "s2", "a", "b"]);
}

#[test]
fn sidecars_of_a_pod_that_ended_end_too() {
    let mut world = with_sidecars("Never");
    world.end_named("a", 0);
    world.end_named("b", 0);
    assert_eq!(world.phase(), "Running ready=False Completed");
    assert_eq!(world.settle(), ["stop s2 30s", "stop s1 30s", "StopSandbox"]);
    assert_eq!(world.phase(), "Succeeded ready=False Completed");
}

#[test]
fn a_sidecar_that_crashes_is_restarted_and_holds_nothing_up() {
    let mut world = with_sidecars("Never");
    world.end_named("s1", 1);
    assert_eq!(world.settle(), ["image s1", "start s1 1"]);
    // It crashes again and waits; an app of a pod that restarts goes on meanwhile.
    let mut world = with_sidecars("Always");
    for _ in 0..2 {
        world.end_named("s1", 1);
        world.settle();
    }
    world.end_named("a", 1);
    assert_eq!(world.settle(), ["image a", "start a 1", "wait 10s"]);
}

#[test]
fn a_container_runs_when_its_hook_has_succeeded() {
    let hook = json!({"postStart": {"sleep": {"seconds": 1}}});
    let mut world = World::new(pod(json!({"containers": [{"name": "a", "lifecycle": hook}]})));
    world.worker.volumes_ready = true;
    while world.observed.live().next().is_none() {
        let next = world.plan()[0].clone();
        world.perform(&next);
    }
    assert_eq!(world.phase(), "Pending ready=False ContainerCreating");
    assert_eq!(world.settle(), ["hook a"]);
    assert_eq!(world.phase(), "Running ready=True Running");
}

#[test]
fn a_hook_before_the_end_comes_once() {
    let mut world = World::new(pod(json!({"containers": [{"name": "a"}]})));
    world.settle();
    let hooks = |world: &World| {
        let actions = world.plan().into_iter();
        let hooks = actions.filter_map(|it| match it {
            Action::StopContainer { hook, deadline, .. } => Some((hook, deadline)),
            _ => None,
        });
        hooks.collect::<Vec<_>>()
    };
    let mut termination = Termination { since: world.now, grace_seconds: 30, remove: true };
    world.worker.intent = Intent::Terminate(termination.clone());
    let end = world.now.as_second() + 30;
    assert_eq!(hooks(&world), [(true, end)]);
    let id = world.observed.containers[0].id.clone();
    world.worker.in_flight.insert(Target::Stop(id.clone(), end));
    world.worker.pre_stopped.insert(id);
    assert_eq!(hooks(&world), []);
    // Somebody has no patience: a second stop with a shorter time, without the hook.
    termination.grace_seconds = 1;
    world.worker.intent = Intent::Terminate(termination);
    assert_eq!(hooks(&world), [(false, end - 29)]);
}

#[test]
fn a_probe_may_have_a_grace_period_of_its_own() {
    let mut world = World::new(pod(json!({"terminationGracePeriodSeconds": 600, "containers": [{"name": "a"}]})));
    world.settle();
    let id = world.observed.containers[0].id.clone();
    let unhealthy = Unhealthy { message: "it failed".into(), grace_seconds: Some(7) };
    world.worker.unhealthy.insert(id, unhealthy);
    assert_eq!(world.settle()[0], "stop a 7s");
}

#[derive(Clone, Debug)]
enum Step {
    Act(usize),
    Begin(usize),
    Finish(usize),
    Exit(usize, i32),
    SandboxDies,
    Delete,
    Forgotten,
    SourcesChange,
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_usize).prop_map(Step::Act),
        3 => (0..6_usize).prop_map(Step::Begin),
        3 => (0..6_usize).prop_map(Step::Finish),
        3 => ((0..6_usize), (0..2_i32)).prop_map(|(which, code)| Step::Exit(which, code)),
        1 => Just(Step::SandboxDies),
        1 => Just(Step::Delete),
        1 => Just(Step::Forgotten),
        2 => Just(Step::SourcesChange),
        2 => (0..60_i64).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Whatever happens in whatever order: never two running containers of a name, never two sandboxes, never a
    /// start after the deletion (the assertions are in `perform`), and a status that is written stays so.
    #[test]
    fn safety(policy in prop_oneof![Just("Always"), Just("OnFailure"), Just("Never")], steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(pod(json!({
            "restartPolicy": policy,
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}],
        })));
        let mut flying: Vec<Action> = Vec::new();
        let mut deleted = false;
        for step in steps {
            let actions: Vec<Action> = world.plan().into_iter().filter(|it| it.target().is_some()).collect();
            if deleted {
                prop_assert!(actions.iter().all(|it| !it.is_start()), "a start after the deletion: {actions:?}");
            }
            for action in &actions {
                prop_assert!(!world.worker.in_flight.contains(&action.target().unwrap()), "asked twice: {action:?}");
            }
            match step {
                Step::Act(which) if !actions.is_empty() => world.perform(&actions[which % actions.len()].clone()),
                Step::Begin(which) if !actions.is_empty() => {
                    let action = actions[which % actions.len()].clone();
                    world.worker.in_flight.insert(action.target().unwrap());
                    flying.push(action);
                    let starts = flying.iter().any(|it| matches!(it, Action::StartContainer { .. }));
                    let refreshes = flying.iter().any(|it| matches!(it, Action::PrepareVolumes));
                    prop_assert!(!(starts && refreshes), "volumes change under a start: {flying:?}");
                }
                Step::Finish(which) if !flying.is_empty() => {
                    let action = flying.remove(which % flying.len());
                    world.worker.in_flight.remove(&action.target().unwrap());
                    // A start whose sandbox went meanwhile fails in the runtime.
                    let sandbox = world.observed.ready_sandbox().map(|it| it.id.clone());
                    let stale = matches!(&action, Action::StartContainer { sandbox_id, .. } if Some(sandbox_id) != sandbox.as_ref());
                    if !stale {
                        world.perform(&action);
                    }
                }
                Step::Exit(which, code) => {
                    let live: Vec<String> = world.observed.live().map(|it| it.id.clone()).collect();
                    if !live.is_empty() {
                        world.end(&live[which % live.len()].clone(), code);
                    }
                }
                Step::SandboxDies => {
                    world.observed.sandboxes.iter_mut().for_each(|it| it.ready = false);
                }
                Step::Delete => {
                    deleted = true;
                    if world.worker.intent == Intent::Run {
                        world.worker.intent = Intent::Terminate(Termination { since: world.now, grace_seconds: 30, remove: true });
                    }
                }
                // The kubelet restarts: all that it remembered is lost; what was in flight is done or not.
                Step::Forgotten => {
                    flying.clear();
                    world.worker = WorkerState { intent: world.worker.intent.clone(), ..WorkerState::default() };
                }
                Step::SourcesChange => world.worker.volumes_stale = true,
                Step::Pass(seconds) => world.pass(seconds),
                _ => {}
            }
            prop_assert_eq!(world.write_status(), None, "a status is written again and again");
        }
        if deleted {
            for action in flying {
                world.worker.in_flight.remove(&action.target().unwrap());
            }
            world.worker.status_written = true;
            world.pass(3600);
            world.settle();
            prop_assert!(world.observed.is_empty(), "something is left: {:?}", world.observed);
            prop_assert_eq!(world.plan(), [Action::Forget]);
        }
    }
}
