//! Waiting: for what `rctl get` shows, woken by its watch, and for answers that nobody tells of.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask::{command, rctl::Rctl};

use crate::bed::PATIENCE;

/// Waits until what `rctl get ARGUMENTS -o json` returns satisfies a condition. Woken by a watch.
///
/// # Errors
/// It does not come about in time: with the last state.
pub fn wait_for(rctl: &Rctl, arguments: &[&str], what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    let mut watch_arguments = vec!["get"];
    watch_arguments.extend(arguments);
    let get = watch_arguments.clone();
    watch_arguments.extend(["--watch", "-o", "name"]);
    let mut watch = Watch::start(rctl.command(&watch_arguments))?;
    let (sender, changes) = sync_channel::<()>(64);
    let output = watch.child.stdout.take().context("rctl has an output")?;
    thread::spawn(move || {
        for _line in BufReader::new(output).lines().map_while(Result::ok) {
            // The receiver looks at the newest state each time: a full channel loses nothing.
            match sender.try_send(()) {
                Ok(()) | Err(TrySendError::Full(())) => {}
                Err(TrySendError::Disconnected(())) => return,
            }
        }
    });
    loop {
        let state = rctl.json(&get);
        if let Ok(state) = &state
            && holds(state)
        {
            return Ok(state.clone());
        }
        // A watch that ended (the API server was killed) is started anew by the caller's next round.
        match changes.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) if Instant::now() < deadline => {
                bail!("{what}: the watch ended; the last state was {state:?}")
            }
            Err(_) => bail!("{what}: not within {} s; the last state was {state:?}", PATIENCE.as_secs()),
        }
    }
}

/// A watch that ends with its owner.
struct Watch {
    child: Child,
}

impl Watch {
    fn start(mut command: Command) -> Result<Self> {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::line(&command)))?;
        Ok(Self { child })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks until the answer is as wanted: for what no watch tells, such as the rules of a node's kernel.
///
/// # Errors
/// It is not within [`PATIENCE`]: with the last answer.
#[expect(clippy::disallowed_methods, reason = "nobody tells a client of Services what the rules of a node are")]
pub fn ask_until<T: std::fmt::Debug>(what: &str, mut ask: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if holds(&answer) {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s; the last answer was {answer:?}", PATIENCE.as_secs());
        }
        thread::sleep(PAUSE);
    }
}
