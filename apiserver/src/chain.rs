//! The request chain: every request passes these layers, in this order.
//!
//! Layers that need only the connection and the headers are here; those that need the request's target and
//! body follow in [`crate::handlers`], which both edges call. Reading [`Chain::serve`] and
//! [`crate::handlers::Handlers`] from top to bottom shows the whole way of a request.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use reeve_api::{Reason, StatusError};
use reeve_client::tls::PeerIdentity;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::service::Routes;

use crate::authentication::{ANONYMOUS, impersonation};
use crate::authorization::On;
use crate::edges::rest::{BodyRead, Readiness, Rest};
use crate::edges::status::{to_grpc, to_http};
use crate::handlers::Handlers;

/// The one gRPC service that is asked without credentials.
const GRPC_HEALTH: &str = "/grpc.health.v1.Health/";

/// The layers and the two edges behind them.
pub struct Chain {
    /// Requests that hold a place until they are answered; streams give it back when they begin.
    in_flight: Arc<Semaphore>,
    grpc: Routes,
    rest: Arc<Rest>,
    handlers: Arc<Handlers>,
    readiness: Readiness,
}

impl Chain {
    /// A chain that lets at most `in_flight_max` requests be decided at a time.
    pub fn new(
        grpc: Routes,
        rest: Arc<Rest>,
        handlers: Arc<Handlers>,
        readiness: Readiness,
        in_flight_max: usize,
    ) -> Self {
        Self { in_flight: Arc::new(Semaphore::new(in_flight_max)), grpc, rest, handlers, readiness }
    }

    /// Serves one request.
    pub async fn serve(
        &self,
        peer: Option<Arc<PeerIdentity>>,
        address: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        let is_grpc =
            request.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let refuse = |error: &StatusError| if is_grpc { to_grpc(error).into_http() } else { to_http(error) };
        let method = request.method().clone();
        let body = BodyRead::default();
        let has_body = request.version() == Version::HTTP_11 && !request.body().is_end_stream();
        request.extensions_mut().insert(body.clone());
        let path = request.uri().path().to_owned();

        // Panic isolation: a defect in one request is that request's failure.
        let answer = AssertUnwindSafe(async {
            // Health: load balancers and probes ask without credentials.
            if !is_grpc && let Some(response) = self.rest.health(&path, request.uri().query()) {
                return response;
            }

            // Start: without the first roles, components would be told that they may do nothing.
            if let Err(error) = self.readiness.started().await {
                return refuse(&error);
            }

            // In-flight limit: a place until the answer begins. Waiting is bounded by the connection's own limit of
            // streams; beyond the limit the client is told to come back.
            let Ok(_place) = self.in_flight.try_acquire() else {
                let mut error = StatusError::unavailable("too many requests are in flight, try again later", 1);
                error.reason = Reason::TooManyRequests;
                return refuse(&error);
            };

            // Authentication: the client certificate or a token names the user.
            let authenticator = self.handlers.authenticator();
            let user = match authenticator.authenticate(peer.as_deref(), request.headers(), self.handlers.now()) {
                Ok(user) => user,
                Err(error) => return refuse(&error),
            };
            if is_grpc && user.name == ANONYMOUS && !path.starts_with(GRPC_HEALTH) {
                return refuse(&StatusError::new(Reason::Unauthorized, "Unauthorized"));
            }

            // Impersonation: who may, acts as somebody else from here on.
            let authorizer = self.handlers.authorizer();
            let user = if is_grpc {
                impersonation::apply(authorizer, user, request.headers(), "post", On::Path(&path))
            } else {
                self.rest.impersonate(user, &request)
            };
            let user = match user {
                Ok(user) => Arc::new(user),
                Err(error) => return refuse(&error),
            };

            // The edges decode the target, then the handlers authorize, admit, validate and store.
            request.extensions_mut().insert(user.clone());
            if is_grpc {
                let mut routes = self.grpc.clone();
                match tower::Service::call(&mut routes, request.map(Body::new)).await {
                    Ok(response) => response,
                    Err(error) => refuse(&StatusError::internal(error)),
                }
            } else {
                self.rest.serve(user, request).await
            }
        })
        .catch_unwind()
        .await;

        match answer {
            Ok(mut response) => {
                if has_body && !body.is_read() {
                    // What follows on the connection would be the body: the client must know that nothing else can.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                tracing::debug!(%method, path, %address, status = response.status().as_u16(), "request");
                response
            }
            Err(panic) => {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_default();
                tracing::error!(%method, path, %address, panic = text, "a request panicked");
                refuse(&StatusError::internal("the request met a defect of the server; its log has the details"))
            }
        }
    }
}
