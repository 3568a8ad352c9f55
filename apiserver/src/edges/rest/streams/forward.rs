//! Port-forward: SPDY in a WebSocket, SPDY itself, or a pair of channels for each port.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::SplitStream;
use futures::{SinkExt as _, Stream, StreamExt as _};
use http::{Request, Response};
use hyper::body::Incoming;
use reeve_api::StatusError;
use reeve_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::body::Body;

use super::channels::{Input, Protocol};
use super::{socket, spdy};
use crate::edges::status::from_grpc;
use crate::pod_streams::{PodLocation, PodStreams};
use crate::request::Target;

/// SPDY in a WebSocket, which kubectl tries first.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const NAMES: [&str; 4] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];
/// Pieces on their way in either direction; more make the sender wait.
const PIECES_IN_FLIGHT_MAX: usize = 8;

/// Whose ports are forwarded.
#[derive(Clone)]
pub struct Pod {
    /// The way to the kubelets.
    pub pods: Arc<PodStreams>,
    /// Where it runs.
    pub location: PodLocation,
    /// Which it is.
    pub target: Target,
}

impl Pod {
    /// Opens a connection to a port.
    pub async fn connect(
        &self,
        port: u16,
        input: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<tonic::Streaming<v1::PortForwardResponse>, tonic::Status> {
        let start = v1::PortForwardStart {
            namespace: self.target.namespace.clone(),
            pod: self.target.name.clone(),
            port: port.into(),
            address: String::new(),
        };
        let data = |data| v1::PortForwardRequest { input: Some(v1::port_forward_request::Input::Data(data)) };
        self.pods.forward(&self.location, start, input.map(data)).await
    }

    /// What the user reads when a connection fails.
    pub fn failure(&self, port: u16, status: &tonic::Status) -> String {
        format!("error forwarding port {port} to pod {}, uid : {}", self.target.name, from_grpc(status).message)
    }
}

/// Upgrades the connection and forwards on it.
pub fn upgrade(pod: Pod, ports: &[u16], mut request: Request<Incoming>) -> Result<Response<Body>, StatusError> {
    if spdy::is_upgrade(request.headers()) {
        return spdy::ports::upgrade(pod, request);
    }
    if !socket::is_upgrade(request.headers()) {
        return Err(StatusError::bad_request("Upgrade request required"));
    }
    let name = socket::negotiate(request.headers(), &NAMES)?;
    let channels = Protocol::named(name);
    if channels.is_some() && ports.is_empty() {
        return Err(StatusError::bad_request("query parameter \"ports\" is required"));
    }
    let (response, upgrade) = socket::accept(&mut request, name)?;
    let ports = ports.to_vec();
    tokio::spawn(async move {
        let Some(socket) = socket::open(upgrade).await else { return };
        let Some(protocol) = channels else { return spdy::ports::tunnel(pod, socket).await };
        let node = pod.location.node.clone();
        if let Err(error) = serve(socket, protocol, pod, &ports).await {
            tracing::debug!(%error, node, "a port-forward was cut off by its client");
        }
    });
    Ok(response)
}

/// Forwards each port on its two channels: `2n` for data, `2n + 1` for the failure. Both begin with the port.
async fn serve(socket: socket::Socket, protocol: Protocol, pod: Pod, ports: &[u16]) -> Result<(), Error> {
    let (mut sink, mut source) = socket.split();
    let (sender, mut messages) = mpsc::channel::<Message>(PIECES_IN_FLIGHT_MAX);
    let mut inputs = Vec::with_capacity(ports.len());
    let mut running = JoinSet::new();
    for (port, channel) in ports.iter().zip((0_u8..).step_by(2)) {
        for channel in [channel, channel + 1] {
            sink.feed(protocol.encode(channel, &port.to_le_bytes())).await?;
        }
        let (input, pieces) = mpsc::channel(PIECES_IN_FLIGHT_MAX);
        inputs.push(Some(input));
        running.spawn(forward(pod.clone(), *port, pieces, protocol, channel, sender.clone()));
    }
    sink.flush().await?;
    drop(sender);
    let output = async {
        // Ends with the last of the connections.
        while let Some(message) = messages.recv().await {
            sink.send(message).await?;
        }
        socket::close(&mut sink).await
    };
    tokio::select! {
        left = read(&mut source, protocol, &mut inputs) => left,
        written = output => written,
    }
}

async fn read(
    source: &mut SplitStream<socket::Socket>,
    protocol: Protocol,
    inputs: &mut [Option<mpsc::Sender<Bytes>>],
) -> Result<(), Error> {
    while let Some(message) = source.next().await {
        let message = message?;
        if message.is_close() {
            return Ok(());
        }
        match protocol.decode(message) {
            Ok(Input::Data(channel, data)) if channel % 2 == 0 => {
                let Some(input) = inputs.get_mut(usize::from(channel / 2)) else { continue };
                if let Some(sender) = input
                    && sender.send(data).await.is_err()
                {
                    // The pod's side is closed.
                    *input = None;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(error, "a client broke the rules of its port-forward");
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn forward(
    pod: Pod,
    port: u16,
    input: mpsc::Receiver<Bytes>,
    protocol: Protocol,
    channel: u8,
    sender: mpsc::Sender<Message>,
) {
    let send = async |channel, data: &[u8]| sender.send(protocol.encode(channel, data)).await.is_ok();
    let ended = async {
        let mut output = pod.connect(port, ReceiverStream::new(input)).await?;
        while let Some(piece) = output.message().await? {
            if !send(channel, &piece.data).await {
                break;
            }
        }
        Ok::<(), tonic::Status>(())
    };
    if let Err(status) = ended.await
        && !send(channel + 1, pod.failure(port, &status).as_bytes()).await
    {
        tracing::trace!("a failure that nobody reads");
    }
}
