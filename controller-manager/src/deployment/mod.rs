//! Deployments: a ReplicaSet for each version of the pod template, and a walk from the old ones to the new one.
//!
//! Rules from upstream's `pkg/controller/deployment`. A turn takes the first step that applies, so that every step
//! is decided on a state that shows the one before:
//!
//! 1. adopt matching ReplicaSets that nobody controls, release those that no longer match;
//! 2. tell of a pause or resume in the `Progressing` condition;
//! 3. paused, or the number of replicas changed: scale all ReplicaSets in proportion;
//! 4. else make the new ReplicaSet (or renew its annotations), scale it up, scale the old ones down, and when the walk
//!    is complete delete old ReplicaSets beyond `revisionHistoryLimit`;
//! 5. bring the status up to date.

mod conditions;
mod hash;
mod revision;
mod rolling;
mod scale;
pub mod shell;
mod status;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::ObjectKey;
use reeve_api::meta::{MetaExt as _, controller_reference};
use serde_json::{Value, json};

use crate::action::{Action, EventType};
use crate::object::{reference, resource, scaled, selector_of, to_json};
use crate::view::PodView;

pub use hash::{collision, hash_of};
pub use status::create_failed;

/// The label that tells a template's pods from those of others.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";

/// What a turn is decided on.
pub struct Observed<'a> {
    /// The Deployment.
    pub deployment: &'a Deployment,
    /// ReplicaSets that it controls, and ReplicaSets of its namespace without a controller.
    pub replica_sets: &'a [Arc<ReplicaSet>],
    /// The pods that a ReplicaSet controls, by its uid. Only `Recreate` asks.
    pub pods_of: &'a dyn Fn(&str) -> Vec<Arc<PodView>>,
}

/// The Deployment of a turn with its ReplicaSets told apart.
struct Rollout<'a> {
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    /// The ReplicaSet of the present template.
    new: Option<&'a ReplicaSet>,
    /// All others, oldest first.
    old: Vec<&'a ReplicaSet>,
    now: Timestamp,
}

impl<'a> Rollout<'a> {
    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn name(&self) -> &str {
        self.deployment.metadata.name()
    }

    /// The new ReplicaSet and the old ones.
    fn all(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.old.iter().copied().chain(self.new)
    }

    fn is_rolling(&self) -> bool {
        self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
    }

    /// How many pods may exist above the wanted number, and how many may be missing. Never both zero.
    fn fenceposts(&self) -> (i32, i32) {
        if !self.is_rolling() {
            return (0, 0);
        }
        let rolling = self.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = IntOrString::String("25%".to_owned());
        let replicas = self.replicas();
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref()).unwrap_or(&quarter);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref()).unwrap_or(&quarter);
        let surge = scaled(surge, replicas, true);
        let unavailable = scaled(unavailable, replicas, false);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn max_surge(&self) -> i32 {
        self.fenceposts().0
    }

    /// How many pods may be missing; never more than are wanted.
    fn max_unavailable(&self) -> i32 {
        if !self.is_rolling() || self.replicas() == 0 {
            return 0;
        }
        self.fenceposts().1.min(self.replicas())
    }
}

/// Decides one turn.
pub fn reconcile(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let deployment = observed.deployment;
    let Some(spec) = &deployment.spec else { return vec![] };
    if selector_of(&spec.selector).is_everything() {
        return selects_all(deployment);
    }
    let (owned, ownership) = claim(deployment, spec, observed.replica_sets);
    if !ownership.is_empty() && !deployment.metadata.is_deleting() {
        return ownership;
    }
    let new = revision::find_new(spec, &owned);
    let mut old = owned;
    old.retain(|candidate| new.is_none_or(|new| new.metadata.uid != candidate.metadata.uid));
    old.sort_by(|a, b| by_age(a, b));
    let rollout = Rollout { deployment, spec, new, old, now };
    if deployment.metadata.is_deleting() {
        return status::sync(&rollout);
    }
    if let Some(action) = status::pause_changed(&rollout) {
        return vec![action];
    }
    if spec.paused == Some(true) {
        let steps = [revision::renew(&rollout), scale::sync(&rollout), revision::clean_up(&rollout)];
        return first_of(steps, || status::sync(&rollout));
    }
    if scale::is_due(&rollout) {
        return first_of([revision::renew(&rollout), scale::sync(&rollout)], || status::sync(&rollout));
    }
    if rollout.is_rolling() {
        let steps = [revision::ensure_new(&rollout), rolling::scale_new(&rollout), rolling::scale_old(&rollout)];
        first_of(steps, || finish(&rollout))
    } else {
        recreate(observed, &rollout)
    }
}

fn recreate(observed: &Observed, rollout: &Rollout) -> Vec<Action> {
    let steps = [revision::renew(rollout), rolling::stop_old(rollout)];
    first_of(steps, || {
        let old_pods_run = rollout.old.iter().any(|old| {
            old.status.as_ref().is_some_and(|status| status.replicas > 0)
                || (observed.pods_of)(old.metadata.uid()).iter().any(|pod| !pod.has_ended())
        });
        if old_pods_run {
            return status::sync_rollout(rollout);
        }
        first_of([revision::ensure_new(rollout), rolling::scale_new(rollout)], || finish(rollout))
    })
}

/// The last step: history and status.
fn finish(rollout: &Rollout) -> Vec<Action> {
    let mut actions = if status::is_complete(rollout) { revision::clean_up(rollout) } else { vec![] };
    actions.extend(status::sync_rollout(rollout));
    actions
}

/// The first step that has something to do, or else the last.
fn first_of<const N: usize>(steps: [Vec<Action>; N], otherwise: impl FnOnce() -> Vec<Action>) -> Vec<Action> {
    steps.into_iter().find(|step| !step.is_empty()).unwrap_or_else(otherwise)
}

fn selects_all(deployment: &Deployment) -> Vec<Action> {
    let meta = &deployment.metadata;
    let mut actions = vec![Action::Event {
        regarding: reference::<Deployment>(meta),
        event_type: EventType::Warning,
        reason: "SelectingAll",
        message: "This deployment is selecting all pods. A non-empty selector is required.".to_owned(),
    }];
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    if observed < meta.generation {
        actions.push(patch_status(deployment, json!({"observedGeneration": meta.generation})));
    }
    actions
}

/// The ReplicaSets that the Deployment controls, and the writes that change whom it controls.
fn claim<'a>(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    replica_sets: &'a [Arc<ReplicaSet>],
) -> (Vec<&'a ReplicaSet>, Vec<Action>) {
    let uid = deployment.metadata.uid();
    let mut owned = Vec::new();
    let mut actions = Vec::new();
    let selector = selector_of(&spec.selector);
    for replica_set in replica_sets {
        let meta = &replica_set.metadata;
        let matched = selector.matches_opt(meta.labels.as_ref());
        let others = || meta.owner_references.iter().flatten().filter(|owner| owner.uid != uid).cloned();
        match meta.controller() {
            Some(owner) if owner.uid == uid && matched => owned.push(&**replica_set),
            Some(owner) if owner.uid == uid => actions.push(patch_owners(replica_set, others().collect())),
            None if matched && !meta.is_deleting() => {
                let own = controller_reference("apps/v1", "Deployment", &deployment.metadata);
                actions.push(patch_owners(replica_set, others().chain([own]).collect()));
            }
            _ => {}
        }
    }
    (owned, actions)
}

fn patch_owners(replica_set: &ReplicaSet, owners: Vec<OwnerReference>) -> Action {
    let owners = if owners.is_empty() { Value::Null } else { to_json(&owners) };
    patch_replica_set(replica_set, json!({"metadata": {"ownerReferences": owners}}))
}

/// A change of a ReplicaSet, on the version that it was decided on.
fn patch_replica_set(replica_set: &ReplicaSet, mut patch: Value) -> Action {
    patch["metadata"]["uid"] = json!(replica_set.metadata.uid);
    patch["metadata"]["resourceVersion"] = json!(replica_set.metadata.resource_version);
    Action::Patch {
        resource: resource::<ReplicaSet>(),
        key: ObjectKey::of(&replica_set.metadata),
        subresource: "",
        patch,
    }
}

/// A change of the Deployment's status, on the version that it was decided on.
fn patch_status(deployment: &Deployment, status: Value) -> Action {
    Action::Patch {
        resource: resource::<Deployment>(),
        key: ObjectKey::of(&deployment.metadata),
        subresource: "status",
        patch: json!({
            "metadata": {"uid": deployment.metadata.uid, "resourceVersion": deployment.metadata.resource_version},
            "status": status,
        }),
    }
}

/// Oldest first, by name where the clock does not tell.
fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    let key = |one: &ReplicaSet| one.metadata.creation_timestamp.as_ref().map(|time| time.0);
    key(a).cmp(&key(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// `spec.replicas` of a ReplicaSet.
fn wanted(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// `status.availableReplicas` of a ReplicaSet.
fn available(replica_set: &ReplicaSet) -> i32 {
    replica_set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// The key of a Deployment that controls a ReplicaSet.
pub fn controller_of(replica_set: &ReplicaSet) -> Option<ObjectKey> {
    let owner = replica_set.metadata.controller().filter(|owner| owner.kind == "Deployment")?;
    Some(ObjectKey::new(replica_set.metadata.namespace(), owner.name.as_str()))
}
