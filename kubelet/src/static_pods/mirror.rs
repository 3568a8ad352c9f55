//! Mirror pods: the API's image of each static pod, so that users see it and the scheduler counts it. An image that
//! nobody stands behind goes; one that is deleted or of another version is made anew.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use reeve_api::ObjectKey;
use reeve_client::backoff::Backoff;
use reeve_client::{Client, DeleteOptions, Error, ListOptions, Next, Queue, Runner, RunnerConfig, Store, runner};
use tokio_util::sync::CancellationToken;

use super::StaticPods;
use crate::node::view::NodeView;
use crate::pod::spec::{self, MIRROR_ANNOTATION};

/// What is to be done about a mirror pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MirrorAction {
    /// It is missing.
    Create,
    /// It shows nothing that runs, or is being deleted.
    Delete,
}

/// Decides it from the static pod and what the API has under its name.
fn decide(fixed: Option<&Pod>, stored: Option<&Pod>) -> Option<MirrorAction> {
    let Some(stored) = stored else { return fixed.map(|_| MirrorAction::Create) };
    // A pod of the API's own that has the name stays; it is not ours to delete.
    let shown = spec::mirrored(stored)?;
    let current = fixed.is_some_and(|pod| spec::uid(pod) == shown);
    (!current || stored.metadata.deletion_timestamp.is_some()).then_some(MirrorAction::Delete)
}

/// The mirror pod of a static pod.
fn image(fixed: &Pod, node: OwnerReference) -> Pod {
    let mut pod = fixed.clone();
    pod.metadata.uid = None;
    pod.metadata.owner_references = Some(vec![node]);
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(MIRROR_ANNOTATION.into(), spec::uid(fixed).to_owned());
    pod
}

/// The queue of names whose mirror pod has to be looked at, and its worker's end.
pub fn queue() -> (Queue<ObjectKey>, Runner<ObjectKey>) {
    runner(RunnerConfig { name: "mirror pods", workers: 1, backoff: Backoff::RECONNECT })
}

/// Keeps the mirror pods.
pub struct Mirrors {
    /// The API.
    pub client: Client,
    /// The static pods.
    pub fixed: StaticPods,
    /// The API's pods of this node.
    pub pods: Store<Pod>,
    /// The node's object, which owns the mirror pods.
    pub nodes: Store<NodeView>,
    /// The node's name.
    pub node: String,
}

impl Mirrors {
    /// Looks at the mirror pods whose names are put in the queue, until shutdown.
    pub async fn run(self, work: Runner<ObjectKey>, shutdown: CancellationToken) {
        let keeper = Arc::new(self);
        let look = move |key: ObjectKey| {
            let keeper = keeper.clone();
            async move { keeper.reconcile(&key).await.map(|()| Next::Done) }
        };
        work.run(shutdown, look).await;
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<(), Error> {
        self.pods.wait_synced().await;
        self.nodes.wait_synced().await;
        let api = self.client.namespaced::<Pod>(&key.namespace);
        // The copy may be behind what was just written: the API itself is asked. By a list, as a node may not ask for
        // a pod by name that is not there.
        let stored = match self.fixed.get(key).is_some() || self.pods.get(key).is_some() {
            true => {
                let field_selector = format!("metadata.name={},spec.nodeName={}", key.name, self.node);
                api.list(&ListOptions { field_selector, ..ListOptions::default() }).await?.items.into_iter().next()
            }
            false => None,
        };
        let fixed = self.fixed.get(key);
        match decide(fixed.as_deref(), stored.as_ref()) {
            Some(MirrorAction::Create) => {
                // Without its node the image would belong to nobody; the node's registration asks again.
                let (Some(fixed), Some(owner)) = (fixed, self.owner()) else { return Ok(()) };
                match api.create(&image(&fixed, owner)).await {
                    Ok(_) => tracing::info!(pod = %key, "a mirror pod is made"),
                    Err(error) if error.is_already_exists() => {}
                    Err(error) => return Err(error),
                }
            }
            Some(MirrorAction::Delete) => {
                let uid = stored.as_ref().map(|it| spec::uid(it).to_owned()).unwrap_or_default();
                let options = DeleteOptions { grace_period_seconds: Some(0), uid, ..DeleteOptions::default() };
                match api.delete(&key.name, &options).await {
                    Ok(_) => tracing::info!(pod = %key, "a mirror pod is deleted"),
                    Err(error) if error.is_not_found() || error.is_conflict() => {}
                    Err(error) => return Err(error),
                }
            }
            None => {}
        }
        Ok(())
    }

    fn owner(&self) -> Option<OwnerReference> {
        let node = self.nodes.get(&ObjectKey::new(String::new(), self.node.clone()))?;
        Some(OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: self.node.clone(),
            uid: node.uid().to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_follow_what_they_show() {
        let fixed =
            |uid: &str| -> Pod { serde_json::from_value(json!({"metadata": {"name": "p", "uid": uid}})).unwrap() };
        let ours = image(&fixed("a"), OwnerReference::default());
        assert_eq!((spec::mirrored(&ours), spec::runtime_uid(&ours)), (Some("a"), "a"));
        let mut going = ours.clone();
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
        let foreign = fixed("x");
        for (stands, stored, wanted) in [
            (None, None, None),
            (Some("a"), None, Some(MirrorAction::Create)),
            (Some("a"), Some(&ours), None),
            (Some("b"), Some(&ours), Some(MirrorAction::Delete)),
            (Some("a"), Some(&going), Some(MirrorAction::Delete)),
            (None, Some(&ours), Some(MirrorAction::Delete)),
            (None, Some(&foreign), None),
            (Some("a"), Some(&foreign), None),
        ] {
            assert_eq!(decide(stands.map(fixed).as_ref(), stored), wanted, "{stands:?} {stored:?}");
        }
    }
}
