//! Load balancers without a cloud: addresses of a configured pool, and the node that answers for each Service's.
//!
//! Watches Services, Nodes and EndpointSlices; writes a Service's `status.loadBalancer` and one annotation
//! ([`reeve_api::balancer`]). A Service of type `LoadBalancer` without a class, or with ours, is without an address,
//! has one, or waits because the pool has none for it; any other type that has an address of the pool gives it back.
//!
//! One worker does all, and it waits until the store shows what it wrote: so no address is given while another
//! Service's is on its way. Should two Services ever have the same address (an administrator's write, two leaders for
//! a moment), the older one keeps it.

mod pool;
pub mod shell;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use reeve_api::balancer::{ANNOUNCED_BY, CLASS};
use serde_json::{Value, json};

use crate::action::{Action, EventType};
use crate::object::resource;
use crate::view::{NodeView, ServiceView};

pub use pool::{Pool, PoolError};

/// The label of nodes that load balancers leave out.
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What a turn is decided on.
pub struct Observed<'a> {
    /// The Service.
    pub service: &'a ServiceView,
    /// All Services.
    pub services: &'a [Arc<ServiceView>],
    /// All Nodes.
    pub nodes: &'a [Arc<NodeView>],
    /// The nodes with endpoints of the Service that take traffic.
    pub nodes_with_endpoints: &'a BTreeSet<String>,
    /// What may be given.
    pub pool: &'a Pool,
}

/// Whether the Service's address is this controller's business.
pub fn is_ours(service: &ServiceView) -> bool {
    let class = service.spec.load_balancer_class.as_deref();
    is_balancer(service) && !service.metadata.is_deleting() && class.is_none_or(|class| class == CLASS)
}

/// Whether the Service waits for an address.
pub fn is_waiting(service: &ServiceView) -> bool {
    is_ours(service) && service.ingress.is_empty()
}

fn is_balancer(service: &ServiceView) -> bool {
    service.spec.type_.as_deref() == Some("LoadBalancer")
}

fn addresses(service: &ServiceView) -> impl Iterator<Item = Ipv4Addr> {
    service.ingress.iter().filter_map(|ingress| ingress.ip.parse().ok())
}

/// Decides one turn.
pub fn reconcile(observed: &Observed) -> Vec<Action> {
    let (service, pool) = (observed.service, observed.pool);
    if pool.is_empty() {
        return vec![];
    }
    if !is_ours(service) {
        let given_back = !is_balancer(service) && addresses(service).any(|address| pool.contains(address));
        let mut actions = Vec::new();
        if given_back {
            actions.push(status(service, json!([])));
        }
        if !is_balancer(service) && service.announced_by.is_some() {
            actions.push(announce(service, None));
        }
        return actions;
    }
    match choose(observed) {
        Ok(address) => {
            let mut actions = Vec::new();
            if addresses(service).collect::<Vec<_>>() != [address] {
                actions.push(status(service, json!([{"ip": address.to_string(), "ipMode": "VIP"}])));
                let message = format!("Ensured load balancer: address {address}");
                actions.push(event(service, EventType::Normal, "EnsuredLoadBalancer", message));
            }
            let node = announcer(observed);
            if node.is_some() && node != service.announced_by.as_deref() {
                actions.push(announce(service, node));
            }
            actions
        }
        Err(why) => {
            let mut actions = Vec::new();
            if addresses(service).next().is_some() {
                actions.push(status(service, json!([])));
            }
            let message = format!("Error syncing load balancer: {why}");
            actions.push(event(service, EventType::Warning, "SyncLoadBalancerFailed", message));
            actions
        }
    }
}

/// Why a Service gets no address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
enum Refusal {
    #[error("spec.loadBalancerIP {0:?} is not an address of the pool")]
    NotInPool(String),
    #[error("spec.loadBalancerIP {0} is taken by {1}")]
    Taken(Ipv4Addr, String),
    #[error("no address of the pool is free")]
    Exhausted,
}

/// The address that the Service should have.
fn choose(observed: &Observed) -> Result<Ipv4Addr, Refusal> {
    let (service, pool) = (observed.service, observed.pool);
    // Who has it longest keeps it.
    let age = |service: &ServiceView| (service.metadata.created, service.metadata.uid.clone());
    let others = observed.services.iter().filter(|other| other.metadata.uid != service.metadata.uid);
    let mut taken: BTreeMap<Ipv4Addr, &ServiceView> = BTreeMap::new();
    for other in others {
        for address in addresses(other) {
            let older = taken.get(&address).is_none_or(|present| age(other) < age(present));
            if older {
                taken.insert(address, other);
            }
        }
    }
    let of_nodes: BTreeSet<Ipv4Addr> = observed
        .nodes
        .iter()
        .flat_map(|node| &node.status.addresses)
        .filter_map(|address| address.address.parse().ok())
        .collect();
    let is_free = |address: Ipv4Addr| !taken.contains_key(&address) && !of_nodes.contains(&address);
    let is_kept = |address: Ipv4Addr| {
        pool.contains(address)
            && !of_nodes.contains(&address)
            && taken.get(&address).is_none_or(|other| age(service) < age(other))
    };
    let wanted = service.spec.load_balancer_ip.as_deref().filter(|wanted| !wanted.is_empty());
    if let Some(text) = wanted {
        let refused = || Refusal::NotInPool(text.to_owned());
        let address: Ipv4Addr = text.parse().map_err(|_| refused())?;
        if !pool.contains(address) || of_nodes.contains(&address) {
            return Err(refused());
        }
        return match taken.get(&address) {
            Some(other) if !(addresses(service).any(|own| own == address) && is_kept(address)) => {
                Err(Refusal::Taken(address, other.metadata.key().to_string()))
            }
            _ => Ok(address),
        };
    }
    let kept = addresses(service).find(|address| is_kept(*address));
    kept.or_else(|| pool.addresses().find(|address| is_free(*address))).ok_or(Refusal::Exhausted)
}

/// The node that should answer: the present one as long as it can, otherwise one by the Service's uid, so that
/// Services spread and a node that comes or goes moves few of them.
fn announcer<'a>(observed: &'a Observed) -> Option<&'a str> {
    let service = observed.service;
    let is_local = service.spec.external_traffic_policy.as_deref() == Some("Local");
    let can = |node: &&Arc<NodeView>| {
        let is_ready = node.condition("Ready").is_some_and(|condition| condition.status == "True");
        let has_endpoints = observed.nodes_with_endpoints.contains(&*node.metadata.name);
        is_ready && !node.metadata.labels.contains_key(EXCLUDE) && (!is_local || has_endpoints)
    };
    let present = service.announced_by.as_deref();
    let rank = |node: &&Arc<NodeView>| {
        let mut hasher = DefaultHasher::new();
        (&service.metadata.uid, &node.metadata.name).hash(&mut hasher);
        (present == Some(&*node.metadata.name), hasher.finish())
    };
    observed.nodes.iter().filter(can).max_by_key(rank).map(|node| &*node.metadata.name)
}

fn status(service: &ServiceView, ingress: Value) -> Action {
    Action::Patch {
        resource: resource::<Service>(),
        key: service.metadata.key(),
        subresource: "status",
        patch: json!({
            "metadata": {"uid": &*service.metadata.uid, "resourceVersion": service.metadata.revision.to_string()},
            "status": {"loadBalancer": {"ingress": ingress}},
        }),
    }
}

fn announce(service: &ServiceView, node: Option<&str>) -> Action {
    Action::Patch {
        resource: resource::<Service>(),
        key: service.metadata.key(),
        subresource: "",
        patch: json!({"metadata": {"uid": &*service.metadata.uid, "annotations": {ANNOUNCED_BY: node}}}),
    }
}

fn event(service: &ServiceView, event_type: EventType, reason: &'static str, message: String) -> Action {
    let meta = &service.metadata;
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(meta.namespace.to_string()),
        name: Some(meta.name.to_string()),
        uid: Some(meta.uid.to_string()),
        ..ObjectReference::default()
    };
    Action::Event { regarding, event_type, reason, message }
}

#[cfg(test)]
mod tests;
