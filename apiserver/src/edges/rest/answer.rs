//! Answers: objects, lists that stream from a snapshot, and watches, in the form and encoding that was asked for.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use jiff::Timestamp;
use reeve_api::resource::api_version;
use reeve_api::{Reason, StatusError, json};
use serde_json::Value;
use tonic::body::Body;

use super::compress;
use super::negotiation::{Asked, Encoding, Form};
use super::path::Query;
use super::table;
use crate::edges::status::{full, status_json, to_http};
use crate::encoding::protobuf;
use crate::handlers::{Listing, ObjectAnswer, WatchItem, WatchStream};
use crate::registry::Row;

/// How many bytes of a list are put together before they are sent: a few TLS records, so that the cost per chunk
/// vanishes and the memory of a list stays flat.
const CHUNK_BYTES: usize = 256 * 1024;

const WARNING: HeaderName = HeaderName::from_static("warning");

/// An answer of these bytes in the encoding that was asked for; they are JSON.
pub fn whole(bytes: Bytes, asked: Asked, status: u16) -> Result<Response<Body>, StatusError> {
    let bytes = match asked.encoding {
        Encoding::Json if asked.pretty => pretty(&bytes)?,
        Encoding::Json => bytes,
        Encoding::Yaml => yaml(&bytes)?,
        Encoding::Protobuf => protobuf::encode(&bytes).map_err(StatusError::internal)?.into(),
    };
    ready(bytes, asked.encoding.media_type(), asked, status)
}

/// An answer of bytes that are already encoded.
pub fn ready(bytes: Bytes, media_type: &'static str, asked: Asked, status: u16) -> Result<Response<Body>, StatusError> {
    let mut response = if asked.gzip && bytes.len() > compress::THRESHOLD_BYTES {
        let mut response = Response::new(full(compress::whole(&bytes).map_err(StatusError::internal)?));
        compress::mark(&mut response);
        response
    } else {
        Response::new(full(bytes))
    };
    *response.status_mut() = StatusCode::from_u16(status).map_err(StatusError::internal)?;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(response)
}

/// An error in the encoding of the answer that it stands for.
pub fn error(error: &StatusError, encoding: Encoding) -> Response<Body> {
    let mut response = to_http(error);
    if encoding != Encoding::Json {
        let asked = Asked { encoding, ..Asked::JSON };
        match whole(status_json(error).into(), asked, error.code()) {
            Ok(encoded) => {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
                *response.body_mut() = encoded.into_body();
            }
            Err(error) => tracing::error!(%error, "a status cannot be encoded; it goes as JSON"),
        }
    }
    response
}

/// Indented by two spaces.
fn pretty(json: &[u8]) -> Result<Bytes, StatusError> {
    let value: Value = serde_json::from_slice(json).map_err(StatusError::internal)?;
    let mut bytes = serde_json::to_vec_pretty(&value).map_err(StatusError::internal)?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

fn yaml(json: &[u8]) -> Result<Bytes, StatusError> {
    let value: Value = serde_json::from_slice(json).map_err(StatusError::internal)?;
    Ok(reeve_api::yaml::to_string(&value).into())
}

/// An object.
pub fn object(answer: ObjectAnswer, asked: Asked, status: u16) -> Result<Response<Body>, StatusError> {
    let mut response = whole(answer.bytes, asked, status)?;
    warn(&mut response, &answer.warnings);
    Ok(response)
}

/// `Warning: 299 - "text"`, one header a warning; none is told twice.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for (index, text) in warnings.iter().enumerate() {
        if warnings[..index].contains(text) {
            continue;
        }
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        match HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            Ok(value) => {
                response.headers_mut().append(WARNING, value);
            }
            Err(error) => tracing::debug!(%error, text, "a warning cannot be sent as a header"),
        }
    }
}

/// Adds a warning before those that are there.
pub fn warn_first(response: &mut Response<Body>, warning: Option<String>) {
    let Some(warning) = warning else { return };
    let others: Vec<HeaderValue> = response.headers().get_all(WARNING).iter().cloned().collect();
    response.headers_mut().remove(WARNING);
    warn(response, &[warning]);
    for other in others {
        response.headers_mut().append(WARNING, other);
    }
}

/// The metadata of an object, as `PartialObjectMetadata`.
pub fn metadata_object(
    answer: ObjectAnswer,
    row: Option<&Row>,
    asked: Asked,
    status: u16,
) -> Result<Response<Body>, StatusError> {
    // What a delete answers instead of an object has no metadata to speak of.
    if is_kind(&answer.bytes, "Status") {
        return object(answer, asked, status);
    }
    if asked.form == Form::MetadataList {
        let kind = row.map(|row| internal_type(row, "")).unwrap_or_default();
        return Err(StatusError::new(
            Reason::NotAcceptable,
            format!("you requested PartialObjectMetadataList, but the requested object is not a list ({kind})"),
        ));
    }
    let mut response = whole(partial(&answer.bytes, asked.form_version), asked, status)?;
    warn(&mut response, &answer.warnings);
    Ok(response)
}

/// Whether canonical bytes are an object of a kind.
pub fn is_kind(object: &[u8], kind: &str) -> bool {
    json::member(object, "kind")
        .and_then(|range| object[range].strip_prefix(b"\"")?.strip_suffix(b"\""))
        .is_some_and(|own| own == kind.as_bytes())
}

/// Upstream's Go type of a kind, which its texts name.
fn internal_type(row: &Row, suffix: &str) -> String {
    let gvk = row.info.kind();
    let package = match gvk.group.as_str() {
        "" => "core",
        group => group.split('.').next().unwrap_or_default(),
    };
    format!("*{package}.{}{suffix}", gvk.kind)
}

/// The bytes of an object's `PartialObjectMetadata`.
pub fn partial(object: &[u8], version: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    out.extend_from_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":""#);
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\"");
    if let Some(metadata) = json::member(object, "metadata") {
        out.extend_from_slice(b",\"metadata\":");
        out.extend_from_slice(&object[metadata]);
    }
    out.extend_from_slice(b"}");
    out.freeze()
}

/// The metadata of a list.
fn list_metadata(listing: &Listing) -> String {
    if listing.row.info.verbs.iter().all(|verb| verb != "watch") {
        // What is not stored has no version.
        return "{}".to_owned();
    }
    let mut metadata = format!("{{\"resourceVersion\":\"{}\"", listing.revision);
    if !listing.continue_token.is_empty() {
        metadata.push_str(&format!(",\"continue\":\"{}\"", listing.continue_token));
        if let Some(count) = listing.remaining_item_count {
            metadata.push_str(&format!(",\"remainingItemCount\":{count}"));
        }
    }
    metadata.push('}');
    metadata
}

/// The beginning of a list up to its items.
pub fn list_header(kind: &str, api_version: &str, listing: &Listing) -> String {
    format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{}", list_metadata(listing))
}

/// A list of objects, assembled from ready bytes while it is sent.
pub fn list(listing: Listing, asked: Asked) -> Result<Response<Body>, StatusError> {
    let gvk = listing.row.info.kind();
    if asked.encoding == Encoding::Protobuf {
        return protobuf_list(listing, asked, &gvk.api_version(), &gvk.kind, |object| object);
    }
    if let Some(custom) = listing.row.kind.custom() {
        // Upstream's lists of custom kinds always say where they go on, and keep their items whole.
        let mut metadata = list_metadata(&listing);
        if listing.continue_token.is_empty() {
            metadata.truncate(metadata.len() - 1);
            metadata.push_str(",\"continue\":\"\"}");
        }
        let (kind, api_version) = (&custom.list_kind, gvk.api_version());
        let header = format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata}");
        return stream_list(header, listing, asked, |object, out| out.extend_from_slice(&object));
    }
    let header = list_header(&format!("{}List", gvk.kind), &gvk.api_version(), &listing);
    stream_list(header, listing, asked, |object, out| {
        // Items of a typed list go without apiVersion and kind.
        out.extend_from_slice(b"{");
        out.extend_from_slice(&object[json::header_len(&object)..]);
    })
}

/// A list of metadata.
pub fn metadata_list(listing: Listing, asked: Asked) -> Result<Response<Body>, StatusError> {
    if asked.form == Form::Metadata {
        let kind = internal_type(&listing.row, "List");
        return Err(StatusError::new(
            Reason::NotAcceptable,
            format!("you requested PartialObjectMetadata, but the requested object is a list ({kind})"),
        ));
    }
    let version = asked.form_version;
    if asked.encoding == Encoding::Protobuf {
        return protobuf_list(listing, asked, version, "PartialObjectMetadata", |object| partial(&object, version));
    }
    let header = list_header("PartialObjectMetadataList", version, &listing);
    let listing = listing.as_stored();
    stream_list(header, listing, asked, move |object, out| out.extend_from_slice(&partial(&object, version)))
}

/// Protobuf needs the length before the content: the items are put together first.
fn protobuf_list(
    listing: Listing,
    asked: Asked,
    api_version: &str,
    kind: &str,
    form: impl Fn(Bytes) -> Bytes,
) -> Result<Response<Body>, StatusError> {
    let metadata: Value = serde_json::from_str(&list_metadata(&listing)).map_err(StatusError::internal)?;
    let mut encoder = protobuf::ListEncoder::default();
    for entry in listing.entries {
        encoder.push(&form(entry.object()), api_version, kind).map_err(StatusError::internal)?;
    }
    let parts = encoder.finish(&metadata, api_version, &format!("{kind}List")).map_err(StatusError::internal)?;
    let size: usize = parts.iter().map(Vec::len).sum();
    let chunks = parts.into_iter().map(Bytes::from);
    if size <= CHUNK_BYTES {
        return ready(chunks.collect::<Vec<_>>().concat().into(), protobuf::MEDIA_TYPE, asked, 200);
    }
    streamed(chunks, asked)
}

fn stream_list(
    header: String,
    listing: Listing,
    asked: Asked,
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
    if asked.encoding == Encoding::Yaml || asked.pretty {
        // People read these; such lists are small.
        let all: Vec<Bytes> = chunks.collect();
        return whole(all.concat().into(), asked, 200);
    }
    // A short list goes as one body with its length.
    let Some(head) = chunks.next() else { return whole(Bytes::new(), asked, 200) };
    let Some(second) = chunks.next() else { return whole(head, asked, 200) };
    streamed([head, second].into_iter().chain(chunks), asked)
}

/// A body of many chunks that are ready or made while they are sent.
fn streamed(chunks: impl Iterator<Item = Bytes> + Send + 'static, asked: Asked) -> Result<Response<Body>, StatusError> {
    let frame = |chunk| Ok::<_, std::io::Error>(Frame::data(chunk));
    let body = if asked.gzip {
        Body::new(http_body_util::StreamBody::new(futures::stream::iter(
            compress::chunks(chunks).map(|chunk| chunk.map(Frame::data)),
        )))
    } else {
        Body::new(http_body_util::StreamBody::new(futures::stream::iter(chunks.map(frame))))
    };
    let mut response = Response::new(body);
    if asked.gzip {
        compress::mark(&mut response);
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(asked.encoding.media_type()));
    Ok(response)
}

/// The last states of a deleted collection.
pub fn collection(
    row: Option<&Row>,
    deleted: &[Bytes],
    revision: i64,
    asked: Asked,
) -> Result<Response<Body>, StatusError> {
    let (kind, version) = row.map_or_else(
        || ("List".to_owned(), "v1".to_owned()),
        |row| {
            let gvk = row.info.kind();
            (format!("{}List", gvk.kind), api_version(&gvk.group, &gvk.version))
        },
    );
    let mut out = BytesMut::new();
    out.extend_from_slice(
        format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\"items\":["
        )
        .as_bytes(),
    );
    for (index, object) in deleted.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b",");
        }
        out.extend_from_slice(b"{");
        out.extend_from_slice(&object[json::header_len(object)..]);
    }
    out.extend_from_slice(b"]}\n");
    whole(out.freeze(), asked, 200)
}

/// A watch: one line or frame an event, in the form that the client asked for.
pub fn watch(
    stream: WatchStream,
    asked: Asked,
    row: Option<Arc<Row>>,
    clock: fn() -> Timestamp,
    query: &Query,
) -> Response<Body> {
    let mut tables = table::WatchTables::new(row, clock, query, asked.form_version);
    let frames = stream.map(move |batch| {
        let lines: Vec<Bytes> = batch.iter().map(|item| line(item, asked, &mut tables)).collect();
        let bytes = match lines.as_slice() {
            // The usual case shares the bytes among all watchers.
            [only] => only.clone(),
            _ => lines.concat().into(),
        };
        Ok::<_, std::convert::Infallible>(Frame::data(bytes))
    });
    let mut response = Response::new(Body::new(http_body_util::StreamBody::new(frames)));
    let media_type = match asked.encoding {
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Encoding::Json | Encoding::Yaml => "application/json",
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn line(item: &WatchItem, asked: Asked, tables: &mut table::WatchTables) -> Bytes {
    let (kind, object) = match item {
        WatchItem::Error(error) => ("ERROR", status_json(error).into()),
        WatchItem::Event(event) => match asked.form {
            // The line is shared by all watchers.
            Form::Object | Form::AggregatedDiscovery if asked.encoding != Encoding::Protobuf => return event.line(),
            Form::Object | Form::AggregatedDiscovery => (event.kind().as_str(), event.object()),
            Form::Metadata | Form::MetadataList => {
                (event.kind().as_str(), partial(&event.object(), asked.form_version))
            }
            Form::Table => (event.kind().as_str(), tables.table(&event.object())),
        },
    };
    if asked.encoding == Encoding::Protobuf {
        return match protobuf::encode(&object) {
            Ok(envelope) => protobuf::watch_frame(kind, &envelope).into(),
            Err(error) => {
                tracing::error!(%error, "an event has no protobuf form; the watch misses it");
                Bytes::new()
            }
        };
    }
    framed(kind, &object)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_quoted_and_told_once() {
        let mut response = Response::new(full(Bytes::new()));
        let texts = ["unknown field \"é\"", "a\\b", "unknown field \"é\"", "two\nlines"].map(str::to_owned);
        warn(&mut response, &texts);
        let told: Vec<&[u8]> = response.headers().get_all(WARNING).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(told, ["299 - \"unknown field \\\"é\\\"\"".as_bytes(), b"299 - \"a\\\\b\""]);
    }
}
