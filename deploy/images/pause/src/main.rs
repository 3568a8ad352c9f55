//! The pause image's one program: the first process of a pod's sandbox. It holds the pod's
//! namespaces open until it is told to end, and reaps the children that other containers of a pod
//! with a shared process namespace leave behind.

use std::{io, process::ExitCode};

use rustix::process::{WaitOptions, wait};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};

fn main() -> ExitCode {
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pause: cannot wait for signals: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns when SIGTERM or SIGINT arrives.
fn hold() -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGCHLD])?;
    for signal in signals.forever() {
        match signal {
            SIGCHLD => reap(),
            _ => break,
        }
    }
    Ok(())
}

/// Collects every child that has ended. One SIGCHLD may stand for several of them, and none may
/// be left when another call was faster: both end the loop.
fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}
