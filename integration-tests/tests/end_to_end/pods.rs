//! Pods of several containers.

use anyhow::Result;
use reeve_integration_tests::bed::bed;

const PAIR: &str = "
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: shared, emptyDir: {}}]
  containers:
  - name: web
    image: 'reeve.local/demo:1'
    volumeMounts: [{name: shared, mountPath: /written}]
  - name: side
    image: 'reeve.local/demo:1'
    args: [sh, -c, 'echo the side has begun; sleep infinity']
    volumeMounts: [{name: shared, mountPath: /read, readOnly: true}]
";

#[test]
fn pods_containers_share_localhost_and_a_volume() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _pair = bed.keep_applied(PAIR)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/pair", "--timeout=120s"])?;
    let answer = bed.rctl(&["exec", "pair", "-c", "side", "--", "demo", "get", "http://127.0.0.1:8080/"])?;
    assert!(answer.starts_with("pair version=1"), "{answer}");
    bed.rctl(&["exec", "pair", "-c", "web", "--", "write", "/written/note", "from the web"])?;
    assert_eq!(bed.rctl(&["exec", "pair", "-c", "side", "--", "cat", "/read/note"])?, "from the web\n");
    let refused = bed.rctl(&["exec", "pair", "-c", "side", "--", "write", "/read/note", "over"]);
    let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("Read-only file system"), "{refused}");
    for container in ["web", "side"] {
        assert_eq!(bed.rctl(&["exec", "pair", "-c", container, "--", "hostname"])?, "pair\n");
    }
    assert_eq!(bed.rctl(&["logs", "pair", "-c", "side"])?, "the side has begun\n");
    let both = bed.rctl(&["logs", "pair", "--all-containers"])?;
    assert!(both.contains("the side has begun") && both.contains("listens on port 8080"), "{both}");
    let ready = bed.rctl(&["get", "pod", "pair", "--no-headers"])?;
    assert!(ready.contains("2/2"), "{ready}");
    Ok(())
}

const WITH_THE_NODE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: with-the-node}
spec:
  hostPID: true
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: 'reeve.local/demo:1', args: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: together}
spec:
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: 'reeve.local/demo:1', args: [sleep, infinity]}
  - {name: side, image: 'reeve.local/demo:1', args: [sleep, infinity]}
";

#[test]
fn pods_see_the_processes_that_they_may() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _pods = bed.keep_applied(WITH_THE_NODE)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/with-the-node", "pod/together", "--timeout=120s"])?;
    let first = |pod: &str| bed.rctl(&["exec", pod, "-c", "main", "--", "cat", "/proc/1/cmdline"]);
    // The nodes' processes are the machine's.
    assert_eq!(first("with-the-node")?, std::fs::read_to_string("/proc/1/cmdline")?);
    assert!(first("together")?.contains("pause"), "{}", first("together")?);
    Ok(())
}
