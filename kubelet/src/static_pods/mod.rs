//! Static pods: pods of the node's own files, which run whether the API answers or not.
//!
//! - [`file`]: a manifest becomes a pod. Pure.
//! - [`source`]: the folder of manifests, followed by the kernel's notifications.
//! - [`mirror`]: the image of each static pod in the API, kept by the client's keyed runner.

pub mod file;
pub mod mirror;
pub mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::RwLock;
use reeve_api::ObjectKey;

/// The static pods as the files have them now. Cheap to clone.
#[derive(Clone, Default)]
pub struct StaticPods {
    pods: Arc<RwLock<BTreeMap<ObjectKey, Arc<Pod>>>>,
}

impl StaticPods {
    /// The static pod of that name.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        self.pods.read().get(key).cloned()
    }

    /// The names of all static pods.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.pods.read().keys().cloned().collect()
    }

    /// Takes over what the files hold now; returns the names whose pod is new, changed or gone.
    pub fn replace(&self, pods: BTreeMap<ObjectKey, Arc<Pod>>) -> Vec<ObjectKey> {
        let mut known = self.pods.write();
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone();
        let changed = |key: &&ObjectKey| known.get(*key).map(uid) != pods.get(*key).map(uid);
        let names: std::collections::BTreeSet<&ObjectKey> = known.keys().chain(pods.keys()).filter(changed).collect();
        let names = names.into_iter().cloned().collect();
        *known = pods;
        names
    }
}
