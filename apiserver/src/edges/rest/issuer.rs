//! What others need to check service account tokens: the issuer's OpenID documents.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::Full;
use reeve_api::{Reason, StatusError};
use serde_json::{Value, json};
use tonic::body::Body;

use crate::handlers::Handlers;

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
const JSON: &str = "application/json";
const KEY_SET: &str = "application/jwk-set+json";
/// How long others may keep the documents, as upstream.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// The answer for the documents' paths; `None` for others.
///
/// # Errors
/// `NotAcceptable` when the client does not take the document's form.
pub fn answer(
    handlers: &Handlers,
    address: &str,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Response<Body>>, StatusError> {
    let tokens = handlers.authenticator().tokens();
    let keys = tokens.keys().all();
    let (form, document) = match path.trim_end_matches('/') {
        CONFIGURATION => {
            let mut algorithms: Vec<&Value> = Vec::new();
            for key in keys {
                if !algorithms.contains(&&key.published["alg"]) {
                    algorithms.push(&key.published["alg"]);
                }
            }
            let document = json!({
                "issuer": tokens.issuer(),
                "jwks_uri": format!("https://{address}{KEYS}"),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": algorithms,
            });
            (JSON, document)
        }
        KEYS => {
            let keys: Vec<&Value> = keys.iter().map(|key| &key.published).collect();
            (KEY_SET, json!({ "keys": keys }))
        }
        _ => return Ok(None),
    };
    if !accepts(headers, form) {
        let mut error = StatusError::new(
            Reason::NotAcceptable,
            format!("406: Not Acceptable\n\nAvailable representations: {form}"),
        );
        error.details = Some(Box::default());
        return Err(error);
    }
    let mut response = Response::new(Body::new(Full::new(Bytes::from(document.to_string()))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form));
    response.headers_mut().insert(CACHE_CONTROL, CACHE);
    Ok(Some(response))
}

fn accepts(headers: &HeaderMap, form: &str) -> bool {
    let mut all = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if all.peek().is_none() {
        return true;
    }
    all.flat_map(|value| value.split(',')).any(|one| {
        let kind = one.split(';').next().unwrap_or_default().trim();
        kind == form || kind == "*/*" || kind == "application/*"
    })
}
