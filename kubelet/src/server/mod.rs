//! The kubelet's own server: `reeve.v1.Streams` over mutual TLS, for the API server.

mod attach;
mod exec;
pub mod logs;
mod port_forward;
mod streams;

use std::net::SocketAddr;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use reeve_client::Store;
pub use reeve_client::tls::ServerFiles;
use reeve_client::tls::{PeerIdentity, ServerTls, peer_identity};
use reeve_proto::v1::streams_server::StreamsServer;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::runtime::Runtime;

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

/// Serves until shutdown.
pub async fn serve(
    address: SocketAddr,
    files: &ServerFiles,
    service: Service,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let tls = ServerTls::load(files.clone(), &[b"h2"])?;
    tokio::spawn(tls.clone().follow());
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(%address, "serving pods' streams");
    let (sender, receiver) = tokio::sync::mpsc::channel(HANDSHAKES);
    tokio::spawn(accept(listener, tls, sender, shutdown.clone()));
    let incoming = tokio_stream::wrappers::ReceiverStream::new(receiver);
    tonic::transport::Server::builder()
        .add_service(StreamsServer::with_interceptor(service, admit))
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
        .await
        .context("the kubelet's server ended")
}

type Connection = tokio_rustls::server::TlsStream<TcpStream>;

async fn accept(
    listener: TcpListener,
    tls: ServerTls,
    sender: tokio::sync::mpsc::Sender<std::io::Result<Peer>>,
    shutdown: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                continue;
            }
        };
        let Ok(permit) = sender.clone().reserve_owned().await else { return };
        let acceptor = tls.acceptor();
        tokio::spawn(async move {
            match acceptor.accept(stream).await {
                Ok(connection) => {
                    let identity =
                        connection.get_ref().1.peer_certificates().and_then(peer_identity).unwrap_or_default();
                    permit.send(Ok(Peer { connection, identity }));
                }
                Err(error) => tracing::debug!(%remote, %error, "TLS handshake failed"),
            }
        });
    }
}

/// A connection and who is at its other end.
struct Peer {
    connection: Connection,
    identity: PeerIdentity,
}

impl tonic::transport::server::Connected for Peer {
    type ConnectInfo = PeerIdentity;

    fn connect_info(&self) -> PeerIdentity {
        self.identity.clone()
    }
}

impl tokio::io::AsyncRead for Peer {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Peer {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.connection).poll_write(context, buffer)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.connection).poll_shutdown(context)
    }
}

/// Who may use the streams: cluster administrators, and the API server for its users.
fn may_enter(peer: &PeerIdentity) -> bool {
    peer.groups.iter().any(|group| group == "system:masters") || peer.user == "kube-apiserver-kubelet-client"
}

fn admit(request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    match request.extensions().get::<PeerIdentity>() {
        Some(peer) if may_enter(peer) => Ok(request),
        Some(peer) => Err(tonic::Status::permission_denied(format!(
            "user \"{}\" may not use the kubelet's streams; ask the API server",
            peer.user
        ))),
        None => Err(tonic::Status::unauthenticated("a client certificate is needed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_administrators_and_the_api_server_enter() {
        let peer = |user: &str, group: &str| PeerIdentity { user: user.into(), groups: vec![group.into()] };
        assert!(may_enter(&peer("kubernetes-admin", "system:masters")));
        assert!(may_enter(&peer("kube-apiserver-kubelet-client", "")));
        assert!(!may_enter(&peer("system:node:n1", "system:nodes")));
    }
}
