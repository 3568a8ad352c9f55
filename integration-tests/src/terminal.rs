//! A program on a terminal of its own, as a user runs it.

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use xtask::command;

use crate::bed::PATIENCE;

/// A terminal with a program on it. The program ends with its owner.
pub struct Terminal {
    child: Child,
    master: File,
    chunks: Receiver<Vec<u8>>,
    shown: String,
    read: usize,
}

impl Terminal {
    /// Starts a program on a new terminal of this size.
    ///
    /// # Errors
    /// There is no terminal, or the program cannot be started.
    pub fn start(program: &Command, rows: u16, columns: u16) -> Result<Self> {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("no terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name: CString = ptsname(&master, Vec::new())?;
        let terminal = OpenOptions::new().read(true).write(true).open(name.to_str()?)?;
        let master = File::from(master);
        resize(&master, rows, columns)?;
        // `setsid` makes the terminal the program's own, so that the kernel tells it of changes.
        let mut start = command::system("setsid");
        start.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        start.env_remove("KUBECONFIG").env("TERM", "xterm");
        start.stdin(terminal.try_clone()?).stdout(terminal.try_clone()?).stderr(terminal);
        let child = start.spawn().with_context(|| format!("cannot start `{}`", command::line(&start)))?;
        let (sender, chunks) = sync_channel(64);
        let mut reader = master.try_clone()?;
        // Ends when nobody has the terminal open any more: reading fails then.
        thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, master, chunks, shown: String::new(), read: 0 })
    }

    /// Types.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn type_in(&mut self, keys: &str) -> Result<()> {
        self.master.write_all(keys.as_bytes()).context("cannot type")
    }

    /// Changes the terminal's size, as dragging its window does.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        resize(&self.master, rows, columns)
    }

    /// Waits until the terminal shows a text after what was waited for before.
    ///
    /// # Errors
    /// It is not shown in time: with all that is.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown[self.read..].find(text) {
                self.read += at + text.len();
                return Ok(());
            }
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.shown.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Disconnected) => bail!("{text:?} was not shown, only {:?}", self.shown),
                Err(RecvTimeoutError::Timeout) => bail!("{text:?} is not shown, only {:?}", self.shown),
            }
        }
    }

    /// Waits until the program ends.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn ended(mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.shown.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Disconnected) => return Ok(self.child.wait()?),
                Err(RecvTimeoutError::Timeout) => bail!("the program does not end; it shows {:?}", self.shown),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn resize(master: &File, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).context("cannot resize the terminal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sees_its_terminal_and_its_changes() -> Result<()> {
        let mut program = Command::new("sh");
        program.args(["-c", "trap 'stty size; exit 3' WINCH; stty size; while read line; do :; done"]);
        let mut terminal = Terminal::start(&program, 24, 80)?;
        terminal.wait_for("24 80")?;
        terminal.resize(50, 132)?;
        terminal.type_in("\r")?;
        terminal.wait_for("50 132")?;
        assert_eq!(terminal.ended()?.code(), Some(3));
        Ok(())
    }
}
