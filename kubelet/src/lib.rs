//! Reeve's kubelet: runs a node's pods through the container runtime.
//!
//! - [`pod`]: the pure core. What to do for a pod and what to say about it.
//! - [`agent`]: the event loop that owns the pods' workers, and the executor that does what the core asks for.
//! - [`runtime`]: CRI and containerd.
//! - [`volume`]: pods' files; [`file_watch`]: their changes.
//! - [`certificate`]: the kubelet's own certificates, how it joins a cluster.
//! - [`node`]: the node's object, lease and cgroups.
//! - [`static_pods`]: pods of the node's own files.
//! - [`pressure`]: what is done before the node runs out of memory or disk; [`log_rotation`]: of logs that have grown.
//! - [`pulled`]: whose credentials have pulled which image.
//! - [`server`]: the kubelet's port: logs, exec, attach and port-forward for the API server, figures for those who may.
//! - [`stats`]: what the node and its pods use.

pub mod agent;
pub mod certificate;
pub mod config;
pub mod log_rotation;
pub mod node;
pub mod pod;
pub mod pressure;
pub mod pulled;
pub mod quantity;
pub mod runtime;
pub mod server;
pub mod static_pods;
pub mod stats;
pub mod volume;

pub use reeve_client::file_watch;
