//! `pods/NAME/log`.

use futures::StreamExt as _;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use reeve_api::StatusError;
use reeve_proto::v1;
use tonic::body::Body;

use super::path::Query;
use crate::edges::grpc;
use crate::edges::status::from_grpc;
use crate::handlers::Handlers;
use crate::pod_streams::PodStreams;
use crate::request::{Target, User};

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
    let (_, stream) = grpc::logs(handlers, pods, user, request).await.map_err(|status| from_grpc(&status))?;
    let frames = stream.map(|chunk| match chunk {
        Ok(chunk) => Ok(Frame::data(chunk.data)),
        Err(status) => Err(status),
    });
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
