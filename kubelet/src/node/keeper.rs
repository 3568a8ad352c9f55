//! Keeps the node's object and lease in the API: registers, reports, renews. The keyed runner of the client calls it,
//! again and later after failures; what changes the node's health calls it at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use reeve_client::backoff::{Backoff, retry};
use reeve_client::{Client, Error, EventRecorder, EventType, Next, Patch, RunnerConfig, runner};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::facts::NodeFacts;
use super::lease::LeaseKeeper;
use super::status;
use crate::agent::patch::merge_diff;
use crate::config::Config;
use crate::pressure::thresholds::Pressure;
use crate::runtime::{Health, Runtime};

/// Keeps the node's object and lease.
pub struct NodeKeeper {
    /// The node's settings.
    pub config: Config,
    /// The API.
    pub client: Client,
    /// The container runtime.
    pub runtime: Runtime,
    /// What the machine has.
    pub facts: NodeFacts,
    /// Events.
    pub recorder: EventRecorder,
    /// What the node is short of.
    pub pressure: watch::Receiver<BTreeSet<Pressure>>,
    /// Told when the control plane has given the node up: its status is told again at once.
    pub given_up: Arc<Notify>,
}

/// What there is to do for a node, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Duty {
    Status,
    Lease,
}

/// How often a report is decided anew when others write to the node at the same moment, upstream's number.
const STATUS_TRIES: u32 = 5;

impl NodeKeeper {
    /// Registers the node, then keeps its status and lease until shutdown.
    pub async fn run(self, mut health: watch::Receiver<Health>, shutdown: CancellationToken) {
        let uid = tokio::select! {
            () = shutdown.cancelled() => return,
            uid = retry(Backoff::RECONNECT, "the node's registration", || self.register(&health)) => uid,
        };
        tracing::info!(node = %self.config.node_name, "registered");
        self.event("Starting", "Starting kubelet.");
        let tuning = self.config.tuning;
        let backoff = Backoff { base: Backoff::RECONNECT.base, cap: tuning.lease_renew };
        let (queue, duties) = runner(RunnerConfig { name: "node", workers: 2, backoff });
        queue.add(Duty::Status);
        queue.add(Duty::Lease);
        let lease = Arc::new(LeaseKeeper::new(&self.client, &self.config, uid));
        let mut pressure = self.pressure.clone();
        let given_up = self.given_up.clone();
        let (keeper, known) = (Arc::new(self), health.clone());
        let work = duties.run(shutdown, move |duty| {
            let (keeper, lease, health) = (keeper.clone(), lease.clone(), known.borrow().clone());
            async move {
                match duty {
                    Duty::Status => keeper.report(&health).await.map(|()| Next::After(tuning.node_status_report)),
                    Duty::Lease => lease.renew().await.map(|()| Next::After(tuning.lease_renew)),
                }
            }
        });
        let changes = async {
            loop {
                let told = tokio::select! {
                    told = health.changed() => told,
                    told = pressure.changed() => told,
                    () = given_up.notified() => Ok(()),
                };
                if told.is_err() {
                    break;
                }
                queue.add(Duty::Status);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = work => {}
            () = changes => {}
        }
    }

    /// Creates the node's object, or finds it and sets its labels; returns its UID.
    async fn register(&self, health: &watch::Receiver<Health>) -> Result<String, Error> {
        let api = self.client.all::<Node>();
        let labels = status::labels(&self.config);
        let node = match api.get_opt(&self.config.node_name).await? {
            Some(known) => {
                let own = known.metadata.labels.as_ref();
                let differs = labels.iter().any(|(key, value)| own.and_then(|it| it.get(key)) != Some(value));
                if !differs {
                    known
                } else {
                    let patch = json!({"metadata": {"labels": labels}});
                    api.patch(&self.config.node_name, &Patch::Merge(patch)).await?
                }
            }
            None => {
                let version = self.runtime.version().await.unwrap_or_default();
                let health = health.borrow().clone();
                let seen = self.seen(health).await;
                let wanted = status::node_status(&self.config, &self.facts, &version, &seen, None, Timestamp::now());
                match api.create(&self.object(wanted)).await {
                    Ok(node) => node,
                    Err(error) if error.is_already_exists() => api.get(&self.config.node_name).await?,
                    Err(error) => return Err(error),
                }
            }
        };
        Ok(node.metadata.uid.unwrap_or_default())
    }

    /// What is seen of the node now.
    async fn seen(&self, health: Health) -> status::Seen {
        let images = self.runtime.images().await.map(|images| {
            let describe = |it: k8s_cri::v1::Image| {
                let names = it.repo_digests.into_iter().chain(it.repo_tags).collect();
                (i64::try_from(it.size).unwrap_or(i64::MAX), names)
            };
            status::images(images.into_iter().map(describe).collect())
        });
        status::Seen { health, pressure: self.pressure.borrow().clone(), images: images.ok() }
    }

    fn object(&self, status: NodeStatus) -> Node {
        Node {
            metadata: ObjectMeta {
                name: Some(self.config.node_name.clone()),
                labels: Some(status::labels(&self.config)),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: Some(self.config.register_with_taints.clone()).filter(|it| !it.is_empty()),
                ..NodeSpec::default()
            }),
            status: Some(status),
        }
    }

    /// Writes the node's status where it differs. It is decided on the node as it is now, since others write to it
    /// as well (its pod CIDR, taints, conditions of network plugins).
    async fn report(&self, health: &Health) -> Result<(), Error> {
        let api = self.client.all::<Node>();
        let version = self.runtime.version().await.ok();
        let seen = self.seen(health.clone()).await;
        let mut tries = 1;
        loop {
            let Some(node) = api.get_opt(&self.config.node_name).await? else {
                // Somebody deleted the node while it lives.
                let version = version.clone().unwrap_or_default();
                let wanted = status::node_status(&self.config, &self.facts, &version, &seen, None, Timestamp::now());
                return api.create(&self.object(wanted)).await.map(|_| ());
            };
            let old = node.status.as_ref();
            let known_version = old.and_then(|it| it.node_info.as_ref()).map(|it| it.container_runtime_version.clone());
            let version = version.clone().or(known_version).unwrap_or_default();
            let wanted = status::node_status(&self.config, &self.facts, &version, &seen, old, Timestamp::now());
            let value = |status: &NodeStatus| serde_json::to_value(status).unwrap_or_default();
            let Some(difference) = merge_diff(&value(&old.cloned().unwrap_or_default()), &value(&wanted)) else {
                return Ok(());
            };
            let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "status": difference});
            match api.patch_status(&self.config.node_name, &Patch::Merge(patch)).await {
                Ok(written) => {
                    let ready = status::is_ready(written.status.as_ref());
                    if ready != status::is_ready(old) {
                        let word = if ready { "NodeReady" } else { "NodeNotReady" };
                        self.event(word, &format!("Node {} status is now: {word}", self.config.node_name));
                    }
                    return Ok(());
                }
                Err(error) if (error.is_conflict() || error.is_not_found()) && tries < STATUS_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn event(&self, reason: &str, message: &str) {
        let reference = ObjectReference {
            kind: Some("Node".into()),
            api_version: Some("v1".into()),
            name: Some(self.config.node_name.clone()),
            // Upstream's events about nodes carry the name as UID.
            uid: Some(self.config.node_name.clone()),
            ..ObjectReference::default()
        };
        self.recorder.event(&reference, EventType::Normal, reason, message);
    }
}
