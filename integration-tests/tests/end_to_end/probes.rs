//! Probes beyond those of the pods' own story: by gRPC, and what a startup probe holds back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{bed, is_serving};
use serde_json::Value;

const BY_GRPC: &str = "
apiVersion: v1
kind: Pod
metadata: {name: by-grpc}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: 'reeve.local/demo:1'
    args: [serve, --grpc-port, '9000']
    ports: [{name: health, containerPort: 9000}]
    startupProbe: {grpc: {port: 9000}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {grpc: {port: 9000, service: readiness}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {grpc: {port: 9000, service: liveness}, periodSeconds: 1, failureThreshold: 1}
";

#[test]
fn probes_by_grpc_take_out_and_restart() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _by_grpc = bed.keep_applied(BY_GRPC)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/by-grpc", "--timeout=120s"])?;
    let pod = bed.testbed.rctl.json(&["get", "pod", "by-grpc"])?;
    let address = pod["status"]["podIP"].as_str().context("an address")?;
    let ask = |path: &str| bed.from_node(1, &["get", &format!("http://{address}:8080{path}")]);
    ask("/ready/off")?;
    bed.wait_for(&["pod", "by-grpc"], "it is not ready", |pod| !is_serving(pod))?;
    let unhealthy = "service unhealthy (responded with \"NOT_SERVING\")";
    bed.wait_for_event("by-grpc", "Unhealthy", &format!("Readiness probe failed: {unhealthy}"))?;
    ask("/ready/on")?;
    let pod = bed.wait_for(&["pod", "by-grpc"], "it is ready again", is_serving)?;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    ask("/healthz/off")?;
    bed.wait_for(&["pod", "by-grpc"], "it was restarted and is ready", |pod| {
        is_serving(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
    })?;
    bed.wait_for_event("by-grpc", "Unhealthy", &format!("Liveness probe failed: {unhealthy}"))?;
    bed.wait_for_event("by-grpc", "Killing", "Container web failed liveness probe, will be restarted")
}

/// Its process takes no notice of SIGTERM: only the end of a grace period ends it.
const SLOW: &str = "
apiVersion: v1
kind: Pod
metadata: {name: slow}
spec:
  terminationGracePeriodSeconds: 600
  volumes: [{name: notes, emptyDir: {}}]
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    command: [cat]
    stdin: true
    startupProbe: {exec: {command: [cat, /notes/up]}, periodSeconds: 1, failureThreshold: 100}
    readinessProbe: {exec: {command: ['true']}, periodSeconds: 1}
    livenessProbe:
      exec: {command: [cat, /notes/alive]}
      periodSeconds: 1
      failureThreshold: 1
      terminationGracePeriodSeconds: 1
    volumeMounts: [{name: notes, mountPath: /notes}]
";

#[test]
fn probes_wait_for_the_start_and_bring_their_own_grace_period() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _slow = bed.keep_applied(SLOW)?;
    let main = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
    bed.wait_for(&["pod", "slow"], "it runs", |pod| main(pod)["state"]["running"].is_object())?;
    bed.wait_for_event("slow", "Unhealthy", "Startup probe failed: cat: /notes/up: ")?;
    // The others would have answered by now: it is neither ready nor restarted.
    let pod = bed.testbed.rctl.json(&["get", "pod", "slow"])?;
    assert_eq!((&main(&pod)["started"], &main(&pod)["ready"]), (&Value::Bool(false), &Value::Bool(false)), "{pod}");
    assert_eq!(main(&pod)["restartCount"], 0, "{pod}");

    // Once it has started the liveness probe fails at once, and its own grace period holds, not the pod's.
    let began = Instant::now();
    bed.rctl(&["exec", "slow", "--", "write", "/notes/up", "yes"])?;
    let pod = bed.wait_for(&["pod", "slow"], "it was restarted", |pod| main(pod)["restartCount"] == 1)?;
    assert!(began.elapsed() < Duration::from_secs(60), "the pod's grace period was waited for");
    assert_eq!(main(&pod)["lastState"]["terminated"]["exitCode"], 137, "{pod}");
    bed.wait_for_event("slow", "Killing", "Container main failed liveness probe, will be restarted")?;
    bed.rctl(&["delete", "pod", "slow", "--grace-period=1"]).map(drop)
}
