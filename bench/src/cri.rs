//! The container runtime alone: the calls that start and end a pod, without a kubelet. The floor of the rows about pods.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ImageSpec, ImageStatusRequest, PodSandboxConfig,
    PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest, StartContainerRequest, StopContainerRequest,
    StopPodSandboxRequest,
};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// A runtime. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    client: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

/// A pod that runs in the runtime.
pub struct Started {
    sandbox: String,
    container: String,
}

impl Runtime {
    /// Connects to the runtime at a unix socket.
    pub async fn connect(socket: &Path) -> Result<Self> {
        let path: PathBuf = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://runtime.invalid").connect_with_connector(connector).await;
        let channel = channel.with_context(|| format!("cannot reach the container runtime at {}", socket.display()))?;
        Ok(Self { client: RuntimeServiceClient::new(channel.clone()), images: ImageServiceClient::new(channel) })
    }

    /// The id of an image that is present.
    pub async fn image(&self, image: &str) -> Result<String> {
        let spec = ImageSpec { image: image.to_owned(), ..ImageSpec::default() };
        let request = ImageStatusRequest { image: Some(spec), verbose: false };
        let answer = self.images.clone().image_status(request).await?.into_inner();
        Ok(answer.image.with_context(|| format!("the image {image} is not on the node"))?.id)
    }

    /// Starts a pod of one container, with the network that the runtime gives: the calls that a kubelet makes.
    pub async fn start(&self, name: &str, image: &str) -> Result<Started> {
        let mut client = self.client.clone();
        let sandbox_config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "bench".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            ..PodSandboxConfig::default()
        };
        let request = RunPodSandboxRequest { config: Some(sandbox_config.clone()), ..RunPodSandboxRequest::default() };
        let sandbox = client.run_pod_sandbox(request).await.context("RunPodSandbox")?.into_inner().pod_sandbox_id;
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() }),
            ..ContainerConfig::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let container = client.create_container(request).await.context("CreateContainer")?.into_inner().container_id;
        let request = StartContainerRequest { container_id: container.clone() };
        client.start_container(request).await.context("StartContainer")?;
        Ok(Started { sandbox, container })
    }

    /// Ends a pod and removes it.
    pub async fn remove(&self, started: &Started) -> Result<()> {
        let mut client = self.client.clone();
        let request = StopContainerRequest { container_id: started.container.clone(), timeout: 0 };
        client.stop_container(request).await.context("StopContainer")?;
        let id = started.sandbox.clone();
        client
            .stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: id.clone() })
            .await
            .context("StopPodSandbox")?;
        client.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id: id }).await.context("RemovePodSandbox")?;
        Ok(())
    }
}
