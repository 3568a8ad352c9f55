//! Endpoints objects of Services with a selector, for those who still read them: EndpointSlices carry the same.
//!
//! Rules from upstream's `pkg/controller/endpoint`. Watches Services, pods and Endpoints; writes the Endpoints object
//! of the Service's name, of its first family, with at most a thousand addresses, and removes it with the Service.

pub mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference};
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::endpointslice::{Family, HEADLESS, PortKey, endpoint_ports, port_key};
use crate::object::{resource, to_json};
use crate::view::{PodView, ServiceView};

/// The label that names who keeps the object.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// This controller, by upstream's name.
const CONTROLLER: &str = "endpoint-controller";
/// The annotation of an object that lacks addresses.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// How many addresses an object holds.
const ADDRESSES_MAX: usize = 1000;

/// Decides one turn for a Service that exists.
pub fn reconcile(service: &ServiceView, pods: &[Arc<PodView>], present: Option<&Endpoints>) -> Option<Action> {
    if service.spec.selector.is_none() || service.metadata.is_deleting() {
        return None;
    }
    let (subsets, is_truncated) = subsets(service, pods);
    let mut labels = (*service.metadata.labels).clone();
    labels.remove(HEADLESS);
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    let Some(present) = present else { return Some(create(service, &subsets, &labels, is_truncated)) };
    let annotations = present.metadata.annotations.as_ref();
    let was_truncated = annotations.is_some_and(|annotations| annotations.contains_key(OVER_CAPACITY));
    let none = BTreeMap::new();
    let old = present.metadata.labels.as_ref().unwrap_or(&none);
    let same_subsets = present.subsets.as_deref().unwrap_or_default() == subsets.as_slice();
    if present.metadata.is_deleting() || same_subsets && *old == labels && was_truncated == is_truncated {
        return None;
    }
    let mut changed = Map::new();
    for (name, value) in labels.iter().filter(|(name, value)| old.get(*name) != Some(value)) {
        changed.insert(name.clone(), json!(value));
    }
    for name in old.keys().filter(|name| !labels.contains_key(*name)) {
        changed.insert(name.clone(), Value::Null);
    }
    Some(Action::Patch {
        resource: resource::<Endpoints>(),
        key: ObjectKey::of(&present.metadata),
        subresource: "",
        patch: json!({
            "metadata": {
                "uid": present.metadata.uid,
                "resourceVersion": present.metadata.resource_version,
                "labels": changed,
                "annotations": {OVER_CAPACITY: is_truncated.then_some("truncated")},
            },
            "subsets": to_json(&subsets),
        }),
    })
}

/// Removes the object of a Service that is gone.
pub fn remove(present: &Endpoints) -> Action {
    Action::Delete {
        resource: resource::<Endpoints>(),
        key: ObjectKey::of(&present.metadata),
        uid: present.metadata.uid().to_owned(),
        revision: None,
        grace_seconds: None,
        propagation: None,
        told: None,
    }
}

fn create(
    service: &ServiceView,
    subsets: &[EndpointSubset],
    labels: &BTreeMap<String, String>,
    is_truncated: bool,
) -> Action {
    let mut metadata =
        json!({"name": &*service.metadata.name, "namespace": service.metadata.namespace.as_str(), "labels": labels});
    if is_truncated {
        metadata["annotations"] = json!({OVER_CAPACITY: "truncated"});
    }
    Action::Create {
        resource: resource::<Endpoints>(),
        namespace: service.metadata.namespace.to_string(),
        object: Arc::new(json!({
            "apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": to_json(&subsets),
        })),
        copies: 1,
        told: None,
    }
}

/// The addresses by what the Service's ports are on them; ready ones have precedence where there are too many.
fn subsets(service: &ServiceView, pods: &[Arc<PodView>]) -> (Vec<EndpointSubset>, bool) {
    let Some(family) = Family::of(service).first().copied() else { return (vec![], false) };
    let all = service.spec.publish_not_ready_addresses;
    let mut found: Vec<(bool, String, &Arc<PodView>)> = Vec::new();
    for pod in pods.iter().filter(|pod| !pod.has_ended() && (all || !pod.metadata.is_deleting())) {
        if let Some(address) = pod.addresses.iter().find(|address| family.has(address)) {
            found.push((all || pod.readiness.ready, address.to_string(), pod));
        }
    }
    found.sort_by(|a, b| (!a.0, &a.1, &a.2.metadata.uid).cmp(&(!b.0, &b.1, &b.2.metadata.uid)));
    let is_truncated = found.len() > ADDRESSES_MAX;
    found.truncate(ADDRESSES_MAX);
    let mut groups: BTreeMap<PortKey, EndpointSubset> = BTreeMap::new();
    for (ready, address, pod) in found {
        let ports = endpoint_ports(service, pod);
        // A named port that the pod lacks is none; a headless Service without ports names its pods all the same.
        if ports.is_empty() && !(service.is_headless() && service.spec.ports.is_empty()) {
            continue;
        }
        let subset = groups.entry(port_key(&ports)).or_insert_with(|| EndpointSubset {
            ports: (!ports.is_empty()).then(|| ports.iter().map(core_port).collect()),
            ..EndpointSubset::default()
        });
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(endpoint_address(service, pod, address));
    }
    (groups.into_values().collect(), is_truncated)
}

fn core_port(port: &k8s_openapi::api::discovery::v1::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        port: port.port.unwrap_or_default(),
        protocol: port.protocol.clone(),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint_address(service: &ServiceView, pod: &PodView, ip: String) -> EndpointAddress {
    let in_domain = pod.subdomain.as_ref().is_some_and(|subdomain| **subdomain == *service.metadata.name);
    EndpointAddress {
        ip,
        hostname: pod.hostname.as_ref().filter(|_| in_domain).map(ToString::to_string),
        node_name: Some(pod.node.to_string()).filter(|node| !node.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.metadata.namespace.to_string()),
            name: Some(pod.metadata.name.to_string()),
            uid: Some(pod.metadata.uid.to_string()),
            ..ObjectReference::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> ServiceView {
        let meta = json!({"name": "web", "namespace": "shop", "uid": "s", "labels": {"team": "a"}});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn pod(number: u8, http: i32, ready: bool, deleting: bool) -> Arc<PodView> {
        let status = if ready { "True" } else { "False" };
        let deleted = deleting.then_some("2026-01-01T00:00:00Z");
        let pod = json!({
            "metadata": {"name": format!("web-{number}"), "namespace": "shop", "uid": format!("p{number}"),
                "deletionTimestamp": deleted},
            "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "http", "containerPort": http}]}]},
            "status": {"phase": "Running", "podIP": format!("10.0.0.{number}"),
                "conditions": [{"type": "Ready", "status": status}]}
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn pods_lie_in_subsets_by_their_ports_and_those_that_go_in_none() {
        let web = service(json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}));
        let pods = [
            pod(2, 8080, true, false),
            pod(1, 8080, true, false),
            pod(3, 8080, false, false),
            pod(4, 9090, true, false),
            pod(5, 8080, true, true),
        ];
        let Some(Action::Create { object, .. }) = reconcile(&web, &pods, None) else { panic!("it is made") };
        let ips = |subset: usize, list: &str| -> Vec<String> {
            let list = object["subsets"][subset][list].as_array().cloned().unwrap_or_default();
            list.iter().map(|address| address["ip"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(ips(0, "addresses"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(ips(0, "notReadyAddresses"), ["10.0.0.3"]);
        assert_eq!(ips(1, "addresses"), ["10.0.0.4"]);
        assert_eq!(object["subsets"][0]["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
        assert_eq!(object["metadata"]["labels"], json!({"team": "a", MANAGED_BY: CONTROLLER}));
        let mut present: Endpoints = serde_json::from_value((*object).clone()).unwrap();
        assert_eq!(reconcile(&web, &pods, Some(&present)), None, "what is right is not written");
        present.subsets = None;
        assert!(matches!(reconcile(&web, &pods, Some(&present)), Some(Action::Patch { .. })));
        assert_eq!(reconcile(&service(json!({})), &pods, Some(&present)), None, "the user's own");
    }

    #[test]
    fn too_many_addresses_are_cut_and_that_is_said() {
        let web = service(json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}));
        let pods: Vec<_> = (0..1001).map(|number| pod(u8::try_from(number % 250).unwrap(), 1, true, false)).collect();
        let Some(Action::Create { object, .. }) = reconcile(&web, &pods, None) else { panic!("it is made") };
        assert_eq!(object["subsets"][0]["addresses"].as_array().unwrap().len(), ADDRESSES_MAX);
        assert_eq!(object["metadata"]["annotations"][OVER_CAPACITY], "truncated");
    }
}
