//! Answers: objects, lists that stream from a snapshot, and watches.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use jiff::Timestamp;
use reeve_api::StatusError;
use reeve_api::json;
use reeve_api::resource::api_version;
use serde_json::Value;
use tonic::body::Body;

use super::negotiation::{Encoding, Form};
use super::path::Query;
use super::table;
use crate::edges::status::{full, status_json};
use crate::handlers::{Listing, ObjectAnswer, WatchItem, WatchStream};
use crate::registry::Row;

/// How many bytes of a list are put together before they are sent: a few TLS records, so that the cost per chunk
/// vanishes and the memory of a list stays flat.
const CHUNK_BYTES: usize = 256 * 1024;

const WARNING: HeaderName = HeaderName::from_static("warning");

fn content_type(encoding: Encoding) -> HeaderValue {
    match encoding {
        Encoding::Json => HeaderValue::from_static("application/json"),
        Encoding::Yaml => HeaderValue::from_static("application/yaml"),
    }
}

/// A whole answer from JSON bytes.
pub fn whole(bytes: Bytes, encoding: Encoding, status: u16) -> Result<Response<Body>, StatusError> {
    let bytes = match encoding {
        Encoding::Json => bytes,
        Encoding::Yaml => {
            let value: Value = serde_json::from_slice(&bytes).map_err(StatusError::internal)?;
            serde_yaml::to_string(&value).map_err(StatusError::internal)?.into()
        }
    };
    let mut response = Response::new(full(bytes));
    *response.status_mut() = StatusCode::from_u16(status).map_err(StatusError::internal)?;
    response.headers_mut().insert(CONTENT_TYPE, content_type(encoding));
    Ok(response)
}

/// An object.
pub fn object(answer: ObjectAnswer, encoding: Encoding, status: u16) -> Result<Response<Body>, StatusError> {
    let mut response = whole(answer.bytes, encoding, status)?;
    warn(&mut response, &answer.warnings);
    Ok(response)
}

/// `Warning: 299 - "text"`, one header a warning.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for text in warnings {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        match HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            Ok(value) => {
                response.headers_mut().append(WARNING, value);
            }
            Err(error) => tracing::debug!(%error, text, "a warning cannot be sent as a header"),
        }
    }
}

/// The metadata of an object, as `PartialObjectMetadata`.
pub fn metadata_object(answer: ObjectAnswer, encoding: Encoding, status: u16) -> Result<Response<Body>, StatusError> {
    whole(partial(&answer.bytes), encoding, status)
}

/// The bytes of an object's `PartialObjectMetadata`.
pub fn partial(object: &[u8]) -> Bytes {
    const HEADER: &[u8] = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1""#;
    let mut out = BytesMut::from(HEADER);
    if let Some(metadata) = json::member(object, "metadata") {
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(&object[metadata]);
    }
    out.extend_from_slice(b"}");
    out.freeze()
}

/// The beginning of a list up to its items.
pub fn list_header(kind: &str, api_version: &str, listing: &Listing) -> String {
    let mut metadata = format!("\"resourceVersion\":\"{}\"", listing.revision);
    if !listing.continue_token.is_empty() {
        metadata.push_str(&format!(",\"continue\":\"{}\"", listing.continue_token));
        if let Some(count) = listing.remaining_item_count {
            metadata.push_str(&format!(",\"remainingItemCount\":{count}"));
        }
    }
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{{metadata}}}")
}

/// A list of objects, assembled from ready bytes while it is sent.
pub fn list(listing: Listing, encoding: Encoding) -> Result<Response<Body>, StatusError> {
    let gvk = listing.row.info.kind();
    let header = list_header(&format!("{}List", gvk.kind), &gvk.api_version(), &listing);
    stream_list(header, listing, encoding, |object, out| {
        // Items of a typed list go without apiVersion and kind.
        out.extend_from_slice(b"{");
        out.extend_from_slice(&object[json::header_len(&object)..]);
    })
}

/// A list of metadata.
pub fn metadata_list(listing: Listing, encoding: Encoding) -> Result<Response<Body>, StatusError> {
    let header = list_header("PartialObjectMetadataList", "meta.k8s.io/v1", &listing);
    stream_list(header, listing, encoding, |object, out| out.extend_from_slice(&partial(&object)))
}

fn stream_list(
    header: String,
    listing: Listing,
    encoding: Encoding,
    mut write: impl FnMut(Bytes, &mut BytesMut) + Send + 'static,
) -> Result<Response<Body>, StatusError> {
    let mut entries = listing.entries;
    let mut begin = Some(format!("{header},\"items\":["));
    let mut first = true;
    let mut ended = false;
    let mut chunks = std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut out = BytesMut::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
        if let Some(begin) = begin.take() {
            out.extend_from_slice(begin.as_bytes());
        }
        while out.len() < CHUNK_BYTES {
            let Some(entry) = entries.next() else {
                out.extend_from_slice(b"]}\n");
                ended = true;
                break;
            };
            if !first {
                out.extend_from_slice(b",");
            }
            first = false;
            write(entry.object(), &mut out);
        }
        Some(out.freeze())
    });
    if encoding == Encoding::Yaml {
        // People read YAML; such lists are small.
        let all: Vec<Bytes> = chunks.collect();
        return whole(all.concat().into(), encoding, 200);
    }
    // A short list goes as one body with its length.
    let Some(head) = chunks.next() else { return whole(Bytes::new(), encoding, 200) };
    let Some(second) = chunks.next() else { return whole(head, encoding, 200) };
    let frames = futures::stream::iter([head, second].into_iter().chain(chunks))
        .map(|chunk| Ok::<_, std::convert::Infallible>(Frame::data(chunk)));
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, content_type(encoding));
    Ok(response)
}

/// The last states of a deleted collection.
pub fn collection(row: Option<&Row>, deleted: &[Bytes], encoding: Encoding) -> Result<Response<Body>, StatusError> {
    let (kind, version) = row.map_or_else(
        || ("List".to_owned(), "v1".to_owned()),
        |row| {
            let gvk = row.info.kind();
            (format!("{}List", gvk.kind), api_version(&gvk.group, &gvk.version))
        },
    );
    let mut out = BytesMut::new();
    out.extend_from_slice(
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{{}},\"items\":[").as_bytes(),
    );
    for (index, object) in deleted.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b",");
        }
        out.extend_from_slice(b"{");
        out.extend_from_slice(&object[json::header_len(object)..]);
    }
    out.extend_from_slice(b"]}\n");
    whole(out.freeze(), encoding, 200)
}

/// A watch: one line an event, in the form that the client asked for.
pub fn watch(
    stream: WatchStream,
    form: Form,
    row: Option<Arc<Row>>,
    clock: fn() -> Timestamp,
    query: &Query,
) -> Response<Body> {
    let mut tables = table::WatchTables::new(row, clock, query);
    let frames = stream.map(move |batch| {
        let lines: Vec<Bytes> = batch.iter().map(|item| line(item, form, &mut tables)).collect();
        let bytes = match lines.as_slice() {
            // The usual case shares the bytes among all watchers.
            [only] => only.clone(),
            _ => lines.concat().into(),
        };
        Ok::<_, std::convert::Infallible>(Frame::data(bytes))
    });
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn line(item: &WatchItem, form: Form, tables: &mut table::WatchTables) -> Bytes {
    match (item, form) {
        (WatchItem::Error(error), _) => framed("ERROR", &status_json(error)),
        (WatchItem::Event(event), Form::Object) => event.line(),
        (WatchItem::Event(event), Form::Metadata) => framed(event.kind().as_str(), &partial(&event.object())),
        (WatchItem::Event(event), Form::Table) => framed(event.kind().as_str(), &tables.table(&event.object())),
    }
}

fn framed(kind: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + 40);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.freeze()
}
