//! Reaching a container over the network, for probes and lifecycle hooks. Messages are upstream's, which are Go's.

pub mod grpc;
pub mod http;
mod insecure;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

/// Where a container is, and the names of its ports.
#[derive(Clone, Debug)]
pub struct Place {
    /// The pod's address.
    pub address: IpAddr,
    /// The container's spec, for named ports.
    pub container: Container,
}

/// Why a container could not be reached, or did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The spec names a port that the container does not have.
    #[error("the container has no port {0}")]
    Port(String),
    /// The spec names a host that is no address.
    #[error("host {0} is not an IP address")]
    Host(String),
    /// No connection.
    #[error("dial tcp {address}: {}", go_words(source))]
    Dial {
        /// Where to.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The spec's path or headers make no request.
    #[error("Get \"{url}\": {source}")]
    Request {
        /// What was asked for.
        url: String,
        /// Why it is no request.
        source: ::http::Error,
    },
    /// A request was not answered.
    #[error("Get \"{url}\": {source}")]
    Http {
        /// What was asked for.
        url: String,
        /// What went wrong below.
        source: Box<ReachError>,
    },
    /// The connection broke before the answer, or what came was no answer.
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    /// No TLS session.
    #[error("remote error: tls: {0}")]
    Tls(std::io::Error),
    /// No answer in time.
    #[error("context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    HttpTimeout,
    /// An answer that counts as a failure.
    #[error("HTTP probe failed with statuscode: {0}")]
    StatusCode(u16),
    /// More redirects than are followed.
    #[error("stopped after {0} redirects")]
    Redirects(u32),
    /// No gRPC connection in time.
    #[error("timeout: failed to connect service \"{address}\" within {}s: context deadline exceeded", within.as_secs())]
    GrpcConnectTimeout {
        /// Where to.
        address: SocketAddr,
        /// The time given.
        within: Duration,
    },
    /// No gRPC connection.
    #[error("error: failed to connect service at \"{address}\": {message}")]
    GrpcConnect {
        /// Where to.
        address: SocketAddr,
        /// The causes.
        message: String,
    },
    /// The server has no health service.
    #[error("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {0}")]
    GrpcUnimplemented(String),
    /// The health service did not answer in time.
    #[error("timeout: health rpc did not complete within {}s", .0.as_secs())]
    GrpcTimeout(Duration),
    /// The health service refused.
    #[error("error: health rpc probe failed: {0}")]
    GrpcRefused(String),
    /// The service is not serving.
    #[error("service unhealthy (responded with \"{0}\")")]
    GrpcUnhealthy(&'static str),
}

impl Place {
    /// The port that a number or name means.
    pub fn port(&self, wanted: &IntOrString) -> Result<u16, ReachError> {
        let (number, text) = match wanted {
            IntOrString::Int(number) => (Some(*number), number.to_string()),
            IntOrString::String(name) => {
                let ports = self.container.ports.iter().flatten();
                let named = ports.into_iter().find(|it| it.name.as_deref() == Some(name)).map(|it| it.container_port);
                (named.or_else(|| name.parse().ok()), name.clone())
            }
        };
        number.and_then(|it| u16::try_from(it).ok()).filter(|it| *it > 0).ok_or(ReachError::Port(text))
    }

    /// The address of a port, on another host where the spec names one.
    pub fn address(&self, host: Option<&str>, wanted: &IntOrString) -> Result<SocketAddr, ReachError> {
        let port = self.port(wanted)?;
        let address = match host.filter(|host| !host.is_empty()) {
            Some(host) => host.parse().map_err(|_| ReachError::Host(host.to_owned()))?,
            None => self.address,
        };
        Ok(SocketAddr::new(address, port))
    }
}

/// Opens a connection.
pub async fn dial(address: SocketAddr) -> Result<TcpStream, ReachError> {
    TcpStream::connect(address).await.map_err(|source| ReachError::Dial { address, source })
}

/// Opens a connection and closes it.
pub async fn tcp(address: SocketAddr, timeout: Duration) -> Result<(), ReachError> {
    match tokio::time::timeout(timeout, dial(address)).await {
        Ok(dialled) => dialled.map(|_| ()),
        Err(_) => Err(ReachError::Dial { address, source: std::io::ErrorKind::TimedOut.into() }),
    }
}

/// The words that users of Kubernetes know.
fn go_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        ErrorKind::TimedOut => "i/o timeout".into(),
        ErrorKind::HostUnreachable => "connect: no route to host".into(),
        ErrorKind::NetworkUnreachable => "connect: network is unreachable".into(),
        ErrorKind::ConnectionReset => "connect: connection reset by peer".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ContainerPort;

    use super::*;

    #[test]
    fn ports_go_by_number_name_and_digits() {
        let port = ContainerPort { name: Some("web".into()), container_port: 8080, ..ContainerPort::default() };
        let container = Container { ports: Some(vec![port]), ..Container::default() };
        let place = Place { address: [10, 0, 0, 1].into(), container };
        let by = |wanted: IntOrString| place.port(&wanted).map_err(|error| error.to_string());
        assert_eq!(by(IntOrString::Int(80)), Ok(80));
        assert_eq!(by(IntOrString::String("web".into())), Ok(8080));
        assert_eq!(by(IntOrString::String("81".into())), Ok(81));
        assert_eq!(by(IntOrString::String("none".into())), Err("the container has no port none".into()));
        assert_eq!(by(IntOrString::Int(70_000)), Err("the container has no port 70000".into()));
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_in_upstreams_words() {
        // A port that was free a moment ago.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = tcp(free, Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("dial tcp {free}: connect: connection refused"));
    }
}
