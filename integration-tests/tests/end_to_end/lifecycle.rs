//! How pods begin, go on and end, as their statuses tell it.

use std::fs;

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{bed, is_serving};
use serde_json::{Value, json};

const ORDERED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: ordered}
spec:
  terminationGracePeriodSeconds: 2
  volumes: [{name: notes, emptyDir: {}}]
  initContainers:
  - name: first
    image: 'reeve.local/demo:1'
    command: [sh, -c, 'echo first >> /notes/order']
    volumeMounts: [{name: notes, mountPath: /notes}]
  - name: beside
    image: 'reeve.local/demo:1'
    restartPolicy: Always
    command: [sh, -c, 'echo beside >> /notes/order; sleep infinity']
    startupProbe: {exec: {command: [cat, /notes/order]}, periodSeconds: 1}
    volumeMounts: [{name: notes, mountPath: /notes}]
  - name: second
    image: 'reeve.local/demo:1'
    command: [sh, -c, 'echo second >> /notes/order']
    volumeMounts: [{name: notes, mountPath: /notes}]
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    command: [sh, -c, 'echo main >> /notes/order; sleep infinity']
    lifecycle: {postStart: {exec: {command: [sh, -c, 'echo started > /notes/hook']}}}
    volumeMounts: [{name: notes, mountPath: /notes}]
";

#[test]
fn lifecycle_init_and_sidecar_containers_start_in_their_order() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _ordered = bed.keep_applied(ORDERED)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/ordered", "--timeout=120s"])?;
    let order = bed.rctl(&["exec", "ordered", "-c", "main", "--", "cat", "/notes/order"])?;
    assert_eq!(order, "first\nbeside\nsecond\nmain\n");
    assert_eq!(bed.rctl(&["exec", "ordered", "-c", "main", "--", "cat", "/notes/hook"])?, "started\n");
    let pod = bed.testbed.rctl.json(&["get", "pod", "ordered"])?;
    let statuses = &pod["status"]["initContainerStatuses"];
    for (index, name, started) in [(0, "first", false), (1, "beside", true), (2, "second", false)] {
        assert_eq!(statuses[index]["name"], name);
        assert_eq!(statuses[index]["state"]["running"].is_object(), started, "{name}: {statuses}");
    }
    assert_eq!(statuses[0]["state"]["terminated"]["reason"], "Completed");
    assert!(bed.rctl(&["get", "pod", "ordered"])?.contains("2/2"), "a sidecar counts");
    Ok(())
}

const PROBED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: probed, labels: {app: probed}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: 'reeve.local/demo:1'
    ports: [{name: http, containerPort: 8080}]
    startupProbe: {tcpSocket: {port: http}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {exec: {command: [demo, get, 'http://127.0.0.1:8080/healthz']}, periodSeconds: 1, failureThreshold: 2}
---
apiVersion: v1
kind: Service
metadata: {name: probed}
spec: {selector: {app: probed}, ports: [{port: 80, targetPort: http}]}
";

#[test]
fn lifecycle_probes_decide_about_traffic_and_restarts() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _probed = bed.keep_applied(PROBED)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/probed", "--timeout=120s"])?;
    let pod = bed.testbed.rctl.json(&["get", "pod", "probed"])?;
    let address = pod["status"]["podIP"].as_str().context("an address")?;
    let ask = |path: &str| bed.from_node(1, &["get", &format!("http://{address}:8080{path}")]);
    let service = bed.testbed.rctl.json(&["get", "service", "probed"])?;
    let cluster = format!("http://{}/", service["spec"]["clusterIP"].as_str().context("no clusterIP")?);
    assert!(bed.from_node(1, &["get", &cluster, "--retry", "10"])?.starts_with("probed "));

    // A failing readiness probe takes it out of the Service, and restarts nothing.
    ask("/ready/off")?;
    bed.wait_for(&["pod", "probed"], "it is not ready", |pod| !is_serving(pod))?;
    let no_endpoint = |slices: &Value| {
        slices["items"].as_array().is_some_and(|all| {
            all.iter().all(|slice| {
                slice["endpoints"].as_array().is_none_or(|all| all.iter().all(|it| it["conditions"]["ready"] == false))
            })
        })
    };
    bed.wait_for(&["endpointslices", "-l", "kubernetes.io/service-name=probed"], "no endpoint is ready", no_endpoint)?;
    ask("/ready/on")?;
    let pod = bed.wait_for(&["pod", "probed"], "it is ready again", is_serving)?;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);

    // A failing liveness probe restarts it.
    ask("/healthz/off")?;
    let pod = bed.wait_for(&["pod", "probed"], "it was restarted and is ready", |pod| {
        is_serving(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    })?;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert!(last["exitCode"].is_i64(), "{pod}");
    let described = bed.rctl(&["describe", "pod", "probed"])?;
    for said in ["Liveness probe failed", "Readiness probe failed", "will be restarted"] {
        assert!(described.contains(said), "{said:?} is missing in:\n{described}");
    }
    Ok(())
}

const CRASHING: &str = "
apiVersion: v1
kind: Pod
metadata: {name: crashing}
spec:
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    command: [sh, -c, 'echo the last words > /dev/termination-log; crash 3']
---
apiVersion: v1
kind: Pod
metadata: {name: never}
spec:
  restartPolicy: Never
  containers: [{name: main, image: 'reeve.local/demo:1', command: [crash, '4']}]
---
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  restartPolicy: OnFailure
  volumes: [{name: notes, emptyDir: {}}]
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    command: [sh, -c, 'cat /notes/seen && exit 0; echo yes > /notes/seen; exit 1']
    volumeMounts: [{name: notes, mountPath: /notes}]
---
apiVersion: v1
kind: Pod
metadata: {name: last-words}
spec:
  restartPolicy: Never
  containers:
  - name: logged
    image: 'reeve.local/demo:1'
    command: [sh, -c, 'echo first; echo second; exit 1']
    terminationMessagePolicy: FallbackToLogsOnError
  - name: written
    image: 'reeve.local/demo:1'
    command: [write, /words, from the file]
    terminationMessagePath: /words
    terminationMessagePolicy: FallbackToLogsOnError
";

#[test]
fn lifecycle_ends_are_told_with_code_and_last_words() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _crashing = bed.keep_applied(CRASHING)?;
    // By the third time it backs off for long enough that what follows is asked meanwhile.
    let pod = bed.wait_for(&["pod", "crashing"], "it backs off for the third time", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["state"]["waiting"]["reason"] == "CrashLoopBackOff" && status["restartCount"].as_i64() >= Some(3)
    })?;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(status["lastState"]["terminated"]["reason"], "Error");
    assert_eq!(status["lastState"]["terminated"]["message"], "the last words\n");
    let before = bed.rctl(&["logs", "crashing", "--previous"])?;
    assert!(before.contains("exiting with code 3"), "{before}");
    let described = bed.rctl(&["describe", "pod", "crashing"])?;
    assert!(described.contains("CrashLoopBackOff") && described.contains("Back-off restarting"), "{described}");

    let listed = bed.rctl(&["get", "pod", "crashing", "--no-headers"])?;
    assert!(listed.contains("0/1") && listed.contains("CrashLoopBackOff"), "{listed}");

    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let never = bed.wait_for(&["pod", "never"], "it ended", ended)?;
    assert_eq!(never["status"]["phase"], "Failed");
    assert_eq!(never["status"]["containerStatuses"][0]["restartCount"], 0);
    assert_eq!(never["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 4);
    let once = bed.wait_for(&["pod", "once"], "it ended", ended)?;
    assert_eq!(once["status"]["phase"], "Succeeded");
    assert_eq!(once["status"]["containerStatuses"][0]["restartCount"], 1);
    for (pod, shown) in [("never", "Error"), ("once", "Completed")] {
        let listed = bed.rctl(&["get", "pod", pod, "--no-headers"])?;
        assert!(listed.contains(shown), "{listed}");
    }
    let words = bed.wait_for(&["pod", "last-words"], "it ended", ended)?;
    let terminated = |index: usize| &words["status"]["containerStatuses"][index]["state"]["terminated"];
    assert_eq!((&terminated(0)["exitCode"], &terminated(0)["message"]), (&json!(1), &json!("first\nsecond")));
    assert_eq!((&terminated(1)["exitCode"], &terminated(1)["message"]), (&json!(0), &json!("from the file\n")));
    let described = bed.rctl(&["describe", "pod", "last-words"])?;
    for part in ["Reason:", "Exit Code:    1", "from the file"] {
        assert!(described.contains(part), "{part:?} is missing in:\n{described}");
    }
    Ok(())
}

const STATIC: &str = "
apiVersion: v1
kind: Pod
metadata: {name: fixed}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: 'reeve.local/demo:1'}]
";

#[test]
fn lifecycle_static_pods_follow_their_file() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let node = bed.node(2)?;
    let file = node.manifests().join("fixed.yaml");
    fs::write(&file, STATIC)?;
    let mirror = format!("fixed-{}", node.name);
    let watched = ["pods", "--field-selector", &format!("metadata.name={mirror}")];
    let only = |list: &Value| list["items"].as_array().and_then(|pods| pods.first().cloned());
    let first =
        bed.wait_for(&watched, "the mirror pod serves", |list| only(list).is_some_and(|pod| is_serving(&pod)))?;
    let first = only(&first).context("a pod")?;
    assert_eq!(first["metadata"]["annotations"]["kubernetes.io/config.source"], "file");
    assert_eq!(first["spec"]["nodeName"], node.name.as_str());
    // Its mirror's deletion does not end it: the same container goes on, and the mirror comes back.
    bed.rctl(&["delete", "pod", &mirror, "--wait=false"])?;
    let again = bed.wait_for(&watched, "another mirror pod serves", |list| {
        only(list).is_some_and(|pod| is_serving(&pod) && pod["metadata"]["uid"] != first["metadata"]["uid"])
    })?;
    let again = only(&again).context("a pod")?;
    let container = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    assert_eq!(container(&again), container(&first));
    fs::remove_file(&file)?;
    bed.wait_for(&watched, "the mirror pod is gone", |list| only(list).is_none()).map(drop)
}
