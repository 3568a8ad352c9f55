//! Tells when files or folders change, by the kernel's own notifications (inotify).

use std::io;
use std::path::Path;

pub use rustix::fs::inotify::WatchFlags;
use rustix::fs::inotify::{CreateFlags, add_watch, init};
use tokio::net::unix::pipe::Receiver;

/// Room for the changes that are taken at once; what they say is not looked at.
const BUFFER: usize = 4096;

/// A watch over any number of paths.
pub struct FileWatch {
    /// Tokio's pipe reader serves any descriptor that can be polled and read.
    events: Receiver,
}

impl FileWatch {
    /// A watch over nothing yet.
    pub fn new() -> io::Result<Self> {
        let descriptor = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { events: Receiver::from_file_unchecked(descriptor.into())? })
    }

    /// Watches a file or folder as well, for these changes.
    pub fn add(&self, path: &Path, changes: WatchFlags) -> io::Result<()> {
        add_watch(&self.events, path, changes)?;
        Ok(())
    }

    /// Waits for the next changes and takes all of them. What changed does not matter: the files tell.
    pub async fn changed(&self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            self.events.readable().await?;
            match self.events.try_read(&mut buffer) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
