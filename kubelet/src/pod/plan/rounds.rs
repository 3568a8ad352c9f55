//! Containers that start anew together: a container's rules may say that its end restarts all of the pod
//! (`RestartAllContainers`). Pure, and without memory: the ends that the runtime still shows tell which containers are of
//! an earlier round.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pod::observed::{Container, ContainerState, PodObserved};
use crate::pod::spec;

/// When a container last ended in a way that restarts all.
pub fn last_call(pod: &Pod, observed: &PodObserved) -> Option<Timestamp> {
    if !spec::may_restart_all(pod) {
        return None;
    }
    let ended = observed.containers.iter().filter(|it| it.state == ContainerState::Exited);
    let calls =
        ended.filter(|it| spec::container(pod, &it.name).is_some_and(|of| spec::restarts_all(of, it.exit_code)));
    calls.filter_map(|it| it.finished_at).max()
}

/// Whether a container is of a round before the call: it was made before, and the call is for it too.
pub fn is_outdated(pod: &Pod, container: &Container, call: Option<Timestamp>) -> bool {
    call.is_some_and(|call| container.created_at < call) && !spec::is_ephemeral(pod, &container.name)
}

/// Whether containers of an earlier round wait for their new start.
pub fn is_pending(pod: &Pod, observed: &PodObserved) -> bool {
    let call = last_call(pod, observed);
    let mut latest = spec::all_containers(pod).filter_map(|it| observed.latest(&it.name));
    call.is_some() && latest.any(|it| is_outdated(pod, it, call))
}

/// Whether containers of an earlier round still run.
pub fn is_ending(pod: &Pod, observed: &PodObserved) -> bool {
    let call = last_call(pod, observed);
    call.is_some() && observed.live().any(|it| is_outdated(pod, it, call))
}
