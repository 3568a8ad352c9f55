//! `reeve.v1.Streams` for the pods of this node.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use reeve_proto::v1::exec_request::Input;
use reeve_proto::v1::streams_server::Streams;
use reeve_proto::v1::{
    ExecRequest, ExecResponse, ExecStart, LogsRequest, LogsResponse, PortForwardRequest, PortForwardResponse,
    PortForwardStart, port_forward_request,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::logs::{self, LogOptions};
use super::{Service, attach, exec, port_forward};
use crate::pod::observed::{Container, ContainerState, PodObserved};
use crate::pod::spec;
use crate::runtime::exec::ExecSpec;
use crate::runtime::{Runtime, RuntimeError};

/// Messages that wait for a slow client; each is at most one read.
const QUEUE_LENGTH: usize = 8;
const READ: usize = 32 << 10;
/// How upstream begins what is no fault of the user's.
const INTERNAL: &str = "Internal error occurred: ";
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Whether a pod of this node has the address, and not the node itself: nothing else is anybody's business.
    fn is_of_a_pod(&self, address: IpAddr) -> bool {
        self.pods.list().iter().any(|pod| {
            let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
            !spec::host_network(pod) && addresses.filter_map(|it| it.ip.parse::<IpAddr>().ok()).any(|it| it == address)
        })
    }

    async fn dial_pod(&self, start: &PortForwardStart, port: u16) -> Result<tokio::net::TcpStream, Status> {
        let (pod, observed) = self.pod(&start.namespace, &start.pod).await?;
        let sandbox =
            observed.ready_sandbox().ok_or_else(|| Status::failed_precondition("the pod's sandbox is not running"))?;
        let pid = if spec::host_network(&pod) {
            None
        } else {
            let pid = self.runtime.sandbox_pid(&sandbox.id).await.map_err(internal)?;
            Some(pid.ok_or_else(|| Status::internal("the runtime tells no process of the sandbox"))?)
        };
        let dialled = tokio::task::spawn_blocking(move || port_forward::dial(pid, port))
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let stream = dialled.and_then(tokio::net::TcpStream::from_std);
        stream.map_err(|error| Status::unavailable(format!("dial port {port} in the pod: {error}")))
    }
}

#[tonic::async_trait]
impl Streams for Service {
    type LogsStream = Answers<LogsResponse>;
    type ExecStream = Answers<ExecResponse>;
    type AttachStream = Answers<ExecResponse>;
    type PortForwardStream = Answers<PortForwardResponse>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let (pod, observed, name) = self.find(&request.namespace, &request.pod, &request.container).await?;
        let key = spec::key(&pod);
        let latest = observed.latest(&name);
        let container =
            if request.previous { latest.and_then(|it| observed.before(&name, it.attempt)) } else { latest };
        let Some(container) = container.cloned() else {
            return Err(if request.previous {
                Status::invalid_argument(format!(
                    "previous terminated container \"{name}\" in pod \"{}\" not found",
                    key.name
                ))
            } else {
                let why = waits_for(&pod, &name);
                Status::invalid_argument(format!(
                    "container \"{name}\" in pod \"{}\" is waiting to start: {why}",
                    key.name
                ))
            });
        };
        let since = match (request.since_seconds, request.since_time.as_str()) {
            (Some(seconds), _) => Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
            (None, "") => None,
            (None, text) => {
                Some(text.parse().map_err(|error| Status::invalid_argument(format!("sinceTime: {error}")))?)
            }
        };
        let options = LogOptions {
            follow: request.follow && container.state == ContainerState::Running,
            timestamps: request.timestamps,
            since,
            tail: request.tail_lines.and_then(|it| usize::try_from(it).ok()),
            limit: request.limit_bytes.and_then(|it| u64::try_from(it).ok()),
        };
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let (runtime, id, path) = (self.runtime.clone(), container.id.clone(), container.log_path.clone());
        tokio::spawn(async move {
            let ended = async move { container_end(runtime, id).await };
            if let Err(error) = logs::stream(path.into(), options, ended, sender).await {
                tracing::warn!(pod = %key, container = %name, %error, "a log could not be read");
            }
        });
        Ok(answer(ReceiverStream::new(receiver).map(|data| Ok(LogsResponse { data }))))
    }

    async fn exec(&self, request: Request<Streaming<ExecRequest>>) -> Result<Response<Self::ExecStream>, Status> {
        let mut input = request.into_inner();
        let start = exec_start(&mut input).await?;
        if start.command.is_empty() {
            return Err(Status::invalid_argument("you must specify at least one command for the container"));
        }
        let (_, container) = self.running(&start).await?;
        let wanted = ExecSpec { command: start.command, stdin: start.stdin, tty: start.tty };
        let process = self.runtime.exec(&container.id, &wanted, &self.exec_dir).await;
        let process = process
            .map_err(|error| Status::internal(format!("{INTERNAL}error executing command in container: {error}")))?;
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        tokio::spawn(exec::run(process, input, sender));
        Ok(answer(ReceiverStream::new(receiver)))
    }

    async fn attach(&self, request: Request<Streaming<ExecRequest>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut input = request.into_inner();
        let start = exec_start(&mut input).await?;
        let (pod, container) = self.running(&start).await?;
        let wanted = attach::Wanted::new(&start, spec::any_container(&pod, &container.name).as_deref());
        let attached = self.runtime.attach(&container.id, wanted.spec()).await;
        let attached = attached.map_err(|error| Status::internal(format!("error attaching to container: {error}")))?;
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        let resizer = attach::Resizer { runtime: self.runtime.clone(), container_id: container.id };
        tokio::spawn(attach::run(attached, wanted, resizer, input, sender));
        Ok(answer(ReceiverStream::new(receiver)))
    }

    async fn port_forward(
        &self,
        request: Request<Streaming<PortForwardRequest>>,
    ) -> Result<Response<Self::PortForwardStream>, Status> {
        let mut input = request.into_inner();
        let Some(port_forward_request::Input::Start(start)) = input.message().await?.and_then(|it| it.input) else {
            return Err(Status::invalid_argument("the first message must be the start"));
        };
        let port = u16::try_from(start.port)
            .map_err(|_| Status::invalid_argument(format!("port {} is out of range", start.port)))?;
        let stream = if start.pod.is_empty() {
            let address = start.address.parse().map_err(|_| {
                Status::invalid_argument(format!("neither a pod nor an address is named: {:?}", start.address))
            })?;
            if !self.is_of_a_pod(address) {
                return Err(Status::permission_denied(format!("{address} is no address of a pod on this node")));
            }
            let dialled = port_forward::dial_from_node(address, port).await;
            dialled.map_err(|error| Status::unavailable(error.to_string()))?
        } else {
            self.dial_pod(&start, port).await?
        };
        let (mut read, mut write) = stream.into_split();
        let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
        tokio::spawn(async move {
            while let Ok(Some(message)) = input.message().await {
                let Some(port_forward_request::Input::Data(data)) = message.input else { continue };
                if let Err(error) = write.write_all(&data).await {
                    tracing::debug!(%error, "a forwarded connection was closed by the pod");
                    return;
                }
            }
            if let Err(error) = write.shutdown().await {
                tracing::debug!(%error, "a forwarded connection was closed by the pod");
            }
        });
        tokio::spawn(async move {
            let mut buffer = vec![0; READ];
            loop {
                let answer = tokio::select! {
                    read = read.read(&mut buffer) => match read {
                        Ok(0) => return,
                        Ok(count) => Ok(PortForwardResponse { data: Bytes::copy_from_slice(&buffer[..count]) }),
                        Err(error) => Err(Status::unavailable(error.to_string())),
                    },
                    () = sender.closed() => return,
                };
                let failed = answer.is_err();
                if sender.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(answer(ReceiverStream::new(receiver)))
    }
}

fn answer<T>(stream: impl Stream<Item = Result<T, Status>> + Send + 'static) -> Response<Answers<T>> {
    Response::new(Box::pin(stream))
}

/// Why a container has not run yet, in upstream's words.
fn waits_for<'a>(pod: &'a Pod, container: &str) -> &'a str {
    let status = pod.status.as_ref();
    let lists = status.into_iter().flat_map(|it| {
        [&it.init_container_statuses, &it.container_statuses, &it.ephemeral_container_statuses].into_iter().flatten()
    });
    let own = lists.flatten().find(|it| it.name == container);
    let reason = own.and_then(|it| it.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    match reason.unwrap_or("ContainerCreating") {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    }
}

fn internal(error: RuntimeError) -> Status {
    Status::internal(error.to_string())
}

impl Service {
    async fn pod(&self, namespace: &str, name: &str) -> Result<(Arc<Pod>, PodObserved), Status> {
        let key = ObjectKey::new(namespace, name);
        let pod =
            self.pods.get(&key).ok_or_else(|| Status::not_found(format!("pod \"{name}\" not found on this node")))?;
        let observed = self.runtime.observe_pod(spec::runtime_uid(&pod)).await.map_err(internal)?;
        Ok((pod, observed))
    }

    async fn find(
        &self,
        namespace: &str,
        name: &str,
        container: &str,
    ) -> Result<(Arc<Pod>, PodObserved, String), Status> {
        let (pod, observed) = self.pod(namespace, name).await?;
        let names: Vec<&str> = spec::containers(&pod).iter().map(|it| it.name.as_str()).collect();
        let container = match (container, names.as_slice()) {
            ("", [only]) => (*only).to_owned(),
            ("", _) => {
                return Err(Status::invalid_argument(format!(
                    "a container name must be specified for pod {name}, choose one of: [{}]",
                    names.join(" ")
                )));
            }
            (wanted, _) if spec::any_container(&pod, wanted).is_some() => wanted.to_owned(),
            (wanted, _) => {
                return Err(Status::invalid_argument(format!("container {wanted} is not valid for pod {name}")));
            }
        };
        Ok((pod, observed, container))
    }

    async fn running(&self, start: &ExecStart) -> Result<(Arc<Pod>, Container), Status> {
        let (pod, observed, name) = self.find(&start.namespace, &start.pod, &start.container).await?;
        let latest = observed.latest(&name).filter(|it| it.state == ContainerState::Running).cloned();
        let container =
            latest.ok_or_else(|| Status::failed_precondition(format!("container not found (\"{name}\")")))?;
        Ok((pod, container))
    }
}

async fn exec_start(input: &mut Streaming<ExecRequest>) -> Result<ExecStart, Status> {
    match input.message().await?.and_then(|it| it.input) {
        Some(Input::Start(start)) => Ok(start),
        _ => Err(Status::invalid_argument("the first message must be the start")),
    }
}

/// Resolves when the container's process has ended. containerd's `Wait` blocks until then.
async fn container_end(runtime: Runtime, id: String) {
    if let Err(error) = runtime.wait(&id).await {
        tracing::debug!(%id, %error, "the end of a container could not be awaited");
    }
}
