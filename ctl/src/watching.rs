//! Watches of any resource, for verbs that follow or wait.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use reeve_api::ResourceInfo;
use reeve_client::WatchOptions;
use reeve_client::api::WatchEvent;
use serde_json::Value;

use crate::errors::{Failure, Layer, Outcome};
use crate::session::Cluster;
use crate::verbs::common::typed;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct Selection<'a> {
    /// Empty for all.
    pub namespace: &'a str,
    /// A label selector.
    pub labels: &'a str,
    /// A field selector.
    pub fields: &'a str,
    /// Changes after this version; without one, the present objects first.
    pub after: Option<i64>,
}

/// The changes of a selection.
pub type Changes = Pin<Box<dyn Stream<Item = Outcome<WatchEvent<Value>>>>>;

/// Opens a watch. It ends when the server ends it.
pub async fn watch(cluster: &Cluster, info: &ResourceInfo, selection: &Selection<'_>) -> Outcome<Changes> {
    let options = WatchOptions {
        label_selector: selection.labels.to_owned(),
        field_selector: selection.fields.to_owned(),
        resource_version: selection.after.map(|revision| revision.to_string()).unwrap_or_default(),
        send_initial_events: selection.after.is_none(),
        timeout_seconds: 0,
    };
    let stream = cluster.call(cluster.api(info, selection.namespace).watch(&options)).await?;
    let cluster = cluster.clone();
    let info = info.clone();
    Ok(Box::pin(stream.map(move |event| match event {
        Ok(WatchEvent::Added(object)) => Ok(WatchEvent::Added(typed(object, &info))),
        Ok(WatchEvent::Modified(object)) => Ok(WatchEvent::Modified(typed(object, &info))),
        Ok(WatchEvent::Deleted(object)) => Ok(WatchEvent::Deleted(typed(object, &info))),
        Ok(bookmark) => Ok(bookmark),
        Err(error) => Err(cluster.explain(error)),
    })))
}

/// The field selector of one object.
pub fn by_name(name: &str) -> String {
    format!("metadata.name={name}")
}

/// The failure of a wait whose watch ended before what it waited for happened.
pub fn ended(what: &str) -> Failure {
    Failure::Layer {
        layer: Layer::Network,
        message: format!("the server ended the watch before {what}"),
        hints: vec!["Run the command again; it continues from the present state.".to_owned()],
    }
}

/// Follows one object until `check` is content. It sees the present state first (`None` when there is no object),
/// then the state after each change.
pub async fn until<T>(
    cluster: &Cluster,
    info: &ResourceInfo,
    namespace: &str,
    name: &str,
    what: &str,
    mut check: impl FnMut(Option<&Value>) -> Outcome<Option<T>>,
) -> Outcome<T> {
    let fields = by_name(name);
    let selection = Selection { namespace, labels: "", fields: &fields, after: None };
    let mut changes = watch(cluster, info, &selection).await?;
    let mut object: Option<Value> = None;
    let mut complete = false;
    while let Some(change) = changes.next().await {
        match change? {
            WatchEvent::Added(new) | WatchEvent::Modified(new) => object = Some(new),
            WatchEvent::Deleted(_) => object = None,
            WatchEvent::Bookmark { initial_events_end: true, .. } => complete = true,
            WatchEvent::Bookmark { .. } => continue,
        }
        if complete && let Some(result) = check(object.as_ref())? {
            return Ok(result);
        }
    }
    Err(ended(what))
}
