//! Follows the Nodes: CNI configuration from the own one, routes to the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_client::backoff::Backoff;
use reeve_client::{Change, EventRecorder, EventType, Next, Queue, Runner, RunnerConfig, Store, runner};
use tokio_util::sync::CancellationToken;

use super::apply::Applied;
use super::cni::{self, CniError, CniOptions};
use super::link::{LinkError, Links};
use super::routes;
use super::view::NodeView;
use crate::nft::model::Network;
use crate::serve::health::Health;
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
    /// The largest packet of pods by flag, in bytes; without it what their way takes.
    pub pod_mtu: Option<u32>,
    /// The UDP port of the tunnel to nodes on other links.
    pub vxlan_port: u16,
    /// Who is told when the pod networks change.
    pub services: Requests,
    /// Where users are told what cannot be done.
    pub events: EventRecorder,
}

/// What was told already, so that it is told once.
#[derive(Default)]
struct Told {
    pod_networks: Vec<Network>,
    unreachable: Option<String>,
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
        let addresses = self.links.own_addresses(&options.bridge).await?;
        let plan = routes::plan(&self.node, nodes.iter().map(|node| &**node), &addresses);
        let own = self.nodes.get(&ObjectKey::new("", self.node.as_str()));
        if let Some(network) = own.as_ref().and_then(|node| node.pod_network()) {
            let mtu = self.pod_mtu.or_else(|| plan.tunnel.as_ref().map(|tunnel| tunnel.mtu));
            let (directory, bridge) = (options.directory.clone(), options.bridge.clone());
            if tokio::task::spawn_blocking(move || cni::write(&options, network, mtu)).await?? {
                tracing::info!(%network, bridge, mtu, directory = %directory.display(), "wrote the CNI configuration");
            }
        }
        let Applied { changes, tunnel } = self.links.apply(&plan, self.vxlan_port).await?;
        for (network, hop) in &changes.replace {
            tracing::info!(%network, %hop, "pods of another node are reached by this route");
        }
        for (network, hop) in &changes.remove {
            tracing::info!(%network, %hop, "removed the route to a node that is gone");
        }
        self.tell_unreachable(&nodes, tunnel.as_ref().err(), told);
        Ok(tunnel?)
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
            self.services.pod_networks(pod_networks);
        }
    }

    fn tell_unreachable(&self, nodes: &[Arc<NodeView>], error: Option<&LinkError>, told: &Mutex<Told>) {
        let unreachable = error.map(|error| {
            format!(
                "pods of nodes on other links cannot be reached from node {}: the tunnel failed: {error}",
                self.node
            )
        });
        let mut told = told.lock();
        if let Some(message) = unreachable.as_ref().filter(|message| told.unreachable.as_ref() != Some(message)) {
            tracing::warn!("{message}");
            let regarding = ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(self.node.clone()),
                uid: nodes.iter().find(|node| node.metadata.name == self.node).map(|n| n.metadata.uid.clone()),
                ..ObjectReference::default()
            };
            self.events.event(&regarding, EventType::Warning, "PodNetworkUnreachable", message.clone());
        }
        told.unreachable = unreachable;
    }
}
