//! Rows of objects as users see them.

use serde_json::json;

use super::*;

fn row(group: &str, resource: &str, object: Value) -> Vec<String> {
    let resource = GroupVersionResource::new(group, "v1", resource);
    let now = "2026-01-01T00:10:00Z".parse().unwrap();
    let cells = cells(&resource, &object, now);
    assert_eq!(cells.len(), columns(&resource).len());
    cells.iter().map(text).collect()
}

fn pod(status: Value, deleted: bool) -> Vec<String> {
    let mut object = json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "c"}], "nodeName": "n"},
        "status": status,
    });
    if deleted {
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:09:00Z");
    }
    row("", "pods", object)[1..4].to_vec()
}

#[test]
fn a_pods_state_is_one_word() {
    let running = json!({
        "phase": "Running",
        "containerStatuses": [{"ready": true, "restartCount": 0, "state": {"running": {}}}],
    });
    assert_eq!(pod(running.clone(), false), ["1/1", "Running", "0"]);
    assert_eq!(pod(running, true), ["1/1", "Terminating", "0"]);
    assert_eq!(pod(json!({"phase": "Pending"}), false), ["0/1", "Pending", "0"]);
    let crashing = json!({
        "phase": "Running",
        "containerStatuses": [{
            "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:05:00Z"}},
        }],
    });
    assert_eq!(pod(crashing, false), ["0/1", "CrashLoopBackOff", "3 (5m ago)"]);
    let done = json!({
        "phase": "Succeeded",
        "containerStatuses": [{"restartCount": 0, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}],
    });
    assert_eq!(pod(done, false), ["0/1", "Completed", "0"]);
}

#[test]
fn a_service_shows_ports_and_addresses() {
    let service = json!({
        "metadata": {"name": "s", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "type": "NodePort", "clusterIP": "10.0.0.1", "selector": {"b": "2", "a": "1"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
        },
    });
    assert_eq!(
        row("", "services", service),
        ["s", "NodePort", "10.0.0.1", "<none>", "80:30080/TCP,53/UDP", "10m", "a=1,b=2"]
    );
}

#[test]
fn a_node_shows_its_roles_and_readiness() {
    let node = json!({
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": ""}},
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    assert_eq!(row("", "nodes", node)[..4], ["n", "Ready,SchedulingDisabled", "worker", "<unknown>"]);
}

#[test]
fn a_claim_tells_its_size_once_it_has_a_volume() {
    let claim = |volume: &str| {
        json!({
            "metadata": {"name": "c", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"storageClassName": "slow", "volumeMode": "Block", "volumeName": volume},
            "status": {"phase": "Bound", "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "capacity": {"storage": "1Gi"}},
        })
    };
    let row = |volume| row("", "persistentvolumeclaims", claim(volume));
    assert_eq!(row(""), ["c", "Bound", "", "", "", "slow", "<unset>", "10m", "Block"]);
    assert_eq!(row("v"), ["c", "Bound", "v", "1Gi", "RWO,RWX", "slow", "<unset>", "10m", "Block"]);
}

#[test]
fn an_ingress_shows_its_hosts() {
    let ingress = json!({
        "metadata": {"name": "i", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"tls": [{}], "rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}]},
    });
    assert_eq!(
        row("networking.k8s.io", "ingresses", ingress),
        ["i", "<none>", "a,b,c + 1 more...", "", "80, 443", "10m"]
    );
}

#[test]
fn a_quota_is_told_in_two_halves() {
    let quota = json!({
        "metadata": {"name": "q", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"hard": {"pods": "4", "limits.memory": "1Gi"}, "used": {"pods": "2"}},
    });
    assert_eq!(row("", "resourcequotas", quota), ["q", "pods: 2/4", "limits.memory: 0/1Gi", "10m"]);
}

#[test]
fn a_job_shows_how_far_it_is() {
    let job = json!({
        "metadata": {"name": "j", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"parallelism": 2, "selector": {"matchLabels": {"a": "b"}}},
        "status": {"succeeded": 1, "startTime": "2026-01-01T00:09:00Z"},
    });
    assert_eq!(row("batch", "jobs", job)[..5], ["j", "Running", "1/1 of 2", "60s", "10m"]);
}

#[test]
fn an_autoscaler_shows_what_it_aims_at() {
    let metrics = json!([
        {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 60}}},
        {"type": "Pods", "pods": {"target": {"averageValue": "1k"}}},
        {"type": "External", "external": {"target": {"value": "1"}}},
    ]);
    let object = json!({
        "metadata": {"name": "a"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5, "metrics": metrics},
        "status": {"currentMetrics": [{"type": "Resource", "resource": {"current": {"averageUtilization": 7}}}]},
    });
    assert_eq!(
        row("autoscaling", "horizontalpodautoscalers", object)[1..6],
        ["Deployment/d", "cpu: 7%/60%, <unknown>/1k + 1 more...", "<unset>", "5", "0"]
    );
}

#[test]
fn every_table_fits_its_columns_even_when_empty() {
    for (group, resource) in [
        ("", "namespaces"),
        ("", "nodes"),
        ("", "pods"),
        ("", "services"),
        ("", "configmaps"),
        ("", "secrets"),
        ("", "serviceaccounts"),
        ("", "events"),
        ("events.k8s.io", "events"),
        ("", "podtemplates"),
        ("", "replicationcontrollers"),
        ("apps", "controllerrevisions"),
        ("apps", "daemonsets"),
        ("apps", "deployments"),
        ("apps", "statefulsets"),
        ("autoscaling", "horizontalpodautoscalers"),
        ("batch", "cronjobs"),
        ("batch", "jobs"),
        ("policy", "poddisruptionbudgets"),
        ("apps", "replicasets"),
        ("coordination.k8s.io", "leases"),
        ("discovery.k8s.io", "endpointslices"),
        ("", "componentstatuses"),
        ("", "endpoints"),
        ("", "limitranges"),
        ("", "persistentvolumeclaims"),
        ("", "persistentvolumes"),
        ("", "resourcequotas"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("certificates.k8s.io", "certificatesigningrequests"),
        ("flowcontrol.apiserver.k8s.io", "flowschemas"),
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
        ("networking.k8s.io", "ingressclasses"),
        ("networking.k8s.io", "ingresses"),
        ("networking.k8s.io", "ipaddresses"),
        ("networking.k8s.io", "networkpolicies"),
        ("networking.k8s.io", "servicecidrs"),
        ("node.k8s.io", "runtimeclasses"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "roles"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("storage.k8s.io", "csidrivers"),
        ("storage.k8s.io", "csinodes"),
        ("storage.k8s.io", "csistoragecapacities"),
        ("storage.k8s.io", "storageclasses"),
        ("storage.k8s.io", "volumeattachments"),
        ("storage.k8s.io", "volumeattributesclasses"),
        ("example.com", "widgets"),
    ] {
        row(group, resource, json!({}));
    }
}
