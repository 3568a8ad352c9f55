//! Ages of objects in tables and descriptions.

use jiff::Timestamp;

/// How long ago an RFC 3339 time was, or `<unknown>`.
pub fn since(time: &str, now: Timestamp) -> String {
    reeve_api::age::since(time.parse().ok(), now)
}
