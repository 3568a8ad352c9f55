//! `/healthz` for whoever watches over this process on its own machine: without credentials, on the loopback address.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context as _;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until shutdown, one connection at a time: nobody but the machine's own supervisor asks.
///
/// # Errors
/// The address is taken.
pub async fn serve(address: SocketAddr, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                continue;
            }
        };
        let service = hyper::service::service_fn(|request: http::Request<_>| async move {
            let known =
                matches!(request.uri().path(), "/healthz" | "/healthz/ping" | "/healthz/log" | "/healthz/syncloop");
            let body = if known { "ok" } else { "404 page not found" };
            let mut response = Response::new(Full::new(bytes::Bytes::from_static(body.as_bytes())));
            if !known {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            Ok::<_, Infallible>(response)
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).keep_alive(false);
        if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
            tracing::debug!(%error, "connection ended");
        }
    }
}
