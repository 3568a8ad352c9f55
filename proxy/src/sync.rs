//! Brings Services into the kernel: one sync runs, at most one waits, and each knows why.
//!
//! Watch handlers note what changed and ask for a sync. While one runs, changes gather for the next, so a burst
//! costs as many transactions as the kernel has time for, without any waiting in between.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_client::backoff::Backoff;
use reeve_client::{Next, Queue, Runner, RunnerConfig, Store, runner};
use tokio_util::sync::CancellationToken;

use crate::acknowledge::Acknowledgements;
use crate::beside::Beside;
use crate::conntrack;
use crate::flows::{Flows, flows};
use crate::nft::model::Network;
use crate::nft::removal::Removals;
use crate::nft::{InvalidObject, Kernel, KernelError};
use crate::node::view::NodeView;
use crate::services::frontend::{Endpoint, Place};
use crate::services::host_ports::{self, HostPortsView};
use crate::services::objects::{Surroundings, TABLE};
use crate::services::ranges::{self, ServiceRangeView};
use crate::services::view::{EndpointSliceView, ServiceView};
use crate::services::{FrontendKey, RuleSet, Update, frontends};

/// The index of EndpointSlices by Service (`namespace/name`).
pub const BY_SERVICE: &str = "service";

/// Why a sync failed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A transaction could not be built.
    #[error("cannot build the transaction: {0}")]
    Invalid(#[from] InvalidObject),
    /// The kernel did not take it.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What the next sync has to look at.
#[derive(Default)]
struct Pending {
    services: BTreeSet<ObjectKey>,
    pod_networks: Option<Vec<Network>>,
    /// The version of EndpointSlices that the changes lead to.
    reached: i64,
    /// Whether somebody waits for that version to be in the kernel.
    is_awaited: bool,
    /// Whether every Service has to be looked at.
    is_everything: bool,
    /// Whether the table may have been removed.
    may_be_gone: bool,
    causes: BTreeSet<&'static str>,
}

/// Where changes are noted. Cheap to clone.
#[derive(Clone)]
pub struct Requests {
    pending: Arc<Mutex<Pending>>,
    queue: Queue<()>,
}

impl Requests {
    /// A Service, or an EndpointSlice of it, changed.
    pub fn service(&self, service: ObjectKey, cause: &'static str) {
        {
            let mut pending = self.pending.lock();
            pending.services.insert(service);
            pending.causes.insert(cause);
        }
        self.queue.add(());
    }

    /// An EndpointSlice changed. One with endpoints that terminate is acknowledged once the kernel has it.
    pub fn slice(&self, slice: &EndpointSliceView) {
        {
            let mut pending = self.pending.lock();
            pending.reached = pending.reached.max(reeve_client::View::revision(slice));
            pending.is_awaited |= slice.has_terminating();
        }
        if let Some(service) = slice.service() {
            self.service(service, "endpoint slice");
        }
    }

    /// All Services may lead elsewhere now: the nodes' addresses or this node's zone changed.
    pub fn everything(&self, cause: &'static str) {
        {
            let mut pending = self.pending.lock();
            pending.is_everything = true;
            pending.causes.insert(cause);
        }
        self.queue.add(());
    }

    /// Somebody removed the table, or may have.
    pub fn table_removed(&self) {
        {
            let mut pending = self.pending.lock();
            pending.may_be_gone = true;
            pending.causes.insert("table removed");
        }
        self.queue.add(());
    }

    /// The cluster's pod networks changed.
    pub fn pod_networks(&self, networks: Vec<Network>) {
        {
            let mut pending = self.pending.lock();
            pending.pod_networks = Some(networks);
            pending.causes.insert("pod networks");
        }
        self.queue.add(());
    }

    /// A ServiceCIDR changed.
    pub fn service_ranges(&self) {
        self.pending.lock().causes.insert("service ranges");
        self.queue.add(());
    }
}

/// A request side and a runner that must be driven.
pub fn requests() -> (Requests, Runner<()>) {
    let (queue, runner) = runner(RunnerConfig { name: "services", workers: 1, backoff: Backoff::RETRY });
    (Requests { pending: Arc::default(), queue }, runner)
}

/// Asks for a sync whenever somebody else removes the table, until shutdown.
pub async fn follow_removals(requests: Requests, shutdown: CancellationToken) {
    let follow = async {
        let removals = Removals::follow()?;
        loop {
            removals.removed(TABLE).await?;
            requests.table_removed();
        }
    };
    let ended: Option<std::io::Result<Infallible>> = tokio::select! {
        ended = follow => Some(ended),
        () = shutdown.cancelled() => None,
    };
    if let Some(Err(error)) = ended {
        tracing::warn!(%error, "whoever removes the rules will not be noticed until the next change");
    }
}

/// What a sync needs beside the changes.
pub struct Syncer<K> {
    /// The node's name.
    pub node: String,
    /// The address on which this node answers DNS itself, whatever a Service with that address says.
    pub cluster_dns: Option<Ipv4Addr>,
    /// All Services.
    pub services: Store<ServiceView>,
    /// All ServiceCIDRs.
    pub ranges: Store<ServiceRangeView>,
    /// All EndpointSlices, indexed by [`BY_SERVICE`].
    pub slices: Store<EndpointSliceView>,
    /// All Nodes.
    pub nodes: Store<NodeView>,
    /// This node's pods, where their host ports are this program's business.
    pub pods: Option<Store<HostPortsView>>,
    /// Where the rules go.
    pub kernel: K,
    /// The node's surroundings at the start.
    pub surroundings: Surroundings,
    /// Who is told which version of EndpointSlices is in the kernel, where it is awaited.
    pub acknowledgements: Acknowledgements,
    /// What follows from Services beside the rules.
    pub beside: Beside,
}

/// What is known of the kernel.
struct Installed<K> {
    kernel: K,
    rules: RuleSet,
    /// Whether the kernel holds what `rules` says, less what is pending.
    is_current: bool,
    /// The version of EndpointSlices that `rules` are at.
    reached: i64,
    /// Whether that version is awaited and not acknowledged.
    is_awaited: bool,
}

impl<K: Kernel + Sync + Clone + 'static> Syncer<K> {
    /// Syncs until shutdown. The stores must be whole: half the Services would be taken for all.
    pub async fn run(self, requests: Requests, runner: Runner<()>, shutdown: CancellationToken) {
        let state: Arc<Mutex<Option<Installed<K>>>> = Arc::default();
        let (flows, flow_runner) = flows();
        let cleaning = flows.clone().run(flow_runner, self.acknowledgements.clone(), shutdown.clone());
        let syncer = Arc::new(self);
        requests.queue.add(());
        let syncing = runner.run(shutdown, move |()| {
            let (syncer, requests, state) = (syncer.clone(), requests.clone(), state.clone());
            let flows = flows.clone();
            async move {
                // Taken out, so that a panic leaves nothing half done: the next sync begins afresh.
                let taken = state.lock().take();
                let mut installed = taken.unwrap_or_else(|| syncer.fresh(&requests));
                let result = syncer.sync(&requests, &flows, &mut installed).await;
                *state.lock() = Some(installed);
                result.map(|()| Next::Done)
            }
        });
        tokio::join!(syncing, cleaning);
    }

    fn fresh(&self, requests: &Requests) -> Installed<K> {
        let mut pending = requests.pending.lock();
        pending.is_everything = true;
        pending.causes.insert("start");
        let rules = RuleSet::new(self.surroundings(None, &self.surroundings));
        let reached = self.slices.revision();
        Installed { kernel: self.kernel.clone(), rules, is_current: false, reached, is_awaited: true }
    }

    async fn sync(&self, requests: &Requests, flows: &Flows, installed: &mut Installed<K>) -> Result<(), SyncError> {
        let mut pending = std::mem::take(&mut *requests.pending.lock());
        let begin = Instant::now();
        if pending.is_everything {
            pending.services.extend(self.everything());
        }
        if pending.may_be_gone && installed.is_current {
            // Where it cannot be told, writing all will say why.
            installed.is_current = matches!(installed.kernel.existing(TABLE).await, Ok(Some(_)));
            if !installed.is_current {
                tracing::warn!("the rules were removed by somebody else; writes them again");
            }
        }
        let nodes = self.nodes.list();
        let addresses = nodes.iter().flat_map(|node| node.addresses()).collect();
        let own = nodes.iter().find(|node| node.metadata.name == self.node);
        let place = Place { node: &self.node, zone: own.and_then(|node| node.zone()), nodes: &addresses };
        installed.reached = installed.reached.max(pending.reached);
        installed.is_awaited |= pending.is_awaited;
        let mut updates = Vec::new();
        let surroundings = self.surroundings(pending.pod_networks, installed.rules.surroundings());
        if surroundings != *installed.rules.surroundings() {
            updates.push(installed.rules.set_surroundings(surroundings));
        }
        let changed = pending.services.clone();
        let mut services = pending.services;
        let looked_at = services.len();
        while !services.is_empty() {
            let wanted: Vec<_> = services.iter().map(|key| (key.clone(), self.wanted(key, place))).collect();
            let update = installed.rules.update(wanted);
            for (service, frontend) in &update.refused {
                tracing::warn!(%service, %frontend, "another Service has this address and port already; it keeps them");
            }
            services = update.freed.clone();
            updates.push(update);
        }
        reeve_client::pages::stir();
        let was_current = installed.is_current;
        let transactions = self.commit(installed, &updates).await.inspect_err(|_| self.beside.failed())?;
        self.beside.synced(begin.elapsed());
        tracing::debug!(
            causes = ?pending.causes, services = looked_at, transactions, whole = !was_current,
            milliseconds = begin.elapsed().as_millis(), "rules are in the kernel"
        );
        if !was_current {
            let frontends = installed.rules.frontends().count();
            tracing::info!(frontends, milliseconds = begin.elapsed().as_millis(), "wrote the whole rule set");
        }
        // That an endpoint may end is told when old flows do not lead there any more either.
        let awaited = std::mem::take(&mut installed.is_awaited).then_some(installed.reached);
        flows.clean(Self::touched(installed, &updates, was_current), awaited);
        for key in changed.iter().filter(|key| host_ports::pod(key).is_none()) {
            let service = self.services.get(key).filter(|service| service.is_ours());
            let slices = self.slices.indexed(BY_SERVICE, &key.to_string());
            self.beside.service(key, service.as_deref(), &slices, place, own.map(|node| &**node)).await;
        }
        if !was_current {
            self.beside.whole();
        }
        Ok(())
    }

    /// The surroundings with what changed of them.
    fn surroundings(&self, pod_networks: Option<Vec<Network>>, present: &Surroundings) -> Surroundings {
        let all = self.ranges.list();
        Surroundings {
            pod_networks: pod_networks.unwrap_or_else(|| present.pod_networks.clone()),
            node_ports: present.node_ports.clone(),
            service_ranges: ranges::networks(all.iter().map(|range| &**range)),
        }
    }

    /// All that has frontends or may have some.
    fn everything(&self) -> impl Iterator<Item = ObjectKey> {
        let services = self.services.list().into_iter().map(|service| reeve_client::View::key(&*service));
        let pods = self.pods.iter().flat_map(|pods| pods.list());
        let pods = pods.filter(|pod| pod.is_used()).map(|pod| host_ports::owner(&reeve_client::View::key(&*pod)));
        services.chain(pods)
    }

    fn wanted(&self, key: &ObjectKey, place: Place<'_>) -> Vec<crate::services::Frontend> {
        if let Some(pod) = host_ports::pod(key) {
            let pod = self.pods.as_ref().and_then(|pods| pods.get(&pod));
            let found = pod.map(|pod| host_ports::frontends(&pod)).unwrap_or_default();
            if !found.is_empty() {
                self.beside.host_ports();
            }
            return found;
        }
        let Some(service) = self.services.get(key).filter(|service| service.is_ours()) else { return Vec::new() };
        let cluster_ip: Option<Ipv4Addr> = service.spec.cluster_ip.parse().ok();
        if cluster_ip.is_some() && cluster_ip == self.cluster_dns {
            return Vec::new();
        }
        let slices = self.slices.indexed(BY_SERVICE, &key.to_string());
        frontends(&service, slices.iter().map(|slice| &**slice), place)
    }

    /// Small steps where the kernel is known to hold the state before them, everything otherwise.
    async fn commit(&self, installed: &mut Installed<K>, updates: &[Update]) -> Result<usize, SyncError> {
        if !std::mem::take(&mut installed.is_current) {
            let existing = installed.kernel.existing(TABLE).await?;
            let whole = installed.rules.whole(existing.as_ref())?;
            installed.kernel.commit(&whole).await?;
            installed.is_current = true;
            return Ok(1);
        }
        let mut count = 0;
        for update in updates {
            for transaction in update.transactions()? {
                installed.kernel.commit(&transaction).await?;
                count += 1;
            }
        }
        installed.is_current = true;
        Ok(count)
    }

    /// The frontends whose flows may lead to endpoints that they do not have any more.
    fn touched(
        installed: &Installed<K>,
        updates: &[Update],
        was_current: bool,
    ) -> BTreeMap<FrontendKey, Vec<Endpoint>> {
        let mut touched = BTreeMap::new();
        if was_current {
            for update in updates {
                touched.extend(update.touched.iter().map(|(key, endpoints)| (*key, endpoints.clone())));
            }
        } else {
            touched.extend(installed.rules.frontends().map(|frontend| {
                let mut endpoints = frontend.endpoints.clone();
                endpoints.extend(frontend.outside.iter().flatten());
                (frontend.key, endpoints)
            }));
        }
        touched.retain(|key, _| conntrack::outlives_endpoints(key.protocol()));
        touched
    }
}
