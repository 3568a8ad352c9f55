//! The objects that are measured with: the same shapes as those that other servers are measured with.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The size of a stored pod, as an ordinary one has with its status and managed fields.
pub const POD_BYTES: usize = 4_000;

/// The name of a pod by its number.
pub fn pod_name(number: usize) -> String {
    format!("p-{number:06}")
}

/// A pod of ordinary content that no scheduler takes, with so much padding.
pub fn pod(number: usize, padding: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name(number),
            "labels": {"app": "web", "tier": "frontend", "shard": format!("s{}", number % 7)},
            "annotations": {"example.com/owner": "team-a",
                "example.com/description": "a pod of ordinary size, as a web deployment makes them",
                "example.com/padding": "x".repeat(padding)},
        },
        "spec": {"schedulerName": "none",
            "containers": [{"name": "app", "image": "registry.example.com/library/nginx:1.27.2",
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "some longer value"},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
                "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}]}})
}

/// The name of a hollow node by its number.
pub fn node_name(number: usize) -> String {
    format!("hollow-{number:05}")
}

/// A hollow node.
pub fn node(number: usize) -> Value {
    let name = node_name(number);
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": format!("z{}", number % 3)}}})
}

/// The status that makes a hollow node Ready.
pub fn node_status(now: &str) -> Value {
    let resources = json!({"cpu": "64", "memory": "256Gi", "pods": "500", "ephemeral-storage": "500Gi"});
    json!({"status": {"capacity": resources, "allocatable": resources,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "hollow",
            "lastHeartbeatTime": now, "lastTransitionTime": now}],
        "nodeInfo": {"kubeletVersion": "v1.36.0", "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "",
            "osImage": "", "containerRuntimeVersion": "", "kubeProxyVersion": "", "operatingSystem": "linux",
            "architecture": "amd64"}}})
}

/// The lease of a hollow node, renewed for as long as the measurement takes.
pub fn lease(number: usize, renewed: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node_name(number), "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": node_name(number), "leaseDurationSeconds": 3600, "renewTime": renewed}})
}

/// The Deployment that is rolled out.
pub fn deployment(replicas: usize) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "roll"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": "roll"}},
        "template": {"metadata": {"labels": {"app": "roll"}}, "spec": {"containers": [{"name": "app", "image": "x",
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}}}})
}

/// The status of a pod that runs on a hollow node.
pub fn running(now: &str) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
    let conditions = ["Ready", "ContainersReady", "Initialized", "PodScheduled"].map(condition);
    json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}], "startTime": now,
        "conditions": conditions,
        "containerStatuses": [{"name": "app", "ready": true, "started": true, "restartCount": 0, "image": "x",
            "imageID": "x", "state": {"running": {"startedAt": now}}}]}})
}

/// A pod that runs for real until it is told to end.
pub fn real_pod(name: &str, image: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"bench": "start"}}, "spec": {
        "terminationGracePeriodSeconds": 1, "nodeSelector": {"kubernetes.io/hostname": node},
        "containers": [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}]}})
}

/// Endpoints of each Service.
pub const ENDPOINTS: usize = 10;

/// The first address of the Services' endpoints; those of a Service follow each other.
const FIRST_ENDPOINT: u32 = 0x0a80_0000;

/// The name of a Service, and of its slice, by its number.
pub fn service_name(number: usize) -> String {
    format!("service-{number:05}")
}

/// A Service with one port.
pub fn service(number: usize) -> Value {
    let name = service_name(number);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

/// The slice of a Service, as the controller writes it.
pub fn endpoint_slice(number: usize, namespace: &str) -> Value {
    let name = service_name(number);
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"app": name, "kubernetes.io/service-name": name,
            "endpointslice.kubernetes.io/managed-by": "bench"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints(number, namespace, None)})
}

/// The endpoints of a slice; one of them may have moved to another address.
pub fn endpoints(number: usize, namespace: &str, moved: Option<(usize, Ipv4Addr)>) -> Value {
    let endpoint = |slot: usize| {
        let index = number * ENDPOINTS + slot;
        let address = match moved {
            Some((moved, address)) if moved == slot => address,
            _ => Ipv4Addr::from(FIRST_ENDPOINT + u32::try_from(index).unwrap_or(u32::MAX - FIRST_ENDPOINT)),
        };
        json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": node_name(index % 1000),
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": format!("{}-{slot}", service_name(number)),
                "uid": format!("00000000-0000-4000-8000-{index:012}")}})
    };
    (0..ENDPOINTS).map(endpoint).collect()
}
