//! Lifecycle hooks: what runs when a container has started and before it is told to end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{bed, is_serving},
    follow::Follow,
};

const FAILING: &str = "
apiVersion: v1
kind: Pod
metadata: {name: hook-fails}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: by-command
    image: 'reeve.local/demo:1'
    args: [sleep, infinity]
    lifecycle: {postStart: {exec: {command: ['false']}}}
  - name: by-request
    image: 'reeve.local/demo:1'
    args: [sleep, infinity]
    lifecycle: {postStart: {httpGet: {port: 1, path: /}}}
";

#[test]
fn hooks_that_fail_end_their_container() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _failing = bed.keep_applied(FAILING)?;
    bed.wait_for(&["pod", "hook-fails"], "both containers were restarted", |pod| {
        let statuses = pod["status"]["containerStatuses"].as_array();
        statuses.is_some_and(|all| all.len() == 2 && all.iter().all(|it| it["restartCount"].as_i64() >= Some(1)))
    })?;
    bed.wait_for_event("hook-fails", "Killing", "FailedPostStartHook")?;
    let described = bed.rctl(&["describe", "pod", "hook-fails"])?;
    for said in ["FailedPostStartHook", "PostStartHook failed"] {
        assert!(described.contains(said), "{said:?} is missing in:\n{described}");
    }
    Ok(())
}

const NOTICED: &str = "
apiVersion: v1
kind: Pod
metadata: {name: noticed}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: 'reeve.local/demo:1'
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 1}
";

/// Containers that are told to end only after their hooks; and one whose hook would take longer than there is time.
fn leaving(noticed: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: leaving}}
spec:
  terminationGracePeriodSeconds: 30
  containers:
  - name: says
    image: 'reeve.local/demo:1'
    args: [serve, --port, '8081']
    lifecycle: {{preStop: {{exec: {{command: [sh, -c, 'echo the hook > /proc/1/fd/1']}}}}}}
  - name: asks
    image: 'reeve.local/demo:1'
    args: [sleep, infinity]
    lifecycle: {{preStop: {{httpGet: {{host: {noticed}, port: 8080, path: /ready/off}}}}}}
  - name: sleeps
    image: 'reeve.local/demo:1'
    args: [serve, --port, '8082']
    lifecycle: {{preStop: {{sleep: {{seconds: 3}}}}}}
  - name: fails
    image: 'reeve.local/demo:1'
    args: [sleep, infinity]
    lifecycle: {{preStop: {{exec: {{command: ['false']}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: in-a-hurry}}
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    lifecycle: {{preStop: {{exec: {{command: [sleep, '600']}}}}}}
"
    )
}

#[test]
fn hooks_run_before_the_container_is_told_to_end() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _noticed = bed.keep_applied(NOTICED)?;
    let pod = bed.wait_for(&["pod", "noticed"], "it serves", is_serving)?;
    let _leaving = bed.keep_applied(&leaving(pod["status"]["podIP"].as_str().context("an address")?))?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/leaving", "pod/in-a-hurry", "--timeout=120s"])?;
    let follow = |pod: &str, container: &str| {
        Follow::start(bed.testbed.rctl.command(&["logs", "--follow", pod, "--container", container]))
    };
    let (mut says, mut sleeps) = (follow("leaving", "says")?, follow("leaving", "sleeps")?);
    let mut hurries = follow("in-a-hurry", "main")?;
    for followed in [&mut says, &mut sleeps, &mut hurries] {
        followed.wait_for("it listens", |line| line.contains("listens on port"))?;
    }
    let events = bed.events_of("leaving")?;
    let began = Instant::now();
    bed.rctl(&["delete", "pod", "leaving", "in-a-hurry", "--wait=false"])?;
    let told = |line: &str| line.starts_with("signal 15");
    // The command's word comes before the signal's.
    let (_, lines) = says.ended()?;
    let hook = lines.iter().position(|line| line == "the hook").context("the command ran")?;
    assert!(lines.iter().skip(hook).any(|line| told(line)), "{lines:?}");
    assert!(!lines.iter().take(hook).any(|line| told(line)), "{lines:?}");
    sleeps.wait_for("it is told", told)?;
    assert!(began.elapsed() >= Duration::from_secs(3), "told after {:?}", began.elapsed());
    bed.wait_for(&["pod", "noticed"], "the request took it out", |pod| !is_serving(pod))?;
    events.wait_for("FailedPreStopHook", "PreStopHook failed")?;
    // The hook that does not end takes no more than the grace period.
    hurries.wait_for("it is told", told)?;
    bed.rctl(&["wait", "--for=delete", "pod/leaving", "pod/in-a-hurry", "--timeout=60s"])?;
    assert!(began.elapsed() < Duration::from_secs(30), "gone after {:?}", began.elapsed());
    Ok(())
}
