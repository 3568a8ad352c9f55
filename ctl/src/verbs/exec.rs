//! `rctl exec`: a command in a container, with its terminal and its exit code.

use clap::Args;
use reeve_client::streams::ExecStart;

use super::logs::{default_container, one_pod};
use crate::attached::{self, Process};
use crate::errors::{Outcome, fail};
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
    let tty = attached::usable_tty(session, args.tty, args.stdin, args.quiet)?;
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
    attached::run(session, &cluster, Process::New, start).await
}
