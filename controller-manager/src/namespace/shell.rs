//! Lists what a namespace still holds and performs what is decided.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use reeve_api::meta::MetaExt as _;
use reeve_api::{ObjectKey, ResourceInfo};
use reeve_client::{ListOptions, Next};

use super::Remaining;
use crate::manager::{Context, TurnError};

/// When to look again at objects of kinds that no store follows, as upstream estimates it.
const UNWATCHED_CHECK: Duration = Duration::from_secs(5);

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let Some(cached) = context.stores.namespaces.get(&key) else { return Ok(Next::Done) };
    if !cached.metadata.is_deleting() {
        return Ok(Next::Done);
    }
    let client = context.executor.client();
    let Some(namespace) = client.all::<Namespace>().get_opt(&key.name).await? else { return Ok(Next::Done) };
    let mut resources = client.resources().await?;
    resources.retain(|info| {
        info.namespaced && ["list", "delete"].iter().all(|verb| info.verbs.iter().any(|has| has == verb))
    });
    let mut remaining = Vec::new();
    for info in resources {
        remaining.push(count(&context, &key.name, info).await?);
    }
    let actions = super::reconcile(&namespace, &remaining, Timestamp::now());
    let next = context.perform(actions).await?;
    let unwatched = |left: &Remaining| left.count > 0 && context.stores.of(&left.resource).is_none();
    Ok(if remaining.iter().any(unwatched) { Next::After(UNWATCHED_CHECK) } else { next })
}

async fn count(context: &Context, namespace: &str, info: ResourceInfo) -> Result<Remaining, TurnError> {
    let fields = ["metadata.name", "metadata.finalizers", "metadata.deletionTimestamp"];
    let options =
        ListOptions { fields: fields.iter().map(|&field| field.to_owned()).collect(), ..ListOptions::default() };
    let list = context.executor.client().dynamic(&info.resource, Some(namespace)).list(&options).await?;
    let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
    let mut undeleted = 0;
    for object in &list.items {
        let meta = &object["metadata"];
        undeleted += usize::from(meta["deletionTimestamp"].is_null());
        for finalizer in meta["finalizers"].as_array().into_iter().flatten().filter_map(|value| value.as_str()) {
            *finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }
    Ok(Remaining {
        resource: info.resource,
        count: list.items.len(),
        undeleted,
        finalizers: finalizers.into_iter().collect(),
    })
}
