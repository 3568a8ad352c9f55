//! Reads the stores for one namespace and performs what is decided.

use std::sync::Arc;

use reeve_api::ObjectKey;
use reeve_client::Next;

use super::DEFAULT;
use crate::manager::{Context, TurnError};

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(namespace) = context.stores.namespaces.get(&key) else { return Ok(Next::Done) };
    let exists = context.stores.service_accounts.get(&ObjectKey::new(key.name.as_str(), DEFAULT)).is_some();
    context.perform(super::reconcile(&namespace, exists).into_iter().collect()).await
}
