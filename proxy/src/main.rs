//! The proxy: everything on a node's network. This file is wiring; see `lib.rs` for the parts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use jiff::Timestamp;
use reeve_client::process::{self, LogOptions};
use reeve_client::{Client, EventRecorder, Kubeconfig};
use reeve_proxy::acknowledge::{self, Acknowledger};
use reeve_proxy::beside::Beside;
use reeve_proxy::copies::{Copies, Told};
use reeve_proxy::dns::{Server, Zone};
use reeve_proxy::nft::model::Network;
use reeve_proxy::nft::{Kernel as _, Nft, Transaction};
use reeve_proxy::node::cni::CniOptions;
use reeve_proxy::node::link::Links;
use reeve_proxy::node::{self, NodeNetwork, announce};
use reeve_proxy::serve::health::Health;
use reeve_proxy::serve::metrics::Metrics;
use reeve_proxy::serve::{self, Answer};
use reeve_proxy::services::objects::{NodePortAddresses, Surroundings, TABLE};
use reeve_proxy::sync::{self, Syncer};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Forwards Services on this node, connects its pods with those of other nodes, and answers the cluster's DNS names.
#[derive(Debug, Parser)]
#[command(name = "proxy", version)]
struct Options {
    /// Path to a kubeconfig file, specifying how to connect to the API server
    #[arg(long, value_name = "FILE", required_unless_present = "cleanup")]
    kubeconfig: Option<PathBuf>,
    /// If non-empty, will be used as the name of the Node instead of the host's name
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<String>,
    /// The CIDR range of the pods in the cluster. Traffic to Services from elsewhere, and of pods to elsewhere, is
    /// masqueraded. Without it, the pod CIDRs of all nodes
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    cluster_cidr: Vec<Network>,
    /// CIDR ranges of the node's addresses on which NodePorts answer; without it, on all but loopback
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    nodeport_addresses: Vec<Network>,
    /// The folder for the CNI configuration
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// The bridge that pods hang on
    #[arg(long, value_name = "LINK", default_value = "cni0")]
    bridge: String,
    /// The largest packet of pods, in bytes, for the CNI configuration. Without it that of the bridge; while there are
    /// nodes on other links, that of the node's own link less the 50 bytes of the tunnel
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(576..=65535))]
    pod_mtu: Option<u32>,
    /// The UDP port of the tunnel (VXLAN) to nodes on other links, the same on all nodes
    #[arg(long, value_name = "PORT", default_value_t = 4789)]
    vxlan_port: u16,
    /// Leave the pod network (CNI configuration, routes) to somebody else
    #[arg(long)]
    no_pod_network: bool,
    /// The address on which this node answers DNS questions of pods; empty for none
    #[arg(long, value_name = "ADDRESS", default_value = "10.96.0.10", value_parser = optional_address)]
    cluster_dns: OptionalAddress,
    /// Domain for this cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Names the resolvers for all names that are not the cluster's
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// The address for metrics (/metrics, /healthz, /proxyMode); empty for none
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:10249", value_parser = optional_socket)]
    metrics_bind_address: OptionalSocket,
    /// The address for health checks (/healthz, /livez); empty for none
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:10256", value_parser = optional_socket)]
    healthz_bind_address: OptionalSocket,
    /// Remove rules, routes and links of this program from the node, and exit
    #[arg(long)]
    cleanup: bool,
    #[command(flatten)]
    logging: LogOptions,
}

/// An address, or none where the flag is empty.
#[derive(Clone, Copy, Debug)]
struct OptionalAddress(Option<Ipv4Addr>);

fn optional_address(text: &str) -> Result<OptionalAddress, std::net::AddrParseError> {
    if text.is_empty() { Ok(OptionalAddress(None)) } else { text.parse().map(|address| OptionalAddress(Some(address))) }
}

/// A socket's address, or none where the flag is empty.
#[derive(Clone, Copy, Debug)]
struct OptionalSocket(Option<SocketAddr>);

fn optional_socket(text: &str) -> Result<OptionalSocket, std::net::AddrParseError> {
    if text.is_empty() { Ok(OptionalSocket(None)) } else { text.parse().map(|address| OptionalSocket(Some(address))) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    process::init_logging(&options.logging);
    reeve_client::pages::release_at_rest();
    if options.cleanup { cleanup().await } else { run(options).await }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let shutdown = process::shutdown_signal().context("cannot take signals")?;
    let node = node_name(options.hostname_override.as_deref())?;
    let kubeconfig = options.kubeconfig.as_deref().context("--kubeconfig is required")?;
    let client = Client::new(Kubeconfig::load(kubeconfig)?.connection(None)?)?;
    tracing::info!(node, version = env!("CARGO_PKG_VERSION"), "starting");
    for error in node::sysctl::apply() {
        tracing::warn!("{error}");
    }
    let node_ports = match options.nodeport_addresses.as_slice() {
        [] => NodePortAddresses::AllLocal,
        networks => NodePortAddresses::In(networks.to_vec()),
    };

    let (health, metrics) = (Health::default(), Metrics::new());
    let (requests, sync_runner) = sync::requests();
    let (node_queue, node_runner) = node::requests();
    let (acknowledgements, acknowledgement_runner) = acknowledge::acknowledgements();
    let told = Told {
        requests: requests.clone(),
        nodes: node_queue.clone(),
        acknowledgements: acknowledgements.clone(),
        metrics: metrics.clone(),
        health: health.clone(),
    };
    let Copies { services, ranges, slices, nodes, pods } =
        Copies::follow(&client, &node, !options.no_pod_network, &told);

    let mut tasks = tokio::task::JoinSet::new();
    let links = Links::open()?;
    if let Some(address) = options.cluster_dns.0 {
        links.carry(address).await?;
        let zone = Zone::new(&options.cluster_domain, services.clone(), slices.clone())
            .with_context(|| format!("--cluster-domain {:?} is no domain name", options.cluster_domain))?;
        let server = Server::bind(address, 53, zone, options.resolv_conf.clone(), metrics.clone()).await?;
        tracing::info!(%address, domain = options.cluster_domain, "serving DNS when Services are known");
        let (services, slices, token) = (services.clone(), slices.clone(), shutdown.clone());
        tasks.spawn(async move {
            // Before, every name would seem not to exist.
            tokio::join!(services.wait_synced(), slices.wait_synced());
            server.run(token).await;
        });
    }

    let surroundings =
        Surroundings { pod_networks: options.cluster_cidr.clone(), node_ports, service_ranges: Vec::new() };
    let (announcements, announcement_runner) = announce::announcements();
    tasks.spawn(announce::run(links.clone(), announcements.clone(), announcement_runner, shutdown.clone()));
    let events = EventRecorder::new(&client, "kube-proxy", &node);
    let syncer = Syncer {
        node: node.clone(),
        cluster_dns: options.cluster_dns.0,
        services: services.clone(),
        ranges: ranges.clone(),
        slices: slices.clone(),
        nodes: nodes.clone(),
        pods: pods.clone(),
        kernel: Nft::default(),
        surroundings,
        acknowledgements: acknowledgements.clone(),
        beside: Beside::new(health.clone(), metrics.clone(), announcements, events.clone()),
    };
    let acknowledger = Acknowledger { client: client.clone(), node: node.clone(), nodes: nodes.clone() };
    let network = NodeNetwork {
        node: node.clone(),
        nodes: nodes.clone(),
        links,
        cni: (!options.no_pod_network)
            .then(|| CniOptions { directory: options.cni_conf_dir.clone(), bridge: options.bridge.clone() }),
        cluster_networks: options.cluster_cidr.clone(),
        pod_mtu: options.pod_mtu,
        vxlan_port: options.vxlan_port,
        services: requests.clone(),
        events,
    };
    serve_status(&mut tasks, &options, &health, &metrics, &shutdown).await;
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move { acknowledger.run(acknowledgements, acknowledgement_runner, shutdown).await }
    });
    let following = requests.clone();
    tasks.spawn({
        let shutdown = shutdown.clone();
        async move {
            sync::follow_removals(following, shutdown.clone()).await;
            shutdown.cancelled().await
        }
    });
    let known = nodes.clone();
    tasks.spawn(until(shutdown.clone(), async move { known.wait_synced().await }, {
        let shutdown = shutdown.clone();
        async move { network.run(node_queue, node_runner, shutdown).await }
    }));
    tasks.spawn(until(
        shutdown.clone(),
        async move {
            let whole = (services.wait_synced(), slices.wait_synced(), nodes.wait_synced(), ranges.wait_synced());
            tokio::join!(whole.0, whole.1, whole.2, whole.3);
            if let Some(pods) = pods {
                pods.wait_synced().await;
            }
        },
        {
            let shutdown = shutdown.clone();
            async move { syncer.run(requests, sync_runner, shutdown).await }
        },
    ));
    // The rules stay: connections go on while this program is replaced. --cleanup removes them.
    tokio::select! {
        () = shutdown.cancelled() => {}
        Some(ended) = tasks.join_next() => ended.context("a part of the proxy failed")?,
    }
    shutdown.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a part of the proxy failed")?;
    }
    Ok(())
}

/// Serves metrics and health checks. A port that is taken is no reason to leave the node without rules.
async fn serve_status(
    tasks: &mut tokio::task::JoinSet<()>,
    options: &Options,
    health: &Health,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) {
    let of_health = health.clone();
    let of_metrics = (health.clone(), metrics.clone());
    let answers: [(OptionalSocket, Answer); 2] = [
        (options.healthz_bind_address, Arc::new(move |path| of_health.answer(path, Timestamp::now()))),
        (
            options.metrics_bind_address,
            Arc::new(move |path| {
                let (health, metrics) = &of_metrics;
                metrics.answer(path, health.is_healthy(Timestamp::now()))
            }),
        ),
    ];
    for (address, answer) in answers {
        let Some(address) = address.0 else { continue };
        match serve::listen(address).await {
            Ok(listener) => {
                tasks.spawn(serve::serve(listener, answer, shutdown.clone()));
            }
            Err(error) => tracing::warn!("{error}; goes on without"),
        }
    }
}

/// Does `work` once `condition` holds, unless shutdown comes first.
async fn until(shutdown: CancellationToken, condition: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = condition => work.await,
        () = shutdown.cancelled() => {}
    }
}

fn node_name(given: Option<&str>) -> anyhow::Result<String> {
    let host = match given {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => rustix::system::uname().nodename().to_str().context("the host's name is not UTF-8")?.to_owned(),
    };
    Ok(host.trim().to_lowercase())
}

async fn cleanup() -> anyhow::Result<()> {
    let mut transaction = Transaction::new(TABLE)?;
    transaction.delete_table();
    Nft::default().commit(&transaction).await.context("cannot remove the rules")?;
    let links = Links::open()?;
    links.drop_carrier().await?;
    let remove = links.routes().await?;
    links.change(&node::routes::Changes { remove, ..Default::default() }).await?;
    tracing::info!("removed rules, routes and links");
    Ok(())
}
