//! Follows the Nodes: CNI configuration from the own one, routes to the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_client::backoff::Backoff;
use reeve_client::{Change, EventRecorder, EventType, Next, Queue, Runner, RunnerConfig, Store, runner};
use tokio_util::sync::CancellationToken;

use super::cni::{self, CniError, CniOptions};
use super::link::{LinkError, Links};
use super::routes;
use super::view::NodeView;
use crate::nft::model::Network;
use crate::serve::health::Health;
use crate::services::objects::{NodePortAddresses, Surroundings};
use crate::sync::Requests;

/// Why the node's network is not as it should be. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The CNI configuration.
    #[error(transparent)]
    Cni(#[from] CniError),
    /// Links and routes.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The blocking part did not end.
    #[error("writing the CNI configuration was cut off: {0}")]
    Cut(#[from] tokio::task::JoinError),
}

/// A queue for changes of Nodes and its runner.
pub fn requests() -> (Queue<()>, Runner<()>) {
    runner(RunnerConfig { name: "node-network", workers: 1, backoff: Backoff::RETRY })
}

/// What a changed Node means for Services: external addresses of nodes are refused, and hints are for a zone.
pub fn tell(change: &Change<NodeView>, own: &str, requests: &Requests, health: &Health) {
    let (old, new) = match change {
        Change::Applied { old, new } => (old.as_deref(), Some(&**new)),
        Change::Deleted { old } => (Some(&**old), None),
        Change::Synced => return,
    };
    let addresses = |node: Option<&NodeView>| node.map(|node| node.addresses().collect::<BTreeSet<_>>());
    let is_own = new.or(old).is_some_and(|node| node.metadata.name == own);
    let zone_changed = is_own && old.map(NodeView::zone) != new.map(NodeView::zone);
    if zone_changed || addresses(old) != addresses(new) {
        requests.everything("nodes");
    }
    if is_own {
        health.leaving(new.is_some_and(NodeView::is_leaving));
    }
}

/// The node's network and what it is made from.
pub struct NodeNetwork {
    /// The node's name.
    pub node: String,
    /// All Nodes.
    pub nodes: Store<NodeView>,
    /// Links and routes.
    pub links: Links,
    /// Where the CNI configuration goes; none where somebody else provides the pod network.
    pub cni: Option<CniOptions>,
    /// The cluster's pod networks by flag; empty: those of the Nodes.
    pub cluster_networks: Vec<Network>,
    /// Where node ports answer.
    pub node_ports: NodePortAddresses,
    /// Who is told when the pod networks change.
    pub services: Requests,
    /// Where users are told what cannot be done.
    pub events: EventRecorder,
}

/// What was told already, so that it is told once.
#[derive(Default)]
struct Told {
    pod_networks: Vec<Network>,
    unreachable: BTreeSet<String>,
}

impl NodeNetwork {
    /// Works until shutdown.
    pub async fn run(self, queue: Queue<()>, runner: Runner<()>, shutdown: CancellationToken) {
        let told = Arc::new(Mutex::new(Told::default()));
        let network = Arc::new(self);
        queue.add(());
        runner
            .run(shutdown, move |()| {
                let (network, told) = (network.clone(), told.clone());
                async move { network.sync(&told).await.map(|()| Next::Done) }
            })
            .await;
    }

    async fn sync(&self, told: &Mutex<Told>) -> Result<(), NodeError> {
        let nodes = self.nodes.list();
        self.tell_services(&nodes, told);
        let Some(options) = self.cni.clone() else { return Ok(()) };
        let own = self.nodes.get(&ObjectKey::new("", self.node.as_str()));
        let own_network = own.as_ref().and_then(|node| node.pod_network());
        if let Some(network) = own_network {
            let directory = options.directory.clone();
            let bridge = options.bridge.clone();
            if tokio::task::spawn_blocking(move || cni::write(&options, network)).await?? {
                tracing::info!(%network, bridge, directory = %directory.display(), "wrote the CNI configuration");
            }
        }
        let bridge = self.cni.as_ref().map(|cni| cni.bridge.as_str()).unwrap_or_default();
        let links = self.links.networks(bridge).await?;
        let plan = routes::plan(&self.node, nodes.iter().map(|node| &**node), &links);
        self.tell_unreachable(&nodes, &plan.unreachable, told);
        let changes = routes::changes(&self.links.routes().await?, &plan.routes);
        self.links.change(&changes).await?;
        for (network, gateway) in &changes.replace {
            tracing::info!(%network, %gateway, "pods of another node are reached by this route");
        }
        for (network, gateway) in &changes.remove {
            tracing::info!(%network, %gateway, "removed the route to a node that is gone");
        }
        Ok(())
    }

    fn tell_services(&self, nodes: &[Arc<NodeView>], told: &Mutex<Told>) {
        if !self.cluster_networks.is_empty() {
            return;
        }
        let mut pod_networks: Vec<Network> = nodes.iter().filter_map(|node| node.pod_network()).collect();
        pod_networks.sort_unstable();
        // Overlapping networks would be refused together; the first one wins.
        pod_networks.dedup_by(|next, kept| kept.overlaps(*next));
        let mut told = told.lock();
        if told.pod_networks != pod_networks {
            told.pod_networks.clone_from(&pod_networks);
            self.services.surroundings(Surroundings { pod_networks, node_ports: self.node_ports.clone() });
        }
    }

    fn tell_unreachable(&self, nodes: &[Arc<NodeView>], unreachable: &BTreeSet<String>, told: &Mutex<Told>) {
        let mut told = told.lock();
        for name in unreachable.difference(&told.unreachable) {
            let address = nodes.iter().find(|node| node.metadata.name == *name).and_then(|n| n.internal_address());
            let message = format!(
                "pods of node {name} ({}) cannot be reached from node {}: the nodes share no link, and tunnels between links are not supported yet",
                address.map(|address| address.to_string()).unwrap_or_default(),
                self.node,
            );
            tracing::warn!(node = name, "{message}");
            let regarding = ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(self.node.clone()),
                uid: nodes.iter().find(|node| node.metadata.name == self.node).map(|n| n.metadata.uid.clone()),
                ..ObjectReference::default()
            };
            self.events.event(&regarding, EventType::Warning, "PodNetworkUnreachable", message);
        }
        told.unreachable.clone_from(unreachable);
    }
}
