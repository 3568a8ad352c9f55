//! Reads the stores for one pod and performs what is decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use reeve_api::ObjectKey;
use reeve_client::Next;

use super::{Observed, applied_by_all, reconcile, routes_to};
use crate::manager::{Context, TurnError};
use crate::stores::{BY_HANDOVER, BY_SERVICE, Stores, WAITS};

/// Where the proxies are. Begins below every version: nothing is said before the Leases were looked at.
#[derive(Debug)]
pub struct Applied(AtomicI64);

impl Default for Applied {
    fn default() -> Self {
        Applied(AtomicI64::new(-1))
    }
}

impl Applied {
    /// Looks at all Leases again; tells whether the proxies are further than before.
    pub fn refresh(&self, stores: &Stores) -> bool {
        let node = |name: &str| stores.nodes.get(&ObjectKey::cluster(name));
        let now = applied_by_all(stores.leases.nodes.list().into_iter(), node).unwrap_or(i64::MAX);
        self.0.swap(now, Ordering::AcqRel) < now
    }

    fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Acquire)).filter(|applied| *applied != i64::MAX)
    }
}

/// The pods that wait for the proxies.
pub fn waiting(stores: &Stores) -> impl Iterator<Item = ObjectKey> {
    stores.pods.indexed(BY_HANDOVER, WAITS).into_iter().map(|pod| pod.metadata.key())
}

/// One turn.
pub async fn turn(context: Arc<Context>, key: ObjectKey) -> Result<Next, TurnError> {
    let stores = &context.stores;
    let Some(pod) = stores.pods.get(&key) else { return Ok(Next::Done) };
    let services = stores.services.namespace(&key.namespace);
    let slices: Vec<_> = services
        .iter()
        .filter(|service| routes_to(service, &pod))
        .map(|service| stores.slices.indexed(BY_SERVICE, &service.metadata.key().to_string()))
        .collect();
    let action = reconcile(&Observed { pod: &pod, slices: &slices, applied: context.applied.get() });
    context.perform(action.into_iter().collect()).await
}
