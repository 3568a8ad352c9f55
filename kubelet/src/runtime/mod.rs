//! The container runtime: CRI and containerd's own API on one unix socket. The only folder that knows either.

pub mod attach;
pub mod convert;
pub mod events;
pub mod exec;
pub mod health;
pub mod image_view;
pub mod observe;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1 as cri;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tonic::transport::{Channel, Endpoint, Uri};

/// The containerd namespace of everything that CRI made.
pub const NAMESPACE: &str = "k8s.io";

/// A call that the runtime refused or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The runtime answered with an error.
    #[error("{call}: {message}")]
    Refused {
        /// The name of the call.
        call: &'static str,
        /// The gRPC code.
        code: tonic::Code,
        /// The runtime's message.
        message: String,
    },
    /// The runtime did not answer in time.
    #[error("{call}: no answer from the container runtime within {seconds} s")]
    Timeout {
        /// The name of the call.
        call: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// The socket's path cannot be used.
    #[error("container runtime endpoint {path}: {message}")]
    Endpoint {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The runtime's answer lacks something that it must hold.
    #[error("{call}: the answer holds no {what}")]
    Incomplete {
        /// The name of the call.
        call: &'static str,
        /// What is missing.
        what: &'static str,
    },
}

impl RuntimeError {
    /// A refused call as upstream tells it of containers: the runtime's message, with its code where that says something.
    pub fn words(&self) -> String {
        match self {
            RuntimeError::Refused { code: tonic::Code::Unknown, message, .. } => message.clone(),
            _ => self.as_rpc(),
        }
    }

    /// A refused call as upstream tells it of sandboxes: in the words of gRPC for Go.
    pub fn as_rpc(&self) -> String {
        match self {
            RuntimeError::Refused { code, message, .. } => format!("rpc error: code = {code:?} desc = {message}"),
            other => other.to_string(),
        }
    }

    /// Whether the answer did not come in time, for the caller or by the runtime's own account.
    pub fn is_timeout(&self) -> bool {
        matches!(self, RuntimeError::Timeout { .. } | RuntimeError::Refused { code: tonic::Code::DeadlineExceeded, .. })
    }

    /// Whether the thing asked for is not there (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, RuntimeError::Refused { code: tonic::Code::NotFound, .. })
    }
}

/// Gives a gRPC error its call's name.
pub(crate) fn refused(call: &'static str) -> impl Fn(tonic::Status) -> RuntimeError {
    move |status| RuntimeError::Refused { call, code: status.code(), message: status.message().to_owned() }
}

/// The runtime's state of health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why the runtime is not ready; `None` when it is.
    pub runtime_problem: Option<String>,
    /// Why the network is not ready; `None` when it is.
    pub network_problem: Option<String>,
}

impl Health {
    /// Whether pods can be started.
    pub fn is_ready(&self) -> bool {
        self.runtime_problem.is_none() && self.network_problem.is_none()
    }
}

/// A client of the container runtime. Cheap to clone; connects when it is used, and again after a loss.
#[derive(Clone, Debug)]
pub struct Runtime {
    channel: Channel,
    /// The longest wait for calls that only look.
    timeout: Duration,
    /// Told when a call stays without an answer.
    doubt: Arc<Notify>,
}

impl Runtime {
    /// A client for the runtime at this socket.
    pub fn new(socket: &Path, timeout: Duration) -> Result<Self, RuntimeError> {
        let path = socket.to_owned();
        let endpoint = Endpoint::try_from("http://runtime.invalid")
            .map_err(|error| RuntimeError::Endpoint { path: path.clone(), message: error.to_string() })?;
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }));
        Ok(Self { channel, timeout, doubt: Arc::default() })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn client(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    fn image_client(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(16 << 20)
    }

    /// A call that only looks, bounded in time.
    async fn look<T>(
        &self,
        call: &'static str,
        future: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RuntimeError> {
        match tokio::time::timeout(self.timeout, future).await {
            Ok(answer) => answer.map(tonic::Response::into_inner).map_err(refused(call)),
            Err(_) => {
                self.doubt.notify_one();
                Err(RuntimeError::Timeout { call, seconds: self.timeout.as_secs() })
            }
        }
    }

    /// Waits until a call stays without an answer: the runtime may hang.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// The runtime's name and version, as `nodeInfo` shows it: `containerd://1.6.20`.
    pub async fn version(&self) -> Result<String, RuntimeError> {
        let request = cri::VersionRequest { version: "v1".into() };
        let answer = self.look("Version", self.client().version(request)).await?;
        Ok(format!("{}://{}", answer.runtime_name, answer.runtime_version))
    }

    /// How the runtime and its network are.
    pub async fn health(&self) -> Result<Health, RuntimeError> {
        let request = cri::StatusRequest { verbose: false };
        let answer = self.look("Status", self.client().status(request)).await?;
        let conditions = answer.status.map(|status| status.conditions).unwrap_or_default();
        let problem = |kind: &str, what: &str| match conditions.iter().find(|it| it.r#type == kind) {
            Some(it) if it.status => None,
            Some(it) => Some(format!("{what} not ready: {kind}=false reason:{} message:{}", it.reason, it.message)),
            None => Some(format!("{what} not ready: the runtime reports no {kind} condition")),
        };
        Ok(Health {
            runtime_problem: problem("RuntimeReady", "container runtime"),
            network_problem: problem("NetworkReady", "container runtime network"),
        })
    }

    /// What the verbose status tells beyond the conditions: texts in JSON, by the runtime's own names.
    pub(super) async fn status_info(&self) -> Result<HashMap<String, String>, RuntimeError> {
        let request = cri::StatusRequest { verbose: true };
        Ok(self.look("Status", self.client().status(request)).await?.info)
    }

    /// Makes a sandbox, with a handler that the runtime is configured for or, if it is empty, its default one; returns
    /// its id.
    pub async fn run_sandbox(&self, config: cri::PodSandboxConfig, handler: String) -> Result<String, RuntimeError> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
        let answer = self.client().run_pod_sandbox(request).await.map_err(refused("RunPodSandbox"))?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    /// Stops a sandbox and its network. One that is not there is stopped.
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        absent_is_done(self.client().stop_pod_sandbox(request).await.map_err(refused("StopPodSandbox")))
    }

    /// Removes a sandbox and the containers in it. One that is not there is removed.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        absent_is_done(self.client().remove_pod_sandbox(request).await.map_err(refused("RemovePodSandbox")))
    }

    /// Creates a container; returns its id.
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: cri::ContainerConfig,
        sandbox: cri::PodSandboxConfig,
    ) -> Result<String, RuntimeError> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox),
        };
        let answer = self.client().create_container(request).await.map_err(refused("CreateContainer"))?;
        Ok(answer.into_inner().container_id)
    }

    /// Gives a running container other resources.
    pub async fn update_resources(&self, id: &str, values: cri::LinuxContainerResources) -> Result<(), RuntimeError> {
        let request = cri::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(values),
            ..Default::default()
        };
        let answer = self.client().update_container_resources(request).await;
        answer.map(|_| ()).map_err(refused("UpdateContainerResources"))
    }

    /// Starts a created container.
    pub async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::StartContainerRequest { container_id: id.to_owned() };
        self.client().start_container(request).await.map(|_| ()).map_err(refused("StartContainer"))
    }

    /// Sends the stop signal and kills after the timeout. A container that is not there is stopped.
    pub async fn stop_container(&self, id: &str, timeout_seconds: i64) -> Result<(), RuntimeError> {
        let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout: timeout_seconds };
        absent_is_done(self.client().stop_container(request).await.map_err(refused("StopContainer")))
    }

    /// Removes a container. One that is not there is removed.
    pub async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
        absent_is_done(self.client().remove_container(request).await.map_err(refused("RemoveContainer")))
    }

    /// Sandboxes, all of them or those of one pod.
    pub async fn sandboxes(&self, uid: Option<&str>) -> Result<Vec<cri::PodSandbox>, RuntimeError> {
        let filter = cri::PodSandboxFilter { label_selector: selector(uid), ..Default::default() };
        let request = cri::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.look("ListPodSandbox", self.client().list_pod_sandbox(request)).await?.items)
    }

    /// Containers, all of them or those of one pod.
    pub async fn containers(&self, uid: Option<&str>) -> Result<Vec<cri::Container>, RuntimeError> {
        let filter = cri::ContainerFilter { label_selector: selector(uid), ..Default::default() };
        let request = cri::ListContainersRequest { filter: Some(filter) };
        Ok(self.look("ListContainers", self.client().list_containers(request)).await?.containers)
    }

    /// A sandbox's status.
    pub async fn sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus, RuntimeError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = self.look("PodSandboxStatus", self.client().pod_sandbox_status(request)).await?;
        answer.status.ok_or(RuntimeError::Incomplete { call: "PodSandboxStatus", what: "status" })
    }

    /// The process id of a sandbox's first process, from the verbose status.
    pub async fn sandbox_pid(&self, id: &str) -> Result<Option<i32>, RuntimeError> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        let answer = self.look("PodSandboxStatus", self.client().pod_sandbox_status(request)).await?;
        let info = answer.info.get("info").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        Ok(info.and_then(|info| info.get("pid")?.as_i64()).and_then(|pid| i32::try_from(pid).ok()))
    }

    /// A container's status.
    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus, RuntimeError> {
        let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.look("ContainerStatus", self.client().container_status(request)).await?;
        answer.status.ok_or(RuntimeError::Incomplete { call: "ContainerStatus", what: "status" })
    }

    /// An image that is present, or `None`.
    pub async fn image(&self, image: &str) -> Result<Option<cri::Image>, RuntimeError> {
        let request = cri::ImageStatusRequest { image: Some(image_spec(image)), verbose: false };
        Ok(self.look("ImageStatus", self.image_client().image_status(request)).await?.image)
    }

    /// All images that are present.
    pub async fn images(&self) -> Result<Vec<cri::Image>, RuntimeError> {
        let request = cri::ListImagesRequest { filter: None };
        Ok(self.look("ListImages", self.image_client().list_images(request)).await?.images)
    }

    /// Removes an image. One that is not there is removed.
    pub async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        let request = cri::RemoveImageRequest { image: Some(image_spec(image)) };
        absent_is_done(self.image_client().remove_image(request).await.map_err(refused("RemoveImage")))
    }

    /// Where the images lie, where the runtime says so.
    pub async fn image_folder(&self) -> Result<Option<PathBuf>, RuntimeError> {
        let request = cri::ImageFsInfoRequest {};
        let answer = self.look("ImageFsInfo", self.image_client().image_fs_info(request)).await?;
        let folders = answer.image_filesystems.into_iter().filter_map(|it| it.fs_id);
        Ok(folders.map(|it| PathBuf::from(it.mountpoint)).find(|it| !it.as_os_str().is_empty()))
    }

    /// Pulls an image; returns its resolved reference.
    pub async fn pull_image(&self, image: &str, auth: Option<cri::AuthConfig>) -> Result<String, RuntimeError> {
        let request = cri::PullImageRequest { image: Some(image_spec(image)), auth, sandbox_config: None };
        let answer = self.image_client().pull_image(request).await.map_err(refused("PullImage"))?;
        Ok(answer.into_inner().image_ref)
    }

    /// Runs a command in a container and waits for its end; returns the exit code and the output. The runtime ends
    /// the command after the timeout.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<(i32, Vec<u8>), RuntimeError> {
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX).max(1);
        let request = cri::ExecSyncRequest { container_id: id.to_owned(), cmd: command.to_vec(), timeout: seconds };
        let mut client = self.client();
        let answer = match tokio::time::timeout(timeout + self.timeout, client.exec_sync(request)).await {
            Ok(answer) => answer.map_err(refused("ExecSync"))?.into_inner(),
            Err(_) => {
                self.doubt.notify_one();
                return Err(RuntimeError::Timeout { call: "ExecSync", seconds: (timeout + self.timeout).as_secs() });
            }
        };
        let mut output = answer.stdout;
        output.extend_from_slice(&answer.stderr);
        Ok((answer.exit_code, output))
    }

    /// Bytes and inodes of containers' writable layers, by the containers' ids.
    pub async fn layers(&self) -> Result<HashMap<String, (u64, u64)>, RuntimeError> {
        let request = cri::ListContainerStatsRequest { filter: None };
        let answer = self.look("ListContainerStats", self.client().list_container_stats(request)).await?;
        let value = |value: Option<cri::UInt64Value>| value.map_or(0, |value| value.value);
        Ok(answer
            .stats
            .into_iter()
            .filter_map(|stats| {
                let layer = stats.writable_layer?;
                Some((stats.attributes?.id, (value(layer.used_bytes), value(layer.inodes_used))))
            })
            .collect())
    }

    /// Where images lie, and how many bytes they use.
    pub async fn image_file_system(&self) -> Result<Option<(String, u64)>, RuntimeError> {
        let answer =
            self.look("ImageFsInfo", self.image_client().image_fs_info(cri::ImageFsInfoRequest::default())).await?;
        Ok(answer
            .image_filesystems
            .into_iter()
            .next()
            .and_then(|system| Some((system.fs_id?.mountpoint, system.used_bytes.map_or(0, |value| value.value)))))
    }

    /// Asks for a container's log to be opened anew.
    pub async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let request = cri::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.client().reopen_container_log(request).await.map(|_| ()).map_err(refused("ReopenContainerLog"))
    }
}

fn image_spec(image: &str) -> cri::ImageSpec {
    cri::ImageSpec { image: image.to_owned(), ..Default::default() }
}

fn selector(uid: Option<&str>) -> HashMap<String, String> {
    uid.map(|uid| (convert::POD_UID_LABEL.to_owned(), uid.to_owned())).into_iter().collect()
}

fn absent_is_done<T>(result: Result<T, RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
