//! `rctl plugin list`.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use crate::errors::{Outcome, fail};
use crate::plugins;
use crate::session::Session;

/// Provides utilities for interacting with plugins.
///
/// Plugins provide extended functionality that is not part of the major command-line distribution: a program
/// rctl-NAME on PATH is run as 'rctl NAME'.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    before_help = "  # List all available plugins\n  rctl plugin list\n\n  # List only their names\n  rctl plugin list --name-only"
)]
pub struct PluginArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List all visible plugin executables on a user's PATH
    #[command(
        before_help = "  # List all available plugins\n  rctl plugin list\n\n  # List only their names\n  rctl plugin list --name-only"
    )]
    List {
        /// If true, display only the binary name of each plugin, rather than its full path
        #[arg(long)]
        name_only: bool,
    },
}

/// Runs the command.
pub fn run(session: &mut Session, args: &PluginArgs) -> Outcome {
    let What::List { name_only } = args.what;
    let found = plugins::all(&session.io);
    if found.is_empty() {
        return fail("unable to find any rctl plugins in your PATH");
    }
    session.io.say("The following compatible plugins are available:\n")?;
    let mut seen = BTreeSet::new();
    let mut warnings = 0;
    for path in found {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        session.io.say(&if name_only { name.clone() } else { path.display().to_string() })?;
        if !plugins::is_program(&path) {
            warnings += 1;
            session
                .io
                .note(&format!("  - warning: {} identified as a plugin, but it is not executable", path.display()))?;
        }
        if !seen.insert(name.clone()) {
            warnings += 1;
            session.io.note(&format!("  - warning: {} is overshadowed by a similarly named plugin", path.display()))?;
        }
    }
    match warnings {
        0 => Ok(()),
        1 => fail("one plugin warning was found"),
        count => fail(format!("{count} plugin warnings were found")),
    }
}
