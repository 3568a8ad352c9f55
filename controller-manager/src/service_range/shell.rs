//! Reads the ranges and addresses and performs what is decided.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::IPAddress;
use reeve_api::{GroupVersionResource, ObjectKey};
use reeve_client::Next;

use super::{address_of, reconcile};
use crate::manager::{Context, TurnError};
use crate::object::resource;
use crate::view::Meta;

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let Some(range) = stores.service_ranges.get(&key) else { return Ok(Next::Done) };
    let mut addresses: Vec<IpAddr> = Vec::new();
    if range.metadata.is_deleting() {
        let resource = resource::<IPAddress>();
        let store = stores.others.of(&resource).ok_or_else(|| TurnError::NotServed(resource.qualified()))?;
        store.wait_synced().await;
        crate::stores::AnyStore::visit(&store, &mut |meta| addresses.extend(address_of(meta)));
    }
    let actions = reconcile(&range, &stores.service_ranges.list(), || addresses, Timestamp::now());
    context.perform(actions).await
}

/// Looks at a range that changed, and at those whose end may depend on it.
pub fn changed(context: &Context, key: ObjectKey) {
    context.queues.service_ranges.add(key);
    deleting(context);
}

/// Looks at the ranges that wait for their addresses, when one of them changed.
pub fn any_changed(context: &Context, resource: &GroupVersionResource, meta: &Meta) {
    if resource.resource == "ipaddresses" && address_of(meta).is_some() {
        deleting(context);
    }
}

fn deleting(context: &Context) {
    for range in context.stores.service_ranges.list().iter().filter(|range| range.metadata.is_deleting()) {
        context.queues.service_ranges.add(range.metadata.key());
    }
}
