//! Bodies of requests: their size, and from their encoding to JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use reeve_api::yaml::Duplicate;
use reeve_api::{GroupVersionKind, Reason, StatusError};

use crate::encoding::protobuf;

/// The largest body, as upstream.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The media type of a body, in small letters and without parameters.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn unknown_type(types: &str) -> StatusError {
    StatusError::new(
        Reason::UnsupportedMediaType,
        format!("the body of the request was in an unknown format - accepted media types include: {types}"),
    )
}

/// Tells whether anybody began to read a request's body; lies among the request's extensions.
#[derive(Clone, Debug, Default)]
pub struct BodyRead(Arc<AtomicBool>);

impl BodyRead {
    /// Whether it was read.
    pub fn is_read(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bytes of a body.
pub async fn bytes(request: Request<Incoming>) -> Result<Bytes, StatusError> {
    if let Some(read) = request.extensions().get::<BodyRead>() {
        read.0.store(true, Ordering::Relaxed);
    }
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            StatusError::new(
                Reason::RequestEntityTooLarge,
                format!("Request entity too large: limit is {BODY_BYTES_MAX}"),
            )
        } else {
            StatusError::bad_request(format!("the body cannot be read: {error}"))
        }
    })?;
    Ok(body.to_bytes())
}

/// What a body says.
#[derive(Debug)]
pub struct Read {
    /// As JSON. Fields that JSON names twice are still there, for the decoder.
    pub json: Bytes,
    /// The fields that YAML names twice, in words. Of them the last ones are in `json`.
    pub repeated: Vec<String>,
}

impl From<Bytes> for Read {
    fn from(json: Bytes) -> Self {
        Self { json, repeated: Vec::new() }
    }
}

/// An object as JSON. `kind` is the kind of objects here: bodies of built-in kinds may be protobuf.
pub async fn object(request: Request<Incoming>, kind: Option<&GroupVersionKind>) -> Result<Read, StatusError> {
    let media = media_type(request.headers());
    match media.as_str() {
        "" | "application/json" => Ok(bytes(request).await?.into()),
        "application/yaml" => yaml(&bytes(request).await?),
        protobuf::MEDIA_TYPE => {
            let bytes = bytes(request).await?;
            let api_version = kind.map(GroupVersionKind::api_version).unwrap_or_default();
            let default = kind.map(|kind| (api_version.as_str(), kind.kind.as_str()));
            if bytes.is_empty() {
                return Ok(bytes.into());
            }
            protobuf::decode(&bytes, default).map(|json| Bytes::from(json).into()).map_err(|error| match error {
                // A custom kind: it takes no protobuf at all.
                protobuf::Error::UnknownKind { .. } => unknown_type("application/json, application/yaml"),
                error => StatusError::bad_request(error.to_string()),
            })
        }
        _ => Err(unknown_type("application/json, application/yaml, application/vnd.kubernetes.protobuf")),
    }
}

/// YAML, of which JSON is a part, as upstream's converter leaves it: in the order of the names, each once.
pub fn yaml(bytes: &[u8]) -> Result<Read, StatusError> {
    let document = reeve_api::yaml::from_slice(bytes)
        .map_err(|error| StatusError::bad_request(format!("error decoding YAML: {error}")))?;
    let repeated = document.duplicates.iter().map(Duplicate::words).collect();
    let mut value = document.into_value();
    value.sort_all_objects();
    Ok(Read { json: serde_json::to_vec(&value).map_err(StatusError::internal)?.into(), repeated })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<String, String> {
        let body = yaml(text.as_bytes()).map_err(|error| error.message)?;
        Ok(String::from_utf8_lossy(&body.json).into_owned())
    }

    #[test]
    fn yaml_is_read_as_clients_mean_it() {
        let text = "kind: Pod\ndefaultMode: 0400\nflag: yes\nname: \"0400\"\n1: one\n";
        let expected = r#"{"1":"one","defaultMode":256,"flag":true,"kind":"Pod","name":"0400"}"#;
        assert_eq!(json(text).as_deref(), Ok(expected));
        assert_eq!(json(r#"{"a": ["\ud83d\ude00", 1.5]}"#).as_deref(), Ok(r#"{"a":["😀",1.5]}"#));
        assert_eq!(json("").as_deref(), Ok("null"));
    }

    #[test]
    fn keys_that_are_there_twice_are_told_with_the_lines_of_their_values() {
        let body = yaml(b"x: 1\na: {b: 1, b: 2}\nx:\n  c: 3\n  c: 4\n").unwrap();
        assert_eq!(&body.json[..], br#"{"a":{"b":2},"x":{"c":4}}"#);
        let expected = ["b", "c", "x"].into_iter().zip([2, 5, 4]);
        let expected: Vec<String> =
            expected.map(|(key, line)| format!("line {line}: key \"{key}\" already set in map")).collect();
        assert_eq!(body.repeated, expected);
    }

    #[test]
    fn mistakes_say_where_they_are() {
        let error = json("a: 1\nb: c: d\n").unwrap_err();
        let expected = "error decoding YAML: mapping values are not allowed in this context at line 2 column 5";
        assert_eq!(error, expected);
        let error = json("a: 1\n---\nb: 2\n").unwrap_err();
        assert!(error.contains("more than one document"), "{error}");
    }
}
