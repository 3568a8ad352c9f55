//! `rctl exec`: a command in a container, with its terminal and its exit code.

use clap::Args;

use super::logs::{default_container, one_pod};
use crate::attached::{self, Process, StreamArgs};
use crate::errors::{Outcome, fail};
use crate::session::Session;
use crate::value::{items, text};

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
    #[command(flatten)]
    streams: StreamArgs,
    /// The command, after --
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: ExecArgs) -> Outcome {
    let target = match (args.words.as_slice(), args.command.as_slice()) {
        ([], _) => return fail("pod, type/name or --filename must be specified"),
        ([_], []) => return fail("you must specify at least one command for the container"),
        ([target], _) => target,
        _ => return fail("exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead"),
    };
    let cluster = session.cluster()?;
    let pod = one_pod(session, &cluster, target).await?;
    attached::check_running(&pod, "exec into")?;
    let StreamArgs { container, stdin, tty, quiet } = args.streams;
    let container = match (&container, items(&pod, "spec.containers")) {
        // Not to say which container it is.
        (None, [first, ..]) if quiet => text(first, "name").to_owned(),
        (asked, _) => default_container(session, &pod, asked.as_deref())?,
    };
    let tty = attached::usable_tty(session, tty, stdin, quiet)?;
    let start = attached::start(&pod, container, args.command, stdin, tty);
    attached::run(session, &cluster, Process::New, start).await
}
