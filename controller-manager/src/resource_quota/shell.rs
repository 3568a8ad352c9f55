//! Counts what a quota limits and performs what is decided.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use reeve_client::Next;

use super::tally::Tell;
use super::{CREATED_DELAY, Observed, SYNC_PERIOD, sources};
use crate::action::Action;
use crate::manager::{Context, TurnError};
use crate::stores::Stores;

/// How long admission is let alone when it writes the same quota.
const STALE_DELAY: Duration = Duration::from_secs(1);

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    follow_what_is_counted(&context).await?;
    let Some(quota) = context.stores.quotas.get(&key) else { return Ok(Next::Done) };
    let Some(action) = decide(&context, &quota) else { return Ok(Next::After(SYNC_PERIOD)) };
    match context.executor.perform(vec![action]).await {
        // Admission has counted meanwhile; that alone does not bring the key back.
        Err(error) if error.is_stale() => Ok(Next::After(STALE_DELAY)),
        outcome => outcome.map(|()| Next::After(SYNC_PERIOD)).map_err(TurnError::from),
    }
}

fn decide(context: &Context, quota: &ResourceQuota) -> Option<Action> {
    let (stores, namespace) = (&context.stores, quota.metadata.namespace());
    let counted: BTreeSet<_> = sources(quota).collect();
    let reads = |resource: &str| counted.iter().any(|source| source.resource() == resource);
    let pods = if reads("pods") { stores.pods.namespace(namespace) } else { vec![] };
    let services = if reads("services") { stores.services.namespace(namespace) } else { vec![] };
    let claims = context.tallies.objects("persistentvolumeclaims", namespace).unwrap_or_default();
    let count = |resource: &str| {
        let held = held(stores, resource).and_then(|store| stores.of(&store)).map(|store| store.count(namespace));
        held.or_else(|| context.tallies.objects(resource, namespace).map(|objects| objects.len()))
    };
    super::reconcile(&Observed { quota, pods: &pods, services: &services, claims: &claims, count: &count })
}

/// The resource of a store that holds all of its objects.
fn held(stores: &Stores, qualified: &str) -> Option<reeve_api::GroupVersionResource> {
    let mut found = None;
    stores.each_held(|store| {
        let resource = store.resource();
        if resource.qualified() == qualified {
            found = Some(resource);
        }
    });
    found
}

async fn follow_what_is_counted(context: &Arc<Context>) -> Result<(), TurnError> {
    let quotas = context.stores.quotas.list();
    let mut needed: BTreeSet<String> =
        quotas.iter().flat_map(|quota| sources(quota)).map(|source| source.resource().to_owned()).collect();
    needed.retain(|resource| held(&context.stores, resource).is_none());
    context.tallies.keep(&needed);
    if needed.iter().all(|resource| context.tallies.has(resource)) {
        return Ok(());
    }
    let served = context.executor.client().resources().await?;
    let (queue, quotas) = (context.queues.quotas.clone(), context.stores.quotas.clone());
    let tell: Tell = Arc::new(move |namespace, resource, only_more| {
        for quota in quotas.namespace(namespace) {
            if sources(&quota).any(|source| source.resource() == resource) {
                let key = ObjectKey::of(&quota.metadata);
                if only_more { queue.add_after(key, CREATED_DELAY) } else { queue.add(key) }
            }
        }
    });
    for resource in &needed {
        // A resource that is not served has no objects; it may be served when the quota is looked at again.
        if let Some(info) = served.iter().find(|info| info.namespaced && info.resource.qualified() == *resource) {
            context.tallies.follow(context.executor.client(), &info.resource, &tell).await;
        }
    }
    Ok(())
}
