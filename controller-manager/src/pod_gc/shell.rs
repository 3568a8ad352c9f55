//! Reads the stores for one key and performs what is decided.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use reeve_api::ObjectKey;
use reeve_client::Next;

use super::Key;
use crate::manager::{Context, TurnError};
use crate::stores::{BY_ENDED, BY_NODE, ENDED};

/// One turn.
pub async fn turn(context: Arc<Context>, key: Key) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let actions = match key {
        Key::Node(name) => {
            if stores.nodes.get(&ObjectKey::cluster(name.as_str())).is_some() {
                return Ok(Next::Done);
            }
            // The store may be behind; what is removed here cannot be brought back.
            if context.executor.client().all::<Node>().get_opt(&name).await?.is_some() {
                return Ok(Next::Done);
            }
            super::orphans(&stores.pods.indexed(BY_NODE, &name))
        }
        Key::Ended => super::ended(&stores.pods.indexed(BY_ENDED, ENDED), context.settings.terminated_pod_gc_threshold),
        Key::Unbound(key) => stores.pods.get(&key).and_then(|pod| super::unbound(&pod)).into_iter().collect(),
    };
    context.perform(actions).await
}
