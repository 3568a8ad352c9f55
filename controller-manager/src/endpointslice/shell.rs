//! Reads the stores for one Service and performs what is decided.

use std::sync::Arc;

use reeve_api::ObjectKey;
use reeve_client::Next;

use super::Observed;
use crate::action::Action;
use crate::manager::{Context, TurnError};
use crate::stores::{BY_SERVICE, Stores};
use crate::view::PodView;

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let actions = decide(&context.stores, &key);
    context.perform(actions).await
}

fn decide(stores: &Stores, key: &ObjectKey) -> Vec<Action> {
    let Some(service) = stores.services.get(key) else { return vec![] };
    let Some(selector) = &service.spec.selector else { return vec![] };
    let mut pods: Vec<Arc<PodView>> = stores.pods.namespace(&key.namespace);
    pods.retain(|pod| selector.matches(&pod.metadata.labels));
    let slices = stores.slices.indexed(BY_SERVICE, &key.to_string());
    let zone_of = |node: &str| stores.nodes.get(&ObjectKey::cluster(node))?.zone().map(str::to_owned);
    super::reconcile(&Observed { service: &service, pods: &pods, zone_of: &zone_of, slices: &slices })
}
