//! Reads the stores for one Deployment and performs what is decided.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use reeve_client::Next;

use super::Observed;
use crate::action::Action;
use crate::manager::{Context, TurnError};
use crate::stores::{BY_CONTROLLER, Stores};
use crate::view::orphans_of;

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(deployment) = context.stores.deployments.get(&key) else { return Ok(Next::Done) };
    let actions = decide(&context.stores, &deployment);
    let created = actions.iter().find_map(|action| match action {
        Action::Create { object, .. } => object["metadata"]["name"].as_str().map(str::to_owned),
        _ => None,
    });
    let outcome = context.perform(actions).await;
    let (Some(name), Err(TurnError::Execute(error))) = (created, &outcome) else { return outcome };
    let Some(answer) = error.answer() else { return outcome };
    if !answer.is_already_exists() {
        if answer.status().is_some() {
            let told = super::create_failed(&deployment, &name, &answer.to_string(), Timestamp::now());
            context.perform(told).await?;
        }
        return outcome;
    }
    // The name is taken: by our own ReplicaSet that the store did not show, or by another's.
    let existing = context.executor.client().namespaced::<ReplicaSet>(&key.namespace).get_opt(&name).await?;
    match existing.as_ref().and_then(|existing| super::collision(&deployment, existing)) {
        Some(action) => context.perform(vec![action]).await,
        None => outcome,
    }
}

fn decide(stores: &Stores, deployment: &Deployment) -> Vec<Action> {
    let meta = &deployment.metadata;
    let mut replica_sets = stores.replica_sets.indexed(BY_CONTROLLER, meta.uid());
    replica_sets.extend(stores.replica_sets.indexed(BY_CONTROLLER, &orphans_of(meta.namespace())));
    let pods_of = |uid: &str| stores.pods.indexed(BY_CONTROLLER, uid);
    let observed = Observed { deployment, replica_sets: &replica_sets, pods_of: &pods_of };
    super::reconcile(&observed, Timestamp::now())
}
