//! Reads the roles and performs what is decided.

use std::sync::Arc;

use reeve_api::ObjectKey;
use reeve_client::Next;

use crate::manager::{Context, TurnError};

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let Some(role) = stores.cluster_roles.get(&key) else { return Ok(Next::Done) };
    context.perform(super::reconcile(&role, &stores.cluster_roles.list()).into_iter().collect()).await
}
