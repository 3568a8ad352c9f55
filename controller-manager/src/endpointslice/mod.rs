//! EndpointSlices: which pods serve a Service, in slices of at most a hundred.
//!
//! Rules from upstream's `pkg/controller/endpointslice`. Pods are grouped by what the Service's ports resolve to on
//! them, since a slice has one list of ports. A change writes only the slices whose content changes: endpoints stay
//! in the slice where they are, and new ones fill slices that are written anyway before any other.

mod endpoints;
mod packing;
pub mod shell;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use serde_json::{Map, Value, json};

use crate::action::Action;
use crate::object::{resource, to_json};
use crate::view::{PodView, ServiceView};

pub use endpoints::{Family, ports as endpoint_ports};
pub use packing::ENDPOINTS_PER_SLICE_MAX;

/// The label that names a slice's Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that names who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// This controller, by upstream's name.
pub const CONTROLLER: &str = "endpointslice-controller.k8s.io";
/// The label of slices of headless Services.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// What a turn is decided on.
pub struct Observed<'a> {
    /// The Service.
    pub service: &'a ServiceView,
    /// Pods of the Service's namespace that its selector matches.
    pub pods: &'a [Arc<PodView>],
    /// The zone of a node, where it has one.
    pub zone_of: &'a dyn Fn(&str) -> Option<String>,
    /// The Service's slices that this controller keeps.
    pub slices: &'a [Arc<EndpointSlice>],
}

/// Decides one turn.
pub fn reconcile(observed: &Observed) -> Vec<Action> {
    let service = observed.service;
    if service.metadata.is_deleting() || service.spec.selector.is_none() {
        // Slices of a deleted Service go with their owner; those of one without a selector are the user's.
        return vec![];
    }
    let families = Family::of(service);
    let mut actions = Vec::new();
    for slice in observed.slices {
        if !families.iter().any(|family| family.as_str() == slice.address_type) {
            actions.push(delete(slice));
        }
    }
    for family in families {
        actions.extend(reconcile_family(observed, family));
    }
    actions
}

fn reconcile_family(observed: &Observed, family: Family) -> Vec<Action> {
    let mut wanted = Groups::new();
    for pod in observed.pods {
        if let Some(endpoint) = endpoints::endpoint(observed.service, pod, family, observed.zone_of) {
            let ports = endpoints::ports(observed.service, pod);
            let group = wanted.entry(port_key(&ports)).or_insert_with(|| (ports, vec![]));
            group.1.push(endpoint);
        }
    }
    let author = Author {
        namespace: observed.service.metadata.namespace.to_string(),
        name: observed.service.metadata.name.to_string(),
        labels: labels(observed.service),
        annotations: BTreeMap::new(),
        owner: OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            name: observed.service.metadata.name.to_string(),
            uid: observed.service.metadata.uid.to_string(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
    };
    settle(&author, family, wanted, observed.slices)
}

/// Whose slices are written, and how they look.
pub struct Author {
    /// The namespace.
    pub namespace: String,
    /// What names begin with.
    pub name: String,
    /// The labels of every slice.
    pub labels: BTreeMap<String, String>,
    /// The annotations of new slices.
    pub annotations: BTreeMap<String, String>,
    /// Who owns them.
    pub owner: OwnerReference,
}

/// Endpoints by what their ports are.
pub type Groups = BTreeMap<PortKey, (Vec<EndpointPort>, Vec<Endpoint>)>;

/// Makes the slices of a family hold what is wanted.
pub fn settle(author: &Author, family: Family, mut wanted: Groups, slices: &[Arc<EndpointSlice>]) -> Vec<Action> {
    let mut present: BTreeMap<PortKey, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type == family.as_str()) {
        if !slice.metadata.is_deleting() {
            let key = port_key(slice.ports.as_deref().unwrap_or_default());
            present.entry(key).or_default().push(slice);
        }
    }
    if wanted.is_empty() {
        // A Service without endpoints keeps one empty slice, so that those who read it know that it was looked at.
        wanted.insert(vec![], (vec![], vec![]));
    }
    let labels = &author.labels;
    let mut actions = Vec::new();
    for (key, (ports, endpoints)) in wanted {
        let slices = present.remove(&key).unwrap_or_default();
        let lists: Vec<&[Endpoint]> =
            slices.iter().map(|slice| slice.endpoints.as_deref().unwrap_or_default()).collect();
        let plan = packing::pack(&lists, endpoints);
        for (slice, content) in slices.into_iter().zip(plan.present) {
            match content {
                packing::Content::Remove => actions.push(delete(slice)),
                packing::Content::Keep => actions.extend(update(slice, labels, None)),
                packing::Content::Replace(list) => actions.extend(update(slice, labels, Some(list))),
            }
        }
        for list in plan.new {
            actions.push(create(author, family, &ports, &list));
        }
    }
    actions.extend(present.into_values().flatten().map(|slice| delete(slice)));
    actions
}

/// Ports in an order and with defaults that make equal lists equal.
pub type PortKey = Vec<(String, String, Option<i32>, Option<String>)>;

/// What makes lists of ports equal.
pub fn port_key(ports: &[EndpointPort]) -> PortKey {
    let one = |port: &EndpointPort| {
        (
            port.name.clone().unwrap_or_default(),
            port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port.port,
            port.app_protocol.clone(),
        )
    };
    let mut key: PortKey = ports.iter().map(one).collect();
    key.sort();
    key
}

/// The labels of a slice: those of its Service, whose it is, and who keeps it.
fn labels(service: &ServiceView) -> BTreeMap<String, String> {
    let mut labels = (*service.metadata.labels).clone();
    labels.retain(|name, _| name != HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.to_string());
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    if service.is_headless() {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

fn create(author: &Author, family: Family, ports: &[EndpointPort], endpoints: &[Endpoint]) -> Action {
    let mut metadata = json!({
        "generateName": format!("{}-", author.name),
        "namespace": author.namespace,
        "labels": author.labels,
        "ownerReferences": [author.owner],
    });
    if !author.annotations.is_empty() {
        metadata["annotations"] = to_json(&author.annotations);
    }
    Action::Create {
        resource: resource::<EndpointSlice>(),
        namespace: author.namespace.clone(),
        object: Arc::new(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": family.as_str(),
            "ports": to_json(&ports),
            "endpoints": to_json(&endpoints),
        })),
        copies: 1,
        told: None,
    }
}

fn update(
    slice: &EndpointSlice,
    labels: &BTreeMap<String, String>,
    endpoints: Option<Vec<Endpoint>>,
) -> Option<Action> {
    let none = BTreeMap::new();
    let present = slice.metadata.labels.as_ref().unwrap_or(&none);
    if endpoints.is_none() && present == labels {
        return None;
    }
    let mut patch = json!({"metadata": {
        "uid": slice.metadata.uid,
        "resourceVersion": slice.metadata.resource_version,
    }});
    let mut changed = Map::new();
    for (name, value) in labels.iter().filter(|(name, value)| present.get(*name) != Some(value)) {
        changed.insert(name.clone(), json!(value));
    }
    for name in present.keys().filter(|name| !labels.contains_key(*name)) {
        changed.insert(name.clone(), Value::Null);
    }
    if !changed.is_empty() {
        patch["metadata"]["labels"] = Value::Object(changed);
    }
    if let Some(endpoints) = endpoints {
        patch["endpoints"] = to_json(&endpoints);
    }
    Some(Action::Patch {
        resource: resource::<EndpointSlice>(),
        key: ObjectKey::of(&slice.metadata),
        subresource: "",
        patch,
    })
}

/// Removes a slice.
pub fn delete(slice: &EndpointSlice) -> Action {
    Action::Delete {
        resource: resource::<EndpointSlice>(),
        key: ObjectKey::of(&slice.metadata),
        uid: slice.metadata.uid().to_owned(),
        revision: None,
        grace_seconds: None,
        propagation: None,
        told: None,
    }
}

/// The key of the Service that a slice of this controller belongs to.
pub fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let meta = &slice.metadata;
    let name = meta.label(SERVICE_NAME).filter(|_| meta.label(MANAGED_BY) == Some(CONTROLLER))?;
    Some(ObjectKey::new(meta.namespace(), name))
}

#[cfg(test)]
mod tests;
