//! The TLS port: accepts connections, learns who is at the other end, and serves HTTP/1.1 and HTTP/2.

mod corked;
mod farewell;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use reeve_client::tls::{PeerIdentity, ServerTls, peer_identity};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::chain::Chain;
use corked::Corked;
use farewell::Farewell;

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take to end at a shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Watches share connections: a component has a few dozen, a load test a thousand.
const STREAMS_PER_CONNECTION_MAX: u32 = 2000;
/// How long an HTTP/1 connection may wait for its next request, as upstream: clients keep connections for later.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// A silent HTTP/2 peer is probed, so that watches of vanished clients end.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What HTTP/2 may hold back of one stream's answer: it bounds the memory of a list to a slow client.
const STREAM_SEND_BUFFER_BYTES: usize = 512 * 1024;

/// Serves connections until `shutdown`, then lets requests end.
pub async fn serve(listener: TcpListener, tls: ServerTls, chain: Arc<Chain>, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                // A new client mostly wants what resting ones do not.
                reeve_client::pages::stir();
                let watcher = graceful.watcher();
                tokio::spawn(connection(stream, address, tls.acceptor(), chain.clone(), watcher));
            }
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
}

/// Has the kernel probe silent peers: an upgraded connection has no other way to learn that its client is gone.
fn keep_alive(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_INTERVAL)?;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    tls: TlsAcceptor,
    chain: Arc<Chain>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
    }
    if let Err(error) = keep_alive(&stream) {
        tracing::debug!(%address, %error, "cannot set SO_KEEPALIVE");
    }
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%address, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tracing::info!(%address, "TLS handshake took too long");
            return;
        }
    };
    let peer: Option<Arc<PeerIdentity>> = stream.get_ref().1.peer_certificates().and_then(peer_identity).map(Arc::new);
    let service = hyper::service::service_fn(move |request| {
        let (chain, peer) = (chain.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(chain.serve(peer, address, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).keep_alive(true).header_read_timeout(IDLE_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_send_buf_size(STREAM_SEND_BUFFER_BYTES);
    let end = if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let builder = builder.http2_only();
        let connect =
            |stream| Box::pin(watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()));
        Corked::new(stream).drive(connect).await
    } else {
        let stream = TokioIo::new(Farewell::new(stream));
        watcher.watch(builder.serve_connection_with_upgrades(stream, service).into_owned()).await
    };
    if let Err(error) = end {
        tracing::debug!(%address, %error, "connection ended");
    }
}
