//! Exec and attach over a WebSocket with channels.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use hyper::body::Incoming;
use reeve_api::StatusError;
use reeve_proto::v1;
use reeve_proto::v1::exec_request::Input as ExecInput;
use reeve_proto::v1::exec_response::Output;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tonic::body::Body;

use super::channels::{self, Input, Protocol, TerminalSize};
use super::{socket, spdy};
use crate::edges::status::from_grpc;
use crate::pod_streams::{PodLocation, PodStreams, Session};

/// Pieces of input on their way to the kubelet; more make the client wait.
const INPUT_IN_FLIGHT_MAX: usize = 8;
/// How long a client may take to close after the end was told.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Upgrades the connection and runs the session on it.
pub fn upgrade(
    pods: Arc<PodStreams>,
    location: PodLocation,
    session: Session,
    start: v1::ExecStart,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, StatusError> {
    if spdy::is_upgrade(request.headers()) {
        return spdy::process::upgrade(pods, location, session, start, request);
    }
    if !socket::is_upgrade(request.headers()) {
        return Err(StatusError::bad_request("Upgrade request required"));
    }
    let name = socket::negotiate(request.headers(), &channels::NAMES)?;
    let protocol = Protocol::named(name).ok_or_else(|| StatusError::internal("a protocol without a form"))?;
    let (response, upgrade) = socket::accept(&mut request, name)?;
    tokio::spawn(async move {
        if let Some(socket) = socket::open(upgrade).await
            && let Err(error) = serve(socket, protocol, &pods, &location, session, start).await
        {
            tracing::debug!(%error, node = location.node, "a stream was cut off by its client");
        }
    });
    Ok(response)
}

/// Carries a session to its end, tells the end, and closes.
async fn serve(
    socket: socket::Socket,
    protocol: Protocol,
    pods: &PodStreams,
    location: &PodLocation,
    session: Session,
    start: v1::ExecStart,
) -> Result<(), Error> {
    let (mut sink, mut source) = socket.split();
    // The client learns that the connection stands by an empty message on the lowest channel that is written to.
    let lowest = match (start.stdout, start.stderr) {
        (true, _) => channels::STDOUT,
        (_, true) => channels::STDERR,
        _ => channels::ERROR,
    };
    sink.send(protocol.encode(lowest, &[])).await?;
    let (sender, receiver) = mpsc::channel(INPUT_IN_FLIGHT_MAX);
    let output = async {
        let responses = pods.run(location, session, start, ReceiverStream::new(receiver)).await;
        let end = match responses {
            Ok(responses) => print(responses, protocol, &mut sink).await?,
            Err(status) => Err(from_grpc(&status)),
        };
        if let Some(message) = protocol.end(&end) {
            sink.send(message).await?;
        }
        socket::close(&mut sink).await
    };
    tokio::select! {
        // The client is gone, and with it the session: dropping the call ends it at the kubelet.
        left = read(&mut source, protocol, &sender) => return left,
        written = output => written?,
    }
    // What the client still sends before it closes is of no use; but it must not find the connection reset.
    let drain = async { while let Some(Ok(_)) = source.next().await {} };
    if tokio::time::timeout(CLOSE_TIMEOUT, drain).await.is_err() {
        tracing::debug!(node = location.node, "a client did not close its stream in time");
    }
    Ok(())
}

/// Sends what the process prints; the outcome is how it ended.
async fn print(
    mut responses: tonic::Streaming<v1::ExecResponse>,
    protocol: Protocol,
    sink: &mut SplitSink<socket::Socket, Message>,
) -> Result<Result<i32, StatusError>, Error> {
    let mut code = 0;
    loop {
        match responses.message().await {
            Ok(Some(response)) => match response.output {
                Some(Output::Stdout(data)) => sink.send(protocol.encode(channels::STDOUT, &data)).await?,
                Some(Output::Stderr(data)) => sink.send(protocol.encode(channels::STDERR, &data)).await?,
                Some(Output::ExitCode(exit)) => code = exit,
                None => {}
            },
            Ok(None) => return Ok(Ok(code)),
            Err(status) => return Ok(Err(from_grpc(&status))),
        }
    }
}

/// Hands the client's messages on until it leaves.
async fn read(
    source: &mut SplitStream<socket::Socket>,
    protocol: Protocol,
    sender: &mpsc::Sender<v1::ExecRequest>,
) -> Result<(), Error> {
    while let Some(message) = source.next().await {
        let message = message?;
        if message.is_close() {
            return Ok(());
        }
        let input = match protocol.decode(message) {
            Ok(Input::Data(channels::STDIN, data)) if !data.is_empty() => ExecInput::Stdin(data),
            Ok(Input::Data(channels::RESIZE, data)) => match serde_json::from_slice::<TerminalSize>(&data) {
                Ok(size) => {
                    let (width, height) = (size.width.into(), size.height.into());
                    ExecInput::Resize(v1::TerminalSize { width, height })
                }
                Err(error) => {
                    tracing::debug!(%error, "a terminal's size could not be read");
                    continue;
                }
            },
            Ok(Input::Closed(channels::STDIN)) => ExecInput::StdinClosed(true),
            Ok(Input::Data(..) | Input::Closed(_) | Input::Nothing) => continue,
            Err(error) => {
                tracing::debug!(error, "a client broke the rules of its stream");
                return Ok(());
            }
        };
        // When the process has ended, its input goes nowhere.
        if sender.send(v1::ExecRequest { input: Some(input) }).await.is_err() {
            tracing::trace!("input after the end of a process");
        }
    }
    Ok(())
}
