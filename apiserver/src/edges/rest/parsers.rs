//! The parsers of what clients send, as plain functions of it: so that they can be tried on anything without a
//! connection. Each returns what it understood, written again.

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reeve_api::StatusError;
use tokio_tungstenite::tungstenite::Message;

use super::negotiation::{Offer, negotiate};
use super::path::{Query, Route, route, verb};
use super::streams::channels::{self, Input, Protocol};
use super::streams::spdy::{frame, headers};
use super::{body, options, streams};
use crate::request::Verb;
use crate::storage::cache::ContinueToken;

/// A path: the target and verb of a GET, as far as it names one.
pub fn target(path: &str) -> Option<String> {
    let Route::Resource { target, watch } = route(path) else { return None };
    Some(format!("{:?} {target:?}", verb(&Method::GET, &target, watch)))
}

/// A query, as each kind of request reads it; the mistakes of those that refuse it.
pub fn query(query: &str, body: &[u8]) -> Vec<StatusError> {
    let parsed = Query::parse(Some(query));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(body) {
        headers.insert(CONTENT_TYPE, value);
    }
    let mut refused = Vec::new();
    refused.extend(options::list(&parsed).err());
    refused.extend(options::watch(&parsed).err());
    refused.extend(options::check_get(&parsed).err());
    refused.extend(options::delete(body, &parsed).err());
    for verb in [Verb::Create, Verb::Update, Verb::Patch] {
        refused.extend(options::write(&parsed, &headers, verb).err());
    }
    refused.extend(options::patch_kind(&headers, &parsed).err());
    refused.extend(streams::options::ports(query).err());
    refused
}

/// An `Accept` header of an answer with objects, collections, changes and discovery: the media types that are sent.
pub fn accept(value: &[u8]) -> Vec<&'static str> {
    let Ok(value) = HeaderValue::from_bytes(value) else { return Vec::new() };
    let headers = HeaderMap::from_iter([(ACCEPT, value)]);
    let offers =
        [Offer::Objects(None), Offer::Collection(None), Offer::Watch(None), Offer::Discovery { aggregated: true }];
    let asked = offers.into_iter().filter_map(|offer| negotiate(&headers, &Query::default(), offer).ok());
    asked.map(|asked| asked.encoding.media_type()).collect()
}

/// A YAML body: the same as JSON.
///
/// # Errors
/// It is not YAML.
pub fn yaml(bytes: &[u8]) -> Result<Bytes, StatusError> {
    body::yaml(bytes).map(|read| read.json)
}

/// A `continue` token: the same, as the server writes it.
///
/// # Errors
/// It is not a token of this server.
pub fn continue_token(token: &str) -> Result<String, StatusError> {
    ContinueToken::decode(token).map(|token| token.encode())
}

/// A message of exec or attach over WebSocket, in each subprotocol: the channel and data of those that read it.
pub fn channel_message(bytes: &[u8]) -> Vec<(u8, Bytes)> {
    let mut read = Vec::new();
    for protocol in channels::NAMES.into_iter().filter_map(Protocol::named) {
        let binary = Message::binary(bytes.to_vec());
        let text = std::str::from_utf8(bytes).ok().map(Message::text);
        for message in std::iter::once(binary).chain(text) {
            if let Ok(Input::Data(channel, data)) = protocol.decode(message) {
                read.push((channel, data));
            }
        }
    }
    read
}

/// The frames of a SPDY connection, which arrive in pieces of this size: how many are understood until the end or the
/// first mistake, and the bytes of data in them.
pub fn spdy(bytes: &[u8], piece: usize) -> (usize, usize) {
    let mut buffer = BytesMut::new();
    let mut inflate = headers::Reader::new();
    let (mut frames, mut data_bytes) = (0, 0);
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            let frame = match frame::parse(&mut buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return (frames, data_bytes),
            };
            frames += 1;
            match frame {
                frame::Frame::Open { block, .. } | frame::Frame::Headers { block } if inflate.read(&block).is_err() => {
                    return (frames, data_bytes);
                }
                frame::Frame::Data { data, .. } => data_bytes += data.len(),
                _ => {}
            }
        }
    }
    (frames, data_bytes)
}
