//! ConfigMaps and Secrets in volumes: what comes and goes while pods run, many at once, and their parts by sub paths.

use anyhow::{Result, ensure};
use reeve_integration_tests::bed::{Bed, bed, is_serving};

/// A pod whose maps and secrets may all be missing, and which is ready once `/made/key` is there.
const OPTIONAL: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: going}
data: {key: one}
---
apiVersion: v1
kind: Secret
metadata: {name: changing}
stringData: {key: one, other: kept}
---
apiVersion: v1
kind: Pod
metadata: {name: optional}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, fsGroup: 2000}
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    args: [sleep, infinity]
    readinessProbe: {exec: {command: [cat, /made/key]}, periodSeconds: 1}
    volumeMounts: [{name: going, mountPath: /going}, {name: changing, mountPath: /changing}, {name: made, mountPath: /made}]
  volumes:
  - {name: going, configMap: {name: going, optional: true}}
  - {name: changing, secret: {secretName: changing, optional: true, defaultMode: 0400, items: [{key: key, path: deep/key}, {key: later, path: later}]}}
  - {name: made, projected: {sources: [{configMap: {name: made, optional: true}}]}}
";

#[test]
fn maps_come_and_go_while_a_pod_runs() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _optional = bed.keep_applied(OPTIONAL)?;
    bed.wait_for(&["pod", "optional"], "it runs", |pod| pod["status"]["phase"] == "Running")?;
    let inside = |words: &[&str]| bed.rctl(&[&["exec", "optional", "--"], words].concat());
    // The user is none of root's, and reads by the group.
    assert_eq!(inside(&["cat", "/going/key"])? + &inside(&["cat", "/changing/deep/key"])?, "oneone");
    // Names that begin with two points are the volume's own.
    let keys = |folder: &str| -> Result<Vec<String>> {
        let listed = inside(&["ls", folder])?;
        Ok(listed.split_whitespace().filter(|name| !name.starts_with("..")).map(str::to_owned).collect())
    };
    assert_eq!(keys("/changing")?, ["deep"]);
    let mounts = inside(&["cat", "/proc/mounts"])?;
    for (folder, kind) in [("/changing", "tmpfs"), ("/made", "tmpfs")] {
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(folder)).unwrap_or_default();
        assert!(line.starts_with(kind) && line.contains(" ro,"), "{folder}: {line:?}");
    }

    bed.rctl(&["delete", "configmap", "going"])?;
    bed.rctl(&["patch", "secret", "changing", "-p", r#"{"stringData":{"key":"two","later":"added"}}"#])?;
    // What comes last shows that what came before has arrived.
    let _made = bed.keep_applied("{apiVersion: v1, kind: ConfigMap, metadata: {name: made}, data: {key: three}}")?;
    bed.wait_for(&["pod", "optional"], "the map has come", is_serving)?;
    assert_eq!(inside(&["cat", "/changing/deep/key"])? + &inside(&["cat", "/changing/later"])?, "twoadded");
    assert_eq!(keys("/going")?, Vec::<String>::new());
    Ok(())
}

/// Pods of one node with fifty maps each: one file of each is one more reason to fail.
fn crowd(maps: usize) -> String {
    let map = |number| {
        format!("{{name: many-{number}, configMap: {{name: many-{number}, items: [{{key: key, path: key}}]}}}}")
    };
    let mount = |number| format!("{{name: many-{number}, mountPath: /many/{number}}}");
    let listed = |of: &dyn Fn(usize) -> String| (0..maps).map(of).collect::<Vec<_>>().join(", ");
    let made: String = (0..maps)
        .map(|number| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: many-{number}}}, data: {{key: v{number}}}}}\n---\n"))
        .collect();
    format!(
        "{made}
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: crowd}}
spec:
  replicas: 5
  selector: {{matchLabels: {{app: crowd}}}}
  template:
    metadata: {{labels: {{app: crowd}}}}
    spec:
      terminationGracePeriodSeconds: 1
      nodeSelector: {{kubernetes.io/hostname: node-2}}
      containers: [{{name: main, image: 'reeve.local/demo:1', args: [sleep, infinity], volumeMounts: [{}]}}]
      volumes: [{}]
",
        listed(&mount),
        listed(&map),
    )
}

#[test]
fn maps_in_great_number_do_not_race() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _crowd = bed.keep_applied(&crowd(50))?;
    let pods = bed.wait_for(&["pods", "-l", "app=crowd"], "all five serve", |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 5 && pods.iter().all(is_serving))
    })?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        assert_eq!(bed.rctl(&["exec", name, "--", "cat", "/many/49/key"])?, "v49");
        let events = bed.rctl(&["get", "events", "--field-selector", &format!("involvedObject.name={name}")])?;
        assert!(!events.contains("FailedMount"), "{events}");
    }
    Ok(())
}

const PARTS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: parts}
data: {key: one}
---
apiVersion: v1
kind: Pod
metadata: {name: parts}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    command: [demo, serve]
    env: [{name: PLACE, valueFrom: {fieldRef: {fieldPath: \"metadata.annotations['place']\"}}}]
    livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, failureThreshold: 3}
    volumeMounts:
    - {name: scratch, mountPath: /part, subPathExpr: $(PLACE)/here}
    - {name: scratch, mountPath: /whole}
    - {name: map, mountPath: /etc/resolv.conf, subPath: key}
  volumes: [{name: scratch, emptyDir: {}}, {name: map, configMap: {name: parts}}]
";

fn waits_for(bed: &Bed, pod: &str, message: &str) -> Result<()> {
    let object = bed.wait_for(&["pod", pod], "it is refused", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })?;
    let why = &object["status"]["containerStatuses"][0]["state"]["waiting"]["message"];
    ensure!(why.as_str().is_some_and(|why| why.ends_with(message)), "{why}");
    Ok(())
}

#[test]
fn maps_and_folders_are_mounted_by_parts() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _parts = bed.keep_applied(PARTS)?;
    waits_for(&bed, "parts", "missing value for PLACE")?;
    bed.rctl(&["annotate", "pod", "parts", "place=.."])?;
    let out = bed.wait_for(&["pod", "parts"], "steps back are refused", |pod| {
        let why = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap_or_default();
        why.contains("must not contain '..'")
    })?;
    assert_eq!(out["status"]["phase"], "Pending");
    bed.rctl(&["annotate", "pod", "parts", "place=mended", "--overwrite"])?;
    bed.wait_for(&["pod", "parts"], "it serves", is_serving)?;
    let inside = |words: &[&str]| bed.rctl(&[&["exec", "parts", "--"], words].concat());
    inside(&["write", "/whole/mended/here/file", "x"])?;
    assert_eq!(inside(&["cat", "/part/file"])?, "x\n");
    assert_eq!(inside(&["cat", "/etc/resolv.conf"])?, "one");

    // A part stays as it was while the container runs; the next one has the new state, and the same scratch.
    bed.rctl(&["patch", "configmap", "parts", "-p", r#"{"data":{"key":"two"}}"#])?;
    bed.rctl(&["annotate", "pod", "parts", "place=elsewhere", "--overwrite"])?;
    assert_eq!(inside(&["cat", "/etc/resolv.conf"])?, "one");
    inside(&["demo", "get", "http://127.0.0.1:8080/healthz/off"])?;
    bed.wait_for(&["pod", "parts"], "it is restarted", |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_i64() >= Some(1) && is_serving(pod)
    })?;
    assert_eq!(inside(&["cat", "/etc/resolv.conf"])?, "two");
    assert_eq!(inside(&["ls", "/part"])?.trim(), "");
    assert_eq!(inside(&["cat", "/whole/mended/here/file"])?, "x\n");
    bed.rctl(&["delete", "pod", "parts", "--timeout=60s"]).map(drop)
}
