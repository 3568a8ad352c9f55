//! The API server: the only program that talks to etcd; it serves gRPC and REST on one TLS port.
//!
//! From the outside in: [`server`] accepts connections, [`chain`] is the way of every request, [`edges`] speak
//! gRPC and REST, [`handlers`] are the verbs, [`registry`] knows the kinds, [`storage`] keeps the objects.

pub mod admission;
pub mod aggregation;
pub mod allocation;
pub mod authentication;
pub mod authorization;
pub mod bootstrap;
pub mod chain;
pub mod edges;
pub mod encoding;
pub mod handlers;
pub mod metrics;
pub mod options;
pub mod outbound;
pub mod pod_streams;
pub mod registry;
pub mod request;
pub mod server;
pub mod storage;
pub mod version;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;
use reeve_client::backoff::{Backoff, keep, retry};
use reeve_client::tls::{ServerFiles, ServerTls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::aggregation::Aggregation;
use crate::chain::Chain;
use crate::edges::grpc;
use crate::edges::rest::{Proxy, Readiness, Rest};
use crate::handlers::{HandlerOptions, Handlers, Meters};
use crate::options::Options;
use crate::pod_streams::PodStreams;
use crate::registry::Registry;
use crate::storage::cache::{Cache, CacheOptions};
use crate::storage::etcd::{EtcdOptions, EtcdStore, EtcdTls};
use crate::storage::{SharedStore, Turns};

/// Puts the parts together and serves until `shutdown`.
///
/// # Errors
///
/// When the configuration cannot be used or the port cannot be opened. An etcd that is away is no error: the server
/// waits for it and says so in `/readyz`.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let files = ServerFiles {
        certificate: options.tls_cert_file.clone(),
        key: options.tls_private_key_file.clone(),
        client_ca: options.client_ca_file.clone(),
    };
    let tls = ServerTls::load(files, &[b"h2", b"http/1.1"])?;
    tokio::spawn(tls.clone().follow());
    let bind = SocketAddr::new(options.bind_address, options.secure_port);
    let listener = TcpListener::bind(bind).await.with_context(|| format!("cannot listen on {bind}"))?;
    // Port 0 asks for any free port.
    let bind = listener.local_addr()?;
    let advertised = match options.advertise_address {
        Some(address) => address,
        None => outward_address(options.bind_address)?,
    };

    let store = EtcdStore::connect(&etcd_options(&options)?).await?;
    let store: SharedStore = Arc::new(Turns::new(store, ETCD_REQUEST_TIMEOUT));
    let cache = Cache::new(store.clone(), CacheOptions::default());
    let pods = Arc::new(PodStreams::new(
        options.kubelet_client_certificate.as_deref(),
        options.kubelet_client_key.as_deref(),
        options.kubelet_certificate_authority.as_deref(),
    )?);
    tokio::spawn({
        let pods = pods.clone();
        async move { pods.follow().await }
    });
    let registry = Registry::builtin();
    let registry = Arc::new(if pods.has_credentials() { registry.with_metrics() } else { registry });
    let handler_options = HandlerOptions {
        service_range: options.service_cluster_ip_range,
        node_ports: options.service_node_port_range,
        event_ttl: options.event_ttl,
        access: options.access()?,
    };
    let handlers = Arc::new(Handlers::new(registry, store.clone(), &cache, handler_options, Timestamp::now));
    handlers.measure_with(Meters::new(pods.clone()));
    let proxy = Proxy::new(
        options.kubelet_client_certificate.as_deref(),
        options.kubelet_client_key.as_deref(),
        options.kubelet_certificate_authority.as_deref(),
    )?;
    let trust = options.trust()?;
    let aggregation = Arc::new(Aggregation::new(handlers.clone(), options.front_proxy()?));
    let readiness = Readiness::default();
    let address = SocketAddr::new(advertised, options.secure_port).to_string();
    let rest =
        Arc::new(Rest::new(handlers.clone(), pods.clone(), proxy, aggregation.clone(), readiness.clone(), &address));
    let routes = grpc::routes(handlers.clone(), pods.clone())?;
    let in_flight_max = options.max_requests_inflight + options.max_mutating_requests_inflight;
    let chain = Arc::new(Chain::new(routes, rest, handlers.clone(), readiness.clone(), in_flight_max));

    // Requests that are in flight at a shutdown still read the cache.
    let served = CancellationToken::new();
    let following = cache.start(served.clone());
    let compacting = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { storage::compaction::run(&*store, storage::compaction::PERIOD, shutdown).await }
    });
    let serving = tokio::spawn(server::serve(listener, tls, chain, shutdown.clone()));
    tracing::info!(%bind, advertised = address, "serving");

    tokio::select! {
        () = shutdown.cancelled() => {}
        () = async {
            prepare(&cache, &handlers, &options, advertised, &trust, &readiness).await;
            let follow = |_| handlers.follow_definitions(&cache);
            let aggregate = |_| aggregation.follow();
            let addresses = |_| handlers.follow_addresses();
            tokio::join!(
                keep(Backoff::RECONNECT, "following custom resource definitions", follow),
                keep(Backoff::RECONNECT, "following API services", aggregate),
                keep(Backoff::RECONNECT, "following IPAddresses", addresses),
            );
        } => {}
    }
    shutdown.cancelled().await;
    readiness.shuts_down();
    // What has no end of its own ends now: clients go elsewhere at once. The short requests are waited for.
    handlers.end_watches();
    pods.end();
    serving.await?;
    served.cancel();
    following.await?;
    compacting.await?;
    Ok(())
}

/// Fills the cache and makes the first objects. Until then the server answers, but is not ready.
async fn prepare(
    cache: &Cache,
    handlers: &Handlers,
    options: &Options,
    advertised: IpAddr,
    trust: &bootstrap::Trust,
    readiness: &Readiness,
) {
    let attempt = || async {
        cache.ready().await?;
        readiness.cache_is_synced();
        // What is stored is served from the first request on.
        handlers.sync_definitions(cache).await?;
        let range = options.service_cluster_ip_range;
        bootstrap::run(handlers, range, advertised, options.secure_port, trust).await
    };
    retry(Backoff::RECONNECT, "filling the cache and making the first objects", attempt).await;
    readiness.bootstrap_is_done();
    tracing::info!("ready");
}

/// The address by which this host is reached: that of the route to the outside. No packet is sent.
fn outward_address(bind: IpAddr) -> anyhow::Result<IpAddr> {
    if !bind.is_unspecified() {
        return Ok(bind);
    }
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // An address for documentation (RFC 5737): connecting a datagram socket only looks up the route.
    match socket.connect("192.0.2.1:9") {
        Ok(()) => Ok(socket.local_addr()?.ip()),
        Err(error) => {
            tracing::warn!(%error, "this host has no default route: set --advertise-address; using 127.0.0.1");
            Ok(IpAddr::from([127, 0, 0, 1]))
        }
    }
}

/// How long one request to etcd may take before its outcome counts as unknown.
const ETCD_REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

fn etcd_options(options: &Options) -> anyhow::Result<EtcdOptions> {
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let tls = match (&options.etcd_cafile, &options.etcd_certfile, &options.etcd_keyfile) {
        (Some(ca), Some(certificate), Some(key)) => {
            Some(EtcdTls { ca: read(ca)?, certificate: read(certificate)?, key: read(key)? })
        }
        _ => None,
    };
    if let Some(plain) = options.etcd_servers.iter().find(|url| tls.is_none() && url.starts_with("https://")) {
        anyhow::bail!("{plain} needs --etcd-cafile, --etcd-certfile and --etcd-keyfile");
    }
    Ok(EtcdOptions { endpoints: options.etcd_servers.clone(), tls, request_timeout: ETCD_REQUEST_TIMEOUT })
}
