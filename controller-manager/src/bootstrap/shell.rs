//! Reads tokens and what they sign, and performs what is decided. The stores hold no data of either.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use reeve_api::{GroupVersionResource, ObjectKey};
use reeve_client::{ListOptions, Next};

use super::{INFO_NAME, INFO_NAMESPACE, NAME_PREFIX, SECRET_TYPE, TOKENS_NAMESPACE};
use crate::manager::{Context, TurnError};
use crate::object::resource;
use crate::view::Meta;

/// Puts keys into the queues for a change of a token, or of what tokens sign.
pub fn changed(context: &Context, of: &GroupVersionResource, meta: &Meta) {
    let is_token = &**meta.namespace == TOKENS_NAMESPACE && meta.name.starts_with(NAME_PREFIX);
    if is_token && *of == resource::<Secret>() {
        context.queues.bootstrap_tokens.add(ObjectKey::new(TOKENS_NAMESPACE, &*meta.name));
        context.queues.cluster_info.add(());
    }
    let is_info = &*meta.name == INFO_NAME && &**meta.namespace == INFO_NAMESPACE;
    if is_info && *of == resource::<ConfigMap>() {
        context.queues.cluster_info.add(());
    }
}

/// One turn of the cleaner.
pub async fn clean_turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let secrets = context.executor.client().namespaced::<Secret>(&key.namespace);
    let Some(secret) = secrets.get_opt(&key.name).await? else { return Ok(Next::Done) };
    context.perform(super::clean(&secret, Timestamp::now()).into_iter().collect()).await
}

/// One turn of the signer.
pub async fn sign_turn(context: Arc<Context>, (): ()) -> Result<Next, TurnError> {
    let client = context.executor.client();
    let Some(info) = client.namespaced::<ConfigMap>(INFO_NAMESPACE).get_opt(INFO_NAME).await? else {
        return Ok(Next::Done);
    };
    let of_tokens = ListOptions { field_selector: format!("type={SECRET_TYPE}"), ..ListOptions::default() };
    let tokens = client.namespaced::<Secret>(TOKENS_NAMESPACE).list(&of_tokens).await?;
    context.perform(super::sign(&info, &tokens.items, Timestamp::now()).into_iter().collect()).await
}
