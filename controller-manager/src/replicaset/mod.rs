//! ReplicaSets: as many pods as asked for.
//!
//! Rules from upstream's `pkg/controller/replicaset`. The observed pods are those that the ReplicaSet controls and
//! those of its namespace that nobody controls; the second are adopted when they match, the first released when
//! they no longer do.

mod ranking;
pub mod shell;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use reeve_api::ObjectKey;
use reeve_api::meta::{MetaExt as _, controller_reference};
use serde_json::{Value, json};

use crate::action::{Action, Told};
use crate::object::{reference, resource, selector_of, to_json, until};
use crate::view::PodView;

pub use ranking::rank_for_deletion;
pub use status::Failure;

/// At most so many pods are created or deleted in one turn, as upstream's `BurstReplicas`; the rest follows at once.
pub const BURST_REPLICAS: usize = 500;

/// What a turn is decided on.
pub struct Observed<'a> {
    /// The ReplicaSet.
    pub replica_set: &'a ReplicaSet,
    /// Pods that it controls, and pods of its namespace without a controller.
    pub pods: &'a [Arc<PodView>],
    /// Active pods on the same nodes that belong to the same Deployment, this ReplicaSet's among them: how many a node.
    pub related_on_node: &'a dyn Fn(&str) -> usize,
}

/// The pods of a ReplicaSet, sorted by what is to happen to their ownership.
struct Claimed<'a> {
    owned: Vec<&'a Arc<PodView>>,
    adopt: Vec<&'a Arc<PodView>>,
    release: Vec<&'a Arc<PodView>>,
}

fn claim<'a>(replica_set: &ReplicaSet, spec: &ReplicaSetSpec, pods: &'a [Arc<PodView>]) -> Claimed<'a> {
    let uid = replica_set.metadata.uid();
    let mut claimed = Claimed { owned: vec![], adopt: vec![], release: vec![] };
    let selector = selector_of(&spec.selector);
    for pod in pods {
        let matched = selector.matches(&pod.metadata.labels);
        match pod.metadata.controller() {
            Some(owner) if owner.uid == uid && matched => claimed.owned.push(pod),
            Some(owner) if owner.uid == uid => claimed.release.push(pod),
            None if matched && pod.is_active() => claimed.adopt.push(pod),
            _ => {}
        }
    }
    claimed
}

/// Decides what to do about the pods: whom to adopt and release, and how many to create or which to delete.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let replica_set = observed.replica_set;
    let Some(spec) = &replica_set.spec else { return vec![] };
    if replica_set.metadata.is_deleting() {
        return vec![];
    }
    let claimed = claim(replica_set, spec, observed.pods);
    let mut actions: Vec<Action> = claimed.release.iter().map(|pod| release(replica_set, pod)).collect();
    actions.extend(claimed.adopt.iter().map(|pod| adopt(replica_set, pod)));
    let mine = claimed.owned.iter().chain(&claimed.adopt).copied();
    let active: Vec<&Arc<PodView>> = mine.filter(|pod| pod.is_active()).collect();
    actions.extend(manage(observed, spec, &active, now));
    actions
}

/// Decides the status, given what went wrong with the actions of [`reconcile`], if anything, and when to look again.
pub fn reconcile_status(
    replica_set: &ReplicaSet,
    pods: &[Arc<PodView>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> Vec<Action> {
    let Some(spec) = &replica_set.spec else { return vec![] };
    let owned = claim(replica_set, spec, pods).owned;
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let mut actions: Vec<Action> = status::update(replica_set, spec, &owned, failure, now).into_iter().collect();
    if min_ready > 0 {
        let active = owned.iter().filter(|pod| pod.is_active());
        let next = active.filter_map(|pod| until(pod.available_at(min_ready)?, now)).min();
        actions.extend(next.map(Action::Again));
    }
    actions
}

fn manage(observed: &Observed, spec: &ReplicaSetSpec, active: &[&Arc<PodView>], now: Timestamp) -> Vec<Action> {
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let replica_set = observed.replica_set;
    if active.len() < wanted {
        let copies = (wanted - active.len()).min(BURST_REPLICAS);
        return vec![create(replica_set, spec, copies)];
    }
    let surplus = (active.len() - wanted).min(BURST_REPLICAS);
    let victims = rank_for_deletion(active, surplus, observed.related_on_node, now);
    victims.into_iter().map(|pod| delete(replica_set, pod)).collect()
}

/// The pod that the template describes, to be created any number of times.
fn create(replica_set: &ReplicaSet, spec: &ReplicaSetSpec, copies: usize) -> Action {
    let meta = &replica_set.metadata;
    let mut pod = spec.template.as_ref().map_or_else(|| json!({}), to_json);
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    let template = pod["metadata"].take();
    let mut metadata = json!({
        "generateName": format!("{}-", meta.name()),
        "namespace": meta.namespace(),
        "ownerReferences": [owner(replica_set)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.get(field).filter(|value| !value.is_null()) {
            metadata[field] = value.clone();
        }
    }
    pod["metadata"] = metadata;
    Action::Create {
        resource: resource::<Pod>(),
        namespace: meta.namespace().to_owned(),
        object: Arc::new(pod),
        copies,
        told: Some(Box::new(Told {
            regarding: reference::<ReplicaSet>(meta),
            success: ("SuccessfulCreate", "Created pod: "),
            failure: ("FailedCreate", "Error creating: "),
        })),
    }
}

fn delete(replica_set: &ReplicaSet, pod: &PodView) -> Action {
    Action::Delete {
        resource: resource::<Pod>(),
        key: pod.metadata.key(),
        uid: pod.metadata.uid.to_string(),
        revision: None,
        grace_seconds: None,
        propagation: None,
        told: Some(Box::new(Told {
            regarding: reference::<ReplicaSet>(&replica_set.metadata),
            success: ("SuccessfulDelete", "Deleted pod: "),
            failure: ("FailedDelete", "Error deleting: "),
        })),
    }
}

fn owner(replica_set: &ReplicaSet) -> OwnerReference {
    controller_reference("apps/v1", "ReplicaSet", &replica_set.metadata)
}

fn adopt(replica_set: &ReplicaSet, pod: &PodView) -> Action {
    let mut owners: Vec<OwnerReference> = pod.metadata.owners.iter().map(OwnerReference::from).collect();
    owners.push(owner(replica_set));
    patch_owners(pod, &owners)
}

fn release(replica_set: &ReplicaSet, pod: &PodView) -> Action {
    let uid = replica_set.metadata.uid();
    let rest = pod.metadata.owners.iter().filter(|owner| owner.uid != uid);
    patch_owners(pod, &rest.map(OwnerReference::from).collect::<Vec<_>>())
}

fn patch_owners(pod: &PodView, owners: &[OwnerReference]) -> Action {
    let owners = if owners.is_empty() { Value::Null } else { to_json(&owners) };
    Action::Patch {
        resource: resource::<Pod>(),
        key: pod.metadata.key(),
        subresource: "",
        patch: json!({"metadata": {
            "uid": &*pod.metadata.uid,
            "resourceVersion": pod.metadata.revision.to_string(),
            "ownerReferences": owners,
        }}),
    }
}

/// The key of a ReplicaSet that controls a pod.
pub fn controller_of(pod: &PodView) -> Option<ObjectKey> {
    let owner = pod.metadata.controller().filter(|owner| owner.kind == "ReplicaSet")?;
    Some(ObjectKey::new(pod.metadata.namespace.as_str(), owner.name.as_str()))
}
