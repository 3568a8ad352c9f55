//! EndpointSlices of Services whose endpoints a user writes: a copy of the user's Endpoints object.
//!
//! Rules from upstream's `pkg/controller/endpointslicemirroring`. Watches Endpoints, Services and EndpointSlices;
//! writes the slices that carry its name. An Endpoints object is mirrored as long as its Service exists and has no
//! selector, and nothing on it says otherwise; when that ends, its slices go.

pub mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;

use crate::action::Action;
use crate::endpointslice::{Author, Family, Groups, MANAGED_BY, SERVICE_NAME, delete, port_key, settle};
use crate::view::ServiceView;

/// This controller, by upstream's name.
pub const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
/// The label of Endpoints that are not mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// The annotation of Endpoints that are locks.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// The annotations that are not copied.
const NOT_COPIED: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];
/// How many addresses of a subset are mirrored, as upstream's default.
const ADDRESSES_PER_SUBSET_MAX: usize = 1000;

/// Whether the Endpoints are the user's word about the Service.
fn is_mirrored(endpoints: &Endpoints, service: Option<&ServiceView>) -> bool {
    let meta = &endpoints.metadata;
    let is_lock = meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER));
    let has_user_endpoints = service.is_some_and(|service| service.spec.selector.is_none());
    has_user_endpoints && !is_lock && !meta.is_deleting() && meta.label(SKIP) != Some("true")
}

/// Decides one turn. `slices` are those of this controller for the Service.
pub fn reconcile(
    endpoints: Option<&Endpoints>,
    service: Option<&ServiceView>,
    slices: &[Arc<EndpointSlice>],
) -> Vec<Action> {
    let Some(endpoints) = endpoints.filter(|endpoints| is_mirrored(endpoints, service)) else {
        return slices.iter().map(|slice| delete(slice)).collect();
    };
    let author = author(endpoints);
    let mut actions = Vec::new();
    for family in [Family::V4, Family::V6] {
        let wanted = groups(endpoints, family);
        let of_family = |slice: &&Arc<EndpointSlice>| slice.address_type == family.as_str();
        // A family without addresses has no slice, not an empty one.
        if wanted.is_empty() {
            actions.extend(slices.iter().filter(of_family).map(|slice| delete(slice)));
        } else {
            actions.extend(settle(&author, family, wanted, slices));
        }
    }
    actions
}

fn author(endpoints: &Endpoints) -> Author {
    let meta = &endpoints.metadata;
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.to_owned(), meta.name().to_owned());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    let mut annotations: BTreeMap<String, String> = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| !NOT_COPIED.contains(&name.as_str()));
    Author {
        namespace: meta.namespace().to_owned(),
        name: meta.name().to_owned(),
        labels,
        annotations,
        owner: OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Endpoints".to_owned(),
            name: meta.name().to_owned(),
            uid: meta.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
    }
}

fn groups(endpoints: &Endpoints, family: Family) -> Groups {
    let mut groups = Groups::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = ports(subset);
        let addresses = [(&subset.addresses, true), (&subset.not_ready_addresses, false)];
        let all = addresses.into_iter().flat_map(|(list, ready)| list.iter().flatten().map(move |one| (one, ready)));
        let of_family = all.filter(|(address, _)| family.has(&address.ip)).take(ADDRESSES_PER_SUBSET_MAX);
        for (address, ready) in of_family {
            let group = groups.entry(port_key(&ports)).or_insert_with(|| (ports.clone(), vec![]));
            group.1.push(endpoint(address, ready));
        }
    }
    groups
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let one = |port: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    };
    subset.ports.iter().flatten().map(one).collect()
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|hostname| !hostname.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

/// The key of the Endpoints that a slice of this controller mirrors.
pub fn endpoints_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let meta = &slice.metadata;
    let name = meta.label(SERVICE_NAME).filter(|_| meta.label(MANAGED_BY) == Some(CONTROLLER))?;
    Some(ObjectKey::new(meta.namespace(), name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn endpoints(labels: Value) -> Endpoints {
        serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "shop", "uid": "e", "labels": labels, "annotations": {"a": "b"}},
            "subsets": [{"addresses": [{"ip": "192.0.2.1", "hostname": "one"}, {"ip": "2001:db8::1"}],
                "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"name": "sql", "port": 5432}]}]
        }))
        .unwrap()
    }

    fn service(spec: Value) -> ServiceView {
        serde_json::from_value(json!({"metadata": {"name": "db", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    fn created(actions: &[Action]) -> Vec<EndpointSlice> {
        let objects = actions.iter().filter_map(|action| match action {
            Action::Create { object, .. } => Some((**object).clone()),
            _ => None,
        });
        objects.map(|object| serde_json::from_value(object).unwrap()).collect()
    }

    #[test]
    fn a_users_endpoints_become_slices_of_each_family() {
        let (endpoints, service) = (endpoints(json!({"team": "a"})), service(json!({"ports": [{"port": 5432}]})));
        let mut slices = created(&reconcile(Some(&endpoints), Some(&service), &[]));
        let [four, six] = slices.as_slice() else { panic!("{slices:?}") };
        assert_eq!((four.address_type.as_str(), six.address_type.as_str()), ("IPv4", "IPv6"));
        assert_eq!((four.metadata.label("team"), four.metadata.label(SERVICE_NAME)), (Some("a"), Some("db")));
        assert_eq!(four.metadata.annotations.as_ref().unwrap().get("a").map(String::as_str), Some("b"));
        assert_eq!(four.ports.as_ref().unwrap()[0].port, Some(5432));
        let ready: Vec<_> = four.endpoints.iter().flatten().map(|e| e.conditions.as_ref().unwrap().ready).collect();
        assert_eq!(ready, [Some(true), Some(false)]);
        for (index, slice) in slices.iter_mut().enumerate() {
            slice.metadata.name = Some(format!("db-{index}"));
        }
        let slices: Vec<_> = slices.into_iter().map(Arc::new).collect();
        assert_eq!(reconcile(Some(&endpoints), Some(&service), &slices), [], "what is right is not written");
        let gone = reconcile(None, Some(&service), &slices);
        assert_eq!(gone.len(), 2);
    }

    #[test]
    fn what_a_controller_or_a_lock_wrote_is_not_mirrored() {
        let plain = service(json!({"ports": [{"port": 5432}]}));
        let selecting = service(json!({"selector": {"a": "b"}}));
        let skipped = endpoints(json!({SKIP: "true"}));
        assert_eq!(reconcile(Some(&skipped), Some(&plain), &[]), []);
        assert_eq!(reconcile(Some(&endpoints(json!({}))), Some(&selecting), &[]), []);
        assert_eq!(reconcile(Some(&endpoints(json!({}))), None, &[]), []);
        let mut lock = endpoints(json!({}));
        lock.metadata.annotations = Some(BTreeMap::from([(LEADER.to_owned(), String::new())]));
        assert_eq!(reconcile(Some(&lock), Some(&plain), &[]), []);
    }
}
