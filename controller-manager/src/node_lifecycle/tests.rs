//! A node falls silent and its pods leave.

use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn node(ready: &str, since: i64, taints: Value) -> NodeView {
    serde_json::from_value(json!({
        "metadata": {"name": "n1", "uid": "n", "resourceVersion": "5"},
        "spec": {"taints": taints},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at(since).to_string()}]}
    }))
    .unwrap()
}

fn pod(name: &str, seconds: Option<i64>) -> Arc<PodView> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "x", "uid": name},
            "spec": {"nodeName": "n1", "tolerations": seconds.map(|seconds| json!([
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": seconds}]))},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": at(0).to_string()}]}
        }))
        .unwrap(),
    )
}

fn decide(node: &NodeView, pods: &[Arc<PodView>], any_ready: bool, second: i64) -> Vec<String> {
    let noticed = [((UNREACHABLE.to_owned(), String::new()), at(65))].into();
    let grace = SignedDuration::from_secs(50);
    let observed = Observed { node, alive_at: at(0), grace, any_ready, pods, noticed: &noticed };
    reconcile(&observed, at(second)).iter().map(ToString::to_string).collect()
}

#[test]
fn a_living_node_is_looked_at_when_its_grace_ends() {
    assert_eq!(decide(&node("True", 0, json!([])), &[], true, 20), ["again after 30s"]);
}

#[test]
fn a_silent_node_becomes_unknown() {
    let actions = decide(&node("True", 0, json!([])), &[], true, 50);
    assert!(actions[0].contains(r#""type":"Ready","status":"Unknown","reason":"NodeStatusUnknown""#), "{actions:?}");
    assert!(actions[0].contains(r#""type":"MemoryPressure","status":"Unknown","reason":"NodeStatusNeverUpdated""#));
    assert_eq!(actions[1], "event Normal NodeNotReady Node/n1: Node n1 status is now: NodeNotReady");
}

#[test]
fn conditions_become_taints_and_taints_go_with_them() {
    let actions = decide(&node("Unknown", 50, json!([{"key": "mine", "effect": "NoExecute"}])), &[], true, 20);
    assert!(actions[1].contains("\"key\":\"mine\""), "{actions:?}");
    for effect in ["NoSchedule", "NoExecute"] {
        assert!(
            actions[1].contains(&format!(r#"{{"effect":"{effect}","key":"node.kubernetes.io/unreachable""#)),
            "{actions:?}"
        );
    }
    let tainted = json!([{"key": UNREACHABLE, "effect": "NoSchedule"}, {"key": UNREACHABLE, "effect": "NoExecute"}]);
    assert_eq!(decide(&node("True", 60, tainted), &[], true, 20)[1], r#"patch nodes n1 {"spec":{"taints":null}}"#);
}

#[test]
fn when_no_node_is_ready_nothing_is_evicted() {
    let actions = decide(&node("Unknown", 50, json!([])), &[], false, 20);
    assert!(actions[1].contains("NoSchedule") && !actions[1].contains("NoExecute"), "{actions:?}");
}

#[test]
fn pods_stop_serving_and_leave_when_their_toleration_ends() {
    let added = at(60).to_string();
    let mut node = node(
        "Unknown",
        60,
        json!([
        {"key": UNREACHABLE, "effect": "NoSchedule"},
        {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": added}]),
    );
    for type_ in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
        node.status.conditions.push(NodeCondition {
            type_: type_.into(),
            status: "Unknown".into(),
            ..NodeCondition::default()
        });
    }
    let pods = [pod("default", Some(300)), pod("none", None), pod("long", Some(900))];
    let actions = decide(&node, &pods, true, 70);
    assert_eq!(actions.iter().filter(|action| action.starts_with("set condition Ready of pods")).count(), 3);
    assert!(actions.contains(&"delete pods x/none".to_owned()), "{actions:?}");
    assert_eq!(actions.last().unwrap(), "again after 290s");
    let later = decide(&node, &pods[..1], true, 360);
    assert!(later.contains(&"delete pods x/default".to_owned()), "{later:?}");
    assert!(
        later.contains(&"event Normal TaintManagerEviction Pod/default: Marking for deletion Pod x/default".to_owned())
    );
    let disrupted = later.iter().find(|action| action.starts_with("set condition DisruptionTarget of pods x/default"));
    assert!(disrupted.is_some(), "{later:?}");
}

#[test]
fn the_time_of_a_taint_that_does_not_tell_it_is_when_it_was_noticed() {
    let node = node("True", 0, json!([{"key": "mine", "effect": "NoExecute"}]));
    let tolerant: Arc<PodView> = Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": "tolerant", "namespace": "x", "uid": "u"},
            "spec": {"nodeName": "n1", "tolerations": [{"key": "mine", "effect": "NoExecute", "tolerationSeconds": 10}]},
            "status": {"phase": "Running"}
        }))
        .unwrap(),
    );
    let decide = |pod: &Arc<PodView>, second: i64| {
        let noticed = [(("mine".to_owned(), String::new()), at(40))].into();
        let (grace, pods) = (SignedDuration::from_secs(500), std::slice::from_ref(pod));
        let observed = Observed { node: &node, alive_at: at(0), grace, any_ready: true, pods, noticed: &noticed };
        evict(&observed, at(second)).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(decide(&pod("none", None), 41).last().unwrap(), "delete pods x/none");
    assert_eq!(decide(&tolerant, 45), ["again after 5s"]);
    assert_eq!(decide(&tolerant, 50).last().unwrap(), "delete pods x/tolerant");
    let mut later = (*tolerant).clone();
    later.metadata.created = Some(at(46));
    assert_eq!(decide(&Arc::new(later), 50), ["again after 6s"]);
}
