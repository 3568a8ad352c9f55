//! Wires stores, queues and runners: which change calls for a look at which key.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Namespace, ResourceQuota, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::ClusterRole;
use parking_lot::Mutex;
use reeve_api::meta::MetaExt as _;
use reeve_api::{GroupVersionResource, ObjectKey, ResourceInfo};
use reeve_client::backoff::Backoff;
use reeve_client::{Change, Client, Error, EventRecorder, Next, Queue, Runner, RunnerConfig, runner};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::action::{Action, again};
use crate::certificates::authority::Authority;
use crate::executor::{ExecuteError, Executor};
use crate::object::selector_of;
use crate::stores::{Listener, Stores};
use crate::view::{DefinitionView, LeaseView, Meta, MetaView, NodeView, PodView, ServiceView};
use crate::{
    bootstrap, certificates, cluster_role, deployment, endpoints, endpointslice, endpointslice_mirroring, garbage,
    handover, load_balancer, namespace, node_ipam, node_lifecycle, others, pod_gc, replicaset, resource_quota, root_ca,
    service_account,
};

/// How long a failed key waits, as upstream's rate limiter of controllers.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_secs(1000) };

/// A controller of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// `deployment-controller`
    Deployment,
    /// `replicaset-controller`
    ReplicaSet,
    /// `endpointslice-controller`
    EndpointSlice,
    /// `node-ipam-controller`
    NodeIpam,
    /// `node-lifecycle-controller`
    NodeLifecycle,
    /// `namespace-controller`
    Namespace,
    /// `garbage-collector-controller`
    GarbageCollector,
    /// `serviceaccount-controller`
    ServiceAccount,
    /// `root-ca-certificate-publisher-controller`
    RootCa,
    /// `pod-garbage-collector-controller`
    PodGc,
    /// `resourcequota-controller`
    ResourceQuota,
    /// `clusterrole-aggregation-controller`
    ClusterRole,
    /// `certificatesigningrequest-approving-controller`
    CertificateApproving,
    /// `certificatesigningrequest-signing-controller`
    CertificateSigning,
    /// `certificatesigningrequest-cleaner-controller`
    CertificateCleaning,
    /// `endpoint-handover-controller`: Reeve's own, see [`handover`]
    EndpointHandover,
    /// `bootstrap-signer-controller`
    BootstrapSigner,
    /// `token-cleaner-controller`
    TokenCleaner,
    /// `service-lb-controller`
    LoadBalancer,
    /// `endpoints-controller`
    Endpoints,
    /// `endpointslice-mirroring-controller`
    EndpointSliceMirroring,
}

impl Controller {
    /// All of them, with upstream's names and older names.
    pub const ALL: [(Controller, &'static str, &'static str); 21] = [
        (Controller::Deployment, "deployment-controller", "deployment"),
        (Controller::ReplicaSet, "replicaset-controller", "replicaset"),
        (Controller::EndpointSlice, "endpointslice-controller", "endpointslice"),
        (Controller::NodeIpam, "node-ipam-controller", "nodeipam"),
        (Controller::NodeLifecycle, "node-lifecycle-controller", "nodelifecycle"),
        (Controller::Namespace, "namespace-controller", "namespace"),
        (Controller::GarbageCollector, "garbage-collector-controller", "garbagecollector"),
        (Controller::ServiceAccount, "serviceaccount-controller", "serviceaccount"),
        (Controller::RootCa, "root-ca-certificate-publisher-controller", "root-ca-cert-publisher"),
        (Controller::PodGc, "pod-garbage-collector-controller", "podgc"),
        (Controller::ResourceQuota, "resourcequota-controller", "resourcequota"),
        (Controller::ClusterRole, "clusterrole-aggregation-controller", "clusterrole-aggregation"),
        (Controller::CertificateApproving, "certificatesigningrequest-approving-controller", "csrapproving"),
        (Controller::CertificateSigning, "certificatesigningrequest-signing-controller", "csrsigning"),
        (Controller::CertificateCleaning, "certificatesigningrequest-cleaner-controller", "csrcleaner"),
        (Controller::EndpointHandover, "endpoint-handover-controller", "endpointhandover"),
        (Controller::BootstrapSigner, "bootstrap-signer-controller", "bootstrapsigner"),
        (Controller::TokenCleaner, "token-cleaner-controller", "tokencleaner"),
        (Controller::LoadBalancer, "service-lb-controller", "service"),
        (Controller::Endpoints, "endpoints-controller", "endpoint"),
        (Controller::EndpointSliceMirroring, "endpointslice-mirroring-controller", "endpointslicemirroring"),
    ];

    /// Whether `*` leaves it out, as upstream does.
    pub fn is_off_by_default(self) -> bool {
        matches!(self, Controller::BootstrapSigner | Controller::TokenCleaner)
    }
}

/// How many keys of each controller are worked on at a time.
#[derive(Clone, Copy, Debug)]
pub struct Workers {
    /// Deployments.
    pub deployments: usize,
    /// ReplicaSets.
    pub replica_sets: usize,
    /// Services.
    pub services: usize,
    /// Namespaces.
    pub namespaces: usize,
    /// Objects that may be garbage.
    pub garbage: usize,
    /// Namespaces that need a service account.
    pub service_accounts: usize,
    /// ResourceQuotas.
    pub quotas: usize,
}

/// Who signs certificates.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The authority.
    pub authority: Arc<Authority>,
    /// How long certificates are valid at most.
    pub longest: SignedDuration,
}

/// What the flags say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which controllers run.
    pub controllers: BTreeSet<Controller>,
    /// How many workers each has.
    pub workers: Workers,
    /// The pod addresses to give to nodes; absent to leave nodes alone.
    pub node_cidrs: Option<node_ipam::Plan>,
    /// How long a node may be silent.
    pub node_monitor_grace_period: SignedDuration,
    /// How many ended pods may stay.
    pub terminated_pod_gc_threshold: i32,
    /// The certificate authority that pods are given, in PEM.
    pub root_ca: Option<String>,
    /// Who signs certificates; absent to sign none.
    pub signer: Option<Signer>,
    /// The addresses for load balancers; empty to leave them to somebody else.
    pub load_balancer_pool: load_balancer::Pool,
}

/// Where keys are put.
pub struct Queues {
    /// Deployments.
    pub deployments: Queue<ObjectKey>,
    /// ReplicaSets.
    pub replica_sets: Queue<ObjectKey>,
    /// Services.
    pub services: Queue<ObjectKey>,
    /// The one key of node IPAM.
    pub node_ipam: Queue<()>,
    /// Nodes by name.
    pub nodes: Queue<String>,
    /// Namespaces that are being deleted.
    pub namespaces: Queue<ObjectKey>,
    /// Objects that may be garbage.
    pub garbage: Queue<garbage::Key>,
    /// Namespaces that need a service account.
    pub service_accounts: Queue<ObjectKey>,
    /// Namespaces that need the certificate authority.
    pub root_ca: Queue<ObjectKey>,
    /// What pod garbage collection looks at.
    pub pod_gc: Queue<pod_gc::Key>,
    /// ResourceQuotas.
    pub quotas: Queue<ObjectKey>,
    /// ClusterRoles that aggregate.
    pub cluster_roles: Queue<ObjectKey>,
    /// Requests for certificates, to be approved.
    pub certificate_approvals: Queue<ObjectKey>,
    /// Requests for certificates, to be signed.
    pub certificate_signatures: Queue<ObjectKey>,
    /// Requests for certificates, to be removed.
    pub certificate_ends: Queue<ObjectKey>,
    /// Pods that wait for the proxies to drop them.
    pub handovers: Queue<ObjectKey>,
    /// Bootstrap tokens, which may have expired.
    pub bootstrap_tokens: Queue<ObjectKey>,
    /// The one key of what bootstrap tokens sign.
    pub cluster_info: Queue<()>,
    /// Services, for their Endpoints.
    pub endpoints: Queue<ObjectKey>,
    /// Endpoints that users may have written.
    pub mirrors: Queue<ObjectKey>,
    /// Services that may be load balancers.
    pub balancers: Queue<ObjectKey>,
    /// The one key of which resources there are.
    pub resources: Queue<()>,
}

struct Runners {
    deployments: Runner<ObjectKey>,
    replica_sets: Runner<ObjectKey>,
    services: Runner<ObjectKey>,
    node_ipam: Runner<()>,
    nodes: Runner<String>,
    namespaces: Runner<ObjectKey>,
    garbage: Runner<garbage::Key>,
    service_accounts: Runner<ObjectKey>,
    root_ca: Runner<ObjectKey>,
    pod_gc: Runner<pod_gc::Key>,
    quotas: Runner<ObjectKey>,
    cluster_roles: Runner<ObjectKey>,
    certificate_approvals: Runner<ObjectKey>,
    certificate_signatures: Runner<ObjectKey>,
    certificate_ends: Runner<ObjectKey>,
    handovers: Runner<ObjectKey>,
    bootstrap_tokens: Runner<ObjectKey>,
    cluster_info: Runner<()>,
    balancers: Runner<ObjectKey>,
    endpoints: Runner<ObjectKey>,
    mirrors: Runner<ObjectKey>,
    resources: Runner<()>,
}

fn queues(workers: &Workers) -> (Queues, Runners) {
    let config = |name, workers| RunnerConfig { name, workers, backoff: BACKOFF };
    let (deployments, run_deployments) = runner(config("deployment", workers.deployments));
    let (replica_sets, run_replica_sets) = runner(config("replicaset", workers.replica_sets));
    let (services, run_services) = runner(config("endpointslice", workers.services));
    let (node_ipam, run_node_ipam) = runner(config("node-ipam", 1));
    let (nodes, run_nodes) = runner(config("node-lifecycle", 8));
    let (namespaces, run_namespaces) = runner(config("namespace", workers.namespaces));
    let (garbage, run_garbage) = runner(config("garbage-collector", workers.garbage));
    let (service_accounts, run_service_accounts) = runner(config("serviceaccount", workers.service_accounts));
    let (root_ca, run_root_ca) = runner(config("root-ca-certificate-publisher", 2));
    let (pod_gc, run_pod_gc) = runner(config("pod-garbage-collector", 2));
    let (quotas, run_quotas) = runner(config("resourcequota", workers.quotas));
    let (cluster_roles, run_cluster_roles) = runner(config("clusterrole-aggregation", 5));
    let (certificate_approvals, run_certificate_approvals) = runner(config("csrapproving", 5));
    let (certificate_signatures, run_certificate_signatures) = runner(config("csrsigning", 5));
    let (certificate_ends, run_certificate_ends) = runner(config("csrcleaner", 1));
    let (handovers, run_handovers) = runner(config("endpoint-handover", 16));
    let (bootstrap_tokens, run_bootstrap_tokens) = runner(config("token-cleaner", 1));
    let (cluster_info, run_cluster_info) = runner(config("bootstrap-signer", 1));
    // One: no two Services may be given an address at a time.
    let (balancers, run_balancers) = runner(config("service-lb", 1));
    let (endpoints, run_endpoints) = runner(config("endpoints", workers.services));
    let (mirrors, run_mirrors) = runner(config("endpointslice-mirroring", workers.services));
    let (resources, run_resources) = runner(config("resource-discovery", 1));
    (
        Queues {
            deployments,
            replica_sets,
            services,
            node_ipam,
            nodes,
            namespaces,
            garbage,
            service_accounts,
            root_ca,
            pod_gc,
            quotas,
            cluster_roles,
            certificate_approvals,
            certificate_signatures,
            certificate_ends,
            handovers,
            bootstrap_tokens,
            cluster_info,
            balancers,
            endpoints,
            mirrors,
            resources,
        },
        Runners {
            deployments: run_deployments,
            replica_sets: run_replica_sets,
            services: run_services,
            node_ipam: run_node_ipam,
            nodes: run_nodes,
            namespaces: run_namespaces,
            garbage: run_garbage,
            service_accounts: run_service_accounts,
            root_ca: run_root_ca,
            pod_gc: run_pod_gc,
            quotas: run_quotas,
            cluster_roles: run_cluster_roles,
            certificate_approvals: run_certificate_approvals,
            certificate_signatures: run_certificate_signatures,
            certificate_ends: run_certificate_ends,
            handovers: run_handovers,
            bootstrap_tokens: run_bootstrap_tokens,
            cluster_info: run_cluster_info,
            balancers: run_balancers,
            endpoints: run_endpoints,
            mirrors: run_mirrors,
            resources: run_resources,
        },
    )
}

/// Why a turn failed; its key is tried again.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// A write failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// A read failed.
    #[error(transparent)]
    Read(#[from] Error),
    /// Who asks for a kubelet's certificate may not have it.
    #[error("recognized csr {name:?} as [{tried}] but subject access review was not approved")]
    NotApproved {
        /// The request.
        name: String,
        /// The permissions that were asked for.
        tried: String,
    },
    /// The server has not taken up a definition yet.
    #[error("{0} is established and not served yet")]
    NotServed(String),
    /// A request for a certificate cannot be signed now.
    #[error("error auto signing csr {name:?}: {why}")]
    NotSigned {
        /// The request.
        name: String,
        /// The cause.
        why: String,
    },
}

/// What turns work with.
pub struct Context {
    /// The local copies of the cluster.
    pub stores: Arc<Stores>,
    /// The one who writes.
    pub executor: Executor,
    /// Where keys are put.
    pub queues: Queues,
    /// What the flags say.
    pub settings: Settings,
    /// When nodes were last seen alive.
    pub pulse: Mutex<node_lifecycle::shell::Pulse>,
    /// The resources that the server serves, as last asked.
    pub discovery: Mutex<Vec<ResourceInfo>>,
    /// The objects that only quotas count.
    pub tallies: resource_quota::tally::Tallies,
    /// The version of EndpointSlices that all proxies are at.
    pub applied: handover::shell::Applied,
    /// Who is told of changes of kinds that are followed later.
    pub listener: Arc<dyn Listener>,
}

impl Context {
    /// Performs a turn's actions and says when the key is due again.
    pub async fn perform(&self, actions: Vec<Action>) -> Result<Next, TurnError> {
        let next = again(&actions).map_or(Next::Done, Next::After);
        let outcome = self.executor.perform(actions).await;
        self.settle(outcome)?;
        Ok(next)
    }

    /// A turn that was decided on an old state is over: the newer state's event has put its key into the queue.
    pub fn settle(&self, outcome: Result<(), ExecuteError>) -> Result<(), ExecuteError> {
        match outcome {
            Err(error) if error.is_stale() => {
                tracing::debug!(%error, "decided on an old state");
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Puts keys into queues as changes come. Before this process leads there is no context and nothing to do.
#[derive(Default)]
struct Dispatcher {
    context: OnceLock<Arc<Context>>,
}

impl Dispatcher {
    fn with(&self, tell: impl FnOnce(&Context)) {
        if let Some(context) = self.context.get() {
            tell(context);
        }
    }
}

impl Context {
    fn pod_changed(&self, old: Option<&PodView>, new: Option<&PodView>) {
        let queues = &self.queues;
        for pod in [old, new].into_iter().flatten() {
            if let Some(key) = replicaset::controller_of(pod) {
                if new.is_none()
                    && let Some(owner) =
                        self.stores.replica_sets.get(&key).as_deref().and_then(deployment::controller_of)
                {
                    queues.deployments.add(owner);
                }
                queues.replica_sets.add(key);
            }
        }
        if let (Some(old), Some(new)) = (old, new)
            && (old.has_ended() != new.has_ended() || old.usage != new.usage)
        {
            self.usage_changed(&new.metadata.namespace, "pods", false);
        }
        let Some(pod) = new.or(old) else { return };
        let namespace = pod.metadata.namespace.as_str();
        if let Some(new) = new.filter(|new| new.metadata.controller().is_none()) {
            for replica_set in self.stores.replica_sets.namespace(namespace) {
                if replica_set
                    .spec
                    .as_ref()
                    .is_some_and(|spec| selector_of(&spec.selector).matches(&new.metadata.labels))
                {
                    queues.replica_sets.add(ObjectKey::of(&replica_set.metadata));
                }
            }
        }
        for service in self.stores.services.namespace(namespace) {
            let Some(selector) = &service.spec.selector else { continue };
            if [old, new].into_iter().flatten().any(|pod| selector.matches(&pod.metadata.labels)) {
                queues.services.add(service.metadata.key());
                queues.endpoints.add(service.metadata.key());
            }
        }
        let Some(new) = new else { return };
        if handover::is_waiting(new) {
            queues.handovers.add(new.metadata.key());
        }
        let moved = old.is_none_or(|old| old.node != new.node);
        if !new.node.is_empty() {
            match self.stores.nodes.get(&ObjectKey::cluster(new.node.as_str())) {
                Some(node) if !node.spec.taints.is_empty() => queues.nodes.add(new.node.to_string()),
                Some(_) => {}
                None if moved => queues.pod_gc.add_after(
                    pod_gc::Key::Node(new.node.to_string()),
                    Duration::from_secs(pod_gc::QUARANTINE_SECONDS),
                ),
                None => {}
            }
        } else if new.metadata.is_deleting() {
            queues.pod_gc.add(pod_gc::Key::Unbound(new.metadata.key()));
        }
        if new.has_ended() && old.is_none_or(|old| !old.has_ended()) {
            queues.pod_gc.add(pod_gc::Key::Ended);
        }
    }

    /// Has the quotas of a namespace counted that count a resource.
    fn usage_changed(&self, namespace: &str, resource: &str, only_more: bool) {
        for quota in self.stores.quotas.namespace(namespace) {
            if resource_quota::sources(&quota).any(|source| source.resource() == resource) {
                let key = ObjectKey::of(&quota.metadata);
                if only_more {
                    self.queues.quotas.add_after(key, resource_quota::CREATED_DELAY);
                } else {
                    self.queues.quotas.add(key);
                }
            }
        }
    }

    fn quota_changed(&self, old: Option<&ResourceQuota>, new: Option<&ResourceQuota>) {
        // Admission writes the status as well; that calls for nothing.
        if new.is_none_or(|new| resource_quota::limits_changed(old, new))
            && let Some(quota) = new.or(old)
        {
            self.queues.quotas.add(ObjectKey::of(&quota.metadata));
        }
    }

    /// Any role may be one that others select.
    fn cluster_roles_changed(&self) {
        for role in self.stores.cluster_roles.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            self.queues.cluster_roles.add(ObjectKey::of(&role.metadata));
        }
    }

    fn certificate_request_changed(&self, request: &CertificateSigningRequest) {
        let key = ObjectKey::of(&request.metadata);
        match certificates::state(request) {
            certificates::State::Pending => self.queues.certificate_approvals.add(key.clone()),
            certificates::State::Approved => self.queues.certificate_signatures.add(key.clone()),
            _ => {}
        }
        self.queues.certificate_ends.add(key);
    }

    fn node_changed(&self, old: Option<&NodeView>, new: Option<&NodeView>) {
        let Some(node) = new.or(old) else { return };
        self.queues.nodes.add(node.metadata.name.to_string());
        if new.is_none_or(|new| new.spec.pod_cidr.is_none()) {
            self.queues.node_ipam.add(());
        }
        if new.is_none() {
            let key = pod_gc::Key::Node(node.metadata.name.to_string());
            self.queues.pod_gc.add_after(key, Duration::from_secs(pod_gc::QUARANTINE_SECONDS));
        }
        let ready = |node: &NodeView| node.condition("Ready").is_some_and(|condition| condition.status == "True");
        if old.is_some_and(ready) != new.is_some_and(ready) {
            self.proxies_changed();
            let services = self.stores.services.list();
            let balancers = services.iter().filter(|service| load_balancer::is_ours(service));
            balancers.for_each(|service| self.queues.balancers.add(service.metadata.key()));
            // Whether any node is ready decides about the taints of the others that are not.
            for other in self.stores.nodes.list().iter().filter(|other| !ready(other)) {
                self.queues.nodes.add(other.metadata.name.to_string());
            }
        }
        if old.and_then(NodeView::zone) != new.and_then(NodeView::zone) {
            for pod in self.stores.pods.indexed(crate::stores::BY_NODE, &node.metadata.name) {
                self.pod_changed(None, Some(&pod));
            }
        }
    }

    /// A proxy may be further than before, or count no longer.
    fn proxies_changed(&self) {
        if self.applied.refresh(&self.stores) {
            handover::shell::waiting(&self.stores).for_each(|pod| self.queues.handovers.add(pod));
        }
    }

    fn slice_changed(&self, slice: &EndpointSlice) {
        if let Some(endpoints) = endpointslice_mirroring::endpoints_of(slice) {
            self.queues.mirrors.add(endpoints);
        }
        let Some(service) = endpointslice::service_of(slice) else { return };
        let waiting = handover::shell::waiting(&self.stores).filter(|pod| pod.namespace == service.namespace);
        waiting.for_each(|pod| self.queues.handovers.add(pod));
        if self.stores.services.get(&service).is_some_and(|service| load_balancer::is_ours(&service)) {
            self.queues.balancers.add(service.clone());
        }
        self.queues.services.add(service);
    }

    fn endpoints_changed(&self, endpoints: &Endpoints) {
        let key = ObjectKey::of(&endpoints.metadata);
        self.queues.endpoints.add(key.clone());
        self.queues.mirrors.add(key);
    }

    fn service_changed(&self, old: Option<&ServiceView>, new: Option<&ServiceView>) {
        let Some(service) = new.or(old) else { return };
        self.queues.services.add(service.metadata.key());
        self.queues.endpoints.add(service.metadata.key());
        if service.spec.selector.is_none() || old.is_some_and(|old| old.spec.selector.is_none()) {
            self.queues.mirrors.add(service.metadata.key());
        }
        if new.is_some_and(|new| load_balancer::is_ours(new) || !new.ingress.is_empty() || new.announced_by.is_some()) {
            self.queues.balancers.add(service.metadata.key());
        }
        if old.is_some_and(|old| !old.ingress.is_empty() && new.is_none_or(|new| new.ingress != old.ingress)) {
            // An address may be free now.
            let services = self.stores.services.list();
            let waiting = services.iter().filter(|service| load_balancer::is_waiting(service));
            waiting.for_each(|service| self.queues.balancers.add(service.metadata.key()));
        }
    }

    fn replica_set_changed(&self, old: Option<&ReplicaSet>, new: Option<&ReplicaSet>) {
        for replica_set in [old, new].into_iter().flatten() {
            if let Some(key) = deployment::controller_of(replica_set) {
                self.queues.deployments.add(key);
            }
        }
        let Some(replica_set) = new else { return };
        self.queues.replica_sets.add(ObjectKey::of(&replica_set.metadata));
        if replica_set.metadata.controller().is_none() {
            let labels = replica_set.metadata.labels.clone().unwrap_or_default();
            for deployment in self.stores.deployments.namespace(replica_set.metadata.namespace()) {
                if deployment.spec.as_ref().is_some_and(|spec| selector_of(&spec.selector).matches(&labels)) {
                    self.queues.deployments.add(ObjectKey::of(&deployment.metadata));
                }
            }
        }
    }

    fn namespace_changed(&self, namespace: &Namespace) {
        let key = ObjectKey::of(&namespace.metadata);
        if namespace.metadata.is_deleting() {
            self.queues.namespaces.add(key);
        } else {
            self.queues.service_accounts.add(key.clone());
            self.queues.root_ca.add(key);
        }
    }

    fn any_changed(&self, resource: &GroupVersionResource, old: Option<&Meta>, new: Option<&Meta>) {
        for key in garbage::shell::keys(self, resource, old, new) {
            self.queues.garbage.add(key);
        }
        if let Some(meta) = new.or(old) {
            bootstrap::shell::changed(self, resource, meta);
        }
        match (old, new) {
            (None, Some(new)) => self.usage_changed(&new.namespace, &resource.qualified(), true),
            (Some(old), None) => self.usage_changed(&old.namespace, &resource.qualified(), false),
            _ => {}
        }
        if let (Some(old), None) = (old, new)
            && !old.namespace.is_empty()
        {
            let key = ObjectKey::cluster(old.namespace.as_str());
            if self.stores.namespaces.get(&key).is_some_and(|namespace| namespace.metadata.is_deleting()) {
                self.queues.namespaces.add(key);
            }
        }
    }

    /// Looks at everything once: what changed before this process led was told to nobody.
    fn look_at_everything(&self) {
        let stores = &self.stores;
        self.applied.refresh(stores);
        stores.namespaces.list().iter().for_each(|namespace| self.namespace_changed(namespace));
        stores.nodes.list().iter().for_each(|node| self.node_changed(None, Some(node)));
        stores.services.list().iter().for_each(|service| self.service_changed(None, Some(service)));
        stores.endpoints.list().iter().for_each(|endpoints| self.endpoints_changed(endpoints));
        let deployments = stores.deployments.list();
        deployments.iter().for_each(|deployment| self.queues.deployments.add(ObjectKey::of(&deployment.metadata)));
        let replica_sets = stores.replica_sets.list();
        replica_sets.iter().for_each(|replica_set| self.replica_set_changed(None, Some(replica_set)));
        stores.pods.list().iter().for_each(|pod| self.pod_changed(None, Some(pod)));
        stores.quotas.list().iter().for_each(|quota| self.quota_changed(None, Some(quota)));
        self.cluster_roles_changed();
        let requests = stores.certificate_requests.list();
        requests.iter().for_each(|request| self.certificate_request_changed(request));
        stores.each(|store| {
            let resource = store.resource();
            store.visit(&mut |meta| self.any_changed(&resource, None, Some(meta)));
        });
    }
}

/// The state before and after a change.
fn sides<V>(change: &Change<V>) -> (Option<&V>, Option<&V>) {
    match change {
        Change::Applied { old, new } => (old.as_deref(), Some(new)),
        Change::Deleted { old } => (Some(old), None),
        Change::Synced => (None, None),
    }
}

impl Listener for Dispatcher {
    fn pod(&self, change: &Change<PodView>) {
        let (old, new) = sides(change);
        self.with(|context| context.pod_changed(old, new));
    }

    fn node(&self, change: &Change<NodeView>) {
        let (old, new) = sides(change);
        self.with(|context| context.node_changed(old, new));
    }

    fn lease(&self, change: &Change<LeaseView>) {
        if let Some(lease) = change.object() {
            self.with(|context| match lease.applied_revision {
                Some(_) => context.proxies_changed(),
                None => context.queues.nodes.add(lease.metadata.name.to_string()),
            });
        }
    }

    fn service(&self, change: &Change<ServiceView>) {
        let (old, new) = sides(change);
        self.with(|context| context.service_changed(old, new));
        if let (Some(_), Some(new)) = sides(change) {
            self.with(|context| context.usage_changed(&new.metadata.namespace, "services", false));
        }
    }

    fn slice(&self, change: &Change<EndpointSlice>) {
        if let Some(slice) = change.object() {
            self.with(|context| context.slice_changed(slice));
        }
    }

    fn endpoints(&self, change: &Change<Endpoints>) {
        if let Some(endpoints) = change.object() {
            self.with(|context| context.endpoints_changed(endpoints));
        }
    }

    fn deployment(&self, change: &Change<Deployment>) {
        if let Some(deployment) = change.object() {
            self.with(|context| context.queues.deployments.add(ObjectKey::of(&deployment.metadata)));
        }
    }

    fn replica_set(&self, change: &Change<ReplicaSet>) {
        let (old, new) = sides(change);
        self.with(|context| context.replica_set_changed(old, new));
    }

    fn namespace(&self, change: &Change<Namespace>) {
        if let (_, Some(namespace)) = sides(change) {
            self.with(|context| context.namespace_changed(namespace));
        }
    }

    fn service_account(&self, change: &Change<MetaView<ServiceAccount>>) {
        if let (Some(old), None) = sides(change) {
            self.with(|context| {
                context.queues.service_accounts.add(ObjectKey::cluster(old.metadata.namespace.as_str()))
            });
        }
    }

    fn config_map(&self, change: &Change<MetaView<ConfigMap>>) {
        if let Some(map) = change.object().filter(|map| &*map.metadata.name == root_ca::NAME) {
            self.with(|context| context.queues.root_ca.add(ObjectKey::cluster(map.metadata.namespace.as_str())));
        }
    }

    fn quota(&self, change: &Change<ResourceQuota>) {
        let (old, new) = sides(change);
        self.with(|context| context.quota_changed(old, new));
    }

    fn cluster_role(&self, _change: &Change<ClusterRole>) {
        self.with(Context::cluster_roles_changed);
    }

    fn certificate_request(&self, change: &Change<CertificateSigningRequest>) {
        if let (_, Some(request)) = sides(change) {
            self.with(|context| context.certificate_request_changed(request));
        }
    }

    fn definition(&self, _change: &Change<DefinitionView>) {
        self.with(|context| context.queues.resources.add(()));
    }

    fn any(&self, resource: &GroupVersionResource, old: Option<&Meta>, new: Option<&Meta>) {
        self.with(|context| context.any_changed(resource, old, new));
    }
}

/// The controllers with their stores, which are kept up to date also before this process leads.
pub struct Manager {
    client: Client,
    settings: Settings,
    dispatcher: Arc<Dispatcher>,
    stores: Arc<Stores>,
}

impl Manager {
    /// Begins to follow the cluster. Must be called inside a tokio runtime.
    pub fn new(client: Client, settings: Settings) -> Self {
        let dispatcher = Arc::new(Dispatcher::default());
        let stores = Arc::new(Stores::follow(&client, dispatcher.clone()));
        Self { client, settings, dispatcher, stores }
    }

    /// Runs the controllers until `stop`. When `lost` comes first, all writes end at once.
    pub async fn run(self, stop: CancellationToken, lost: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = lost.cancelled() => return,
            () = self.stores.wait_synced() => {}
        }
        let (queues, runners) = queues(&self.settings.workers);
        let recorder = EventRecorder::new(&self.client, "controllermanager", "");
        let context = Arc::new(Context {
            executor: Executor::new(self.client, recorder, self.stores.clone()),
            stores: self.stores,
            queues,
            settings: self.settings,
            pulse: Mutex::default(),
            discovery: Mutex::default(),
            tallies: Default::default(),
            applied: Default::default(),
            listener: self.dispatcher.clone(),
        });
        if self.dispatcher.context.set(context.clone()).is_err() {
            tracing::error!("the controllers run already");
            return;
        }
        if let Err(error) = others::refresh(&context).await {
            tracing::warn!(%error, "which kinds there are is not known yet, asking again");
            context.queues.resources.add(());
        }
        context.look_at_everything();
        let mut running = start(&context, runners, &stop);
        tracing::info!(controllers = ?context.settings.controllers, "the controllers run");
        tokio::select! {
            () = lost.cancelled() => {
                context.executor.stop();
                running.abort_all();
            }
            () = async { while running.join_next().await.is_some() {} } => {}
        }
    }
}

fn start(context: &Arc<Context>, runners: Runners, stop: &CancellationToken) -> JoinSet<()> {
    let mut running = JoinSet::new();
    macro_rules! run {
        ($controller:ident, $runner:expr, $turn:path) => {
            if context.settings.controllers.contains(&Controller::$controller) {
                let (context, stop, runner) = (context.clone(), stop.clone(), $runner);
                running.spawn(async move {
                    runner.run(stop, move |key| $turn(context.clone(), key)).await;
                });
            }
        };
    }
    run!(Deployment, runners.deployments, deployment::shell::turn);
    run!(ReplicaSet, runners.replica_sets, replicaset::shell::turn);
    run!(EndpointSlice, runners.services, endpointslice::shell::turn);
    run!(NodeIpam, runners.node_ipam, node_ipam::shell::turn);
    run!(NodeLifecycle, runners.nodes, node_lifecycle::shell::turn);
    run!(Namespace, runners.namespaces, namespace::shell::turn);
    run!(GarbageCollector, runners.garbage, garbage::shell::turn);
    run!(ServiceAccount, runners.service_accounts, service_account::shell::turn);
    run!(RootCa, runners.root_ca, root_ca::shell::turn);
    run!(PodGc, runners.pod_gc, pod_gc::shell::turn);
    run!(ResourceQuota, runners.quotas, resource_quota::shell::turn);
    run!(ClusterRole, runners.cluster_roles, cluster_role::shell::turn);
    run!(CertificateApproving, runners.certificate_approvals, certificates::shell::approve_turn);
    run!(CertificateSigning, runners.certificate_signatures, certificates::shell::sign_turn);
    run!(EndpointHandover, runners.handovers, handover::shell::turn);
    run!(Endpoints, runners.endpoints, endpoints::shell::turn);
    run!(EndpointSliceMirroring, runners.mirrors, endpointslice_mirroring::shell::turn);
    run!(LoadBalancer, runners.balancers, load_balancer::shell::turn);
    run!(CertificateCleaning, runners.certificate_ends, certificates::shell::clean_turn);
    run!(TokenCleaner, runners.bootstrap_tokens, bootstrap::shell::clean_turn);
    run!(BootstrapSigner, runners.cluster_info, bootstrap::shell::sign_turn);
    run!(GarbageCollector, runners.resources, others::turn);
    running
}
