//! The demo image's one program: a small web server, and the clients and helpers that walks and
//! tests need inside a container that has no shell and no tools. It is one static binary, also
//! reachable under the names of its applets (`/bin/sh`, `/bin/cat`, ...).

mod applets;
mod archive;
mod association;
mod client;
mod datagram;
mod dns;
mod health;
mod load;
mod server;
mod shell;
mod terminal;

use std::process::ExitCode;

const USAGE: &str = "\
usage: demo COMMAND [ARGUMENTS]

servers:
  serve [--port 8080]         HTTP: / (who answered), /healthz, /ready, /ready/on, /ready/off,
                              /healthz/off, /slow?ms=N, /env; and a UDP echo on the same port
        [--grpc-port N]       gRPC's health service too: liveness (and no name) is /healthz,
                              readiness is /ready
        [--sctp-port N]       an echo by SCTP too
clients (exit codes are curl's: 6 name, 7 connect, 22 HTTP status, 28 time-out):
  get URL [--timeout SECONDS] [--retry SECONDS]
                              print the body of an answer
  load URL [--workers N] [--rate PER_SECOND] [--requests N]
                              ask until standard input ends (or N times), then print a summary
  lookup NAME [TYPE]          print what the cluster's DNS says (A, AAAA, SRV, PTR, ...)
  lookup NAME --follow SERVER print each change of a name's addresses, with its time
  dial HOST:PORT              open a TCP connection, exit 0 if that works
  udp HOST:PORT TEXT          send a datagram, print the answer
  sctp HOST:PORT TEXT         open an association, send a message, print the answer
helpers:
  sh [-c LINE]                a small line interpreter
  sleep SECONDS | sleep infinity, env, echo, cat [FILE...], write FILE TEXT, ls [DIR], hostname,
  id, true, false, crash [CODE] [--after SECONDS]
  tar cf - PATH, tar -xmf - [-C FOLDER]
                              for `kubectl cp`
  stty size [--follow]        rows and columns of the terminal, again at each change
";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    let invoked_as = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    let name = invoked_as.rsplit('/').next().unwrap_or_default();
    let command = if applets::is_applet(name) {
        name.trim_start_matches('-').to_owned()
    } else if arguments.is_empty() {
        "serve".to_owned()
    } else {
        arguments.remove(0)
    };
    ExitCode::from(run(&command, &arguments))
}

/// Runs one command and returns its exit code.
fn run(command: &str, arguments: &[String]) -> u8 {
    match command {
        "serve" => server::main(arguments),
        "get" => client::main(arguments),
        "load" => load::main(arguments),
        "lookup" => dns::main(arguments),
        "dial" => client::dial_main(arguments),
        "udp" => datagram::main(arguments),
        "sctp" => association::main(arguments),
        "sh" | "shell" => shell::main(arguments),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            0
        }
        other if applets::is_applet(other) => applets::main(other, arguments),
        other => {
            eprintln!("demo: unknown command {other:?}\n\n{USAGE}");
            2
        }
    }
}

/// The value after `flag`, if it is there.
fn option<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let position = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(position + 1).map(String::as_str)
}

/// The arguments that are neither flags nor the values of flags.
fn positional(arguments: &[String]) -> Vec<&str> {
    let mut found = Vec::new();
    let mut skip = false;
    for argument in arguments {
        if skip {
            skip = false;
        } else if argument.starts_with("--") {
            skip = true;
        } else {
            found.push(argument.as_str());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_positions_do_not_mix() {
        let arguments: Vec<String> =
            ["--timeout", "3", "http://web/", "x"].iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(option(&arguments, "--timeout"), Some("3"));
        assert_eq!(option(&arguments, "--workers"), None);
        assert_eq!(positional(&arguments), ["http://web/", "x"]);
    }
}
