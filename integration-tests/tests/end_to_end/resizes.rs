//! Resources that change while pods run.

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{bed, is_serving},
    kubectl::{Kubectl, contains},
};
use serde_json::{Value, json};

/// What a user sees of the containers of the pod `sized`: restarts and resources, in their order.
fn seen(pod: &Value) -> Vec<(i64, Value)> {
    let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    statuses.iter().map(|it| (it["restartCount"].as_i64().unwrap_or(-1), it["resources"].clone())).collect()
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    pod["status"]["conditions"].as_array()?.iter().find(|it| it["type"] == kind)
}

fn resources(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}})
}

#[test]
fn resizes_are_made_in_place_or_by_a_restart_as_the_policy_says() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "resizes")?;
    let container = |name: &str, port: &str, memory: &str| {
        json!({
            "name": name, "image": "reeve.local/demo:1", "args": ["serve", "--port", port],
            "resources": resources("20m", "35Mi"),
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": memory}],
        })
    };
    let containers = [container("stays", "8080", "NotRequired"), container("restarts", "8081", "RestartContainer")];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "sized"},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": containers},
    });
    kubectl.feed(&["apply", "-f", "-"], &pod.to_string())?;
    let namespace = ["pod", "sized", "-n", "resizes"];
    bed.wait_for(&namespace, "it serves", is_serving)?;
    let resize = |of: &[(&str, Value)]| {
        let containers: Vec<Value> = of.iter().map(|(name, it)| json!({"name": name, "resources": it})).collect();
        let patch = json!({"spec": {"containers": containers}}).to_string();
        kubectl.run(&["patch", "pod", "sized", "--subresource", "resize", "-p", &patch])
    };
    let settled = |pod: &Value| {
        is_serving(pod) && condition(pod, "PodResizeInProgress").or(condition(pod, "PodResizePending")).is_none()
    };

    // Larger in place, and larger by a restart, for which the pod's own cgroup has to grow first.
    let larger = resources("60m", "60Mi");
    resize(&[("stays", larger.clone()), ("restarts", larger.clone())])?;
    let expected = [(0, larger.clone()), (1, larger)];
    bed.wait_for(&namespace, "both are larger", |pod| settled(pod) && seen(pod) == expected)?;
    // Smaller again, through the whole object.
    let mut object: Value = serde_json::from_str(&kubectl.run(&["get", "pod", "sized", "-o", "json"])?)?;
    let smaller = resources("10m", "30Mi");
    object["spec"]["containers"][0]["resources"] = smaller.clone();
    object["metadata"].as_object_mut().context("metadata")?.remove("resourceVersion");
    kubectl.feed(&["replace", "--subresource", "resize", "-f", "-"], &object.to_string())?;
    let expected = [(0, smaller), expected[1].clone()];
    let pod = bed.wait_for(&namespace, "the first is smaller", |pod| settled(pod) && seen(pod) == expected)?;
    assert_eq!(pod["status"]["observedGeneration"], 3, "{pod}");

    // More than the node has: told, and nothing changes.
    resize(&[("stays", resources("4000", "30Mi"))])?;
    let pod = bed.wait_for(&namespace, "it cannot be", |pod| condition(pod, "PodResizePending").is_some())?;
    let pending = condition(&pod, "PodResizePending").context("the condition")?;
    assert_eq!(pending["reason"], "Infeasible", "{pending}");
    assert!(pending["message"].as_str().is_some_and(|it| it.starts_with("Node didn't have enough capacity: cpu, ")));
    assert_eq!(seen(&pod), expected);
    let events = || kubectl.run(&["events", "--for", "pod/sized", "--no-headers"]);
    bed.wait_for(&["events", "-n", "resizes"], "the events", |list| {
        let reasons = list["items"].as_array().into_iter().flatten().filter_map(|it| it["reason"].as_str());
        let reasons: Vec<&str> = reasons.collect();
        ["ResizeStarted", "ResizeCompleted", "ResizeInfeasible"].iter().all(|it| reasons.contains(it))
    })?;
    contains(&events()?, &["Container restarts resize requires restart", "Pod resize completed: {\"containers\":["])?;

    // The class of service stays what it was.
    let refused = kubectl.ends_with(
        1,
        &[
            "patch",
            "pod",
            "sized",
            "--subresource",
            "resize",
            "-p",
            r#"{"spec":{"containers":[{"name":"stays","resources":{"requests":{"cpu":"0"}}}]}}"#,
        ],
    )?;
    contains(&refused, &["Pod QOS Class may not change as a result of resizing"])
}

#[test]
fn a_pod_is_resized_as_a_whole() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "wholes")?;
    let whole = |cpu: &str, memory: &str| json!({"requests": {"cpu": "20m", "memory": "24Mi"}, "limits": {"cpu": cpu, "memory": memory}});
    let container = |name: &str, port: &str| json!({"name": name, "image": "reeve.local/demo:1", "args": ["serve", "--port", port]});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shared"},
        "spec": {
            "terminationGracePeriodSeconds": 1, "resources": whole("200m", "64Mi"),
            "containers": [container("first", "8080"), container("second", "8081")],
        },
    });
    kubectl.feed(&["apply", "-f", "-"], &pod.to_string())?;
    let name = ["pod", "shared", "-n", "wholes"];
    let told = |pod: &Value| (pod["status"]["resources"].clone(), pod["status"]["allocatedResources"].clone());
    let requests = json!({"cpu": "20m", "memory": "24Mi"});
    let pod = bed.wait_for(&name, "it serves", is_serving)?;
    assert_eq!(told(&pod), (whole("200m", "64Mi"), requests.clone()), "{pod}");
    let resize = |resources: Value| json!({"spec": {"resources": resources}}).to_string();
    let patch = |text: &str| kubectl.run(&["patch", "pod", "shared", "--subresource", "resize", "-p", text]);
    patch(&resize(whole("400m", "96Mi")))?;
    let pod = bed.wait_for(&name, "it is larger", |pod| {
        told(pod) == (whole("400m", "96Mi"), requests.clone()) && condition(pod, "PodResizeInProgress").is_none()
    })?;
    assert!(seen(&pod).iter().all(|(restarts, _)| *restarts == 0), "{pod}");
    // More than the node has: told, and nothing changes.
    patch(&resize(json!({"requests": {"cpu": "4000"}, "limits": {"cpu": "4000"}})))?;
    let pod = bed.wait_for(&name, "it cannot be", |pod| condition(pod, "PodResizePending").is_some())?;
    assert_eq!(condition(&pod, "PodResizePending").context("the condition")?["reason"], "Infeasible", "{pod}");
    assert_eq!(told(&pod), (whole("400m", "96Mi"), requests), "{pod}");
    let gone = r#"{"spec":{"resources":null}}"#;
    let refused = kubectl.ends_with(1, &["patch", "pod", "shared", "--subresource", "resize", "-p", gone])?;
    contains(&refused, &["spec.resources: Forbidden: pod-level resources cannot be removed"])
}
