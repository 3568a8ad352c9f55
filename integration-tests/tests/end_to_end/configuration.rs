//! What pods are given: configuration, volumes, identities, and what they may.

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{bed, is_serving};

const CONFIGURED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, file.txt: of the map}
---
apiVersion: v1
kind: Secret
metadata: {name: words}
stringData: {password: open sesame}
---
apiVersion: v1
kind: Pod
metadata: {name: configured, labels: {tier: front}, annotations: {note: kept}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - name: finds-out
    image: 'reeve.local/demo:1'
    args: [write, /found/vars.env, \"FOUND='by the init container'\"]
    volumeMounts: [{name: found, mountPath: /found}]
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    args: [sleep, infinity]
    readinessProbe: {exec: {command: [cat, /settings/go]}, periodSeconds: 1}
    resources: {requests: {cpu: 20m, memory: 16Mi}, limits: {cpu: 250m, memory: 64Mi}}
    envFrom: [{prefix: MAP_, configMapRef: {name: settings}}]
    env:
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: words, key: password}}}
    - {name: GREETING, value: 'say $(PASSWORD) not $$(PASSWORD)'}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: ADDRESS, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    - {name: FOUND, valueFrom: {fileKeyRef: {volumeName: found, path: vars.env, key: FOUND}}}
    volumeMounts:
    - {name: settings, mountPath: /settings}
    - {name: settings, mountPath: /one/file.txt, subPath: file.txt}
    - {name: words, mountPath: /words}
    - {name: self, mountPath: /self}
    - {name: all, mountPath: /all}
    - {name: memory, mountPath: /memory}
  volumes:
  - {name: settings, configMap: {name: settings}}
  - {name: words, secret: {secretName: words, defaultMode: 0400}}
  - {name: self, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: found, emptyDir: {}}
  - name: all
    projected:
      sources:
      - configMap: {name: settings, items: [{key: colour, path: paint}]}
      - serviceAccountToken: {path: token, expirationSeconds: 3600, audience: somebody}
";

#[test]
fn configuration_reaches_pods_by_environment_and_files() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _configured = bed.keep_applied(CONFIGURED)?;
    let pod = bed.wait_for(&["pod", "configured"], "it runs", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["running"].is_object()
    })?;
    let inside = |words: &[&str]| bed.rctl(&[&["exec", "configured", "--"], words].concat());
    let environment = inside(&["env"])?;
    for line in [
        "MAP_colour=blue".to_owned(),
        "PASSWORD=open sesame".to_owned(),
        "GREETING=say open sesame not $(PASSWORD)".to_owned(),
        "POD=configured".to_owned(),
        format!("ADDRESS={}", pod["status"]["podIP"].as_str().context("an address")?),
        format!("NODE={}", pod["spec"]["nodeName"].as_str().context("a node")?),
        format!("LIMIT={}", 64 * 1024 * 1024),
        "KUBERNETES_SERVICE_PORT=443".to_owned(),
        "FOUND=by the init container".to_owned(),
    ] {
        assert!(environment.lines().any(|known| known == line), "{line:?} is missing in:\n{environment}");
    }
    for (file, text) in [
        ("/settings/colour", "blue"),
        ("/one/file.txt", "of the map"),
        ("/words/password", "open sesame"),
        ("/all/paint", "blue"),
    ] {
        assert_eq!(inside(&["cat", file])?, text, "{file}");
    }
    assert!(inside(&["cat", "/self/labels"])?.contains("tier=\"front\""));
    assert_eq!(inside(&["cat", "/all/token"])?.split('.').count(), 3, "a token in three parts");
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    inside(&["write", "/memory/small", "fits"])?;

    // It was not ready, because a file was missing. A change of the map brings it, while the pod runs.
    assert!(!is_serving(&pod), "{pod}");
    bed.rctl(&["patch", "configmap", "settings", "-p", r#"{"data":{"go":"on","colour":"red"}}"#])?;
    bed.rctl(&["label", "pod", "configured", "tier=back", "--overwrite"])?;
    bed.wait_for(&["pod", "configured"], "the file has come", is_serving)?;
    assert_eq!(inside(&["cat", "/settings/colour"])?, "red");
    assert_eq!(inside(&["cat", "/one/file.txt"])?, "of the map", "a sub path stays as it was");
    assert!(inside(&["env"])?.contains("MAP_colour=blue"), "the environment stays as it was");
    Ok(())
}

const CAREFUL: &str = "
apiVersion: v1
kind: Pod
metadata: {name: careful}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: main
    image: 'reeve.local/demo:1'
    args: [sleep, infinity]
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: room, mountPath: /room}]
  volumes: [{name: room, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: careless}
spec:
  securityContext: {runAsNonRoot: true}
  containers: [{name: main, image: 'reeve.local/demo:1'}]
";

#[test]
fn configuration_of_security_holds() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _careful = bed.keep_applied(CAREFUL)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/careful", "--timeout=120s"])?;
    let inside = |words: &[&str]| bed.rctl(&[&["exec", "careful", "--"], words].concat());
    let identity = inside(&["id"])?;
    assert!(identity.contains("uid=1000") && identity.contains("gid=3000"), "{identity}");
    inside(&["write", "/room/mine", "yes"])?;
    let refused = inside(&["write", "/bin/other", "no"]).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("Read-only file system"), "{refused}");
    let status = inside(&["cat", "/proc/self/status"])?;
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line:?} is missing in:\n{status}");
    }
    let careless = bed.wait_for(&["pod", "careless"], "it is refused", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })?;
    let why = careless["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap_or_default();
    assert!(why.contains("image will run as root"), "{why}");
    Ok(())
}

const LIMITED: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: limited, labels: {pod-security.kubernetes.io/enforce: baseline}}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: few, namespace: limited}
spec: {hard: {pods: '1', configmaps: '3'}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: usual, namespace: limited}
spec: {limits: [{type: Container, default: {memory: 32Mi}, max: {memory: 64Mi}}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: limited}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: limited}
rules: [{apiGroups: [''], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: limited}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: limited}]
";

/// A pod of the limited namespace.
fn limited_pod(name: &str, container: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: limited}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{{name: main, image: 'reeve.local/demo:1', {container}}}]
"
    )
}

#[test]
fn configuration_of_namespaces_limits_what_is_created() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _limited = bed.keep_applied(LIMITED)?;
    bed.wait_for(&["resourcequota", "few", "-n", "limited"], "the quota counts", |quota| {
        quota["status"]["used"]["pods"] == "0"
    })?;
    let refused = |manifest: &str| bed.apply(manifest).err().map(|error| error.to_string()).unwrap_or_default();
    let privileged = refused(&limited_pod("high", "securityContext: {privileged: true}"));
    assert!(privileged.contains("violates PodSecurity \"baseline:latest\""), "{privileged}");
    let large = refused(&limited_pod("large", "resources: {limits: {memory: 1Gi}}"));
    assert!(large.contains("maximum memory usage per Container is 64Mi, but limit is 1Gi"), "{large}");
    bed.apply(&limited_pod("one", "args: [sleep, infinity]"))?;
    let two = refused(&limited_pod("two", "args: [sleep, infinity]"));
    assert!(two.contains("exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1"), "{two}");
    let one = bed.testbed.rctl.json(&["get", "pod", "one", "-n", "limited"])?;
    assert_eq!(one["spec"]["containers"][0]["resources"]["limits"]["memory"], "32Mi");

    let can = |verb: &str| -> Result<String> {
        let user = "system:serviceaccount:limited:reader";
        let output =
            bed.testbed.rctl.command(&["auth", "can-i", verb, "pods", "-n", "limited", "--as", user]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(can("list")?, "yes");
    assert_eq!(can("delete")?, "no");
    Ok(())
}
