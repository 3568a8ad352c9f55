//! Exec and attach over SPDY, for clients that do not speak WebSocket: a stream each for input, outputs, the
//! terminal's size, and how the process ended.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Response};
use hyper::body::Incoming;
use reeve_api::StatusError;
use reeve_proto::v1;
use reeve_proto::v1::exec_request::Input;
use reeve_proto::v1::exec_response::Output;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;
use tonic::body::Body;

use super::connection::{self, ConnectionError, Event, Reader, Writer, header};
use crate::edges::rest::streams::channels::{Protocol, TerminalSize};
use crate::edges::rest::streams::socket;
use crate::edges::status::from_grpc;
use crate::pod_streams::{PodLocation, PodStreams, Session};

/// The stream protocol whose end is a `Status`.
const PROTOCOL: &str = "v4.channel.k8s.io";
/// Pieces of input on their way to the kubelet.
const INPUT_IN_FLIGHT_MAX: usize = 8;
/// The largest message on the stream of sizes.
const SIZE_BYTES_MAX: usize = 1024;

type Source = ReaderStream<tokio::io::ReadHalf<hyper_util::rt::TokioIo<hyper::upgrade::Upgraded>>>;

/// Upgrades the connection and runs the session on it.
pub fn upgrade(
    pods: Arc<PodStreams>,
    location: PodLocation,
    session: Session,
    start: v1::ExecStart,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, StatusError> {
    super::negotiate(request.headers(), PROTOCOL)?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Some(connection) = socket::upgraded(upgrade).await else { return };
        let (read, mut write) = tokio::io::split(connection);
        let ended = async {
            let (reader, writer, mut frames) = connection::open(ReaderStream::new(read))?;
            // Ends when the session is over and its last frame is sent.
            let send = async {
                while let Some(frame) = frames.recv().await {
                    write.write_all(&frame).await?;
                }
                write.shutdown().await
            };
            let (served, sent) = tokio::join!(serve(reader, writer, &pods, &location, session, start), send);
            served?;
            Ok::<(), ConnectionError>(sent?)
        };
        if let Err(error) = ended.await {
            tracing::debug!(%error, node = location.node, "a stream was cut off by its client");
        }
    });
    let mut response = socket::switching(HeaderValue::from_static(super::NAME));
    response.headers_mut().insert(super::STREAM_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    Ok(response)
}

/// The streams that the client has opened, by what they are for.
#[derive(Default)]
struct Streams {
    by_type: HashMap<String, u32>,
}

impl Streams {
    fn number(&self, kind: &str) -> Option<u32> {
        self.by_type.get(kind).copied()
    }

    fn is(&self, stream: u32, kind: &str) -> bool {
        self.number(kind) == Some(stream)
    }
}

async fn serve(
    mut reader: Reader<Source>,
    writer: Writer,
    pods: &PodStreams,
    location: &PodLocation,
    session: Session,
    start: v1::ExecStart,
) -> Result<(), ConnectionError> {
    let wanted: Vec<&str> = [
        (true, "error"),
        (start.stdin, "stdin"),
        (start.stdout, "stdout"),
        (start.stderr, "stderr"),
        (start.tty, "resize"),
    ]
    .into_iter()
    .filter_map(|(wanted, kind)| wanted.then_some(kind))
    .collect();
    let mut streams = Streams::default();
    let mut early = Vec::new();
    while !wanted.iter().all(|kind| streams.by_type.contains_key(*kind)) {
        match reader.next().await? {
            Some(Event::Opened { stream, headers, .. }) => match header(&headers, "streamtype") {
                Some(kind) if wanted.contains(&kind) => {
                    streams.by_type.insert(kind.to_owned(), stream);
                }
                _ => writer.refuse(stream).await,
            },
            // A client may write before it has opened all; what it may send so early is bounded.
            Some(event) if early.len() < INPUT_IN_FLIGHT_MAX => early.push(event),
            _ => return Ok(()),
        }
    }
    let (sender, receiver) = mpsc::channel(INPUT_IN_FLIGHT_MAX);
    let input = async {
        let mut sizes = Vec::new();
        let mut early = early.into_iter();
        loop {
            let event = match early.next() {
                Some(event) => Some(event),
                None => reader.next().await?,
            };
            let Some(event) = event else { return Ok::<(), ConnectionError>(()) };
            for input in inputs(&streams, event, &mut sizes) {
                // When the process has ended, its input goes nowhere.
                if sender.send(v1::ExecRequest { input: Some(input) }).await.is_err() {
                    tracing::trace!("input after the end of a process");
                }
            }
        }
    };
    let output = async {
        let end = match pods.run(location, session, start, ReceiverStream::new(receiver)).await {
            Ok(responses) => print(responses, &streams, &writer).await,
            Err(status) => Err(from_grpc(&status)),
        };
        for kind in ["stdout", "stderr"] {
            if let Some(stream) = streams.number(kind) {
                writer.data(stream, &[], true).await;
            }
        }
        if let Some(stream) = streams.number("error") {
            let status = Protocol::end_json(&end);
            writer.data(stream, &status, true).await;
        }
    };
    tokio::select! {
        read = input => read,
        () = output => Ok(()),
    }
}

/// What an event means for the process.
fn inputs(streams: &Streams, event: Event, sizes: &mut Vec<u8>) -> Vec<Input> {
    match event {
        Event::Data { stream, data, ended } if streams.is(stream, "stdin") => {
            let data = (!data.is_empty()).then_some(Input::Stdin(data));
            data.into_iter().chain(ended.then_some(Input::StdinClosed(true))).collect()
        }
        Event::Data { stream, data, .. } if streams.is(stream, "resize") => {
            sizes.extend_from_slice(&data);
            let mut values = serde_json::Deserializer::from_slice(sizes).into_iter::<TerminalSize>();
            let found: Vec<Input> = values
                .by_ref()
                .map_while(Result::ok)
                .map(|size| Input::Resize(v1::TerminalSize { width: size.width.into(), height: size.height.into() }))
                .collect();
            let read = values.byte_offset();
            sizes.drain(..read);
            if sizes.len() > SIZE_BYTES_MAX {
                sizes.clear();
            }
            found
        }
        Event::Reset { stream } if streams.is(stream, "stdin") => vec![Input::StdinClosed(true)],
        _ => vec![],
    }
}

/// Sends what the process prints; the outcome is how it ended.
async fn print(
    mut responses: tonic::Streaming<v1::ExecResponse>,
    streams: &Streams,
    writer: &Writer,
) -> Result<i32, StatusError> {
    let mut code = 0;
    let send = async |kind: &str, data: Bytes| {
        if let Some(stream) = streams.number(kind) {
            writer.data(stream, &data, false).await;
        }
    };
    while let Some(response) = responses.message().await.map_err(|status| from_grpc(&status))? {
        match response.output {
            Some(Output::Stdout(data)) => send("stdout", data).await,
            Some(Output::Stderr(data)) => send("stderr", data).await,
            Some(Output::ExitCode(exit)) => code = exit,
            None => {}
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_pieces() {
        let streams = Streams { by_type: HashMap::from([("resize".to_owned(), 9), ("stdin".to_owned(), 5)]) };
        let mut sizes = Vec::new();
        let data = |stream, data: &'static [u8], ended| Event::Data { stream, data: Bytes::from_static(data), ended };
        assert!(inputs(&streams, data(9, br#"{"Width":80,"#, false), &mut sizes).is_empty());
        let found = inputs(&streams, data(9, b"\"Height\":24}\n", false), &mut sizes);
        assert_eq!(found, [Input::Resize(v1::TerminalSize { width: 80, height: 24 })]);
        let found = inputs(&streams, data(5, b"x", true), &mut sizes);
        assert_eq!(found, [Input::Stdin(Bytes::from_static(b"x")), Input::StdinClosed(true)]);
    }
}
