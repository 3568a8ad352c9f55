//! `kubectl` on what runs: rolling out, scaling, describing, running, debugging, draining.

use anyhow::{Result, ensure};
use reeve_integration_tests::{
    bed::bed,
    kubectl::{Kubectl, TIMEOUT, contains},
};

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: rolled, labels: {app: rolled}}
spec:
  replicas: 2
  selector: {matchLabels: {app: rolled}}
  template:
    metadata: {labels: {app: rolled}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: 'reeve.local/demo:1', ports: [{containerPort: 8080}]}]
";

#[test]
fn clients_kubectl_rolls_out_and_scales() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-rolls")?;
    kubectl.feed(&["apply", "-f", "-"], DEPLOYMENT)?;
    let status = || kubectl.run(&["rollout", "status", "deployment/rolled", TIMEOUT]);
    contains(&status()?, &["deployment \"rolled\" successfully rolled out\n"])?;
    kubectl.run(&["wait", "--for=condition=Available", "deployment/rolled", TIMEOUT])?;
    kubectl.run(&["set", "image", "deployment/rolled", "main=reeve.local/demo:2"])?;
    kubectl.run(&["annotate", "deployment/rolled", "kubernetes.io/change-cause=second"])?;
    status()?;
    let image = ["get", "deployment", "rolled", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    let history = kubectl.run(&["rollout", "history", "deployment/rolled"])?;
    contains(&history, &["REVISION  CHANGE-CAUSE\n1         <none>\n2         second\n"])?;
    let first = kubectl.run(&["rollout", "history", "deployment/rolled", "--revision=1"])?;
    contains(&first, &["with revision #1", "reeve.local/demo:1"])?;
    contains(&kubectl.run(&["rollout", "undo", "deployment/rolled"])?, &["deployment.apps/rolled rolled back\n"])?;
    status()?;
    assert_eq!(kubectl.run(&image)?, "reeve.local/demo:1");
    kubectl.run(&["rollout", "undo", "deployment/rolled", "--to-revision=2"])?;
    assert_eq!(kubectl.run(&image)?, "reeve.local/demo:2");
    kubectl.run(&["rollout", "restart", "deployment/rolled"])?;
    status()?;
    kubectl.run(&["rollout", "pause", "deployment/rolled"])?;
    contains(
        &kubectl.ends_with(1, &["rollout", "restart", "deployment/rolled"])?,
        &["can't restart paused deployment"],
    )?;
    kubectl.run(&["rollout", "resume", "deployment/rolled"])?;

    kubectl.run(&["scale", "deployment/rolled", "--replicas=3", "--current-replicas=2"])?;
    let wrong = kubectl.ends_with(1, &["scale", "deployment/rolled", "--replicas=9", "--current-replicas=2"])?;
    contains(&wrong, &["Expected replicas to be 2, was 3"])?;
    kubectl.run(&["wait", "--for=jsonpath={.status.readyReplicas}=3", "deployment/rolled", TIMEOUT])?;
    kubectl.run(&["scale", "deployment/rolled", "--replicas=1"])?;
    status()?;
    let described = kubectl.run(&["describe", "deployment", "rolled"])?;
    contains(
        &described,
        &["1 desired | 1 updated | 1 total | 1 available", "ScalingReplicaSet", "MinimumReplicasAvailable"],
    )?;
    bed.wait_for(&["pods", "-n", "kubectl-rolls"], "one pod is left", |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 1)
    })?;
    let pod = kubectl.run(&["get", "pods", "-o", "name"])?;
    let pod = kubectl.run(&["describe", pod.trim()])?;
    contains(
        &pod,
        &["Controlled By:  ReplicaSet/rolled-", "Successfully assigned kubectl-rolls/rolled-", "QoS Class:"],
    )?;
    contains(&kubectl.run(&["get", "events", "--sort-by=.lastTimestamp"])?, &["SuccessfulCreate", "Started"])?;
    contains(&kubectl.run(&["events", "--for", "deployment/rolled"])?, &["ScalingReplicaSet"])?;
    Ok(())
}

#[test]
fn clients_kubectl_runs_and_debugs() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-runs")?;
    let run = ["run", "said", "--image=reeve.local/demo:1", "--restart=Never", "--rm", "-i", "--quiet", "--command"];
    let said = kubectl.feed(&[&run[..], &["--", "cat"]].concat(), "in and out\n")?;
    contains(&said, &["in and out\n"])?;
    kubectl.ends_with(1, &["get", "pod", "said"])?;
    kubectl.run(&[
        "run",
        "one",
        "--image=reeve.local/demo:1",
        "--port=8080",
        "--env=A=b",
        "--labels=app=one",
        "--expose",
    ])?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/one", TIMEOUT])?;
    assert_eq!(kubectl.json(&["get", "svc", "one"])?["spec"]["ports"][0]["port"], 8080);
    contains(&kubectl.run(&["exec", "one", "--", "env"])?, &["A=b\n", "KUBERNETES_SERVICE_HOST=10.96.0.1\n"])?;
    let copy = ["debug", "one", "--image=reeve.local/demo:1", "--copy-to=copy", "-c", "helper"];
    kubectl.run(&[&copy[..], &["--", "sleep", "infinity"]].concat())?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/copy", TIMEOUT])?;
    assert_eq!(kubectl.run(&["exec", "copy", "-c", "helper", "--", "hostname"])?, "copy\n");
    kubectl.run(&["debug", "one", "--image=reeve.local/demo:1", "-c", "probe", "--", "sleep", "infinity"])?;
    let started = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.running}";
    kubectl.run(&["wait", started, "pod/one", TIMEOUT])?;
    assert_eq!(kubectl.run(&["exec", "one", "-c", "probe", "--", "hostname"])?, "one\n");
    let on_node = kubectl.run(&["debug", "node/node-1", "--image=reeve.local/demo:1", "--", "ls", "/host"])?;
    let pod = on_node.split_whitespace().find(|word| word.starts_with("node-debugger-node-1-")).unwrap_or_default();
    kubectl.run(&["wait", "--for=jsonpath={.status.phase}=Succeeded", &format!("pod/{pod}"), TIMEOUT])?;
    contains(&kubectl.run(&["logs", pod])?, &["etc\n", "proc\n"])?;
    Ok(())
}

#[test]
fn clients_kubectl_drains_and_taints() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "kubectl-drains")?;
    let pinned = r#"{"spec": {"nodeName": "node-3", "terminationGracePeriodSeconds": 1}}"#;
    kubectl.run(&["run", "alone", "--image=reeve.local/demo:1", "--overrides", pinned])?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/alone", TIMEOUT])?;
    let _back = Uncordoned(&kubectl);
    let only_ours = "--pod-selector=run=alone";
    contains(
        &kubectl.ends_with(1, &["drain", "node-3", only_ours])?,
        &["cannot delete Pods that declare no controller"],
    )?;
    let drained = kubectl.run(&["drain", "node-3", only_ours, "--force", "--ignore-daemonsets", TIMEOUT])?;
    contains(&drained, &["pod/alone evicted\n", "node/node-3 drained\n"])?;
    kubectl.ends_with(1, &["get", "pod", "alone"])?;
    contains(&kubectl.run(&["get", "node", "node-3"])?, &["Ready,SchedulingDisabled"])?;
    let described = kubectl.run(&["describe", "node", "node-3"])?;
    contains(
        &described,
        &["Unschedulable:      true", "node.kubernetes.io/unschedulable:NoSchedule", "Allocated resources:"],
    )?;
    kubectl.run(&["uncordon", "node-3"])?;
    kubectl.run(&["taint", "node", "node-3", "kept=for:PreferNoSchedule"])?;
    contains(&kubectl.run(&["describe", "node", "node-3"])?, &["kept=for:PreferNoSchedule"])?;
    assert_eq!(kubectl.run(&["taint", "node", "node-3", "kept-"])?, "node/node-3 untainted\n");
    let top = kubectl.output(&["top", "nodes"])?;
    let told = format!("{}{}", String::from_utf8_lossy(&top.stdout), String::from_utf8_lossy(&top.stderr));
    ensure!(told.contains("node-1") || told.contains("Metrics API not available"), "{told}");
    Ok(())
}

/// The node takes pods again, also after a failed test.
struct Uncordoned<'a>(&'a Kubectl);

impl Drop for Uncordoned<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.run(&["uncordon", "node-3"]) {
            eprintln!("clean-up: {error:#}");
        }
    }
}
