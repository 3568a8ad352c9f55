//! Requests that the server itself sends: to pods, services and nodes on behalf of users, to webhooks.
//!
//! A connection carries one request: what is asked often keeps its own connections elsewhere.

pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::body::Body;

use crate::edges::status::from_grpc;
use crate::pod_streams::{PodLocation, PodStreams};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The headers that end at each station of the way.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Where a request goes.
#[derive(Clone)]
pub struct Destination {
    /// An address or a name.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// How TLS is spoken; `None` for plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The name that the other side's certificate must be for, where it is not the host.
    pub server_name: Option<String>,
    /// The node that makes the connection; `None` for this server itself.
    pub through: Option<Through>,
}

/// A node that connects for this server, which need not be on the network of the pods.
#[derive(Clone)]
pub struct Through {
    /// The way to kubelets.
    pub kubelets: Arc<PodStreams>,
    /// The node.
    pub location: PodLocation,
}

/// What carries bytes both ways.
trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Destination {
    /// `host:port`, as headers and messages have it.
    pub fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Why there is no answer. The texts are those that users of upstream know.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Nobody took the connection.
    #[error("dial tcp {address}: {cause}")]
    Dial {
        /// `host:port`.
        address: String,
        /// The system's words.
        cause: String,
    },
    /// The TLS handshake failed.
    #[error("tls: {0}")]
    Tls(String),
    /// The connection broke, or what came over it was not HTTP.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// There was no answer in time.
    #[error("context deadline exceeded")]
    Timeout,
}

fn dial_cause(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Sends one request, whose URI is a path and a query.
///
/// # Errors
/// When no answer begins.
pub async fn send<B>(destination: &Destination, mut request: Request<B>) -> Result<Response<Incoming>, OutboundError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let address = destination.authority();
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, dial(destination)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) => return Err(OutboundError::Dial { address, cause }),
        Err(_) => return Err(OutboundError::Dial { address, cause: "i/o timeout".to_owned() }),
    };
    if let Ok(host) = HeaderValue::from_str(&address) {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    *request.version_mut() = http::Version::HTTP_11;
    let Some(config) = &destination.tls else { return exchange(stream, request).await };
    let name = destination.server_name.clone().unwrap_or_else(|| destination.host.clone());
    let name = ServerName::try_from(name).map_err(|error| OutboundError::Tls(error.to_string()))?;
    let handshake = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream);
    match tokio::time::timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => exchange(stream, request).await,
        Ok(Err(error)) => Err(OutboundError::Tls(error.to_string())),
        Err(_) => Err(OutboundError::Tls("handshake timeout".to_owned())),
    }
}

async fn dial(destination: &Destination) -> Result<Box<dyn Connection>, String> {
    let (host, port) = (destination.host.as_str(), destination.port);
    match &destination.through {
        None => {
            let dialled = TcpStream::connect((host, port)).await;
            dialled.map(|stream| Box::new(stream) as Box<dyn Connection>).map_err(|error| dial_cause(&error))
        }
        Some(Through { kubelets, location }) => {
            let dialled = kubelets.dial(location, host, port).await;
            dialled.map(|stream| Box::new(stream) as Box<dyn Connection>).map_err(|status| from_grpc(&status).message)
        }
    }
}

async fn exchange<S, B>(stream: S, request: Request<B>) -> Result<Response<Incoming>, OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a backend ended");
        }
    });
    Ok(sender.send_request(request).await?)
}

/// Hands a user's request on: `path` is the path and query there. What the two sides say after a change of protocol
/// flows freely.
///
/// # Errors
/// When no answer begins.
pub async fn hand_on(
    destination: &Destination,
    path: &str,
    own_headers: &[(HeaderName, HeaderValue)],
    mut request: Request<Incoming>,
) -> Result<Response<Body>, OutboundError> {
    let protocol = request.headers().get(UPGRADE).cloned().filter(|_| wants_upgrade(request.headers()));
    let client_side = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method;
    *onward.uri_mut() = path.parse().unwrap_or_else(|_| http::Uri::from_static("/"));
    *onward.headers_mut() = parts.headers;
    let headers = onward.headers_mut();
    without_hops(headers);
    headers.remove(HOST);
    for (name, value) in own_headers {
        headers.append(name, value.clone());
    }
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    let mut response = send(destination, onward).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client_side) = client_side
    {
        let server_side = hyper::upgrade::on(&mut response);
        tokio::spawn(join(client_side, server_side));
        return Ok(response.map(|_| Body::empty()));
    }
    without_hops(response.headers_mut());
    Ok(response.map(Body::new))
}

/// Carries bytes both ways until both sides are done.
async fn join(one: hyper::upgrade::OnUpgrade, other: hyper::upgrade::OnUpgrade) {
    let (one, other) = match futures::future::try_join(one, other).await {
        Ok(sides) => sides,
        Err(error) => {
            tracing::debug!(%error, "a proxied connection did not change its protocol");
            return;
        }
    };
    if let Err(error) = tokio::io::copy_bidirectional(&mut TokioIo::new(one), &mut TokioIo::new(other)).await {
        tracing::debug!(%error, "a proxied connection ended");
    }
}

fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

fn without_hops(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_absent_backend_is_told_in_the_words_of_upstream() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let destination =
            Destination { host: "127.0.0.1".into(), port: free, tls: None, server_name: None, through: None };
        let request = Request::new(http_body_util::Empty::<Bytes>::new());
        let error = send(&destination, request).await.unwrap_err();
        assert_eq!(error.to_string(), format!("dial tcp 127.0.0.1:{free}: connect: connection refused"));
    }

    #[test]
    fn headers_of_the_way_stay_behind() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        headers.insert("x-own", HeaderValue::from_static("1"));
        assert!(wants_upgrade(&headers));
        without_hops(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
