//! Pods, slices and proxies in, an annotation out.

use serde_json::{Value, json};

use super::*;

fn pod(annotations: Value, deleted: bool) -> PodView {
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "p1", "labels": {"app": "web"},
            "annotations": annotations, "deletionTimestamp": deleted.then_some("2026-01-01T00:00:00Z")},
        "spec": {"nodeName": "n1", "containers": []},
        "status": {"phase": "Running", "podIP": "10.0.0.1"}
    }))
    .unwrap()
}

fn slices(version: &str, ready: bool) -> Vec<Arc<EndpointSlice>> {
    let slice = json!({
        "metadata": {"name": "web-x", "namespace": "shop", "resourceVersion": version}, "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}, "targetRef": {"uid": "p2"}},
            {"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"uid": "p1"}},
        ],
    });
    vec![Arc::new(serde_json::from_value(slice).unwrap())]
}

fn decide(pod: &PodView, slices: &[Vec<Arc<EndpointSlice>>], applied: Option<i64>) -> Option<String> {
    reconcile(&Observed { pod, slices, applied }).map(|action| action.to_string())
}

#[test]
fn a_pod_is_told_when_its_slices_and_then_the_proxies_have_dropped_it() {
    let gone = pod(json!({}), true);
    let told = r#"patch pods shop/web-1 {"metadata":{"annotations":{"proxy.reeve.dev/endpoints-dropped":"7"}}}"#;
    assert_eq!(decide(&gone, &[slices("5", true)], Some(9)), None, "the slice still sends to it");
    assert_eq!(decide(&gone, &[slices("7", false)], Some(6)), None, "a proxy is behind");
    assert_eq!(decide(&gone, &[slices("7", false)], Some(7)).as_deref(), Some(told));
    assert_eq!(decide(&gone, &[slices("7", false)], None).as_deref(), Some(told), "nobody to wait for");
    assert_eq!(decide(&gone, &[slices("7", false), slices("8", true)], Some(9)), None, "one of two Services is behind");
    assert_eq!(decide(&gone, &[slices("7", false), vec![]], Some(9)), None, "a slice has not come yet");
    assert_eq!(decide(&gone, &[], Some(9)), None, "no Service sends to it");
    assert_eq!(decide(&pod(json!({}), false), &[slices("7", false)], Some(9)), None, "it goes on");
    let annotated = pod(json!({ENDPOINTS_DROPPED: "7"}), true);
    assert_eq!(decide(&annotated, &[slices("7", false)], Some(9)), None, "it was told");
}

#[test]
fn services_that_name_pods_before_they_are_ready_do_not_count() {
    let service = |spec: Value| -> ServiceView {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap()
    };
    let pod = pod(json!({}), true);
    assert!(routes_to(&service(json!({"selector": {"app": "web"}})), &pod));
    assert!(!routes_to(&service(json!({"selector": {"app": "other"}})), &pod));
    assert!(!routes_to(&service(json!({"selector": {"app": "web"}, "publishNotReadyAddresses": true})), &pod));
    assert!(!routes_to(&service(json!({"selector": {"app": "web"}, "type": "ExternalName"})), &pod));
    assert!(!routes_to(&service(json!({})), &pod));
}

#[test]
fn the_slowest_proxy_counts_unless_its_node_is_away() {
    let lease = |node: &str, revision: Option<&str>| -> Arc<LeaseView> {
        let annotations = revision.map(|revision| json!({"proxy.reeve.dev/applied-revision": revision}));
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": node, "namespace": "kube-node-lease", "annotations": annotations},
                "spec": {"holderIdentity": node}
            }))
            .unwrap(),
        )
    };
    let node = |name: &str| -> Option<Arc<NodeView>> {
        let status = match name {
            "away" => "Unknown",
            "gone" => return None,
            _ => "True",
        };
        let conditions = json!([{"type": "Ready", "status": status}]);
        let node = json!({"metadata": {"name": name}, "status": {"conditions": conditions}});
        Some(Arc::new(serde_json::from_value(node).unwrap()))
    };
    let all = |leases: Vec<Arc<LeaseView>>| applied_by_all(leases.into_iter(), node);
    assert_eq!(all(vec![]), None);
    assert_eq!(all(vec![lease("n1", None)]), None, "the Lease of the node itself");
    let both = vec![lease("n1", Some("9")), lease("n2", Some("7"))];
    assert_eq!(all(both), Some(7));
    assert_eq!(all(vec![lease("n1", Some("9")), lease("away", Some("3")), lease("gone", Some("2"))]), Some(9));
}
