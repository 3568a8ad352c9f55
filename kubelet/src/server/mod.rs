//! The kubelet's own port: `reeve.v1.Streams` for the API server, and over HTTP health, figures and logs for those who
//! may ([`access`]).

pub mod access;
mod attach;
mod exec;
pub mod health;
pub mod logs;
pub mod pages;
mod port_forward;
mod streams;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use k8s_openapi::api::core::v1::Pod;
use reeve_client::Store;
pub use reeve_client::tls::ServerFiles;
use reeve_client::tls::{PeerIdentity, ServerTls, peer_identity};
use reeve_proto::v1::streams_server::StreamsServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;

use crate::runtime::Runtime;
use access::{Access, Refusal};
use pages::Pages;

/// What the streams are made from.
#[derive(Clone)]
pub struct Service {
    /// The node's pods.
    pub pods: Store<Pod>,
    /// The container runtime.
    pub runtime: Runtime,
    /// Where pipes of exec sessions lie.
    pub exec_dir: PathBuf,
}

/// How many handshakes may be under way at once; more wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take to end at a shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What answers requests.
struct Port {
    access: Access,
    pages: Pages,
    streams: Routes,
}

/// Serves until shutdown.
///
/// # Errors
/// The certificates cannot be used, or the address is taken.
pub async fn serve(
    address: SocketAddr,
    files: &ServerFiles,
    (service, pages, access): (Service, Pages, Access),
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let tls = ServerTls::load(files.clone(), &[b"h2", b"http/1.1"])?;
    tokio::spawn(tls.clone().follow());
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(%address, "serving pods' streams and the node's figures");
    let port = Arc::new(Port { access, pages, streams: Routes::new(StreamsServer::new(service)) });
    accept(listener, tls, port, shutdown).await;
    Ok(())
}

async fn accept(listener: TcpListener, tls: ServerTls, port: Arc<Port>, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = async {
                // The semaphore is never closed.
                let permit = handshakes.clone().acquire_owned().await.ok();
                (permit, listener.accept().await)
            } => accepted,
        };
        match accepted {
            (Some(permit), Ok((stream, remote))) => {
                tokio::spawn(connection(stream, remote, permit, tls.acceptor(), port.clone(), graceful.watcher()));
            }
            (_, Err(error)) => tracing::warn!(%error, "a connection could not be accepted"),
            (None, Ok(_)) => {}
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::debug!("some streams did not end in time and are cut off");
    }
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    handshake: OwnedSemaphorePermit,
    tls: TlsAcceptor,
    port: Arc<Port>,
    watcher: Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "cannot set TCP_NODELAY");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%remote, "TLS handshake took too long"),
    };
    drop(handshake);
    let peer = stream.get_ref().1.peer_certificates().and_then(peer_identity).map(Arc::new);
    let service = hyper::service::service_fn(move |request| {
        let (port, peer) = (port.clone(), peer.clone());
        async move { Ok::<_, Infallible>(port.answer(peer.as_deref(), request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(serving.into_owned()).await {
        tracing::debug!(%remote, %error, "connection ended");
    }
}

impl Port {
    async fn answer(&self, peer: Option<&PeerIdentity>, request: Request<Incoming>) -> Response<Body> {
        let is_grpc =
            request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let path = request.uri().path();
        let verb = access::verb(request.method());
        // What is done by streams is done to the node's pods: upstream's part for it is `proxy`.
        let subresources = if is_grpc { vec!["proxy"] } else { access::subresources(path) };
        if let Err(refusal) = self.access.admit(peer, request.headers(), verb, &subresources).await {
            tracing::debug!(path, %refusal, "a request is refused");
            return if is_grpc { grpc_refusal(&refusal) } else { refuse(&refusal) };
        }
        if is_grpc {
            let mut streams = self.streams.clone();
            return match tower::Service::call(&mut streams, request.map(Body::new)).await {
                Ok(response) => response,
                Err(error) => match error {},
            };
        }
        self.pages.serve(request.method(), path, request.uri().query().unwrap_or_default()).await
    }
}

fn refuse(refusal: &Refusal) -> Response<Body> {
    let status = match refusal {
        Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
        Refusal::Forbidden { .. } => StatusCode::FORBIDDEN,
        Refusal::NoJudge { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    pages::page(status, "text/plain; charset=utf-8", refusal.to_string())
}

fn grpc_refusal(refusal: &Refusal) -> Response<Body> {
    let code = match refusal {
        Refusal::Unauthorized => tonic::Code::Unauthenticated,
        Refusal::Forbidden { .. } => tonic::Code::PermissionDenied,
        Refusal::NoJudge { .. } => tonic::Code::Unavailable,
    };
    tonic::Status::new(code, refusal.to_string()).into_http()
}
