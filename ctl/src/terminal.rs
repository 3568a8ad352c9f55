//! The user's terminal: raw while a remote process has it, as before in the end.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::errors::{Failure, Outcome};

/// A terminal without line editing and echo, until dropped: also when its owner fails or panics.
pub struct RawTerminal<Terminal: AsFd> {
    terminal: Terminal,
    before: Termios,
}

impl<Terminal: AsFd> RawTerminal<Terminal> {
    /// Sets the terminal up.
    pub fn enter(terminal: Terminal) -> Outcome<Self> {
        let failed = |error: rustix::io::Errno| Failure::Message(format!("cannot set the terminal up: {error}"));
        let before = tcgetattr(&terminal).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&terminal, OptionalActions::Now, &raw).map_err(failed)?;
        Ok(RawTerminal { terminal, before })
    }
}

impl<Terminal: AsFd> Drop for RawTerminal<Terminal> {
    fn drop(&mut self) {
        // A terminal that went away needs nothing.
        match tcsetattr(&self.terminal, OptionalActions::Now, &self.before) {
            Ok(()) | Err(rustix::io::Errno::IO | rustix::io::Errno::BADF) => {}
            Err(error) => eprintln!("the terminal could not be restored ({error}); type: stty sane"),
        }
    }
}

/// The columns and rows of a terminal, where it tells them.
pub fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    tcgetwinsize(terminal).ok().map(|size| (size.ws_col, size.ws_row)).filter(|size| *size != (0, 0))
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::LocalModes;

    use super::*;

    fn terminal() -> (OwnedFd, std::fs::File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let path = ptsname(&master, Vec::new()).expect("a name");
        let slave = std::fs::File::options()
            .read(true)
            .write(true)
            .open(std::path::Path::new(&path.to_string_lossy().into_owned()))
            .expect("its other end");
        (master, slave)
    }

    fn echoes(terminal: &impl AsFd) -> bool {
        tcgetattr(terminal).expect("settings").local_modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() {
        let (_master, slave) = terminal();
        assert!(echoes(&slave));
        let panicked = std::panic::catch_unwind(|| {
            let raw = RawTerminal::enter(&slave).expect("raw");
            assert!(!echoes(&slave));
            drop(std::hint::black_box(Some(raw)).filter(|_| panic!("a defect")));
        });
        assert!(panicked.is_err());
        assert!(echoes(&slave));
    }
}
