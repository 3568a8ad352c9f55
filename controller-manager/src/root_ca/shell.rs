//! Reads one namespace's ConfigMap and performs what is decided.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use reeve_api::ObjectKey;
use reeve_client::Next;

use super::NAME;
use crate::manager::{Context, TurnError};

/// One turn. The store holds no data of ConfigMaps, so the one in question is read.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(namespace) = context.stores.namespaces.get(&key) else { return Ok(Next::Done) };
    let Some(certificate) = context.settings.root_ca.as_deref() else { return Ok(Next::Done) };
    let existing = context.executor.client().namespaced::<ConfigMap>(&key.name).get_opt(NAME).await?;
    context.perform(super::reconcile(&namespace, existing.as_ref(), certificate).into_iter().collect()).await
}
