//! Progress of long waits, on terminals only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::io::Io;

/// A spinner with a text on standard error; nothing when that is no terminal.
pub struct Progress {
    bar: ProgressBar,
}

const TICK: Duration = Duration::from_millis(120);

impl Progress {
    /// Begins; `total` counts what is waited for.
    pub fn start(io: &Io, total: usize) -> Progress {
        if !io.err_is_terminal {
            return Progress { bar: ProgressBar::hidden() };
        }
        let bar = ProgressBar::with_draw_target(u64::try_from(total).ok(), ProgressDrawTarget::stderr());
        let template =
            if total > 1 { "{spinner} [{pos}/{len}] {msg} ({elapsed})" } else { "{spinner} {msg} ({elapsed})" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Progress { bar }
    }

    /// Says what is waited for.
    pub fn show(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// One is done.
    pub fn advance(&self) {
        self.bar.inc(1);
    }

    /// Takes the spinner off the screen while a line is printed.
    pub fn pause<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }

    /// Removes it.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
