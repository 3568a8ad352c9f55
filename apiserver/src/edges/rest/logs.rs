//! `pods/NAME/log`.

use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use reeve_api::validation::{ErrorList, Path};
use reeve_api::{Reason, StatusError};
use reeve_proto::v1;
use tonic::body::Body;

use super::path::Query;
use crate::edges::grpc;
use crate::edges::status::from_grpc;
use crate::handlers::Handlers;
use crate::pod_streams::PodStreams;
use crate::request::{Target, User, Verb};

/// Streams a container's log as plain text.
pub async fn answer(
    handlers: &Handlers,
    pods: &PodStreams,
    user: &User,
    target: &Target,
    query: &Query,
) -> Result<Response<Body>, StatusError> {
    let request = v1::LogsRequest {
        namespace: target.namespace.clone(),
        pod: target.name.clone(),
        container: query.text("container").to_owned(),
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        since_seconds: query.number("sinceSeconds")?,
        since_time: query.text("sinceTime").to_owned(),
        tail_lines: query.number("tailLines")?,
        limit_bytes: query.number("limitBytes")?,
    };
    let located =
        handlers.locate_if_assigned(user, Verb::Get, &target.namespace, &target.name, "log", &request.container).await;
    if !matches!(&located, Err(error) if error.reason == Reason::Forbidden) {
        check(target, query, &request)?;
    }
    if located?.is_none() {
        // Nothing ran yet, so nothing was written.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let (_, stream) = grpc::logs(handlers, pods, user, request).await.map_err(|status| from_grpc(&status))?;
    let frames = pods.bounded(stream).map(|chunk| match chunk {
        Ok(chunk) => Ok(Frame::data(chunk.data)),
        Err(status) => Err(status),
    });
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

/// Upstream's `ValidatePodLogOptions`.
fn check(target: &Target, query: &Query, request: &v1::LogsRequest) -> Result<(), StatusError> {
    let mut errors = ErrorList::new();
    if let Some(lines) = request.tail_lines.filter(|lines| *lines < 0) {
        errors.invalid(&Path::new("tailLines"), lines, "must be greater than or equal to 0");
    }
    if let Some(bytes) = request.limit_bytes.filter(|bytes| *bytes < 1) {
        errors.invalid(&Path::new("limitBytes"), bytes, "must be greater than 0");
    }
    if query.has("sinceSeconds") && query.has("sinceTime") {
        // The field is that of the options themselves, which have no name.
        errors.forbidden(&Path::new("[]"), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    } else if let Some(seconds) = request.since_seconds.filter(|seconds| *seconds < 1) {
        errors.invalid(&Path::new("sinceSeconds"), seconds, "must be greater than 0");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(StatusError::invalid("", "PodLogOptions", &target.name, errors.into_causes()))
}
