//! REST requests on the connection that carries the gRPC calls: the same port, certificates and token.
//!
//! For what has no gRPC call: OpenAPI documents, health, tables of custom kinds, `rctl proxy` and `--raw`.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, BodyStream, Full};
use reeve_api::{Reason, StatusError};
use serde_json::Value;
use tower::{Service as _, ServiceExt as _};

use crate::api::Client;
use crate::error::Error;

/// An answer whose body is still coming.
pub struct RestResponse {
    /// The code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, piece by piece.
    pub body: BoxStream<'static, Result<Bytes, Error>>,
}

impl RestResponse {
    /// The whole body.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let pieces: Vec<Bytes> = self.body.try_collect().await?;
        Ok(match <[Bytes; 1]>::try_from(pieces) {
            Ok([one]) => one,
            Err(pieces) => pieces.concat().into(),
        })
    }

    /// Itself, or the server's refusal: its `Status`, or what it wrote instead of one.
    pub async fn accepted(self) -> Result<RestResponse, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let code = self.status;
        let body = self.bytes().await?;
        if let Ok(status) = serde_json::from_slice::<Value>(&body)
            && status.get("kind").and_then(Value::as_str) == Some("Status")
            && let Ok(status) = serde_json::from_value(status)
        {
            return Err(Error::Status(Box::new(StatusError::from_status(status))));
        }
        let reason = match code.as_u16() {
            401 => Reason::Unauthorized,
            403 => Reason::Forbidden,
            404 => Reason::NotFound,
            405 => Reason::MethodNotAllowed,
            400..=499 => Reason::BadRequest,
            _ => Reason::InternalError,
        };
        let text = String::from_utf8_lossy(&body);
        let text = if text.trim().is_empty() { code.to_string() } else { text.trim().to_owned() };
        Err(Error::Status(Box::new(StatusError::new(reason, text))))
    }
}

impl Client {
    /// Sends a request; its URI is a path with an optional query. Any answer is a success.
    pub async fn rest(&self, request: Request<Bytes>) -> Result<RestResponse, Error> {
        let (parts, body) = request.into_parts();
        let body = tonic::body::Body::new(Full::new(body).map_err(|never| match never {}));
        let mut channel = self.channel();
        let lost = |error: tonic::transport::Error| self.failed(tonic::Status::from_error(Box::new(error)));
        let response =
            channel.ready().await.map_err(lost)?.call(Request::from_parts(parts, body)).await.map_err(lost)?;
        let (parts, body) = response.into_parts();
        let client = self.clone();
        let body = BodyStream::new(body).filter_map(move |frame| {
            let piece = match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(status) => Some(Err(client.failed(status))),
            };
            futures::future::ready(piece)
        });
        Ok(RestResponse { status: parts.status, headers: parts.headers, body: body.boxed() })
    }

    /// Sends a request without headers of its own but the wanted type of the answer; refusals are errors.
    pub async fn rest_call(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
    ) -> Result<RestResponse, Error> {
        let mut request = Request::builder().method(method).uri(path).header("accept", accept);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request =
            request.body(body).map_err(|error| Error::Encode(format!("{path:?} is not a path of the API: {error}")))?;
        self.rest(request).await?.accepted().await
    }

    /// Reads a JSON document.
    pub async fn rest_json(&self, path: &str, accept: &str) -> Result<Value, Error> {
        let bytes = self.rest_call(Method::GET, path, accept, Bytes::new()).await?.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Decode { message: format!("{path}: {error}") })
    }
}
