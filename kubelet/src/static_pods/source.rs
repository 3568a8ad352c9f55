//! The folder (or the one file) of manifests: read at the start and at each change.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use tokio_util::sync::CancellationToken;

use super::{StaticPods, file};
use crate::file_watch::{FileWatch, WatchFlags};
use crate::pod::spec;

/// Reads manifests and tells which pods changed.
pub struct Source<F> {
    path: PathBuf,
    node: String,
    pods: StaticPods,
    watch: FileWatch,
    tell: F,
}

impl<F: Fn(ObjectKey)> Source<F> {
    /// Watches the path, then reads it for the first time: nothing that is written later goes unnoticed.
    ///
    /// # Errors
    /// When the path cannot be watched or read.
    pub fn open(path: &Path, node: &str, pods: StaticPods, tell: F) -> io::Result<Self> {
        let watch = FileWatch::new()?;
        let changes = WatchFlags::CREATE | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE;
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
        watch.add(folder, changes | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM)?;
        let source = Self { path: path.to_owned(), node: node.to_owned(), pods, watch, tell };
        source.read()?;
        Ok(source)
    }

    /// Follows the path until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let changed = tokio::select! {
                () = shutdown.cancelled() => return,
                changed = self.watch.changed() => changed,
            };
            if let Err(error) = changed.and_then(|()| self.read()) {
                tracing::error!(path = %self.path.display(), %error, "static pods are no longer followed");
                return;
            }
        }
    }

    fn read(&self) -> io::Result<()> {
        let mut pods: BTreeMap<ObjectKey, Arc<Pod>> = BTreeMap::new();
        for path in self.files()? {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a manifest cannot be read");
                    continue;
                }
            };
            match file::parse(&text, &path, &self.node, Timestamp::now()) {
                Ok(pod) => {
                    let key = spec::key(&pod);
                    if pods.insert(key.clone(), Arc::new(pod)).is_some() {
                        tracing::error!(path = %path.display(), pod = %key, "two manifests have one name: this one counts");
                    }
                }
                Err(error) => tracing::error!(path = %path.display(), %error, "a manifest is no static pod"),
            }
        }
        for key in self.pods.replace(pods) {
            tracing::info!(pod = %key, present = self.pods.get(&key).is_some(), "a static pod changed");
            (self.tell)(key);
        }
        Ok(())
    }

    /// The manifests in order of their names; hidden files are none.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        if !self.path.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.path().is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }
}
