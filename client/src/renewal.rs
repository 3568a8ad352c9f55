//! Takes up credentials that are replaced on disk while a program runs: certificates, keys, authorities, tokens and
//! the kubeconfig that names them.
//!
//! The kernel tells when something changes in the folders of these files; then everything is read again. What does
//! not fit together is not taken up (a certificate is there before its key): the next change brings the rest. The
//! folders are watched and not the files, because files are replaced by renaming, and links by new links.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::backoff::{Backoff, keep};
use crate::file_watch::{FileWatch, WatchFlags};

/// A file is whole when its writer closes it, when it is moved to its place, and a link when it is made.
const CHANGES: WatchFlags = WatchFlags::CLOSE_WRITE.union(WatchFlags::MOVED_TO).union(WatchFlags::CREATE);

/// Waits for files to be replaced.
pub struct Renewal {
    watch: FileWatch,
    folders: BTreeSet<PathBuf>,
}

impl Renewal {
    /// Watches the folders of these files from now on. Read the files after this, so that no change goes unseen.
    pub fn of<P: AsRef<Path>>(files: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let mut renewal = Self { watch: FileWatch::new()?, folders: BTreeSet::new() };
        renewal.also(files)?;
        Ok(renewal)
    }

    /// Watches the folders of further files.
    pub fn also<P: AsRef<Path>>(&mut self, files: impl IntoIterator<Item = P>) -> io::Result<()> {
        for file in files {
            let folder = match file.as_ref().parent() {
                Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
                Some(folder) => folder,
                None => continue,
            };
            if !self.folders.contains(folder) {
                self.watch.add(folder, CHANGES).map_err(|error| {
                    io::Error::new(error.kind(), format!("cannot watch {}: {error}", folder.display()))
                })?;
                self.folders.insert(folder.to_owned());
            }
        }
        Ok(())
    }

    /// Waits until something changes in the folders.
    pub async fn changed(&self) -> io::Result<()> {
        self.watch.changed().await
    }
}

/// Calls `reload` after each change in the folders of the files that `files` names, for ever. `reload` compares what
/// it reads with what it had.
pub async fn follow(files: impl Fn() -> Vec<PathBuf>, reload: impl Fn()) {
    keep::<(), _, _>(Backoff::RECONNECT, "watching credentials", |up| {
        let (files, reload) = (&files, &reload);
        async move {
            let mut renewal = Renewal::of(files())?;
            up.tell();
            loop {
                // Once at first: the files may have changed before they were watched.
                reload();
                renewal.also(files())?;
                renewal.changed().await?;
            }
            #[expect(unreachable_code, reason = "it tells the type of the failures")]
            Ok::<(), io::Error>(())
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[tokio::test]
    async fn files_written_moved_and_linked_anew_are_read_again() {
        let folder = std::env::temp_dir().join(format!("reeve-renewal-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("tls.crt");
        let (read, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let following = tokio::spawn({
            let (file, read, told) = (file.clone(), read.clone(), told.clone());
            follow(
                move || vec![file.clone()],
                move || {
                    read.fetch_add(1, Ordering::Relaxed);
                    told.notify_one();
                },
            )
        });
        told.notified().await;
        std::fs::write(&file, "one").unwrap();
        told.notified().await;
        std::fs::write(folder.join("new"), "two").unwrap();
        told.notified().await;
        std::fs::rename(folder.join("new"), &file).unwrap();
        told.notified().await;
        std::os::unix::fs::symlink(&file, folder.join("link")).unwrap();
        told.notified().await;
        assert!(read.load(Ordering::Relaxed) >= 5);
        following.abort();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
