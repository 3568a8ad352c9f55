//! The way to the kubelet that runs a pod: logs, exec, attach and port-forward.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use reeve_api::{Reason, StatusError};
use reeve_proto::v1;
use reeve_proto::v1::streams_client::StreamsClient;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::body::Body;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::edges::status::to_grpc;

/// How many kubelets stay connected; beyond it all connections are closed and made again as needed.
const CONNECTIONS_MAX: usize = 256;
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The longest page of a kubelet that is read: a summary of 250 pods with four containers has a megabyte.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Connections to kubelets.
pub struct PodStreams {
    files: Option<Files>,
    tls: ArcSwapOption<ClientTlsConfig>,
    connections: Mutex<HashMap<String, Channel>>,
    /// Ends streams that would go on for as long as their clients like.
    end: CancellationToken,
}

/// What kubelets know us by, and we them.
#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Files {
    fn tls(&self) -> anyhow::Result<ClientTlsConfig> {
        use anyhow::Context as _;
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(&self.authority)?))
            .identity(Identity::from_pem(read(&self.certificate)?, read(&self.key)?)))
    }
}

/// Where a pod runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLocation {
    /// The node's name.
    pub node: String,
    /// `address:port` of its kubelet.
    pub kubelet: String,
    /// The container that is meant.
    pub container: String,
}

impl PodStreams {
    /// With the certificate that kubelets know us by. Without one, streams answer that they are not set up.
    pub fn new(certificate: Option<&Path>, key: Option<&Path>, authority: Option<&Path>) -> anyhow::Result<Self> {
        let files = match (certificate, key, authority) {
            (Some(certificate), Some(key), Some(authority)) => Some(Files {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                authority: authority.to_owned(),
            }),
            _ => None,
        };
        let tls = files.as_ref().map(Files::tls).transpose()?;
        let tls = ArcSwapOption::from_pointee(tls);
        Ok(Self { files, tls, connections: Mutex::new(HashMap::new()), end: CancellationToken::new() })
    }

    /// Ends all streams: the server shuts down.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// A stream until the server shuts down.
    pub fn bounded<S: Stream>(&self, stream: S) -> impl Stream<Item = S::Item> + use<S> {
        stream.take_until(self.end.clone().cancelled_owned())
    }

    /// Whether kubelets can be asked at all.
    pub fn has_credentials(&self) -> bool {
        self.files.is_some()
    }

    /// Takes up the credentials whenever they are replaced, for ever. Streams that stand go on.
    pub async fn follow(&self) {
        let Some(files) = &self.files else { return };
        let paths = || vec![files.certificate.clone(), files.key.clone(), files.authority.clone()];
        let contents = || paths().iter().map(|path| std::fs::read(path).unwrap_or_default()).collect::<Vec<_>>();
        // What was read at the start may have been replaced since: the first change brings both into line.
        let known = Mutex::new(contents());
        let reload = || {
            let read = contents();
            if *known.lock() == read {
                return;
            }
            match files.tls() {
                Ok(tls) => {
                    self.tls.store(Some(std::sync::Arc::new(tls)));
                    self.connections.lock().clear();
                    *known.lock() = read;
                    tracing::info!("connecting to kubelets with the new credentials");
                }
                Err(error) => tracing::warn!(%error, "the new credentials for kubelets are not taken up"),
            }
        };
        reeve_client::renewal::follow(paths, reload).await;
    }

    /// The kubelet at a location, for streams.
    pub fn kubelet(&self, location: &PodLocation) -> Result<StreamsClient<Channel>, StatusError> {
        Ok(StreamsClient::new(self.channel(location)?))
    }

    /// Reads a page of the kubelet at a location.
    ///
    /// # Errors
    /// It cannot be reached, or does not answer with success.
    pub async fn page(&self, location: &PodLocation, path: &str) -> Result<Bytes, StatusError> {
        let mut channel = self.channel(location)?;
        let failed = |error: &dyn std::fmt::Display| {
            StatusError::internal(format_args!(
                "the kubelet of node {} at {}: {error}",
                location.node, location.kubelet
            ))
        };
        let request = http::Request::get(path).body(Body::empty()).map_err(|error| failed(&error))?;
        std::future::poll_fn(|context| tower::Service::poll_ready(&mut channel, context))
            .await
            .map_err(|error| failed(&error))?;
        let response = tower::Service::call(&mut channel, request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            Err(failed(&format_args!("{status}: {}", String::from_utf8_lossy(&body))))
        }
    }

    fn channel(&self, location: &PodLocation) -> Result<Channel, StatusError> {
        let Some(tls) = self.tls.load_full() else {
            return Err(StatusError::unavailable(
                "the API server has no credentials for kubelets: start it with --kubelet-client-certificate, \
                 --kubelet-client-key and --kubelet-certificate-authority",
                60,
            ));
        };
        let mut connections = self.connections.lock();
        if let Some(connection) = connections.get(&location.kubelet) {
            return Ok(connection.clone());
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", location.kubelet))
            .and_then(|endpoint| endpoint.tls_config(ClientTlsConfig::clone(&tls)))
            .map_err(|error| {
                StatusError::internal(format_args!(
                    "the kubelet of node {} cannot be addressed: {error}",
                    location.node
                ))
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true);
        if connections.len() >= CONNECTIONS_MAX {
            connections.clear();
        }
        let channel = endpoint.connect_lazy();
        connections.insert(location.kubelet.clone(), channel.clone());
        Ok(channel)
    }
}

/// What is done with a container's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// A new process is started.
    Exec,
    /// The container's first process is joined.
    Attach,
}

impl PodStreams {
    /// Starts or joins a process; `input` is what follows the start. Dropping the answer ends the session.
    pub async fn run(
        &self,
        location: &PodLocation,
        session: Session,
        start: v1::ExecStart,
        input: impl Stream<Item = v1::ExecRequest> + Send + 'static,
    ) -> Result<Streaming<v1::ExecResponse>, tonic::Status> {
        let first = v1::ExecRequest { input: Some(v1::exec_request::Input::Start(start)) };
        let requests = futures::stream::iter([first]).chain(input);
        let mut kubelet = self.kubelet(location).map_err(|error| to_grpc(&error))?;
        let response = match session {
            Session::Exec => kubelet.exec(requests).await,
            Session::Attach => kubelet.attach(requests).await,
        };
        Ok(response.map_err(|status| kubelet_error(location, status))?.into_inner())
    }

    /// Opens a connection to a pod's port; `input` is what follows the start.
    pub async fn forward(
        &self,
        location: &PodLocation,
        start: v1::PortForwardStart,
        input: impl Stream<Item = v1::PortForwardRequest> + Send + 'static,
    ) -> Result<Streaming<v1::PortForwardResponse>, tonic::Status> {
        let first = v1::PortForwardRequest { input: Some(v1::port_forward_request::Input::Start(start)) };
        let mut kubelet = self.kubelet(location).map_err(|error| to_grpc(&error))?;
        let response = kubelet.port_forward(futures::stream::iter([first]).chain(input)).await;
        Ok(response.map_err(|status| kubelet_error(location, status))?.into_inner())
    }
}

/// What waits at most on either side of a connection through a kubelet, in bytes.
const WAITING_MAX: usize = 64 << 10;

impl PodStreams {
    /// A connection that the node at a location makes to an address, as a way to its pods for a server that is not on
    /// their network.
    ///
    /// # Errors
    /// The kubelet does not answer, or nobody takes the connection: the text says which.
    pub async fn dial(
        &self,
        location: &PodLocation,
        address: &str,
        port: u16,
    ) -> Result<tokio::io::DuplexStream, tonic::Status> {
        let (near, far) = tokio::io::duplex(WAITING_MAX);
        let (read, mut write) = tokio::io::split(far);
        let start = v1::PortForwardStart { port: port.into(), address: address.to_owned(), ..Default::default() };
        let data = |data| v1::PortForwardRequest { input: Some(v1::port_forward_request::Input::Data(data)) };
        let input = ReaderStream::new(read).filter_map(move |read| futures::future::ready(read.ok().map(data)));
        let mut answers = self.forward(location, start, input).await?;
        tokio::spawn(async move {
            loop {
                let written = match answers.message().await {
                    Ok(Some(answer)) => write.write_all(&answer.data).await,
                    Ok(None) => return drop(write.shutdown().await),
                    Err(status) => {
                        tracing::debug!(%status, "a connection through a kubelet ended");
                        return;
                    }
                };
                // The near side has gone, and knows.
                if written.is_err() {
                    return;
                }
            }
        });
        Ok(near)
    }
}

/// What a kubelet's failure means for the user.
pub fn kubelet_error(location: &PodLocation, status: tonic::Status) -> tonic::Status {
    // What was lost on the way has a cause; what the kubelet said has not.
    let answered = std::error::Error::source(&status).is_none();
    match status.code() {
        // The kubelet answered: its words stand.
        code if answered => {
            let reason = match code {
                tonic::Code::NotFound => Reason::NotFound,
                tonic::Code::PermissionDenied => Reason::Forbidden,
                tonic::Code::InvalidArgument | tonic::Code::FailedPrecondition => Reason::BadRequest,
                _ => Reason::InternalError,
            };
            to_grpc(&StatusError::new(reason, status.message()))
        }
        _ => {
            let mut text = status.message().to_owned();
            let mut source = std::error::Error::source(&status);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            tracing::warn!(node = location.node, kubelet = location.kubelet, error = text, "a kubelet does not answer");
            to_grpc(&StatusError::new(
                Reason::InternalError,
                format!("the kubelet of node {} at {} does not answer: {text}", location.node, location.kubelet),
            ))
        }
    }
}
