//! CRI answers become the pure core's values.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_cri::v1 as cri;

use super::convert::{
    CONTAINER_NAME_LABEL, HASH_ANNOTATION, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL, RESOURCES_ANNOTATION,
    RESTART_COUNT_ANNOTATION, TERMINATION_MESSAGE_FILE_ANNOTATION, TERMINATION_MESSAGE_POLICY_ANNOTATION,
};
use super::{Runtime, RuntimeError};
use crate::pod::observed::{Container, ContainerState, NodeObserved, ObservedPod, PodObserved, Sandbox};

/// The longest termination message that is taken from a file, upstream's limit in bytes.
const TERMINATION_MESSAGE_LIMIT: u64 = 4096;
/// The longest that is taken from the log where the policy falls back to it, upstream's limits.
const FALLBACK_LOG_BYTES: usize = 2048;
const FALLBACK_LOG_LINES: usize = 80;

impl Runtime {
    /// Everything that the runtime holds for pods.
    pub async fn observe_node(&self) -> Result<NodeObserved, RuntimeError> {
        let (sandboxes, containers) = tokio::try_join!(self.sandboxes(None), self.containers(None))?;
        let mut node = NodeObserved::new();
        for sandbox in sandboxes {
            let Some(uid) = sandbox.labels.get(POD_UID_LABEL).cloned() else { continue };
            let pod = node.entry(uid).or_default();
            identify(pod, &sandbox.labels);
            pod.observed.sandboxes.extend(self.sandbox(&sandbox).await?);
        }
        for container in containers {
            let Some(uid) = container.labels.get(POD_UID_LABEL).cloned() else { continue };
            let pod = node.entry(uid).or_default();
            identify(pod, &container.labels);
            pod.observed.containers.extend(self.container(&container).await?);
        }
        node.values_mut().for_each(|pod| pod.observed.sort());
        Ok(node)
    }

    /// What the runtime holds of one pod.
    pub async fn observe_pod(&self, uid: &str) -> Result<PodObserved, RuntimeError> {
        let (sandboxes, containers) = tokio::try_join!(self.sandboxes(Some(uid)), self.containers(Some(uid)))?;
        let mut observed = PodObserved::default();
        for sandbox in &sandboxes {
            observed.sandboxes.extend(self.sandbox(sandbox).await?);
        }
        for container in &containers {
            observed.containers.extend(self.container(container).await?);
        }
        observed.sort();
        Ok(observed)
    }

    /// A listed sandbox with its addresses; `None` when it went meanwhile.
    async fn sandbox(&self, listed: &cri::PodSandbox) -> Result<Option<Sandbox>, RuntimeError> {
        let status = match self.sandbox_status(&listed.id).await {
            Ok(status) => status,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let network = status.network.unwrap_or_default();
        let ips = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|it| it.ip));
        Ok(Some(Sandbox {
            id: status.id,
            attempt: status.metadata.map(|it| it.attempt).unwrap_or_default(),
            ready: status.state == cri::PodSandboxState::SandboxReady as i32,
            ips: ips.filter(|ip| !ip.is_empty()).collect(),
            created_at: time(status.created_at).unwrap_or_default(),
        }))
    }

    /// A listed container with its state; `None` when it went meanwhile.
    async fn container(&self, listed: &cri::Container) -> Result<Option<Container>, RuntimeError> {
        let status = match self.container_status(&listed.id).await {
            Ok(status) => status,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let state = match cri::ContainerState::try_from(status.state) {
            Ok(cri::ContainerState::ContainerCreated) => ContainerState::Created,
            Ok(cri::ContainerState::ContainerRunning) => ContainerState::Running,
            Ok(cri::ContainerState::ContainerExited) => ContainerState::Exited,
            _ => ContainerState::Unknown,
        };
        let mut message = status.message.clone();
        if state == ContainerState::Exited {
            // The file is small and local; reading it here keeps the state of an ended container in one value.
            if let Some(told) = termination_message(&status) {
                message = told;
            }
        }
        let name = match status.labels.get(CONTAINER_NAME_LABEL) {
            Some(name) => name.clone(),
            None => status.metadata.clone().unwrap_or_default().name,
        };
        Ok(Some(Container {
            id: status.id,
            name,
            sandbox_id: listed.pod_sandbox_id.clone(),
            attempt: status.metadata.map(|it| it.attempt).unwrap_or_default(),
            restart_count: status.annotations.get(RESTART_COUNT_ANNOTATION).and_then(|it| it.parse().ok()).unwrap_or(0),
            hash: status.annotations.get(HASH_ANNOTATION).cloned().unwrap_or_default(),
            resources: status.annotations.get(RESOURCES_ANNOTATION).cloned().unwrap_or_default(),
            image: status.image.map(|it| it.image).unwrap_or_default(),
            image_id: status.image_ref,
            state,
            created_at: time(status.created_at).unwrap_or_default(),
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
            exit_code: status.exit_code,
            reason: status.reason,
            message,
            log_path: status.log_path,
        }))
    }
}

fn identify(pod: &mut ObservedPod, labels: &std::collections::HashMap<String, String>) {
    let get = |label: &str| labels.get(label).cloned().unwrap_or_default();
    pod.namespace = get(POD_NAMESPACE_LABEL);
    pod.name = get(POD_NAME_LABEL);
}

/// CRI's nanoseconds since 1970; zero means never.
fn time(nanoseconds: i64) -> Option<Timestamp> {
    if nanoseconds == 0 {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(nanoseconds)).ok()
}

/// What the container left in its termination message file, or at the end of its log where the policy asks so.
fn termination_message(status: &cri::ContainerStatus) -> Option<String> {
    let file = PathBuf::from(status.annotations.get(TERMINATION_MESSAGE_FILE_ANNOTATION)?);
    match read_limited(&file, TERMINATION_MESSAGE_LIMIT) {
        Ok(text) if !text.is_empty() => return Some(text),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Some(format!("Error on reading termination log {}: {error}", file.display())),
    }
    let falls_back =
        status.annotations.get(TERMINATION_MESSAGE_POLICY_ANNOTATION).is_some_and(|it| it == "FallbackToLogsOnError");
    if !falls_back || status.exit_code == 0 {
        return None;
    }
    let raw = std::fs::read(Path::new(&status.log_path)).ok()?;
    Some(log_tail(&String::from_utf8_lossy(&raw)))
}

fn read_limited(path: &Path, limit: u64) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines of a log in CRI's format, without its prefixes.
fn log_tail(raw: &str) -> String {
    let lines: Vec<&str> = raw.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).collect();
    let tail = lines[lines.len().saturating_sub(FALLBACK_LOG_LINES)..].join("\n");
    let mut start = tail.len().saturating_sub(FALLBACK_LOG_BYTES);
    while !tail.is_char_boundary(start) {
        start += 1;
    }
    tail[start..].to_owned()
}
