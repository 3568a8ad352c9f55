//! Status codes, decided in one place: from the typed error to gRPC and to HTTP.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reeve_api::{Reason, StatusError};
use reeve_proto::STATUS_TRAILER;
use tonic::body::Body;
use tonic::metadata::{MetadataMap, MetadataValue};

/// The gRPC code of a reason.
fn grpc_code(reason: Reason) -> tonic::Code {
    match reason {
        Reason::BadRequest | Reason::Invalid | Reason::RequestEntityTooLarge => tonic::Code::InvalidArgument,
        Reason::Unauthorized => tonic::Code::Unauthenticated,
        Reason::Forbidden => tonic::Code::PermissionDenied,
        Reason::NotFound => tonic::Code::NotFound,
        Reason::MethodNotAllowed | Reason::NotAcceptable | Reason::UnsupportedMediaType => tonic::Code::Unimplemented,
        Reason::AlreadyExists => tonic::Code::AlreadyExists,
        Reason::Conflict => tonic::Code::Aborted,
        Reason::Expired | Reason::Gone => tonic::Code::OutOfRange,
        Reason::TooManyRequests => tonic::Code::ResourceExhausted,
        Reason::InternalError | Reason::Unknown => tonic::Code::Internal,
        Reason::ServiceUnavailable => tonic::Code::Unavailable,
        Reason::ServerTimeout | Reason::Timeout => tonic::Code::DeadlineExceeded,
    }
}

/// The status as JSON with apiVersion and kind.
pub fn status_json(error: &StatusError) -> Vec<u8> {
    let status = error.to_status();
    // A Status holds nothing that JSON cannot say.
    serde_json::to_vec(&status).unwrap_or_default()
}

/// A gRPC error with the Kubernetes `Status` in its trailer.
pub fn to_grpc(error: &StatusError) -> tonic::Status {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin(STATUS_TRAILER, MetadataValue::from_bytes(&status_json(error)));
    // HTTP/2 peers bound the size of trailers; the whole text is in the status.
    let message: String = error.message.chars().take(1000).collect();
    tonic::Status::with_metadata(grpc_code(error.reason), message, metadata)
}

/// The status that our own gRPC errors carry.
pub fn from_grpc(status: &tonic::Status) -> StatusError {
    status
        .metadata()
        .get_bin(STATUS_TRAILER)
        .and_then(|value| value.to_bytes().ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .map(StatusError::from_status)
        .unwrap_or_else(|| StatusError::new(Reason::InternalError, status.message()))
}

/// An HTTP answer with the Kubernetes `Status` as its body.
pub fn to_http(error: &StatusError) -> http::Response<Body> {
    let mut response = http::Response::new(full(status_json(error)));
    *response.status_mut() =
        http::StatusCode::from_u16(error.code()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Body::new(http_body_util::Full::new(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_codes_of_its_class() {
        for reason in Reason::ALL {
            let error = StatusError::new(reason, "text");
            assert_eq!(to_http(&error).status().as_u16(), reason.code());
            let grpc = to_grpc(&error);
            assert_ne!(grpc.code(), tonic::Code::Ok);
            assert_ne!(grpc.code(), tonic::Code::Unknown);
            assert!(grpc.metadata().get_bin(STATUS_TRAILER).is_some());
        }
    }
}
