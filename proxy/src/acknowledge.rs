//! Says how far the kernel is, in this node's Lease: the second step of [`reeve_api::handover`].
//!
//! A version is written when somebody waits for it: a slice with an endpoint that terminates asks for it. One write
//! is in flight at a time and carries the newest version, and between two writes lie as many milliseconds as there
//! are nodes: however many pods end at once, all proxies together cost the API server a bounded number of writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_api::handover::{APPLIED_REVISION, LEASE_NAMESPACE, lease_name};
use reeve_client::backoff::Backoff;
use reeve_client::{Client, Error, Next, Patch, Queue, Runner, RunnerConfig, Store, runner};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::node::view::NodeView;

/// Between two writes, for each node of the cluster: about a thousand writes a second by all of them.
const SPACING_PER_NODE: Duration = Duration::from_millis(1);

/// The longest time between two writes: well within the time that a kubelet waits.
const SPACING_MAX: Duration = Duration::from_secs(1);

/// Where versions are noted. Cheap to clone.
#[derive(Clone)]
pub struct Acknowledgements {
    reached: Arc<AtomicI64>,
    queue: Queue<()>,
}

impl Acknowledgements {
    /// The kernel is at this version of EndpointSlices.
    pub fn reached(&self, revision: i64) {
        self.reached.fetch_max(revision, Ordering::AcqRel);
        self.queue.add(());
    }

    /// Write what was reached again, if anything was: the node has appeared.
    pub fn again(&self) {
        if self.reached.load(Ordering::Acquire) > 0 {
            self.queue.add(());
        }
    }

    /// The version that was reached.
    pub fn revision(&self) -> i64 {
        self.reached.load(Ordering::Acquire)
    }
}

/// A place for versions and the runner that writes them.
pub fn acknowledgements() -> (Acknowledgements, Runner<()>) {
    let (queue, runner) = runner(RunnerConfig { name: "acknowledgements", workers: 1, backoff: Backoff::RETRY });
    (Acknowledgements { reached: Arc::default(), queue }, runner)
}

/// Writes the node's Lease.
pub struct Acknowledger {
    /// The API.
    pub client: Client,
    /// The node's name.
    pub node: String,
    /// All Nodes: the Lease goes with the own one, and their number says how often it may be written.
    pub nodes: Store<NodeView>,
}

/// What was written last.
#[derive(Clone, Copy, Default)]
struct Last {
    revision: i64,
    at: Option<Instant>,
}

/// How long the next write has to wait.
fn wait(nodes: usize, last: Option<Instant>, now: Instant) -> Option<Duration> {
    let spacing = SPACING_PER_NODE.saturating_mul(u32::try_from(nodes).unwrap_or(u32::MAX)).min(SPACING_MAX);
    let due = last?.checked_add(spacing)?;
    due.checked_duration_since(now).filter(|rest| !rest.is_zero())
}

impl Acknowledger {
    /// Writes until shutdown.
    pub async fn run(self, places: Acknowledgements, runner: Runner<()>, shutdown: CancellationToken) {
        let last = Arc::new(Mutex::new(Last::default()));
        let writer = Arc::new(self);
        runner
            .run(shutdown, move |()| {
                let (writer, places, last) = (writer.clone(), places.clone(), last.clone());
                async move { writer.turn(&places, &last).await }
            })
            .await;
    }

    async fn turn(&self, places: &Acknowledgements, last: &Mutex<Last>) -> Result<Next, Error> {
        let before = *last.lock();
        if places.revision() <= before.revision {
            return Ok(Next::Done);
        }
        // Until the node exists, nobody counts its proxy; its appearance calls for another turn.
        let Some(node) = self.nodes.get(&ObjectKey::new("", self.node.as_str())) else { return Ok(Next::Done) };
        if let Some(rest) = wait(self.nodes.len(), before.at, Instant::now()) {
            return Ok(Next::After(rest));
        }
        let revision = places.revision();
        self.write(&node, revision).await?;
        *last.lock() = Last { revision, at: Some(Instant::now()) };
        Ok(Next::Done)
    }

    async fn write(&self, node: &NodeView, revision: i64) -> Result<(), Error> {
        let api = self.client.namespaced::<Lease>(LEASE_NAMESPACE);
        let name = lease_name(&self.node);
        let renewed = MicroTime(Timestamp::now());
        let patch = json!({
            "metadata": {"annotations": {APPLIED_REVISION: revision.to_string()}},
            "spec": {"renewTime": renewed},
        });
        match api.patch(&name, &Patch::Merge(patch)).await {
            Err(error) if error.is_not_found() => {}
            written => return written.map(drop),
        }
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node.metadata.name.clone(),
            uid: node.metadata.uid.clone(),
            ..OwnerReference::default()
        };
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(LEASE_NAMESPACE.into()),
                annotations: Some(BTreeMap::from([(APPLIED_REVISION.to_owned(), revision.to_string())])),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.node.clone()),
                renew_time: Some(renewed),
                ..LeaseSpec::default()
            }),
        };
        api.create(&lease).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_nodes_write_less_often_and_the_first_write_is_at_once() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!(wait(1000, None, start), None);
        assert_eq!(wait(3, Some(start), at(1)), Some(Duration::from_millis(2)));
        assert_eq!(wait(3, Some(start), at(3)), None);
        assert_eq!(wait(50_000, Some(start), start), Some(SPACING_MAX));
    }
}
