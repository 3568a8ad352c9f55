//! Joining the streams of a container's first process.
//!
//! The runtime itself holds those streams (it writes the log from them), so this goes through CRI's `Attach`: a
//! streaming server on the loopback that speaks the WebSocket protocol `v4.channel.k8s.io`, in which the first byte of
//! a message names its channel. That protocol cannot say that input ended without ending the output as well.
//! Therefore input and output have a connection each: ending the input's is the end of input.
//!
//! Both connections ask for an input, though the output's never sends any: containerd 1.6 takes an input that was not
//! asked for as one that has ended, and ends the container's with it. For the same reason the input of a container with
//! `stdinOnce` ends when a user of its output alone goes away.

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use k8s_cri::v1 as cri;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::{Runtime, RuntimeError, refused};

const PROTOCOL: &str = "v4.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;

type Socket = WebSocketStream<TcpStream>;

/// Why a container's streams cannot be joined, or broke.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The runtime refused the call.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The runtime's address of its streaming server is of another kind.
    #[error("the container runtime streams at {0}, which is not http://HOST:PORT/...")]
    Address(String),
    /// The streaming server cannot be reached.
    #[error("the container runtime's streaming server {server}: {source}")]
    Connect {
        /// The server's address.
        server: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The streaming server broke the connection or its protocol.
    #[error("the container runtime's streaming server: {0}")]
    Socket(#[from] Box<SocketError>),
    /// The streaming server told a failure.
    #[error("{0}")]
    Told(String),
}

impl From<SocketError> for AttachError {
    fn from(error: SocketError) -> Self {
        AttachError::Socket(Box::new(error))
    }
}

/// Which streams to join.
#[derive(Clone, Copy, Debug)]
pub struct AttachSpec {
    /// Whether input is sent; the container must have been made with one.
    pub stdin: bool,
    /// Whether the container has a terminal; standard error then comes with standard output.
    pub tty: bool,
}

/// A piece of output.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Standard output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
}

/// The joined streams.
pub struct Attached {
    /// Input, when it was asked for.
    pub input: Option<AttachedInput>,
    /// Output.
    pub output: AttachedOutput,
}

/// The way to a container's input.
pub struct AttachedInput {
    sink: SplitSink<Socket, Message>,
}

/// What a container's process writes, from now on.
pub struct AttachedOutput {
    socket: Socket,
}

impl Runtime {
    /// Joins the streams of a running container.
    pub async fn attach(&self, container_id: &str, spec: AttachSpec) -> Result<Attached, AttachError> {
        let ask = |stderr: bool| cri::AttachRequest {
            container_id: container_id.to_owned(),
            stdin: true,
            tty: spec.tty,
            stdout: true,
            stderr,
        };
        // Output first: nothing that the input brings about is missed.
        let output = AttachedOutput { socket: self.attach_socket(ask(!spec.tty)).await? };
        let input = if spec.stdin {
            // Without an output the runtime would end this connection at once.
            let (sink, source) = self.attach_socket(ask(false)).await?.split();
            tokio::spawn(discard(source));
            Some(AttachedInput { sink })
        } else {
            None
        };
        Ok(Attached { input, output })
    }

    async fn attach_socket(&self, request: cri::AttachRequest) -> Result<Socket, AttachError> {
        let url = self.client().attach(request).await.map_err(refused("Attach"))?.into_inner().url;
        let rest = url.strip_prefix("http://").ok_or_else(|| AttachError::Address(url.clone()))?;
        let server = rest.split('/').next().unwrap_or_default().to_owned();
        let stream = TcpStream::connect(&server).await.map_err(|source| AttachError::Connect { server, source })?;
        let mut request = format!("ws://{rest}").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", http::HeaderValue::from_static(PROTOCOL));
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await?;
        // The server's first message is an empty one: it has taken the streams up.
        match socket.next().await {
            Some(first) => first?,
            None => return Err(SocketError::ConnectionClosed.into()),
        };
        Ok(socket)
    }
}

/// The input's connection carries output as well, which nobody reads here.
async fn discard(mut source: SplitStream<Socket>) {
    while let Some(Ok(_)) = source.next().await {}
}

impl AttachedInput {
    /// Writes to the container's input.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), AttachError> {
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(STDIN);
        message.extend_from_slice(data);
        Ok(self.sink.send(Message::Binary(message.into())).await?)
    }

    /// Ends the input: for a container with `stdinOnce` that is the end of its input, another keeps it open for the
    /// next user.
    pub async fn close(mut self) -> Result<(), AttachError> {
        Ok(self.sink.close().await?)
    }
}

impl AttachedOutput {
    /// The next piece; `None` when the container has ended.
    pub async fn next(&mut self) -> Result<Option<Piece>, AttachError> {
        while let Some(message) = self.socket.next().await {
            let data = match message {
                Ok(Message::Binary(data)) => data,
                Ok(Message::Close(_)) => return Ok(None),
                Ok(_) => continue,
                // The server closes the connection without a word when the container has ended.
                Err(SocketError::ConnectionClosed | SocketError::Protocol(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match data.first() {
                Some(&STDOUT) if data.len() > 1 => return Ok(Some(Piece::Stdout(data.slice(1..)))),
                Some(&STDERR) if data.len() > 1 => return Ok(Some(Piece::Stderr(data.slice(1..)))),
                Some(&ERROR) if data.len() > 1 => told(&data[1..])?,
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The last message's `Status`: a failure is an error.
fn told(status: &[u8]) -> Result<(), AttachError> {
    let status: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
    let text = |field: &str| status.get(field).and_then(|it| it.as_str()).unwrap_or_default().to_owned();
    if text("status") == "Failure" { Err(AttachError::Told(text("message"))) } else { Ok(()) }
}
