//! Reads the stores for one Service and performs what is decided.

use std::sync::Arc;

use reeve_api::ObjectKey;
use reeve_client::Next;

use crate::manager::{Context, TurnError};
use crate::view::PodView;

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let present = stores.endpoints.get(&key);
    let action = match stores.services.get(&key) {
        Some(service) => {
            let Some(selector) = &service.spec.selector else { return Ok(Next::Done) };
            let mut pods: Vec<Arc<PodView>> = stores.pods.namespace(&key.namespace);
            pods.retain(|pod| selector.matches(&pod.metadata.labels));
            super::reconcile(&service, &pods, present.as_deref())
        }
        None => present.map(|present| super::remove(&present)),
    };
    context.perform(action.into_iter().collect()).await
}
