//! Wires stores, queues and runners. Which change calls for which key is in [`crate::dispatch`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use parking_lot::Mutex;
use reeve_api::{ObjectKey, ResourceInfo};
use reeve_client::backoff::Backoff;
use reeve_client::{Client, Error, EventRecorder, Next, Queue, Runner, RunnerConfig, runner};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::action::{Action, again};
use crate::certificates::authority::Authority;
use crate::dispatch::Dispatcher;
use crate::executor::{ExecuteError, Executor};
use crate::stores::{Listener, Stores};
use crate::{
    bootstrap, certificates, cluster_role, deployment, endpoints, endpointslice, endpointslice_mirroring, garbage,
    handover, load_balancer, namespace, node_ipam, node_lifecycle, others, pod_gc, replicaset, resource_quota, root_ca,
    service_account, service_range,
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
    /// `service-cidr-controller`
    ServiceRange,
}

impl Controller {
    /// All of them, with upstream's names and older names.
    pub const ALL: [(Controller, &'static str, &'static str); 22] = [
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
        // Upstream has no older name for it.
        (Controller::ServiceRange, "service-cidr-controller", "service-cidr-controller"),
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
    /// ServiceCIDRs.
    pub service_ranges: Queue<ObjectKey>,
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
    service_ranges: Runner<ObjectKey>,
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
    let (service_ranges, run_service_ranges) = runner(config("service-cidr", 5));
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
            service_ranges,
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
            service_ranges: run_service_ranges,
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
        if !self.dispatcher.begin(context.clone()) {
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
    run!(ServiceRange, runners.service_ranges, service_range::shell::turn);
    run!(LoadBalancer, runners.balancers, load_balancer::shell::turn);
    run!(CertificateCleaning, runners.certificate_ends, certificates::shell::clean_turn);
    run!(TokenCleaner, runners.bootstrap_tokens, bootstrap::shell::clean_turn);
    run!(BootstrapSigner, runners.cluster_info, bootstrap::shell::sign_turn);
    run!(GarbageCollector, runners.resources, others::turn);
    running
}
