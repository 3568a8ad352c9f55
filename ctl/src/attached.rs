//! A process in a container and the user in front of it: input, output, the terminal and its size, signals.

use std::io::{Read, Write as _};
use std::os::fd::AsFd as _;

use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt as _};
use reeve_client::streams::{self, ExecRequest, ExecStart, exec_request, exec_response};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::errors::{Failure, Outcome, fail};
use crate::session::{Cluster, Session};
use crate::terminal::{self, RawTerminal};
use crate::value::{name, namespace, text};

/// Pieces of input on their way; more make the reader wait.
const INPUT_IN_FLIGHT_MAX: usize = 16;
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// What is joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// A new command.
    New,
    /// The container's own process.
    First,
}

/// The flags of those who join a container's streams.
#[derive(Args, Clone, Debug, Default)]
pub struct StreamArgs {
    /// Container name. If omitted, the pod's default or first container
    #[arg(short = 'c', long, value_name = "NAME")]
    pub container: Option<String>,
    /// Pass stdin to the container
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Stdin is a TTY
    #[arg(short = 't', long)]
    pub tty: bool,
    /// Only print output from the remote session
    #[arg(short = 'q', long)]
    pub quiet: bool,
}

/// What is asked of a pod's container. A terminal has one output.
pub fn start(pod: &Value, container: String, command: Vec<String>, stdin: bool, tty: bool) -> ExecStart {
    ExecStart {
        namespace: namespace(pod).to_owned(),
        pod: name(pod).to_owned(),
        container,
        command,
        stdin,
        stdout: true,
        stderr: !tty,
        tty,
    }
}

/// The error of a pod that has ended.
pub fn check_running(pod: &Value, action: &str) -> Outcome {
    match text(pod, "status.phase") {
        phase @ ("Succeeded" | "Failed") => {
            fail(format!("cannot {action} a container in a completed pod; current phase is {phase}"))
        }
        _ => Ok(()),
    }
}

/// Says so and goes on without a terminal where the user has none.
pub fn usable_tty(session: &mut Session, tty: bool, stdin: bool, quiet: bool) -> Outcome<bool> {
    if tty && (!session.io.input_is_terminal || !stdin) {
        if !quiet {
            session.io.note("Unable to use a TTY - input is not a terminal or the right kind of file")?;
        }
        return Ok(false);
    }
    Ok(tty)
}

/// Runs until the process ends; its exit code is the outcome. The terminal is as before afterwards.
pub async fn run(session: &mut Session, cluster: &Cluster, process: Process, start: ExecStart) -> Outcome {
    let (stdin, tty) = (start.stdin, start.tty);
    let mut ends = Ends::new()?;
    let raw = if tty { Some(RawTerminal::enter(std::io::stdin())?) } else { None };
    let input: Box<dyn Read + Send> = std::mem::replace(&mut session.io.input, Box::new(std::io::empty()));
    let requests = requests(start, stdin.then_some(input), tty)?;
    let streams = cluster.client().streams();
    let connect = async {
        match process {
            Process::New => streams.exec(requests).await,
            Process::First => streams.attach(requests).await,
        }
    };
    let ended = tokio::select! {
        ended = async {
            let mut responses = std::pin::pin!(cluster.call(connect).await?);
            let mut code = None;
            while let Some(response) = responses.next().await {
                match response.map_err(|error| cluster.explain(error))?.output {
                    Some(exec_response::Output::Stdout(bytes)) => {
                        session.io.out.write_all(&bytes)?;
                        session.io.out.flush()?;
                    }
                    Some(exec_response::Output::Stderr(bytes)) => {
                        session.io.err.write_all(&bytes)?;
                        session.io.err.flush()?;
                    }
                    Some(exec_response::Output::ExitCode(exit)) => code = Some(exit),
                    None => {}
                }
            }
            Ok::<_, Failure>(code)
        } => ended,
        // The code of a shell's child that a signal ended.
        number = ends.next() => Err(Failure::Exit(128 + number)),
    };
    // What is printed from here on needs a terminal that breaks lines.
    drop(raw);
    match (ended?, process) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => {
            session.io.note(&format!("command terminated with exit code {code}"))?;
            Err(Failure::Exit(code))
        }
        // The container's own process may outlive the attachment.
        (None, Process::First) => Ok(()),
        (None, Process::New) => fail("the connection ended before the command did; it may still run in the container"),
    }
}

/// The signals that end a program, which must not leave the terminal raw.
struct Ends([(i32, Signal); 4]);

impl Ends {
    fn new() -> Outcome<Ends> {
        let listen = |kind: SignalKind| {
            signal(kind)
                .map(|signal| (kind.as_raw_value(), signal))
                .map_err(|error| Failure::Message(format!("cannot listen for signals: {error}")))
        };
        Ok(Ends([
            listen(SignalKind::hangup())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::quit())?,
            listen(SignalKind::terminate())?,
        ]))
    }

    async fn next(&mut self) -> i32 {
        let [hangup, interrupt, quit, terminate] = &mut self.0;
        tokio::select! {
            _ = hangup.1.recv() => hangup.0,
            _ = interrupt.1.recv() => interrupt.0,
            _ = quit.1.recv() => quit.0,
            _ = terminate.1.recv() => terminate.0,
        }
    }
}

/// What is sent: the start, then sizes of the terminal and input as they come.
fn requests(
    start: ExecStart,
    input: Option<Box<dyn Read + Send>>,
    tty: bool,
) -> Outcome<impl Stream<Item = ExecRequest> + Send + 'static> {
    let (sender, receiver) = mpsc::channel::<ExecRequest>(INPUT_IN_FLIGHT_MAX);
    let first = futures::stream::iter([ExecRequest { input: Some(exec_request::Input::Start(start)) }]);
    if tty {
        let mut changes = signal(SignalKind::window_change())
            .map_err(|error| Failure::Message(format!("cannot follow the terminal's size: {error}")))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                if let Some((columns, rows)) = terminal::size(std::io::stdin().as_fd())
                    && sender.send(streams::resize(columns, rows)).await.is_err()
                {
                    return;
                }
                if changes.recv().await.is_none() {
                    return;
                }
            }
        });
    }
    match input {
        // Reading blocks, so it has a thread; the process ends without waiting for it.
        Some(mut input) => {
            std::thread::spawn(move || {
                let mut buffer = vec![0; INPUT_BYTES_MAX];
                loop {
                    let request = match input.read(&mut buffer) {
                        Ok(0) | Err(_) => streams::stdin_closed(),
                        Ok(length) => streams::stdin(Bytes::copy_from_slice(&buffer[..length])),
                    };
                    let last = matches!(request.input, Some(exec_request::Input::StdinClosed(_)));
                    if sender.blocking_send(request).is_err() || last {
                        return;
                    }
                }
            });
        }
        // A process that gets no input has no sender left but that of the terminal's size.
        None => drop(sender),
    }
    Ok(first.chain(ReceiverStream::new(receiver)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_start_comes_first_and_the_end_of_input_last() {
        let start = ExecStart { pod: "web".into(), stdin: true, ..ExecStart::default() };
        let input: Box<dyn Read + Send> = Box::new(&b"hello"[..]);
        let sent: Vec<ExecRequest> = requests(start, Some(input), false).expect("a stream").collect().await;
        let kinds: Vec<&str> = sent
            .iter()
            .map(|request| match &request.input {
                Some(exec_request::Input::Start(_)) => "start",
                Some(exec_request::Input::Stdin(bytes)) if bytes == "hello" => "hello",
                Some(exec_request::Input::StdinClosed(true)) => "closed",
                _ => "?",
            })
            .collect();
        assert_eq!(kinds, ["start", "hello", "closed"]);
    }
}
