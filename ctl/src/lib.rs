//! `rctl`: the verbs, flags, output and exit codes of `kubectl`, over gRPC.
//!
//! [`run`] is the whole program with its input and output injected. A verb is one file in [`verbs`]; it reads
//! objects as plain JSON through [`session::Cluster`], decides in pure functions, and prints through [`output`].

pub mod attached;
pub mod builtins;
pub mod cli;
pub mod completion;
pub mod describe;
pub mod diagnose;
pub mod discovery_cache;
pub mod duration;
pub mod errors;
pub mod explain;
pub mod io;
pub mod kubeconfig;
pub mod kustomize;
pub mod manifest;
pub mod merge;
pub mod names;
pub mod output;
pub mod plugins;
pub mod resolve;
pub mod session;
pub mod terminal;
pub mod value;
pub mod verbs;
pub mod watching;

use std::io::Write;

use clap::FromArgMatches;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::io::Io;
use crate::session::Session;

/// Runs one command line (the first element is the program's name) and returns the exit code.
pub fn run(args: &[String], mut io: Io) -> i32 {
    let words = args.get(1..).unwrap_or_default();
    if let Some(("__complete", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return completion::run(rest, io);
    }
    if let Some(first) = words.first()
        && !cli::is_command(first)
        && let Some((plugin, count)) = plugins::find(words, &io)
    {
        return plugins::run(&plugin, words.get(count..).unwrap_or_default(), &mut io);
    }
    let cli = match cli::command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.settled(),
        Err(error) => {
            let (code, written) = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                (1, write!(io.err, "{}", error.render()))
            } else if error.use_stderr() {
                (1, writeln!(io.err, "{}", cli::usage_text(&error, args)))
            } else {
                (0, write!(io.out, "{}", error.render()).and_then(|()| io.out.flush()))
            };
            return if written.is_ok() { code } else { 1 };
        }
    };
    let mut session = Session::new(io, cli.globals);
    let outcome = verbs::dispatch(&mut session, cli.verb);
    let warned = session.print_warnings();
    let outcome = outcome.and(warned).and_then(|()| Ok(session.io.out.flush()?));
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            // What was printed so far belongs before the error; if it cannot be written, the error still can.
            let flushed = session.io.out.flush();
            let text = failure.text();
            let written = if text.is_empty() { Ok(()) } else { writeln!(session.io.err, "{text}") };
            match flushed.and(written) {
                Ok(()) => failure.exit_code(),
                Err(error) => errors::Failure::Output(error).exit_code(),
            }
        }
    }
}
