//! The byte streams of pods.

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use reeve_proto::v1;
use reeve_proto::v1::streams_client::StreamsClient;

use crate::api::Client;
use crate::channel::AuthenticatedChannel;
use crate::error::Error;

pub use reeve_proto::v1::{
    ExecRequest, ExecResponse, ExecStart, LogsRequest, PortForwardRequest, PortForwardStart, TerminalSize,
    exec_request, exec_response, port_forward_request,
};

/// Logs, exec, attach and port-forward through the API server.
#[derive(Clone)]
pub struct Streams {
    grpc: StreamsClient<AuthenticatedChannel>,
    client: Client,
}

impl Streams {
    pub(crate) fn new(grpc: StreamsClient<AuthenticatedChannel>, client: Client) -> Self {
        Self { grpc, client }
    }

    /// A container's log, in chunks of bytes.
    pub async fn logs(&self, request: LogsRequest) -> Result<BoxStream<'static, Result<bytes::Bytes, Error>>, Error> {
        let client = self.client.clone();
        let response = self.grpc.clone().logs(request).await.map_err(|status| client.failed(status))?;
        Ok(response
            .into_inner()
            .map(move |chunk| match chunk {
                Ok(chunk) => Ok(chunk.data),
                Err(status) => Err(client.failed(status)),
            })
            .boxed())
    }

    /// Runs a command in a container. The first request must be the start.
    pub async fn exec(
        &self,
        requests: impl Stream<Item = ExecRequest> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<ExecResponse, Error>>, Error> {
        let client = self.client.clone();
        let response = self.grpc.clone().exec(to_static(requests)).await.map_err(|status| client.failed(status))?;
        Ok(response.into_inner().map(move |item| item.map_err(|status| client.failed(status))).boxed())
    }

    /// Joins the streams of a container's first process. The first request must be the start.
    pub async fn attach(
        &self,
        requests: impl Stream<Item = ExecRequest> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<ExecResponse, Error>>, Error> {
        let client = self.client.clone();
        let response = self.grpc.clone().attach(to_static(requests)).await.map_err(|status| client.failed(status))?;
        Ok(response.into_inner().map(move |item| item.map_err(|status| client.failed(status))).boxed())
    }

    /// Carries one connection to a pod's port. The first request must be the start.
    pub async fn port_forward(
        &self,
        requests: impl Stream<Item = PortForwardRequest> + Send + 'static,
    ) -> Result<BoxStream<'static, Result<bytes::Bytes, Error>>, Error> {
        let client = self.client.clone();
        let response =
            self.grpc.clone().port_forward(to_static(requests)).await.map_err(|status| client.failed(status))?;
        Ok(response
            .into_inner()
            .map(move |item| match item {
                Ok(chunk) => Ok(chunk.data),
                Err(status) => Err(client.failed(status)),
            })
            .boxed())
    }
}

fn to_static<T: Send + 'static>(
    stream: impl Stream<Item = T> + Send + 'static,
) -> std::pin::Pin<Box<dyn Stream<Item = T> + Send>> {
    Box::pin(stream)
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Streams({})", self.client.config().server)
    }
}

/// A chunk of input.
pub fn stdin(data: bytes::Bytes) -> ExecRequest {
    v1::ExecRequest { input: Some(exec_request::Input::Stdin(data)) }
}

/// The end of input.
pub fn stdin_closed() -> ExecRequest {
    v1::ExecRequest { input: Some(exec_request::Input::StdinClosed(true)) }
}

/// A new size of the terminal.
pub fn resize(width: u16, height: u16) -> ExecRequest {
    let size = TerminalSize { width: width.into(), height: height.into() };
    v1::ExecRequest { input: Some(exec_request::Input::Resize(size)) }
}
