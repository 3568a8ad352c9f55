//! `/openapi/v3` and `/openapi/v2`: the schemas that `kubectl explain`, `kubectl apply` and code generators read.
//!
//! Nothing of it is kept in memory: documents are made from packed ones when they are asked for, and clients keep
//! them by their hash.

mod custom;
mod custom_paths;
mod select;
mod source;
#[cfg(test)]
mod tests;
mod v2;
mod v2_protobuf;
mod v3;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, LOCATION, VARY};
use http::{HeaderMap, Method, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use reeve_api::StatusError;
use tonic::body::Body;

use super::answer;
use super::discovery::{is_known, not_modified, tag};
use super::method_not_allowed;
use super::negotiation::{Asked, wants_gzip};
use super::path::Query;
use crate::registry::Registry;

const JSON: &str = "application/json";
/// gnostic's protobuf of v2: as clients ask for it, and as it is named in answers, where `@` may not stand.
const PROTOBUF_ASKED: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];
const PROTOBUF: &str = PROTOBUF_ASKED[1];

/// The answer for paths of OpenAPI; `None` for others.
///
/// # Errors
///
/// For methods other than GET.
pub fn answer(
    registry: &Registry,
    path: &str,
    query: &Query,
    method: &Method,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<Response<Body>>, StatusError> {
    let Some(rest) = path.strip_prefix("/openapi/") else { return Ok(None) };
    if *method != Method::GET {
        return Err(method_not_allowed());
    }
    match rest.trim_end_matches('/') {
        "v2" => v2(registry, headers).map(Some),
        "v3" => {
            let bytes = Bytes::from(v3::index(registry).to_string());
            let tag = tag(&bytes);
            // Upstream leaves the index without a type of its own.
            answered(bytes, "text/plain; charset=utf-8", &tag, headers).map(Some)
        }
        rest => match rest.strip_prefix("v3/") {
            Some(name) => v3_document(registry, name, query, headers, now).map(Some),
            None => Ok(None),
        },
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

/// Bytes with their tag, or that they did not change.
fn answered(
    bytes: Bytes,
    media_type: &'static str,
    tag: &HeaderValue,
    headers: &HeaderMap,
) -> Result<Response<Body>, StatusError> {
    let mut response = if is_known(headers, tag) {
        not_modified()
    } else {
        answer::ready(bytes, media_type, Asked { gzip: wants_gzip(headers), ..Asked::JSON }, 200)?
    };
    response.headers_mut().insert(ETAG, tag.clone());
    response.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT));
    Ok(response)
}

/// The first of the media types that the client takes.
fn accepted(headers: &HeaderMap, types: &[(&'static [&'static str], &'static str)]) -> Option<&'static str> {
    let mut accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let default = types.first().map(|(_, answered)| *answered);
    if accepts.peek().is_none() {
        return default;
    }
    accepts.flat_map(|value| value.split(',')).find_map(|range| {
        let media = range.split(';').next().unwrap_or_default().trim();
        if matches!(media, "*/*" | "application/*" | "") {
            return default;
        }
        types.iter().find(|(asked, _)| asked.contains(&media)).map(|(_, answered)| *answered)
    })
}

fn v2(registry: &Registry, headers: &HeaderMap) -> Result<Response<Body>, StatusError> {
    let Some(media_type) = accepted(headers, &[(&[JSON], JSON), (&PROTOBUF_ASKED, PROTOBUF)]) else {
        return Ok(status(StatusCode::NOT_ACCEPTABLE));
    };
    // What the document is made of is the index of v3.
    let tag = tag(format!("{media_type} {}", v3::index(registry)).as_bytes());
    if is_known(headers, &tag) {
        return answered(Bytes::new(), media_type, &tag, headers);
    }
    let bytes =
        if media_type == JSON { v2::Json::document(registry)? } else { v2_protobuf::Protobuf::document(registry)? };
    answered(bytes.into(), media_type, &tag, headers)
}

fn v3_document(
    registry: &Registry,
    name: &str,
    query: &Query,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Response<Body>, StatusError> {
    let Some(hash) = v3::hash(registry, name) else { return Ok(status(StatusCode::NOT_FOUND)) };
    if accepted(headers, &[(&[JSON], JSON)]).is_none() {
        return Ok(status(StatusCode::NOT_ACCEPTABLE));
    }
    let asked = query.text("hash");
    if !asked.is_empty() && asked != hash {
        // The client knows an older document.
        let mut response = status(StatusCode::MOVED_PERMANENTLY);
        let location = format!("/openapi/v3/{name}?hash={hash}");
        response.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).map_err(StatusError::internal)?);
        return Ok(response);
    }
    let tag = HeaderValue::from_str(&format!("\"{hash}\"")).map_err(StatusError::internal)?;
    let mut response = if is_known(headers, &tag) {
        answered(Bytes::new(), JSON, &tag, headers)?
    } else {
        let Some(document) = v3::document(registry, name)? else { return Ok(status(StatusCode::NOT_FOUND)) };
        answered(document.into(), JSON, &tag, headers)?
    };
    if !asked.is_empty() {
        // A URL with a hash always has the same document.
        let year = now.checked_add(SignedDuration::from_hours(365 * 24)).unwrap_or(now);
        let expires = year.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        response.headers_mut().insert(EXPIRES, HeaderValue::from_str(&expires).map_err(StatusError::internal)?);
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    Ok(response)
}
