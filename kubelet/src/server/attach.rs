//! An attach session: the streams of a container's first process, carried both ways. It ends with the container or
//! with its user, and never ends the container.

use k8s_openapi::api::core::v1::Container;
use reeve_proto::v1::exec_request::Input;
use reeve_proto::v1::exec_response::Output;
use reeve_proto::v1::{ExecRequest, ExecResponse, ExecStart};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::runtime::Runtime;
use crate::runtime::attach::{AttachSpec, Attached, AttachedInput, AttachedOutput, Piece};

/// What the user wants, as far as the container has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    pub fn new(start: &ExecStart, container: Option<&Container>) -> Self {
        let has = |field: fn(&Container) -> Option<bool>| container.and_then(field) == Some(true);
        let tty = has(|it| it.tty);
        Self { stdin: start.stdin && has(|it| it.stdin), stdout: start.stdout, stderr: start.stderr && !tty, tty }
    }

    pub fn spec(self) -> AttachSpec {
        AttachSpec { stdin: self.stdin, tty: self.tty }
    }
}

/// Sets the size of the container's terminal.
pub(super) struct Resizer {
    pub runtime: Runtime,
    pub container_id: String,
}

/// Carries a session to its end.
pub(super) async fn run(
    attached: Attached,
    wanted: Wanted,
    resizer: Resizer,
    requests: Streaming<ExecRequest>,
    sender: mpsc::Sender<Result<ExecResponse, Status>>,
) {
    let Attached { input, output } = attached;
    let feeding = tokio::spawn(feed(requests, input, resizer));
    tokio::select! {
        () = copy(output, wanted, &sender) => {}
        // The user went away: the container goes on.
        () = sender.closed() => {}
    }
    feeding.abort();
}

async fn copy(mut output: AttachedOutput, wanted: Wanted, sender: &mpsc::Sender<Result<ExecResponse, Status>>) {
    loop {
        let response = match output.next().await {
            Ok(Some(Piece::Stdout(data))) if wanted.stdout => Ok(ExecResponse { output: Some(Output::Stdout(data)) }),
            Ok(Some(Piece::Stderr(data))) if wanted.stderr => Ok(ExecResponse { output: Some(Output::Stderr(data)) }),
            Ok(Some(_)) => continue,
            Ok(None) => return,
            Err(error) => Err(Status::internal(format!("error attaching to container: {error}"))),
        };
        let failed = response.is_err();
        if sender.send(response).await.is_err() || failed {
            return;
        }
    }
}

/// Carries the user's input until its end, and sizes for as long as the session lasts.
async fn feed(mut requests: Streaming<ExecRequest>, mut input: Option<AttachedInput>, resizer: Resizer) {
    loop {
        let message = match requests.message().await {
            Ok(Some(message)) => message.input,
            Ok(None) | Err(_) => Some(Input::StdinClosed(true)),
        };
        match message {
            Some(Input::Stdin(data)) => {
                let Some(pipe) = &mut input else { continue };
                if let Err(error) = pipe.write(&data).await {
                    tracing::debug!(container = %resizer.container_id, %error, "a container takes no more input");
                    input = None;
                }
            }
            Some(Input::Resize(size)) => {
                let resized = resizer.runtime.resize(&resizer.container_id, size.width, size.height).await;
                if let Err(error) = resized {
                    tracing::debug!(container = %resizer.container_id, %error, "a terminal could not be resized");
                }
            }
            Some(Input::StdinClosed(_)) => match input.take() {
                Some(pipe) => {
                    if let Err(error) = pipe.close().await {
                        tracing::debug!(container = %resizer.container_id, %error, "input could not be ended");
                    }
                }
                None => return,
            },
            Some(Input::Start(_)) | None => {}
        }
    }
}
