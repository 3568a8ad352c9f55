//! `application/vnd.kubernetes.protobuf`: a transcoder between canonical JSON and the protobuf form of the built-in
//! kinds, driven by the table of field numbers in `fields.txt`.
//!
//! An object travels in an envelope: four magic bytes, then upstream's `runtime.Unknown` with the kind beside the
//! object's own bytes. A watch is a row of frames, each with its length before it, that hold a `WatchEvent` whose
//! object is such an envelope. Custom kinds have no protobuf form.

mod decode;
mod encode;
mod schema;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use schema::Schema;
use serde_json::Value;
use wire::{put_bytes, put_nested, put_varint};

/// What every envelope begins with.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Deeper objects than this are not real.
const DEPTH_MAX: usize = 128;

/// Why something cannot be transcoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// Only built-in kinds have a protobuf form.
    #[error("the kind {kind} of {api_version} has no protobuf form")]
    UnknownKind {
        /// For instance `apps/v1`.
        api_version: String,
        /// For instance `Deployment`.
        kind: String,
    },
    /// The body does not begin with the magic bytes.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoEnvelope,
    /// The body ends too early.
    #[error("unexpected EOF")]
    Truncated,
    /// The bytes are not protobuf.
    #[error("the body is not protobuf: {0}")]
    Malformed(&'static str),
    /// A field has a value of another type.
    #[error("the field {0} has a value of another type")]
    Mismatch(&'static str),
    /// The JSON is not that of an object.
    #[error("the object is not JSON: {0}")]
    Json(String),
}

/// Whether a kind has a protobuf form.
pub fn has(api_version: &str, kind: &str) -> bool {
    Schema::get().of_kind(api_version, kind).is_some()
}

/// An object of canonical JSON in its envelope.
///
/// # Errors
///
/// For kinds without a protobuf form, and for bytes that are not an object of their kind.
pub fn encode(object: &[u8]) -> Result<Vec<u8>, Error> {
    let value: Value = serde_json::from_slice(object).map_err(|error| Error::Json(error.to_string()))?;
    encode_value(&value)
}

/// As [`encode`], of a value.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_value(value: &Value) -> Result<Vec<u8>, Error> {
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    let kind = value["kind"].as_str().unwrap_or_default();
    let message = encode_bare(value, api_version, kind)?;
    let mut out = Vec::with_capacity(message.len() + 64);
    begin_envelope(&mut out, api_version, kind, message.len());
    out.extend_from_slice(&message);
    end_envelope(&mut out);
    Ok(out)
}

/// The message alone.
///
/// # Errors
///
/// As [`encode`].
pub fn encode_bare(value: &Value, api_version: &str, kind: &str) -> Result<Vec<u8>, Error> {
    let schema = Schema::get();
    let message = schema
        .of_kind(api_version, kind)
        .ok_or_else(|| Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() })?;
    let mut out = Vec::new();
    encode::message(schema, message, value, &mut out)?;
    Ok(out)
}

/// The envelope up to the object's bytes.
fn begin_envelope(out: &mut Vec<u8>, api_version: &str, kind: &str, length: usize) {
    out.extend_from_slice(MAGIC);
    let mut names = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_bytes(&mut names, 1, api_version.as_bytes());
    put_bytes(&mut names, 2, kind.as_bytes());
    put_bytes(out, 1, &names);
    wire::put_tag(out, 2, wire::LENGTH);
    put_varint(out, length as u64);
}

/// Content encoding and content type, which upstream writes though they are empty.
fn end_envelope(out: &mut Vec<u8>) {
    put_bytes(out, 3, b"");
    put_bytes(out, 4, b"");
}

/// A list that is put together item by item: its parts are to be sent one after the other.
#[derive(Default)]
pub struct ListEncoder {
    items: Vec<u8>,
}

impl ListEncoder {
    /// Adds an object of the list's item kind.
    ///
    /// # Errors
    ///
    /// As [`encode`].
    pub fn push(&mut self, object: &[u8], api_version: &str, kind: &str) -> Result<(), Error> {
        let value: Value = serde_json::from_slice(object).map_err(|error| Error::Json(error.to_string()))?;
        let schema = Schema::get();
        let message = schema
            .of_kind(api_version, kind)
            .ok_or_else(|| Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() })?;
        put_nested(&mut self.items, 2, |out| encode::message(schema, message, &value, out))
    }

    /// The list in its envelope; `metadata` is its `ListMeta` in JSON.
    ///
    /// # Errors
    ///
    /// As [`encode`].
    pub fn finish(self, metadata: &Value, api_version: &str, kind: &str) -> Result<[Vec<u8>; 3], Error> {
        let metadata = encode_bare(metadata, "meta.k8s.io/v1", "ListMeta")?;
        let mut begin = Vec::with_capacity(metadata.len() + 8);
        put_bytes(&mut begin, 1, &metadata);
        let mut head = Vec::new();
        begin_envelope(&mut head, api_version, kind, begin.len() + self.items.len());
        head.extend_from_slice(&begin);
        let mut tail = Vec::new();
        end_envelope(&mut tail);
        Ok([head, self.items, tail])
    }
}

/// A frame of a watch: the length in four bytes, then a `WatchEvent` around an object in its envelope.
pub fn watch_frame(event: &str, envelope: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(envelope.len() + 8);
    put_bytes(&mut raw, 1, envelope);
    let mut out = vec![0; 4];
    put_bytes(&mut out, 1, event.as_bytes());
    put_bytes(&mut out, 2, &raw);
    // A frame holds one object, which is far below four gigabytes.
    let length = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// The JSON of an object in its envelope. `default` is the kind of a body that does not name one.
///
/// # Errors
///
/// When the bytes are not such an envelope or their kind has no protobuf form.
pub fn decode(envelope: &[u8], default: Option<(&str, &str)>) -> Result<Vec<u8>, Error> {
    let value = decode_value(envelope, default)?;
    serde_json::to_vec(&value).map_err(|error| Error::Json(error.to_string()))
}

/// As [`decode`], as a value.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_value(envelope: &[u8], default: Option<(&str, &str)>) -> Result<Value, Error> {
    let unknown = decode::unknown(envelope)?;
    let default = default.unwrap_or_default();
    let api_version = if unknown.api_version.is_empty() { default.0 } else { unknown.api_version };
    let kind = if unknown.kind.is_empty() { default.1 } else { unknown.kind };
    if !matches!(unknown.content_type, "" | MEDIA_TYPE) {
        // The envelope may hold JSON too.
        return serde_json::from_slice(unknown.raw).map_err(|error| Error::Json(error.to_string()));
    }
    let schema = Schema::get();
    let message = schema
        .of_kind(api_version, kind)
        .ok_or_else(|| Error::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() })?;
    let mut fields = serde_json::Map::new();
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.into());
    decode::message(schema, message, unknown.raw, &mut fields, 0)?;
    Ok(Value::Object(fields))
}
