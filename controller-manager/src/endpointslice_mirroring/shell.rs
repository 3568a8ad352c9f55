//! Reads the stores for one Endpoints object and performs what is decided.

use std::sync::Arc;

use reeve_api::ObjectKey;
use reeve_client::Next;

use crate::manager::{Context, TurnError};
use crate::stores::BY_MIRRORED;

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let (endpoints, service) = (stores.endpoints.get(&key), stores.services.get(&key));
    let slices = stores.slices.indexed(BY_MIRRORED, &key.to_string());
    let actions = super::reconcile(endpoints.as_deref(), service.as_deref(), &slices);
    context.perform(actions).await
}
