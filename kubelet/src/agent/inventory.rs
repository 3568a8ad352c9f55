//! What the node's pods consist of, for those that look at it beside the event loop: their containers, logs and images.
//! The loop writes it when it has looked; nobody has to ask the runtime again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEntry {
    /// Its name in the pod.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// Where it logs.
    pub log_path: PathBuf,
    /// Whether its process runs.
    pub running: bool,
}

/// A pod's containers, and every name of the images that it uses or is about to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEntry {
    /// The pod's UID.
    pub uid: String,
    /// Its containers, newest first.
    pub containers: Vec<ContainerEntry>,
    /// Names of images.
    pub images: BTreeSet<String>,
}

/// All pods. Cheap to clone.
#[derive(Clone, Default)]
pub struct Inventory {
    pods: Arc<RwLock<BTreeMap<String, Arc<PodEntry>>>>,
}

impl Inventory {
    /// Every pod.
    pub fn all(&self) -> Vec<Arc<PodEntry>> {
        self.pods.read().values().cloned().collect()
    }

    /// Names of all images in use.
    pub fn images(&self) -> BTreeSet<String> {
        self.pods.read().values().flat_map(|it| it.images.iter().cloned()).collect()
    }

    pub(super) fn put(&self, entry: PodEntry) {
        let known = self.pods.read().get(&entry.uid).is_some_and(|known| **known == entry);
        if !known {
            self.pods.write().insert(entry.uid.clone(), Arc::new(entry));
        }
    }

    pub(super) fn remove(&self, uid: &str) {
        self.pods.write().remove(uid);
    }
}
