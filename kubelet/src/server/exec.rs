//! An exec session: a further process in a container, its streams carried both ways.

use std::time::Duration;

use bytes::Bytes;
use reeve_proto::v1::exec_request::Input;
use reeve_proto::v1::exec_response::Output;
use reeve_proto::v1::{ExecRequest, ExecResponse};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::runtime::exec::{ExecControl, ExecProcess};

const READ: usize = 32 << 10;
/// How long the output of a process that ended is waited for: a child may hold its streams open.
const DRAIN: Duration = Duration::from_secs(5);

/// Carries an exec session from its start to its exit code.
pub(super) async fn run(
    process: ExecProcess,
    input: Streaming<ExecRequest>,
    sender: mpsc::Sender<Result<ExecResponse, Status>>,
) {
    let ExecProcess { stdin, stdout, stderr, mut control } = process;
    let feeding = tokio::spawn(feed(input, stdin, control.clone()));
    let out = tokio::spawn(copy(stdout, sender.clone(), Output::Stdout));
    let err = stderr.map(|stderr| tokio::spawn(copy(stderr, sender.clone(), Output::Stderr)));
    let exit = tokio::select! {
        exit = control.wait() => Some(exit),
        // The user went away: so does the process.
        () = sender.closed() => None,
    };
    match exit {
        Some(exit) => {
            let drained = async {
                for task in [Some(out), err].into_iter().flatten() {
                    if let Err(error) = task.await {
                        tracing::warn!(%error, "an exec's output task failed");
                    }
                }
            };
            if tokio::time::timeout(DRAIN, drained).await.is_err() {
                tracing::debug!("a child of an exec's process keeps its output open");
            }
            let last = exit
                .map(|code| ExecResponse { output: Some(Output::ExitCode(code)) })
                .map_err(|error| Status::internal(error.to_string()));
            if sender.send(last).await.is_err() {
                tracing::debug!("the user of an exec went away at its end");
            }
        }
        None => {
            control.kill().await;
            if let Err(error) = control.wait().await {
                tracing::debug!(%error, "the end of a killed exec process could not be awaited");
            }
        }
    }
    feeding.abort();
    control.finish().await;
}

async fn feed(
    mut input: Streaming<ExecRequest>,
    mut stdin: Option<tokio::net::unix::pipe::Sender>,
    mut control: ExecControl,
) {
    loop {
        let message = match input.message().await {
            Ok(Some(message)) => message.input,
            Ok(None) | Err(_) => Some(Input::StdinClosed(true)),
        };
        let closed = match message {
            Some(Input::Stdin(data)) => match &mut stdin {
                Some(pipe) => pipe.write_all(&data).await.is_err(),
                None => false,
            },
            Some(Input::Resize(size)) => {
                if let Err(error) = control.resize(size.width, size.height).await {
                    tracing::debug!(%error, "a terminal could not be resized");
                }
                false
            }
            Some(Input::StdinClosed(_)) => true,
            Some(Input::Start(_)) | None => false,
        };
        if closed && stdin.take().is_some() {
            if let Err(error) = control.close_stdin().await {
                tracing::debug!(%error, "an exec's stdin could not be closed");
            }
        } else if closed {
            return;
        }
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    sender: mpsc::Sender<Result<ExecResponse, Status>>,
    wrap: fn(Bytes) -> Output,
) {
    let mut buffer = vec![0; READ];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return,
            Ok(count) => {
                let response = ExecResponse { output: Some(wrap(Bytes::copy_from_slice(&buffer[..count]))) };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "an exec's output could not be read");
                return;
            }
        }
    }
}
