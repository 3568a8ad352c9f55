//! Port-forward over SPDY: each forwarded connection is a pair of streams, one for its data and one for its failure.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _};
use http::header::HeaderValue;
use http::{Request, Response};
use hyper::body::Incoming;
use reeve_api::StatusError;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::io::ReaderStream;
use tonic::body::Body;

use super::connection::{self, ConnectionError, Event, Reader, Writer, header};
use crate::edges::rest::streams::forward::Pod;
use crate::edges::rest::streams::socket;

/// The stream protocol of port-forward.
const PROTOCOL: &str = "portforward.k8s.io";
/// Connections that one client may have at a time.
const CONNECTIONS_MAX: usize = 1000;
/// Pieces of a connection's data that wait for the pod.
const INPUT_IN_FLIGHT_MAX: usize = 4;

/// Upgrades the connection to SPDY itself.
pub fn upgrade(pod: Pod, mut request: Request<Incoming>) -> Result<Response<Body>, StatusError> {
    super::negotiate(request.headers(), PROTOCOL)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Some(connection) = socket::upgraded(upgrade).await else { return };
        let (read, mut write) = tokio::io::split(connection);
        run(pod, ReaderStream::new(read), async |mut frames: mpsc::Receiver<Bytes>| {
            while let Some(frame) = frames.recv().await {
                write.write_all(&frame).await?;
            }
            Ok(())
        })
        .await;
    });
    let mut response = socket::switching(HeaderValue::from_static(super::NAME));
    response.headers_mut().insert(super::STREAM_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// Serves SPDY in the binary messages of a WebSocket.
pub async fn tunnel(pod: Pod, socket: socket::Socket) {
    let (mut sink, source) = socket.split();
    let bytes = source.filter_map(|message| {
        std::future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    run(pod, Box::pin(bytes), async |mut frames: mpsc::Receiver<Bytes>| {
        while let Some(frame) = frames.recv().await {
            sink.send(Message::Binary(frame)).await.map_err(io::Error::other)?;
        }
        socket::close(&mut sink).await.map_err(io::Error::other)
    })
    .await;
}

/// Serves until either side ends.
async fn run<Source, Send>(pod: Pod, source: Source, send: Send)
where
    Source: Stream<Item = io::Result<Bytes>> + Unpin,
    Send: AsyncFnOnce(mpsc::Receiver<Bytes>) -> io::Result<()>,
{
    let node = pod.location.node.clone();
    let ended = async {
        let (reader, writer, frames) = connection::open(source)?;
        tokio::select! {
            ended = Forwards::new(pod, writer).serve(reader) => ended,
            sent = send(frames) => Ok(sent?),
        }
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, node, "a port-forward was cut off by its client");
    }
}

/// Half of a pair that waits for its other half.
#[derive(Default)]
struct Pair {
    error: Option<u32>,
    data: Option<(u32, u16, mpsc::Receiver<Bytes>)>,
}

/// The connections of one client.
struct Forwards {
    pod: Pod,
    writer: Writer,
    pairs: HashMap<String, Pair>,
    inputs: HashMap<u32, mpsc::Sender<Bytes>>,
    running: JoinSet<u32>,
    aborts: HashMap<u32, AbortHandle>,
}

impl Forwards {
    fn new(pod: Pod, writer: Writer) -> Forwards {
        Forwards {
            pod,
            writer,
            pairs: HashMap::new(),
            inputs: HashMap::new(),
            running: JoinSet::new(),
            aborts: HashMap::new(),
        }
    }

    async fn serve<Source: Stream<Item = io::Result<Bytes>> + Unpin>(
        mut self,
        mut reader: Reader<Source>,
    ) -> Result<(), ConnectionError> {
        while let Some(event) = reader.next().await? {
            while let Some(ended) = self.running.try_join_next() {
                if let Ok(data) = ended {
                    self.inputs.remove(&data);
                    self.aborts.remove(&data);
                }
            }
            match event {
                Event::Opened { stream, ended, headers } => self.opened(stream, ended, &headers).await,
                Event::Data { stream, data, ended } => {
                    if let Some(input) = self.inputs.get(&stream)
                        && !data.is_empty()
                        && input.send(data).await.is_err()
                    {
                        // The pod's side is closed; what comes now is lost, as on any closed connection.
                        self.inputs.remove(&stream);
                    }
                    if ended {
                        self.inputs.remove(&stream);
                    }
                }
                Event::Reset { stream } => {
                    self.inputs.remove(&stream);
                    if let Some(running) = self.aborts.remove(&stream) {
                        running.abort();
                    }
                }
            }
        }
        Ok(())
    }

    async fn opened(&mut self, stream: u32, ended: bool, headers: &[(String, String)]) {
        let port = header(headers, "port").and_then(|text| text.parse::<u16>().ok()).filter(|port| *port > 0);
        let kind = header(headers, "streamtype");
        let (Some(port), Some(kind @ ("error" | "data"))) = (port, kind) else {
            tracing::debug!(?headers, "a stream with neither type nor port");
            return self.writer.refuse(stream).await;
        };
        if self.running.len() >= CONNECTIONS_MAX || self.pairs.len() >= CONNECTIONS_MAX {
            return self.writer.refuse(stream).await;
        }
        // The oldest clients do not name pairs: a data stream follows its error stream.
        let id = match header(headers, "requestid") {
            Some(id) => id.to_owned(),
            None if kind == "error" => stream.to_string(),
            None => stream.saturating_sub(2).to_string(),
        };
        let pair = self.pairs.entry(id.clone()).or_default();
        if kind == "error" {
            pair.error = Some(stream);
        } else {
            let (sender, receiver) = mpsc::channel(INPUT_IN_FLIGHT_MAX);
            if !ended {
                self.inputs.insert(stream, sender);
            }
            pair.data = Some((stream, port, receiver));
        }
        if let Some(Pair { error: Some(error), data: Some((data, port, input)) }) =
            self.pairs.remove(&id).and_then(|pair| {
                if pair.error.is_some() && pair.data.is_some() {
                    return Some(pair);
                }
                self.pairs.insert(id, pair);
                None
            })
        {
            let running = self.running.spawn(forward(self.pod.clone(), port, input, self.writer.clone(), error, data));
            self.aborts.insert(data, running);
        }
    }
}

/// Carries one connection; returns the number of its data stream.
async fn forward(pod: Pod, port: u16, input: mpsc::Receiver<Bytes>, writer: Writer, error: u32, data: u32) -> u32 {
    let ended = async {
        let mut output = pod.connect(port, ReceiverStream::new(input)).await?;
        while let Some(piece) = output.message().await? {
            writer.data(data, &piece.data, false).await;
        }
        Ok::<(), tonic::Status>(())
    };
    if let Err(status) = ended.await {
        writer.data(error, pod.failure(port, &status).as_bytes(), false).await;
    }
    writer.data(error, &[], true).await;
    writer.data(data, &[], true).await;
    data
}
