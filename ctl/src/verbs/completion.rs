//! `rctl completion`.

use clap::Args;
use clap_complete::Shell;

use crate::cli;
use crate::errors::{Outcome, fail};
use crate::session::Session;

const EXAMPLES: &str = "  \
  # Load the rctl completion code for bash into the current shell
  source <(rctl completion bash)

  # Load the rctl completion code for zsh into the current shell
  source <(rctl completion zsh)

  # Load the rctl completion code for fish into the current shell
  rctl completion fish | source";

/// Output shell completion code for the specified shell (bash, zsh, fish, or powershell).
///
/// The shell code must be evaluated to provide interactive completion of rctl commands.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shells: Vec<String>,
}

/// Runs the command.
pub fn run(session: &mut Session, args: &CompletionArgs) -> Outcome {
    let shell = match args.shells.as_slice() {
        [] => return crate::errors::usage("rctl completion", "shell not specified"),
        [shell] => shell,
        _ => return crate::errors::usage("rctl completion", "too many arguments. Expected only the shell type"),
    };
    let shell = match shell.as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        "powershell" => Shell::PowerShell,
        other => return fail(format!("unsupported shell type {other:?}")),
    };
    clap_complete::generate(shell, &mut cli::command(), "rctl", &mut session.io.out);
    Ok(())
}
