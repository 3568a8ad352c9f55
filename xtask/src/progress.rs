//! Shows what goes on: one line a step, moving on a terminal, plain elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The steps of one command.
pub struct Progress {
    bars: Option<MultiProgress>,
    started: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Moving lines if standard error is a terminal.
    pub fn new() -> Self {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Self { bars, started: Instant::now() }
    }

    /// How long the command runs so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs one step under a title; a failure says which step it was.
    ///
    /// # Errors
    /// The step's.
    pub fn step<T>(&self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let started = Instant::now();
        let result = work();
        let mark = if result.is_ok() { "ok    " } else { "FAILED" };
        let line = format!("{mark} {title} ({:.2} s)", started.elapsed().as_secs_f64());
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        self.line(&line);
        result.with_context(|| format!("step failed: {title}"))
    }

    /// Prints a line without disturbing what moves.
    pub fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                if bars.println(text).is_err() {
                    eprintln!("{text}");
                }
            }
            None => {
                let mut stderr = std::io::stderr().lock();
                // Progress that cannot be shown is no reason to stop the work.
                writeln!(stderr, "{text}").ok();
            }
        }
    }
}
