//! The node: its object, its conditions, its lease, its cgroups.

pub mod cgroup;
pub mod facts;
pub mod status;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeSpec, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use reeve_client::backoff::Backoff;
use reeve_client::{Client, Error, EventRecorder, EventType, Patch};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::facts::NodeFacts;
use crate::agent::patch::merge_diff;
use crate::config::Config;
use crate::runtime::{Health, Runtime};

/// The namespace of node leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";

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
}

impl NodeKeeper {
    /// Looks at the runtime's health on its period and tells changes, until shutdown. The runtime tells nothing
    /// of its health by itself, so this is one of the kubelet's few timers; it is quick while the node is not
    /// ready, because a joining node waits for it.
    pub async fn watch_health(
        runtime: Runtime,
        config: Config,
        sender: watch::Sender<Health>,
        shutdown: CancellationToken,
    ) {
        loop {
            let health = runtime.health().await.unwrap_or_else(|error| Health {
                runtime_problem: Some(format!("container runtime is down: {error}")),
                network_problem: Some("the container runtime does not answer".into()),
            });
            let ready = health.is_ready();
            sender.send_if_modified(|known| {
                let changed = *known != health;
                if changed {
                    match (&health.runtime_problem, &health.network_problem) {
                        (None, None) => tracing::info!("the container runtime and its network are ready"),
                        (Some(problem), _) | (None, Some(problem)) => {
                            tracing::warn!(%problem, "the container runtime is not ready")
                        }
                    }
                }
                *known = health;
                changed
            });
            let period = if ready { config.tuning.runtime_health_period } else { config.tuning.runtime_unready_period };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    /// Registers the node, then keeps its status and lease until shutdown.
    pub async fn run(self, mut health: watch::Receiver<Health>, shutdown: CancellationToken) {
        let work = async {
            let mut node = self.register(&health).await;
            let uid = node.metadata.uid.clone().unwrap_or_default();
            self.event("Starting", "Starting kubelet.");
            tokio::join!(self.keep_lease(uid), async {
                let mut failures = 0;
                loop {
                    let wait = match self.report(&mut node, &health).await {
                        Ok(()) => {
                            failures = 0;
                            self.config.tuning.node_status_report
                        }
                        Err(error) => {
                            failures += 1;
                            tracing::warn!(%error, "the node's status could not be written");
                            Backoff::RECONNECT.delay(failures, rand::random())
                        }
                    };
                    tokio::select! {
                        changed = health.changed() => {
                            if changed.is_err() {
                                return;
                            }
                        }
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            });
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// Creates the node's object, or finds it. Tries until the API server answers.
    async fn register(&self, health: &watch::Receiver<Health>) -> Node {
        let mut failures = 0;
        loop {
            match self.register_once(health).await {
                Ok(node) => {
                    tracing::info!(node = %self.config.node_name, "registered");
                    return node;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "the node could not be registered");
                    tokio::time::sleep(Backoff::RECONNECT.delay(failures, rand::random())).await;
                }
            }
        }
    }

    async fn register_once(&self, health: &watch::Receiver<Health>) -> Result<Node, Error> {
        let api = self.client.all::<Node>();
        let version = self.runtime.version().await.unwrap_or_default();
        let labels = status::labels(&self.config);
        if let Some(known) = api.get_opt(&self.config.node_name).await? {
            let patch = json!({"metadata": {"labels": labels}});
            let differs = labels
                .iter()
                .any(|(key, value)| known.metadata.labels.as_ref().and_then(|it| it.get(key)) != Some(value));
            return if differs { api.patch(&self.config.node_name, &Patch::Merge(patch)).await } else { Ok(known) };
        }
        let wanted = status::node_status(&self.config, &self.facts, &version, &health.borrow(), None, Timestamp::now());
        let node = Node {
            metadata: ObjectMeta {
                name: Some(self.config.node_name.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: Some(self.config.register_with_taints.clone()).filter(|it| !it.is_empty()),
                ..NodeSpec::default()
            }),
            status: Some(wanted),
        };
        match api.create(&node).await {
            Ok(node) => Ok(node),
            Err(error) if error.is_already_exists() => api.get(&self.config.node_name).await,
            Err(error) => Err(error),
        }
    }

    async fn report(&self, node: &mut Node, health: &watch::Receiver<Health>) -> Result<(), Error> {
        let version = self.runtime.version().await.ok();
        let known_version =
            node.status.as_ref().and_then(|it| it.node_info.as_ref()).map(|it| it.container_runtime_version.clone());
        let version = version.or(known_version).unwrap_or_default();
        let health = health.borrow().clone();
        let wanted =
            status::node_status(&self.config, &self.facts, &version, &health, node.status.as_ref(), Timestamp::now());
        let to_value =
            |status: &Option<k8s_openapi::api::core::v1::NodeStatus>| serde_json::to_value(status).unwrap_or_default();
        let was_ready = status::is_ready(node.status.as_ref());
        let Some(difference) = merge_diff(&to_value(&node.status), &to_value(&Some(wanted.clone()))) else {
            return Ok(());
        };
        let api = self.client.all::<Node>();
        // The conditions that others own (network plugins) are merged by the pure function; the version makes
        // sure that none of theirs is overwritten.
        let patch = json!({"metadata": {"resourceVersion": node.metadata.resource_version}, "status": difference});
        match api.patch_status(&self.config.node_name, &Patch::Merge(patch)).await {
            Ok(written) => {
                *node = written;
                let ready = status::is_ready(node.status.as_ref());
                if ready != was_ready {
                    let (reason, word) =
                        if ready { ("NodeReady", "NodeReady") } else { ("NodeNotReady", "NodeNotReady") };
                    self.event(reason, &format!("Node {} status is now: {word}", self.config.node_name));
                }
                Ok(())
            }
            Err(error) if error.is_conflict() => {
                *node = api.get(&self.config.node_name).await?;
                Err(error)
            }
            // Somebody deleted the node while it lives.
            Err(error) if error.is_not_found() => {
                let created = Node {
                    metadata: ObjectMeta {
                        name: Some(self.config.node_name.clone()),
                        labels: Some(status::labels(&self.config)),
                        ..ObjectMeta::default()
                    },
                    spec: Some(NodeSpec::default()),
                    status: Some(wanted),
                };
                *node = api.create(&created).await?;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Renews the node's lease on its period; a failure is tried again sooner.
    async fn keep_lease(&self, node_uid: String) {
        let tuning = &self.config.tuning;
        let api = self.client.namespaced::<Lease>(LEASE_NAMESPACE);
        let mut lease: Option<Lease> = None;
        let mut failures = 0;
        loop {
            let renewed = self.renew(&api, lease.take(), &node_uid).await;
            let wait = match renewed {
                Ok(written) => {
                    lease = Some(written);
                    failures = 0;
                    tuning.lease_renew
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "the node's lease could not be renewed");
                    Backoff::RECONNECT.delay(failures, rand::random()).min(tuning.lease_renew)
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn renew(
        &self,
        api: &reeve_client::Api<Lease>,
        known: Option<Lease>,
        node_uid: &str,
    ) -> Result<Lease, Error> {
        let now = MicroTime(Timestamp::now());
        let known = match known {
            Some(lease) => Some(lease),
            None => api.get_opt(&self.config.node_name).await?,
        };
        let spec = LeaseSpec {
            holder_identity: Some(self.config.node_name.clone()),
            lease_duration_seconds: i32::try_from(self.config.tuning.lease_duration.as_secs()).ok(),
            renew_time: Some(now),
            ..LeaseSpec::default()
        };
        match known {
            Some(mut lease) => {
                lease.spec = Some(spec);
                api.update(&lease).await
            }
            None => {
                let owner = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
                    api_version: "v1".into(),
                    kind: "Node".into(),
                    name: self.config.node_name.clone(),
                    uid: node_uid.to_owned(),
                    ..Default::default()
                };
                let metadata = ObjectMeta {
                    name: Some(self.config.node_name.clone()),
                    namespace: Some(LEASE_NAMESPACE.into()),
                    owner_references: Some(vec![owner]),
                    ..ObjectMeta::default()
                };
                api.create(&Lease { metadata, spec: Some(spec) }).await
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
