//! A program whose output is followed line by line while it runs.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use xtask::command;

use crate::bed::PATIENCE;

/// Lines that may wait to be read; the program waits beyond.
const LINES_WAITING: usize = 1024;

/// A running program. It ends with its owner.
pub struct Follow {
    child: Child,
    what: String,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Follow {
    /// Starts the program.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let what = command::line(&command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start `{what}`"))?;
        let output = child.stdout.take().context("it has an output")?;
        let (sender, lines) = sync_channel(LINES_WAITING);
        // Ends with the program, or with the receiver.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, what, lines, seen: Vec::new() })
    }

    /// Waits for a line.
    ///
    /// # Errors
    /// The program ends or takes too long: with what it wrote.
    pub fn wait_for(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if holds(&line) {
                        return Ok(line);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => bail!("{what}: `{}` ended after {:#?}", self.what, self.seen),
                Err(RecvTimeoutError::Timeout) => bail!("{what}: `{}` wrote only {:#?}", self.what, self.seen),
            }
        }
    }

    /// Waits until the program ends by itself, and returns all that it wrote.
    ///
    /// # Errors
    /// It takes too long.
    pub fn ended(mut self) -> Result<(ExitStatus, Vec<String>)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("`{}` does not end; it wrote {:#?}", self.what, self.seen),
            }
        }
        Ok((self.child.wait()?, std::mem::take(&mut self.seen)))
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
