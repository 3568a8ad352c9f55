//! What others may ask this program over HTTP: whether it is healthy, what it counts, and how many endpoints a load
//! balancer finds here. Plain text without secrets, as upstream's proxy serves it on the same ports.

pub mod health;
pub mod metrics;
pub mod node_ports;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How many connections a port serves at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take to send its request, and a connection may live.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
pub struct Reply {
    /// The status code.
    pub status: StatusCode,
    /// The type of the body.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Reply {
        Reply { status, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: body.into() }
    }

    /// A page that does not exist.
    pub fn not_found() -> Reply {
        Reply::text(StatusCode::NOT_FOUND, "404 page not found\n")
    }
}

/// What answers a request by its path.
pub type Answer = Arc<dyn Fn(&str) -> Reply + Send + Sync>;

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Listens on an address.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError { address, source })
}

/// Answers each request by its path, until shutdown.
pub async fn serve(listener: TcpListener, answer: Answer, shutdown: CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = async {
                let permit = connections.clone().acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (stream, permit) = match accepted {
            (Ok(permit), Ok((stream, _))) => (stream, permit),
            (Err(_), _) => return,
            (_, Err(error)) => {
                tracing::debug!(%error, "accepting a connection failed");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let (answer, shutdown) = (answer.clone(), shutdown.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                let reply = answer(request.uri().path());
                async move { Ok::<_, Infallible>(response(reply)) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                ended = tokio::time::timeout(PATIENCE, connection) => {
                    if let Ok(Err(error)) = ended {
                        tracing::trace!(%error, "connection ended");
                    }
                }
                () = shutdown.cancelled() => {}
            }
            drop(permit);
        });
    }
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}
