//! Keys of changed objects, waiting for the event loop. Bounded by the number of objects: a key that is there
//! is not added again, so a handler can always put one in without waiting.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use reeve_api::ObjectKey;
use tokio::sync::Notify;

/// Something in the API changed, or on the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Changed {
    /// The pods of this node are known completely.
    Synced,
    /// A pod appeared, changed or went.
    Pod(ObjectKey),
    /// A ConfigMap or Secret that pods use appeared, changed or went.
    Reference(Reference),
    /// The node is too small for a pod.
    Evicted {
        /// The pod's UID.
        uid: String,
        /// Why, for the user.
        message: String,
        /// How long it has to end.
        grace_seconds: i64,
    },
}

/// A ConfigMap or a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A ConfigMap.
    ConfigMap(ObjectKey),
    /// A Secret.
    Secret(ObjectKey),
}

/// The keys. Cheap to clone.
#[derive(Clone, Default)]
pub struct Inbox {
    shared: Arc<(Mutex<BTreeSet<Changed>>, Notify)>,
}

impl Inbox {
    /// Puts a key in and wakes the loop.
    pub fn put(&self, changed: Changed) {
        self.shared.0.lock().insert(changed);
        self.shared.1.notify_one();
    }

    /// Takes a key out, waiting for one. Pods come after `Synced`, which is no loss: the loop looks each key up.
    pub async fn take(&self) -> Changed {
        loop {
            let woken = self.shared.1.notified();
            if let Some(changed) = self.shared.0.lock().pop_first() {
                return changed;
            }
            woken.await;
        }
    }
}
