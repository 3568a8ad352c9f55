//! The byte streams of pods: authorized here, carried by the kubelet.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use reeve_api::StatusError;
use reeve_proto::v1;
use reeve_proto::v1::streams_server::Streams as Service;
use tonic::{Request, Response, Status, Streaming};

use super::user;
use crate::edges::status::to_grpc;
use crate::handlers::Handlers;
use crate::pod_streams::{PodLocation, PodStreams, Session, kubelet_error};
use crate::request::{User, Verb};

/// `reeve.v1.Streams`.
pub struct Streams {
    handlers: Arc<Handlers>,
    pods: Arc<PodStreams>,
}

type Output<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Streams {
    pub fn new(handlers: Arc<Handlers>, pods: Arc<PodStreams>) -> Self {
        Self { handlers, pods }
    }

    /// Reads the first request of an exec or attach and finds its container.
    async fn start(
        &self,
        user: &User,
        requests: &mut Streaming<v1::ExecRequest>,
        subresource: &str,
    ) -> Result<(v1::ExecStart, PodLocation), Status> {
        let first = requests.message().await?;
        let Some(v1::exec_request::Input::Start(mut start)) = first.and_then(|request| request.input) else {
            return Err(to_grpc(&StatusError::bad_request("the first message must be the start")));
        };
        let location = self
            .handlers
            .locate_pod(user, Verb::Create, &start.namespace, &start.pod, subresource, &start.container)
            .await
            .map_err(|error| to_grpc(&error))?;
        start.container.clone_from(&location.container);
        Ok((start, location))
    }
}

fn forward<T: Send + 'static>(pods: &PodStreams, location: PodLocation, stream: Streaming<T>) -> Output<T> {
    Box::pin(pods.bounded(stream).map(move |item| item.map_err(|status| kubelet_error(&location, status))))
}

/// What a client sends until it ends or breaks.
fn input<T>(requests: Streaming<T>) -> impl Stream<Item = T> {
    requests
        .take_while(|item| futures::future::ready(item.is_ok()))
        .filter_map(|item| futures::future::ready(item.ok()))
}

#[tonic::async_trait]
impl Service for Streams {
    type LogsStream = Output<v1::LogsResponse>;
    type ExecStream = Output<v1::ExecResponse>;
    type AttachStream = Output<v1::ExecResponse>;
    type PortForwardStream = Output<v1::PortForwardResponse>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let user = user(&request)?;
        let (location, stream) = logs(&self.handlers, &self.pods, &user, request.into_inner()).await?;
        Ok(Response::new(forward(&self.pods, location, stream)))
    }

    async fn exec(&self, request: Request<Streaming<v1::ExecRequest>>) -> Result<Response<Self::ExecStream>, Status> {
        let user = user(&request)?;
        let mut requests = request.into_inner();
        let (start, location) = self.start(&user, &mut requests, "exec").await?;
        let responses = self.pods.run(&location, Session::Exec, start, input(requests)).await?;
        Ok(Response::new(forward(&self.pods, location, responses)))
    }

    async fn attach(
        &self,
        request: Request<Streaming<v1::ExecRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let user = user(&request)?;
        let mut requests = request.into_inner();
        let (start, location) = self.start(&user, &mut requests, "attach").await?;
        let responses = self.pods.run(&location, Session::Attach, start, input(requests)).await?;
        Ok(Response::new(forward(&self.pods, location, responses)))
    }

    async fn port_forward(
        &self,
        request: Request<Streaming<v1::PortForwardRequest>>,
    ) -> Result<Response<Self::PortForwardStream>, Status> {
        let user = user(&request)?;
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let Some(v1::port_forward_request::Input::Start(mut start)) = first.and_then(|request| request.input) else {
            return Err(to_grpc(&StatusError::bad_request("the first message must be the start")));
        };
        let location = self
            .handlers
            .locate_pod(&user, Verb::Create, &start.namespace, &start.pod, "portforward", "")
            .await
            .map_err(|error| to_grpc(&error))?;
        // Where a node connects to is for this server alone to say.
        start.address.clear();
        let responses = self.pods.forward(&location, start, input(requests)).await?;
        Ok(Response::new(forward(&self.pods, location, responses)))
    }
}

/// Opens a container's log; the REST edge uses it too.
pub async fn logs(
    handlers: &Handlers,
    pods: &PodStreams,
    user: &User,
    mut request: v1::LogsRequest,
) -> Result<(PodLocation, Streaming<v1::LogsResponse>), Status> {
    let location = handlers
        .locate_pod(user, Verb::Get, &request.namespace, &request.pod, "log", &request.container)
        .await
        .map_err(|error| to_grpc(&error))?;
    request.container.clone_from(&location.container);
    let mut kubelet = pods.kubelet(&location).map_err(|error| to_grpc(&error))?;
    let response = kubelet.logs(request).await.map_err(|status| kubelet_error(&location, status))?;
    Ok((location, response.into_inner()))
}
