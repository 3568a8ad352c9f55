//! What the container runtime shows of one pod: the input of the pure core.
//!
//! These are narrow values, made once from CRI answers (`runtime::observe`). Everything that must
//! outlive a restart of the kubelet is read from here, never from memory: the runtime's labels and
//! annotations carry the pod's identity, each container's attempt and its restart count.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// One pod as the runtime shows it. Sandboxes and containers come newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodObserved {
    /// The pod's sandboxes, the newest attempt first.
    pub sandboxes: Vec<Sandbox>,
    /// The containers of all sandboxes of the pod, the newest attempt of each name first.
    pub containers: Vec<Container>,
}

/// A pod sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// The attempt number from the CRI metadata.
    pub attempt: u32,
    /// Whether the sandbox is in state `SANDBOX_READY`.
    pub ready: bool,
    /// The pod's addresses, primary first; empty for pods on the host's network.
    pub ips: Vec<String>,
    /// When the sandbox was created.
    pub created_at: Timestamp,
}

/// A container with its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// The runtime's id, without a scheme.
    pub id: String,
    /// The container's name in the pod's spec.
    pub name: String,
    /// The sandbox it lives in.
    pub sandbox_id: String,
    /// The attempt number from the CRI metadata.
    pub attempt: u32,
    /// How often the container was started again, from its annotation.
    pub restart_count: i32,
    /// The hash of the definition that it was created from, from its annotation.
    pub hash: String,
    /// What its resources came to when it was made, from its annotation; empty where nobody wrote it.
    pub resources: String,
    /// The image as the spec named it.
    pub image: String,
    /// The resolved image (digest or id).
    pub image_id: String,
    /// Created, running, exited or unknown.
    pub state: ContainerState,
    /// When the container was created.
    pub created_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process ended.
    pub finished_at: Option<Timestamp>,
    /// The exit code of its process.
    pub exit_code: i32,
    /// The runtime's reason for the state (`Completed`, `Error`, `OOMKilled`, ...).
    pub reason: String,
    /// The runtime's message for the state, or the termination message.
    pub message: String,
    /// Absolute path of the log file.
    pub log_path: String,
}

/// The states that CRI knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContainerState {
    /// Created, its process not started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Its process ended.
    Exited,
    /// The runtime lost track of it.
    Unknown,
}

impl Container {
    /// Whether the process may still be alive.
    pub fn is_live(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Unknown)
    }
}

impl PodObserved {
    /// Puts sandboxes and containers in the promised order.
    pub fn sort(&mut self) {
        self.sandboxes.sort_by_key(|it| std::cmp::Reverse((it.attempt, it.created_at)));
        self.containers.sort_by_key(|it| std::cmp::Reverse((it.attempt, it.created_at)));
    }

    /// The newest container of that name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of that name that ended before the given attempt.
    pub fn before(&self, name: &str, attempt: u32) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name && container.attempt < attempt)
    }

    /// The newest sandbox, whatever its state.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest sandbox if it is ready.
    pub fn ready_sandbox(&self) -> Option<&Sandbox> {
        self.sandbox().filter(|sandbox| sandbox.ready)
    }

    /// Whether the runtime holds nothing of the pod any more.
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    /// The live containers, newest first.
    pub fn live(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.is_live())
    }
}

/// Everything that the runtime holds for pods of this node, by pod UID.
pub type NodeObserved = BTreeMap<String, ObservedPod>;

/// A pod found in the runtime: identity from its labels, and its state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedPod {
    /// `metadata.namespace` of the pod.
    pub namespace: String,
    /// `metadata.name` of the pod.
    pub name: String,
    /// The sandboxes and containers.
    pub observed: PodObserved,
}
