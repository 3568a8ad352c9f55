//! What a plan can ask for, and what each thing works on.

use jiff::Timestamp;

/// What an action works on; at most one action per target is in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The pod's volumes.
    Volumes,
    /// The making of a sandbox.
    Sandbox,
    /// The image of the container of this name.
    Image(String),
    /// The start of the container of this name.
    Start(String),
    /// The `postStart` hook of a container by id.
    PostStart(String),
    /// The resources of a running container by id.
    Resize(String),
    /// The limits of the pod's own cgroup.
    ResizePod,
    /// The stop of a container by id, to be dead at the time in seconds since 1970.
    Stop(String, i64),
    /// The stop of a sandbox by id.
    StopSandbox(String),
    /// The removal of a sandbox by id.
    RemoveSandbox(String),
    /// The removal of a container by id.
    RemoveContainer(String),
    /// The pod's files and cgroups.
    Cleanup,
    /// The pod's object in the API.
    Object,
}

impl Target {
    /// Under which the target's failures are kept: a stop with another deadline is the same stop.
    pub fn failure_key(&self) -> Target {
        match self {
            Target::Stop(id, _) => Target::Stop(id.clone(), 0),
            other => other.clone(),
        }
    }
}

/// One thing for the executor to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the pod's folders and fill its volumes.
    PrepareVolumes,
    /// Make a sandbox with this attempt number.
    CreateSandbox {
        /// The attempt number, one above all earlier ones.
        attempt: u32,
    },
    /// See that the container's image is there, by its pull policy.
    EnsureImage {
        /// The container's name.
        container: String,
    },
    /// Create and start a container.
    StartContainer {
        /// The container's name.
        container: String,
        /// The sandbox to start it in.
        sandbox_id: String,
        /// The attempt number; also the restart count.
        attempt: u32,
    },
    /// Run a container's `postStart` hook.
    PostStart {
        /// The runtime's id.
        id: String,
        /// The container's name.
        container: String,
    },
    /// Give a running container the resources that its spec says.
    Resize {
        /// The runtime's id.
        id: String,
        /// The container's name.
        container: String,
        /// What they come to.
        mark: String,
    },
    /// Give the pod's own cgroup the limits that its spec says.
    ResizePod {
        /// What they come to.
        mark: String,
    },
    /// Ask a container to end, and kill it after the grace period.
    StopContainer {
        /// The runtime's id.
        id: String,
        /// The container's name.
        container: String,
        /// Seconds from now to the kill.
        grace_seconds: i64,
        /// When it has to be dead, in seconds since 1970.
        deadline: i64,
        /// Whether its `preStop` hook comes first.
        hook: bool,
        /// Why, in the words of the `Killing` event.
        message: String,
    },
    /// Stop a sandbox and take its network down.
    StopSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a stopped sandbox and the containers in it.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a dead container.
    RemoveContainer {
        /// The runtime's id.
        id: String,
    },
    /// Remove the pod's folders, mounts and cgroups.
    Cleanup,
    /// Delete the pod's object for good.
    DeleteObject,
    /// Nothing more to do: forget the pod.
    Forget,
    /// Look again at this time.
    WakeAt(Timestamp),
}

impl Action {
    /// What the action works on; `None` for those that are no work.
    pub fn target(&self) -> Option<Target> {
        Some(match self {
            Action::PrepareVolumes => Target::Volumes,
            Action::CreateSandbox { .. } => Target::Sandbox,
            Action::EnsureImage { container } => Target::Image(container.clone()),
            Action::StartContainer { container, .. } => Target::Start(container.clone()),
            Action::PostStart { id, .. } => Target::PostStart(id.clone()),
            Action::Resize { id, .. } => Target::Resize(id.clone()),
            Action::ResizePod { .. } => Target::ResizePod,
            Action::StopContainer { id, deadline, .. } => Target::Stop(id.clone(), *deadline),
            Action::StopSandbox { id } => Target::StopSandbox(id.clone()),
            Action::RemoveSandbox { id } => Target::RemoveSandbox(id.clone()),
            Action::RemoveContainer { id } => Target::RemoveContainer(id.clone()),
            Action::Cleanup => Target::Cleanup,
            Action::DeleteObject => Target::Object,
            Action::Forget | Action::WakeAt(_) => return None,
        })
    }

    /// Whether the runtime holds something else of the pod afterwards, so that it is worth a look.
    pub fn changes_runtime(&self) -> bool {
        !matches!(
            self,
            Action::PrepareVolumes
                | Action::EnsureImage { .. }
                | Action::Cleanup
                | Action::DeleteObject
                | Action::Forget
                | Action::WakeAt(_)
        )
    }

    /// Whether the action brings something up, and so counts against the bound of starts in flight.
    pub fn is_start(&self) -> bool {
        matches!(self, Action::CreateSandbox { .. } | Action::StartContainer { .. })
    }
}
