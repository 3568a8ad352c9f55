//! Reads the stores for one Service and performs what is decided.

use std::sync::Arc;

use reeve_api::ObjectKey;
use reeve_client::Next;

use super::{Observed, is_ours, reconcile};
use crate::manager::{Context, TurnError};
use crate::stores::BY_SERVICE;

/// One turn. Must not run for two Services at a time: both could be given the same address.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let Some(service) = stores.services.get(&key) else { return Ok(Next::Done) };
    let slices = if is_ours(&service) { stores.slices.indexed(BY_SERVICE, &key.to_string()) } else { vec![] };
    let nodes_with_endpoints = slices
        .iter()
        .flat_map(|slice| slice.endpoints.iter().flatten())
        .filter(|endpoint| endpoint.conditions.as_ref().is_none_or(|conditions| conditions.ready != Some(false)))
        .filter_map(|endpoint| endpoint.node_name.clone())
        .collect();
    let actions = reconcile(&Observed {
        service: &service,
        services: &stores.services.list(),
        nodes: &stores.nodes.list(),
        nodes_with_endpoints: &nodes_with_endpoints,
        pool: &context.settings.load_balancer_pool,
    });
    context.perform(actions).await
}
