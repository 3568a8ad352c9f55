//! `rctl attach`: the streams of a container's own process.

use clap::Args;
use serde_json::Value;

use super::logs::{default_container, one_pod};
use crate::attached::{self, Process, StreamArgs};
use crate::errors::{Outcome, fail};
use crate::session::Session;
use crate::value::{flag, items, name, text};

const EXAMPLES: &str = "  \
  # Get output from running pod mypod, using the first container by default
  rctl attach mypod

  # Get output from ruby-container from pod mypod
  rctl attach mypod -c ruby-container

  # Switch to raw terminal mode; sends stdin to ruby-container and its output back to the client
  rctl attach mypod -c ruby-container -i -t";

/// Attach to a process that is already running inside an existing container.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct AttachArgs {
    /// POD or TYPE/NAME
    #[arg(value_name = "POD | TYPE/NAME")]
    words: Vec<String>,
    #[command(flatten)]
    streams: StreamArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: AttachArgs) -> Outcome {
    let target = match args.words.as_slice() {
        [target] => target.clone(),
        [] => return fail("at least 1 argument is required for attach"),
        words => {
            return fail(format!(
                "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {}: {words:?}",
                words.len()
            ));
        }
    };
    let cluster = session.cluster()?;
    let pod = one_pod(session, &cluster, &target).await?;
    attach(session, &cluster, &pod, &args.streams).await
}

/// Attaches to a pod's container.
pub async fn attach(
    session: &mut Session,
    cluster: &crate::session::Cluster,
    pod: &Value,
    options: &StreamArgs,
) -> Outcome {
    attached::check_running(pod, "attach")?;
    let container = default_container(session, pod, options.container.as_deref())?;
    let spec = items(pod, "spec.containers").iter().find(|known| text(known, "name") == container);
    let mut tty = options.tty;
    if tty && spec.is_some_and(|spec| !flag(spec, "tty")) {
        tty = false;
        if !options.quiet {
            session.io.note(&format!("error: Unable to use a TTY - container {container} did not allocate one"))?;
        }
    } else if !tty && spec.is_some_and(|spec| flag(spec, "tty")) && options.stdin && session.io.input_is_terminal {
        // The container was launched with a TTY, so it will be used here too.
        tty = true;
    }
    let tty = attached::usable_tty(session, tty, options.stdin, options.quiet)?;
    if !options.quiet {
        session.io.note("If you don't see a command prompt, try pressing enter.")?;
    }
    let start = attached::start(pod, container.clone(), Vec::new(), options.stdin, tty);
    attached::run(session, cluster, Process::First, start).await?;
    if options.stdin && tty && !options.quiet && text(pod, "spec.restartPolicy") == "Always" {
        session.io.note(&format!(
            "Session ended, resume using 'rctl attach {} -c {container} -i -t' command when the pod is running",
            name(pod)
        ))?;
    }
    Ok(())
}
