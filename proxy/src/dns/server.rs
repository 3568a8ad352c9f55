//! The sockets: UDP and TCP on the cluster's DNS address.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::forward::Forwarder;
use super::message::{Decision, Transport, decide};
use super::zone::Zone;
use crate::serve::metrics::{Answered, Metrics};

/// How many TCP connections are served at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// How long a TCP connection may be silent (RFC 7766, section 6.2.3).
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The largest question over UDP that is read whole.
const QUESTION_MAX: usize = 4096;

/// Why DNS is not served.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The address cannot be listened on.
    #[error("cannot serve DNS on {address}: {source} (is another DNS server on this address?)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A DNS server.
pub struct Server {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
    zone: Arc<Zone>,
    forwarder: Arc<Forwarder>,
    metrics: Metrics,
}

impl Server {
    /// Listens on an address; port 0 takes any port, the same for both protocols where possible.
    pub async fn bind(
        address: Ipv4Addr,
        port: u16,
        zone: Zone,
        resolv_conf: PathBuf,
        metrics: Metrics,
    ) -> Result<Server, DnsError> {
        let asked = SocketAddr::from((address, port));
        let error = |source| DnsError::Bind { address: asked, source };
        let tcp = TcpListener::bind(asked).await.map_err(error)?;
        let bound = tcp.local_addr().map_err(error)?;
        let udp = Arc::new(UdpSocket::bind(bound).await.map_err(error)?);
        let forwarder = Arc::new(Forwarder::new(resolv_conf, address.into(), metrics.clone()));
        Ok(Server { udp, tcp, zone: Arc::new(zone), forwarder, metrics })
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Answers until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = self.serve_udp() => {}
            () = self.serve_tcp() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn serve_udp(&self) {
        let mut buffer = vec![0; QUESTION_MAX];
        loop {
            let (length, asker) = match self.udp.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An asker that is gone shows up here as well; the socket itself stays good.
                    tracing::debug!(%error, "receiving a question failed");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let decision = decide(&self.zone, buffer.get(..length).unwrap_or_default(), Transport::Udp);
            match decision {
                Decision::Ignore => {}
                Decision::Reply(bytes) => {
                    count(&self.metrics, &bytes, "udp");
                    send(&self.udp, &bytes, asker).await;
                }
                later => {
                    // Bounded by the forwarder, which refuses at once what is too much.
                    let (udp, forwarder, metrics) = (self.udp.clone(), self.forwarder.clone(), self.metrics.clone());
                    tokio::spawn(async move {
                        if let Some(bytes) = upstream(&forwarder, later).await {
                            count(&metrics, &bytes, "udp");
                            send(&udp, &bytes, asker).await;
                        }
                    });
                }
            }
        }
    }

    async fn serve_tcp(&self) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            match self.tcp.accept().await {
                Ok((stream, asker)) => {
                    let (zone, forwarder, metrics) = (self.zone.clone(), self.forwarder.clone(), self.metrics.clone());
                    tokio::spawn(async move {
                        if let Err(error) = serve_connection(stream, &zone, &forwarder, &metrics).await {
                            tracing::trace!(%asker, %error, "connection ended");
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accepting a connection failed");
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

async fn upstream(forwarder: &Forwarder, decision: Decision) -> Option<Vec<u8>> {
    match decision {
        Decision::Forward(question) => forwarder.answer(&question, &[]).await,
        Decision::Follow(question, aliases) => forwarder.answer(&question, &aliases).await,
        Decision::Reply(bytes) => Some(bytes),
        Decision::Ignore => None,
    }
}

/// Counts an answer by the response code in its header (RFC 1035, section 4.1.1).
fn count(metrics: &Metrics, answer: &[u8], proto: &'static str) {
    let rcode = match answer.get(3).map(|flags| flags & 0x0f) {
        Some(0) => "NOERROR",
        Some(1) => "FORMERR",
        Some(2) => "SERVFAIL",
        Some(3) => "NXDOMAIN",
        Some(4) => "NOTIMP",
        Some(5) => "REFUSED",
        _ => "OTHER",
    };
    metrics.answered(Answered { rcode, proto });
}

async fn send(socket: &UdpSocket, bytes: &[u8], asker: SocketAddr) {
    if let Err(error) = socket.send_to(bytes, asker).await {
        tracing::debug!(%asker, %error, "sending an answer failed");
    }
}

async fn serve_connection(
    mut stream: TcpStream,
    zone: &Zone,
    forwarder: &Forwarder,
    metrics: &Metrics,
) -> std::io::Result<()> {
    loop {
        let question = async {
            let length = stream.read_u16().await?;
            let mut bytes = vec![0; usize::from(length)];
            stream.read_exact(&mut bytes).await?;
            Ok::<_, std::io::Error>(bytes)
        };
        let bytes = tokio::time::timeout(IDLE_MAX, question).await??;
        let decision = decide(zone, &bytes, Transport::Tcp);
        let Some(answer) = upstream(forwarder, decision).await else { return Ok(()) };
        count(metrics, &answer, "tcp");
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(answer);
        tokio::time::timeout(IDLE_MAX, stream.write_all(&framed)).await??;
    }
}
