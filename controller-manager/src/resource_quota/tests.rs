//! Counting, scopes, and when nothing is written.

use serde_json::{Value, json};

use super::*;

fn quota(spec: Value, status: Value) -> ResourceQuota {
    serde_json::from_value(json!({"metadata": {"name": "q", "namespace": "x"}, "spec": spec, "status": status}))
        .unwrap()
}

fn pod(name: &str, more: &Value) -> Arc<PodView> {
    let mut pod = json!({"metadata": {"name": name, "namespace": "x", "uid": name},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}}]},
        "status": {"phase": "Running", "qosClass": "Burstable"}});
    for part in ["spec", "status"] {
        for (key, value) in more[part].as_object().into_iter().flatten() {
            pod[part][key] = value.clone();
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn service(spec: &Value) -> Arc<ServiceView> {
    Arc::new(serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "x"}, "spec": spec})).unwrap())
}

fn used(quota: &ResourceQuota, pods: &[Arc<PodView>], services: &[Arc<ServiceView>]) -> Value {
    let claim: Counted = serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "x"},
        "spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "5Gi"}}}}))
    .unwrap();
    let count = |resource: &str| match resource {
        "jobs.batch" => Some(3),
        "configmaps" | "persistentvolumeclaims" => Some(1),
        _ => None,
    };
    let observed = Observed { quota, pods, services, claims: &[Arc::new(claim)], count: &count };
    match reconcile(&observed) {
        Some(Action::Replace { object, .. }) => object["status"]["used"].clone(),
        None => Value::Null,
        Some(other) => panic!("not a status: {other}"),
    }
}

#[test]
fn a_new_quota_is_counted_and_then_left_alone() {
    let hard = json!({"pods": "4", "requests.cpu": "2", "memory": "3Gi", "count/jobs.batch": "5", "configmaps": "9",
        "persistentvolumeclaims": "1", "gold.storageclass.storage.k8s.io/requests.storage": "9Gi"});
    let pods = [pod("a", &json!({})), pod("b", &json!({})), pod("c", &json!({"status": {"phase": "Succeeded"}}))];
    let expected = json!({"pods": "2", "requests.cpu": "1", "memory": "2Gi", "count/jobs.batch": "3",
        "configmaps": "1", "persistentvolumeclaims": "1", "gold.storageclass.storage.k8s.io/requests.storage": "5Gi"});
    assert_eq!(used(&quota(json!({"hard": hard}), json!({})), &pods, &[]), expected);
    let counted = quota(json!({"hard": hard}), json!({"hard": hard, "used": expected}));
    assert_eq!(used(&counted, &pods, &[]), Value::Null);
    assert_eq!(used(&counted, &pods[..1], &[])["pods"], "1", "what goes is given back");
}

#[test]
fn what_is_limited_no_more_leaves_the_status() {
    let old = quota(json!({"hard": {"pods": "1"}}), json!({"hard": {"pods": "1", "cpu": "1"}, "used": {"cpu": "1"}}));
    assert_eq!(used(&old, &[], &[]), json!({"pods": "0"}));
}

#[test]
fn what_nobody_can_count_stays() {
    let hard = json!({"count/things.example.com": "1"});
    let present = quota(json!({"hard": hard}), json!({"hard": hard, "used": {"count/things.example.com": "1"}}));
    assert_eq!(used(&present, &[], &[]), Value::Null);
}

#[test]
fn scopes_choose_among_pods() {
    let pods = [
        pod("plain", &json!({})),
        pod("deadline", &json!({"spec": {"activeDeadlineSeconds": 5}})),
        pod("idle", &json!({"status": {"qosClass": "BestEffort"}})),
        pod("high", &json!({"spec": {"priorityClassName": "high"}})),
    ];
    let count = |more: Value| {
        let mut spec = json!({"hard": {"pods": "9", "services": "9"}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        used(&quota(spec, json!({})), &pods, &[service(&json!({}))])
    };
    assert_eq!(count(json!({})), json!({"pods": "4", "services": "1"}));
    assert_eq!(count(json!({"scopes": ["Terminating"]})), json!({"pods": "1", "services": "0"}));
    assert_eq!(count(json!({"scopes": ["NotTerminating", "NotBestEffort"]}))["pods"], "2");
    assert_eq!(count(json!({"scopes": ["BestEffort"]}))["pods"], "1");
    let class = |operator: &str, values: Value| {
        let term = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
        count(json!({"scopeSelector": {"matchExpressions": [term]}}))["pods"].clone()
    };
    assert_eq!(class("In", json!(["high"])), "1");
    assert_eq!(class("NotIn", json!(["high"])), "3");
    assert_eq!(class("Exists", json!([])), "1");
    assert_eq!(class("DoesNotExist", json!([])), "3");
}

#[test]
fn services_are_counted_by_sort() {
    let services = [
        service(&json!({"type": "ClusterIP", "ports": [{"port": 1}]})),
        service(&json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30001}, {"port": 2}]})),
        service(&json!({"type": "LoadBalancer", "ports": [{"port": 1}], "allocateLoadBalancerNodePorts": false})),
    ];
    let hard = json!({"services": "9", "services.nodeports": "9", "services.loadbalancers": "9"});
    let expected = json!({"services": "3", "services.nodeports": "2", "services.loadbalancers": "1"});
    assert_eq!(used(&quota(json!({"hard": hard}), json!({})), &[], &services), expected);
}
