//! What the node has given to its pods, kept in the folder of each: a kubelet that starts anew goes on with it.

use std::io;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;

use super::Executor;
use crate::node::cgroup;
use crate::pod::allocation::Allocation;
use crate::pod::{resize, resources, spec};
use crate::volume;

const FILE: &str = "allocation.json";

impl Executor {
    fn allocation_path(&self, uid: &str) -> PathBuf {
        self.config.pod_dir(uid).join(FILE)
    }

    /// Keeps the resources that a pod has.
    pub fn keep_allocation(&self, pod: &Pod) {
        let path = self.allocation_path(spec::uid(pod));
        let write = || -> io::Result<()> {
            volume::create_dir(&self.config.pod_dir(spec::uid(pod)), 0o750)?;
            let unfinished = path.with_extension("new");
            std::fs::write(&unfinished, serde_json::to_vec(&Allocation::of(pod)).map_err(io::Error::other)?)?;
            std::fs::rename(&unfinished, &path)
        };
        if let Err(error) = write() {
            tracing::warn!(pod = %spec::key(pod), %error, "what the pod was given is not kept over a restart");
        }
    }

    /// The resources that were kept of a pod.
    pub fn kept_allocation(&self, uid: &str) -> Option<Allocation> {
        let path = self.allocation_path(uid);
        let read = || serde_json::from_slice(&std::fs::read(&path)?).map_err(io::Error::other);
        match read() {
            Ok(allocation) => Some(allocation),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what a pod was given cannot be read: it has what its spec says");
                None
            }
        }
    }

    /// The limits of a pod's own cgroup in the words of [`resize::pod_mark`]; other words where it has others.
    pub fn cgroup_mark(&self, pod: &Pod) -> String {
        match cgroup::pod_has(&self.config.cgroup_root, pod, resources::pod_limits(pod)) {
            Ok(true) => resize::pod_mark(pod),
            Ok(false) => String::new(),
            Err(error) => {
                tracing::warn!(pod = %spec::key(pod), %error, "the pod's cgroup cannot be read");
                String::new()
            }
        }
    }
}
