//! `rctl exec`: a command in a container, with its terminal and its exit code.

use std::io::{Read, Write as _};
use std::os::fd::AsFd as _;

use bytes::Bytes;
use clap::Args;
use futures::{Stream, StreamExt as _};
use reeve_client::streams::{self, ExecRequest, ExecStart, exec_request, exec_response};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::logs::{default_container, one_pod};
use crate::errors::{Failure, Outcome, fail};
use crate::session::Session;
use crate::value::{name, namespace, text};

const EXAMPLES: &str = "  \
  # Get output from running the 'date' command from pod web, using the first container by default
  rctl exec web -- date

  # Get output from running the 'date' command in ruby-container from pod web
  rctl exec web -c ruby-container -- date

  # Switch to raw terminal mode; sends stdin to 'bash' in pod web and sends stdout/stderr back to the client
  rctl exec web -i -t -- bash -il

  # Run 'date' in the first pod of the deployment web
  rctl exec deploy/web -- date";

/// Execute a command in a container.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ExecArgs {
    /// POD or TYPE/NAME
    #[arg(value_name = "POD | TYPE/NAME")]
    words: Vec<String>,
    /// Container name. If omitted, the pod's default or first container
    #[arg(short = 'c', long, value_name = "NAME")]
    container: Option<String>,
    /// Pass stdin to the container
    #[arg(short = 'i', long)]
    stdin: bool,
    /// Stdin is a TTY
    #[arg(short = 't', long)]
    tty: bool,
    /// Only print output from the remote session
    #[arg(short = 'q', long)]
    quiet: bool,
    /// The command, after --
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Pieces of input on their way; more make the reader wait.
const INPUT_IN_FLIGHT_MAX: usize = 16;
const INPUT_BYTES_MAX: usize = 16 * 1024;

/// Runs the command.
pub async fn run(session: &mut Session, args: ExecArgs) -> Outcome {
    let target = match (args.words.as_slice(), args.command.as_slice()) {
        ([], []) => return fail("pod, type/name or --filename must be specified"),
        ([], _) => return fail("pod, type/name or --filename must be specified"),
        ([_], []) => return fail("you must specify at least one command for the container"),
        ([target], _) => target,
        _ => return fail("exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead"),
    };
    let cluster = session.cluster()?;
    let pod = one_pod(session, &cluster, target).await?;
    if matches!(text(&pod, "status.phase"), "Succeeded" | "Failed") {
        return fail(format!(
            "cannot exec into a container in a completed pod; current phase is {}",
            text(&pod, "status.phase")
        ));
    }
    let container = if args.quiet && args.container.is_none() {
        text(crate::value::items(&pod, "spec.containers").first().unwrap_or(&serde_json::Value::Null), "name")
            .to_owned()
    } else {
        default_container(session, &pod, args.container.as_deref())?
    };
    let mut tty = args.tty;
    if tty && (!session.io.input_is_terminal || !args.stdin) {
        tty = false;
        if !args.quiet {
            session.io.note("Unable to use a TTY - input is not a terminal or the right kind of file")?;
        }
    }
    let start = ExecStart {
        namespace: namespace(&pod).to_owned(),
        pod: name(&pod).to_owned(),
        container,
        command: args.command.clone(),
        stdin: args.stdin,
        stdout: true,
        // A terminal has one output.
        stderr: !tty,
        tty,
    };
    let raw = if tty { Some(RawTerminal::enter()?) } else { None };
    let input: Box<dyn Read + Send> = std::mem::replace(&mut session.io.input, Box::new(std::io::empty()));
    let requests = requests(start, args.stdin.then_some(input), tty)?;
    let mut responses = std::pin::pin!(cluster.call(cluster.client().streams().exec(requests)).await?);
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
    drop(raw);
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            session.io.note(&format!("command terminated with exit code {code}"))?;
            Err(Failure::Exit(code))
        }
        None => fail("the connection ended before the command did; it may still run in the container"),
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
                if let Ok(size) = tcgetwinsize(std::io::stdin().as_fd())
                    && sender.send(streams::resize(size.ws_col, size.ws_row)).await.is_err()
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
        None => drop(sender),
    }
    Ok(first.chain(ReceiverStream::new(receiver)))
}

/// The terminal without line editing and echo, until dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Outcome<RawTerminal> {
        let failed = |error: rustix::io::Errno| Failure::Message(format!("cannot set the terminal up: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(RawTerminal { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        if tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).is_err() {
            eprintln!("the terminal could not be restored; type: stty sane");
        }
    }
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
