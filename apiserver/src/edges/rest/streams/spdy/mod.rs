//! As much of SPDY/3.1 as the streams of pods need: tunnelled in a WebSocket by kubectl's port-forward, directly over
//! an HTTP/1.1 upgrade by older clients.
//!
//! [`frame`] and [`headers`] are the wire, [`connection`] turns it into opened streams and their data; [`ports`] and
//! [`process`] say what the streams mean. As in the library of the other side, flow control is left to the transport:
//! a stream that is not read holds up its connection, and nothing is held without a bound.

mod connection;
pub mod frame;
pub mod headers;
pub mod ports;
pub mod process;

use http::header::HeaderMap;

use super::socket;

/// The name in `Upgrade`.
const NAME: &str = "SPDY/3.1";
/// Where clients and server agree on what the streams mean.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Whether a request asks for SPDY.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    socket::asks_for(headers, NAME)
}

/// Refuses a client that does not offer the stream protocol that the server has.
fn negotiate(headers: &HeaderMap, supported: &'static str) -> Result<(), reeve_api::StatusError> {
    let offered = headers.get_all(STREAM_PROTOCOL).into_iter().filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
    if offered.contains(&supported) {
        return Ok(());
    }
    Err(reeve_api::StatusError::new(
        reeve_api::Reason::Forbidden,
        format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{supported}]",
            offered.join(" ")
        ),
    ))
}
