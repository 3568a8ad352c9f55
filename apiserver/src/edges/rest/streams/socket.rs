//! From HTTP/1.1 to a WebSocket (RFC 6455, section 4.2).

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use reeve_api::{Reason, StatusError};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tonic::body::Body;

/// The socket of an upgraded connection.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The largest message that a client may send: input comes in pieces.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    asks_for(headers, "websocket")
}

/// Whether a request asks for another protocol of this name.
pub fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    has_word(headers, CONNECTION, "upgrade") && has_word(headers, UPGRADE, protocol)
}

fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    words(headers, name).any(|known| known.eq_ignore_ascii_case(word))
}

fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// The first of the client's subprotocols that the server has; a client that offers none gets `""`, if that is had.
pub fn negotiate(headers: &HeaderMap, supported: &[&'static str]) -> Result<&'static str, StatusError> {
    let offered: Vec<&str> = words(headers, SEC_WEBSOCKET_PROTOCOL).collect();
    let known = |word: &str| supported.iter().find(|known| **known == word).copied();
    let chosen = if offered.is_empty() { known("") } else { offered.iter().find_map(|word| known(word)) };
    chosen.ok_or_else(|| {
        StatusError::new(
            Reason::Forbidden,
            format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                offered.join(" "),
                supported.join(" ")
            ),
        )
    })
}

/// The answer that switches to a WebSocket, and the connection that follows it.
pub fn accept(
    request: &mut Request<Incoming>,
    protocol: &'static str,
) -> Result<(Response<Body>, OnUpgrade), StatusError> {
    let headers = request.headers();
    if !is_upgrade(headers) {
        return Err(StatusError::bad_request("Upgrade request required"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version.as_bytes() != b"13") {
        return Err(StatusError::bad_request("unable to upgrade: Sec-WebSocket-Version must be 13"));
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return Err(StatusError::bad_request("unable to upgrade: Sec-WebSocket-Key is missing"));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(StatusError::internal)?;
    let mut response = switching(HeaderValue::from_static("websocket"));
    response.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok((response, hyper::upgrade::on(request)))
}

/// `101 Switching Protocols`.
pub fn switching(protocol: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, protocol);
    response
}

/// The connection once the answer is sent; `None` when it was lost before.
pub async fn upgraded(upgrade: OnUpgrade) -> Option<TokioIo<Upgraded>> {
    match upgrade.await {
        Ok(upgraded) => Some(TokioIo::new(upgraded)),
        Err(error) => {
            tracing::debug!(%error, "a connection was lost before its upgrade");
            None
        }
    }
}

/// The socket once the answer is sent.
pub async fn open(upgrade: OnUpgrade) -> Option<Socket> {
    let connection = upgraded(upgrade).await?;
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX)).max_frame_size(Some(MESSAGE_BYTES_MAX));
    Some(WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await)
}

/// Returns when a client that has nothing to send has gone.
///
/// # Errors
/// The connection broke.
pub async fn left(mut source: SplitStream<Socket>) -> Result<(), Error> {
    while let Some(message) = source.next().await {
        if message?.is_close() {
            break;
        }
    }
    Ok(())
}

/// Ends a socket in good order; clients take an end without a code for a loss.
pub async fn close(sink: &mut SplitSink<Socket, Message>) -> Result<(), Error> {
    sink.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() }))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn upgrades_are_told_by_their_headers() {
        assert!(is_upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!is_upgrade(&headers(&[("connection", "keep-alive"), ("upgrade", "websocket")])));
        assert!(asks_for(&headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]), "spdy/3.1"));
        assert!(!is_upgrade(&headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")])));
    }

    #[test]
    fn the_clients_first_known_protocol_is_chosen() {
        let offer = |value| headers(&[("sec-websocket-protocol", value)]);
        let supported = ["v5.channel.k8s.io", "v4.channel.k8s.io", ""];
        assert_eq!(negotiate(&offer("x, v4.channel.k8s.io,v5.channel.k8s.io"), &supported), Ok("v4.channel.k8s.io"));
        assert_eq!(negotiate(&HeaderMap::new(), &supported), Ok(""));
        let refused = negotiate(&offer("x"), &supported).unwrap_err();
        assert_eq!(refused.code(), 403);
        assert!(
            refused.message.ends_with("client supports [x], server accepts [v5.channel.k8s.io v4.channel.k8s.io ]")
        );
    }
}
