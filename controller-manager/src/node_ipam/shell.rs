//! Reads all nodes and performs what is decided.

use std::sync::Arc;

use reeve_client::Next;

use crate::manager::{Context, TurnError};

/// One turn over all nodes.
pub async fn turn(context: Arc<Context>, (): ()) -> Result<Next, TurnError> {
    let Some(plan) = &context.settings.node_cidrs else { return Ok(Next::Done) };
    let nodes = context.stores.nodes.list();
    context.perform(super::reconcile(plan, &nodes)).await
}
