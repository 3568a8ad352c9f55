//! The kubelet's command line and wiring.

mod credentials;
mod options;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use k8s_openapi::api::core::v1::{Pod, Taint};
use reeve_api::ObjectKey;
use reeve_client::process::{KubeconfigOptions, LogOptions, init_logging, shutdown_signal};
use reeve_client::{Change, Client, EventRecorder, Scope, Store, View as _, reflect};
use reeve_kubelet::agent::Agent;
use reeve_kubelet::agent::executor::{Executor, TokenCache};
use reeve_kubelet::agent::inbox::{Changed, Inbox};
use reeve_kubelet::agent::inventory::Inventory;
use reeve_kubelet::agent::references::References;
use reeve_kubelet::agent::services::ServiceView;
use reeve_kubelet::config::{Config, Tuning};
use reeve_kubelet::node::allocatable;
use reeve_kubelet::node::facts::NodeFacts;
use reeve_kubelet::node::keeper::NodeKeeper;
use reeve_kubelet::node::view::NodeView;
use reeve_kubelet::pod::spec;
use reeve_kubelet::pressure::keeper::PressureKeeper;
use reeve_kubelet::pulled::PulledImages;
use reeve_kubelet::runtime::convert::HostDns;
use reeve_kubelet::runtime::health::{HealthKeeper, Link};
use reeve_kubelet::runtime::{Runtime, events};
use reeve_kubelet::server::access::Access;
use reeve_kubelet::server::pages::Pages;
use reeve_kubelet::server::{self, Service};
use reeve_kubelet::static_pods::StaticPods;
use reeve_kubelet::static_pods::mirror::{self, Mirrors};
use reeve_kubelet::static_pods::source::Source;
use reeve_kubelet::stats::collect::Collector;
use reeve_kubelet::stats::probes::ProbeFigures;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::credentials::{AccessFlags, CertificateOptions};
use self::options::ResourceOptions;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The node agent: runs the pods that are bound to this node
#[derive(Parser, Debug)]
#[command(name = "kubelet", version, args_override_self = true)]
struct Options {
    #[command(flatten)]
    api: KubeconfigOptions,
    #[command(flatten)]
    logs: LogOptions,
    /// The node's name; the host name by default
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<String>,
    /// The IP address of the node
    #[arg(long, value_name = "IP")]
    node_ip: IpAddr,
    /// The endpoint of the container runtime, a unix socket
    #[arg(long, default_value = "unix:///run/containerd/containerd.sock", value_name = "ENDPOINT")]
    container_runtime_endpoint: String,
    /// Directory path for managing kubelet files (volume mounts, etc)
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "DIR")]
    root_dir: PathBuf,
    /// Directory for pods' logs
    #[arg(long, default_value = "/var/log/pods", value_name = "DIR")]
    pod_logs_dir: PathBuf,
    /// Comma-separated list of DNS server IP addresses for pods with dnsPolicy ClusterFirst
    #[arg(long, value_delimiter = ',', value_name = "IPS")]
    cluster_dns: Vec<IpAddr>,
    /// Domain for this cluster
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// Resolver configuration file used as the basis for the container DNS resolution configuration
    #[arg(long, default_value = "/etc/resolv.conf", value_name = "FILE")]
    resolv_conf: PathBuf,
    /// The IP address for the kubelet to serve on; the node's by default
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The port for the kubelet to serve on
    #[arg(long, default_value_t = 10250)]
    port: u16,
    #[command(flatten)]
    certificates: CertificateOptions,
    #[command(flatten)]
    access: AccessFlags,
    /// The IP address for the healthz server to serve on
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    healthz_bind_address: IpAddr,
    /// The port of the localhost healthz endpoint (set to 0 to disable)
    #[arg(long, default_value_t = 10248, value_name = "PORT")]
    healthz_port: u16,
    /// Any request presenting a client certificate signed by one of the authorities in this file is authenticated with
    /// an identity corresponding to the CommonName of the client certificate
    #[arg(long, value_name = "FILE")]
    client_ca_file: PathBuf,
    /// Number of pods that can run on this kubelet
    #[arg(long, default_value_t = 110)]
    max_pods: u32,
    /// Labels to add when registering the node: key=value pairs separated by ','
    #[arg(long, value_delimiter = ',', value_name = "LABELS")]
    node_labels: Vec<String>,
    /// Register the node with the given list of taints: key=value:effect separated by ','
    #[arg(long, value_delimiter = ',', value_name = "TAINTS")]
    register_with_taints: Vec<String>,
    /// Root cgroup to use for pods
    #[arg(long, default_value = "", value_name = "CGROUP")]
    cgroup_root: String,
    /// The image whose containers hold pods' namespaces; the runtime is configured with it, image collection spares it
    #[arg(long, value_name = "IMAGE")]
    pod_infra_container_image: Option<String>,
    #[command(flatten)]
    resources: ResourceOptions,
}

impl Options {
    fn config(&self, facts: &NodeFacts) -> Result<Config> {
        let node_name = match &self.hostname_override {
            Some(name) => name.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().to_lowercase(),
        };
        let Some(socket) = self.container_runtime_endpoint.strip_prefix("unix://") else {
            bail!(
                "--container-runtime-endpoint {}: only unix:// sockets are supported",
                self.container_runtime_endpoint
            );
        };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Config {
            node_name,
            node_ip: self.node_ip,
            runtime_endpoint: PathBuf::from(socket),
            root_dir: self.root_dir.clone(),
            pod_logs_dir: self.pod_logs_dir.clone(),
            cluster_dns: self.cluster_dns.clone(),
            cluster_domain: self.cluster_domain.clone(),
            resolv_conf: self.resolv_conf.clone(),
            port: self.port,
            max_pods: self.max_pods,
            node_labels: self
                .node_labels
                .iter()
                .filter(|it| !it.is_empty())
                .map(|it| label(it))
                .collect::<Result<_>>()?,
            register_with_taints: self
                .register_with_taints
                .iter()
                .filter(|it| !it.is_empty())
                .map(|it| taint(it))
                .collect::<Result<_>>()?,
            allowed_unsafe_sysctls: self.resources.allowed_unsafe_sysctls.clone(),
            reserved: self.resources.reserved(facts, self.max_pods)?,
            cgroup_root: self.cgroup_root.trim_end_matches('/').to_owned(),
            tuning: Tuning::new(cpus),
        })
    }
}

fn label(text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').with_context(|| format!("--node-labels {text}: expected key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn taint(text: &str) -> Result<Taint> {
    let (key, effect) =
        text.rsplit_once(':').with_context(|| format!("--register-with-taints {text}: expected key=value:effect"))?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        bail!("--register-with-taints {text}: effect {effect} is none of NoSchedule, PreferNoSchedule, NoExecute");
    }
    let (key, value) = key.split_once('=').map_or((key, None), |(key, value)| (key, Some(value.to_owned())));
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

fn main() -> Result<()> {
    let options = Options::parse();
    init_logging(&options.logs);
    // One thread is enough for the loop and its IO; small files are written in place.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(run(options));
    // What still waits for a machine that does not answer holds nothing up.
    runtime.shutdown_background();
    result
}

async fn run(options: Options) -> Result<()> {
    reeve_client::pages::release_at_rest();
    let shutdown = shutdown_signal()?;
    for folder in [&options.root_dir, &options.pod_logs_dir] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let facts = NodeFacts::read(&options.root_dir).context("cannot read the machine's facts")?;
    let config = options.config(&facts)?;
    let client = tokio::select! {
        client = options.certificates.client(&options.api, &config) => client?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let runtime = Runtime::new(&config.runtime_endpoint, config.tuning.runtime_timeout)?;
    let recorder = EventRecorder::new(&client, "kubelet", &config.node_name);
    let host_dns = HostDns::parse(&std::fs::read_to_string(&config.resolv_conf).unwrap_or_default());

    let Followed { inbox, fixed, pods, nodes, given_up } = follow_pods(&options, &config, &client, &shutdown)?;
    let services = reflect::<ServiceView>(&client, Scope::all(), |_| {});

    let (link_sender, link) = watch::channel(Link::Connecting);
    let (health_keeper, health) = HealthKeeper::new(runtime.clone(), link);
    tokio::spawn(health_keeper.run(shutdown.clone()));
    // Every container may start and end at the same moment; the loop empties this faster than containerd fills it.
    let (events_sender, events_receiver) = mpsc::channel(config.max_pods as usize * 4);
    tokio::spawn(events::follow(runtime.clone(), events_sender, link_sender, shutdown.clone()));

    let (pressure_told, pressure) = watch::channel(BTreeSet::new());
    let executor = Arc::new(Executor {
        runtime: runtime.clone(),
        client: client.clone(),
        config: config.clone(),
        references: References::new(client.clone(), inbox.clone()),
        tokens: TokenCache::default(),
        probes: ProbeFigures::default(),
        pulled: PulledImages::open(&config.root_dir, options.resources.verification()?)
            .with_context(|| format!("cannot read the records of pulled images in {}", config.root_dir.display()))?,
        pods: pods.clone(),
        services,
        recorder: recorder.clone(),
        host_dns,
        fixed,
        nodes,
        memory: facts.memory,
        allocatable: allocatable::allocatable(&allocatable::capacity(&facts, config.max_pods), &config.reserved),
        app_armor: facts.app_armor,
        pressure: pressure.clone(),
        sandbox_image: options.pod_infra_container_image.clone(),
    });
    let inventory = Inventory::default();
    let keeper = PressureKeeper {
        executor: executor.clone(),
        inventory: inventory.clone(),
        inbox: inbox.clone(),
        told: pressure_told,
        settings: options.resources.eviction()?,
        images: options.resources.images()?,
        logs: options.resources.logs()?,
    };
    tokio::spawn(keeper.run(shutdown.clone()));
    let node = NodeKeeper {
        config: config.clone(),
        client: client.clone(),
        runtime: runtime.clone(),
        facts,
        recorder,
        pressure,
        given_up,
    };
    tokio::spawn(node.run(health.clone(), shutdown.clone()));

    let exec_dir = config.root_dir.join("exec");
    let service = Service { pods: pods.clone(), runtime: runtime.clone(), exec_dir };
    let collector = Collector::new(runtime, pods.clone(), config.clone());
    let pages = Pages::new(service.clone(), collector, executor.probes.clone(), config.clone());
    let access = Access::new(client.clone(), &config.node_name, options.access.options());
    if options.healthz_port != 0 {
        let shutdown_of_health = shutdown.clone();
        let address = SocketAddr::new(options.healthz_bind_address, options.healthz_port);
        tokio::spawn(async move {
            // Upstream's goes on without it as well: the node works, only its supervisor cannot ask.
            if let Err(error) = server::health::serve(address, shutdown_of_health).await {
                tracing::error!(%error, "healthz is not served");
            }
        });
    }
    let address = SocketAddr::new(options.address.unwrap_or(config.node_ip), config.port);
    let serving = async {
        let files = options.certificates.serving(&client, &config, options.client_ca_file).await?;
        server::serve(address, &files, (service, pages, access), shutdown.clone()).await
    };
    let agent = Agent::new(executor, pods, inventory, inbox, health).run(events_receiver, shutdown.clone());
    tokio::pin!(serving);
    tokio::select! {
        result = &mut serving => result,
        () = agent => Ok(()),
    }
}

/// The pods that are to run here, and the node's own object.
struct Followed {
    inbox: Inbox,
    fixed: StaticPods,
    pods: Store<Pod>,
    nodes: Store<NodeView>,
    /// Told when the control plane has given the node up.
    given_up: Arc<Notify>,
}

/// Follows the API's pods of this node and the static ones; changes go into the inbox, and mirror pods are kept.
fn follow_pods(options: &Options, config: &Config, client: &Client, shutdown: &CancellationToken) -> Result<Followed> {
    let inbox = Inbox::default();
    let fixed = StaticPods::default();
    let (mirrors, mirror_work) = mirror::queue();
    let scope = Scope::all().fields(&format!("spec.nodeName={}", config.node_name));
    let pods = reflect::<Pod>(client, scope, {
        let (inbox, mirrors, fixed) = (inbox.clone(), mirrors.clone(), fixed.clone());
        move |change| {
            let Some(pod) = change.object() else {
                inbox.put(Changed::Synced);
                return;
            };
            if spec::mirrored(pod).is_some() || fixed.get(&pod.key()).is_some() {
                mirrors.add(pod.key());
            }
            inbox.put(Changed::Pod(pod.key()));
        }
    });
    let scope = Scope::all().fields(&format!("metadata.name={}", config.node_name));
    let given_up = Arc::new(Notify::new());
    let nodes = reflect::<NodeView>(client, scope, {
        let (mirrors, fixed, given_up) = (mirrors.clone(), fixed.clone(), given_up.clone());
        move |change| {
            if change.object().is_some_and(|node| node.is_given_up()) {
                given_up.notify_one();
            }
            if matches!(change, Change::Applied { old: None, .. }) {
                fixed.keys().into_iter().for_each(|key| mirrors.add(key));
            }
        }
    });
    let keeper = Mirrors {
        client: client.clone(),
        fixed: fixed.clone(),
        pods: pods.clone(),
        nodes: nodes.clone(),
        node: config.node_name.clone(),
    };
    tokio::spawn(keeper.run(mirror_work, shutdown.clone()));
    if let Some(path) = &options.resources.pod_manifest_path {
        let inbox = inbox.clone();
        let tell = move |key: ObjectKey| {
            mirrors.add(key.clone());
            inbox.put(Changed::Pod(key));
        };
        let source = Source::open(path, &config.node_name, fixed.clone(), tell)
            .with_context(|| format!("--pod-manifest-path {}", path.display()))?;
        tokio::spawn(source.run(shutdown.clone()));
    }
    Ok(Followed { inbox, fixed, pods, nodes, given_up })
}
