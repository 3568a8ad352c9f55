//! Reads the stores for one ReplicaSet and performs what is decided.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use reeve_client::Next;

use super::{Failure, Observed};
use crate::action::Action;
use crate::manager::{Context, TurnError};
use crate::stores::{BY_CONTROLLER, Stores};
use crate::view::{PodView, orphans_of};

/// One turn: the pods, then the status of what came of it.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(replica_set) = context.stores.replica_sets.get(&key) else { return Ok(Next::Done) };
    let actions = decide(&context.stores, &replica_set);
    if actions.is_empty() {
        let status = decide_status(&context.stores, &replica_set, None);
        return context.perform(status).await;
    }
    let creates = actions.iter().any(|action| matches!(action, Action::Create { .. }));
    let adopts = actions.iter().any(|action| matches!(action, Action::Patch { .. }));
    if adopts && !is_still_there(&context, &replica_set).await? {
        return Ok(Next::Done);
    }
    let outcome = context.executor.perform(actions).await;
    let failure = outcome.as_ref().err().filter(|error| !error.is_stale()).and_then(|error| error.answer());
    let failure = failure.filter(|answer| answer.status().is_some()).map(|answer| Failure {
        reason: if creates { "FailedCreate" } else { "FailedDelete" },
        message: answer.to_string(),
    });
    // The stores show by now what was written.
    let Some(replica_set) = context.stores.replica_sets.get(&key) else { return Ok(Next::Done) };
    let status = decide_status(&context.stores, &replica_set, failure.as_ref());
    let next = context.perform(status).await?;
    context.settle(outcome)?;
    if !decide(&context.stores, &replica_set).is_empty() {
        // A burst was written; the rest follows at once.
        context.queues.replica_sets.add(key);
    }
    Ok(next)
}

fn decide(stores: &Stores, replica_set: &ReplicaSet) -> Vec<Action> {
    let pods = pods(stores, replica_set);
    let crowd = OnceCell::new();
    let related_on_node =
        |node: &str| crowd.get_or_init(|| related(stores, replica_set)).get(node).copied().unwrap_or(0);
    super::reconcile(&Observed { replica_set, pods: &pods, related_on_node: &related_on_node }, Timestamp::now())
}

fn decide_status(stores: &Stores, replica_set: &ReplicaSet, failure: Option<&Failure>) -> Vec<Action> {
    let pods = pods(stores, replica_set);
    super::reconcile_status(replica_set, &pods, failure, Timestamp::now())
}

fn pods(stores: &Stores, replica_set: &ReplicaSet) -> Vec<Arc<PodView>> {
    let meta = &replica_set.metadata;
    let mut pods = stores.pods.indexed(BY_CONTROLLER, meta.uid());
    pods.extend(stores.pods.indexed(BY_CONTROLLER, &orphans_of(meta.namespace())));
    pods
}

/// How many active pods of the same Deployment each node has.
fn related(stores: &Stores, replica_set: &ReplicaSet) -> HashMap<String, usize> {
    let siblings = match replica_set.metadata.controller() {
        Some(owner) => stores.replica_sets.indexed(BY_CONTROLLER, &owner.uid),
        None => stores.replica_sets.get(&ObjectKey::of(&replica_set.metadata)).into_iter().collect(),
    };
    let mut counts = HashMap::new();
    for sibling in siblings {
        for pod in stores.pods.indexed(BY_CONTROLLER, sibling.metadata.uid()) {
            if pod.is_active() && !pod.node.is_empty() {
                *counts.entry(pod.node.to_string()).or_default() += 1;
            }
        }
    }
    counts
}

/// Pods are adopted only for a ReplicaSet that is not being deleted, by the newest state.
async fn is_still_there(context: &Context, replica_set: &ReplicaSet) -> Result<bool, TurnError> {
    let meta = &replica_set.metadata;
    let live = context.executor.client().namespaced::<ReplicaSet>(meta.namespace()).get_opt(meta.name()).await?;
    Ok(live.is_some_and(|live| live.metadata.uid == meta.uid && !live.metadata.is_deleting()))
}
