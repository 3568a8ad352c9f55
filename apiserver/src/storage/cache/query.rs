//! What reads ask for: versions, lists, watches, and tokens to continue a list.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use reeve_api::status::StatusCause;
use reeve_api::{Reason, StatusError};
use serde::{Deserialize, Serialize};

use super::select::Selector;

/// How new the state of a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The newest at the time of the request (`resourceVersion` unset).
    #[default]
    Consistent,
    /// Whatever is there (`resourceVersion=0`).
    Any,
    /// This revision or a newer one.
    NotOlderThan(i64),
    /// Exactly this revision.
    Exact(i64),
}

impl Version {
    /// The rule for a get: upstream's table.
    pub fn of_get(resource_version: &str) -> Result<Version, StatusError> {
        Ok(match revision(resource_version)? {
            None => Version::Consistent,
            Some(0) => Version::Any,
            Some(revision) => Version::NotOlderThan(revision),
        })
    }

    /// The rule for a list by its parameters (empty strings when unset): upstream's table.
    ///
    /// # Errors
    ///
    /// `BadRequest` when a version is not a number or the parameters do not go together.
    pub fn of_list(resource_version: &str, version_match: &str, limit: usize) -> Result<Version, StatusError> {
        let revision = revision(resource_version)?;
        match (version_match, revision) {
            ("", None) => Ok(Version::Consistent),
            ("", Some(0)) => Ok(Version::Any),
            // A limit with a version and no rule meant exactly that version before there were rules.
            ("", Some(revision)) if limit > 0 => Ok(Version::Exact(revision)),
            ("" | "NotOlderThan", Some(revision)) if revision > 0 => Ok(Version::NotOlderThan(revision)),
            ("NotOlderThan", Some(_)) => Ok(Version::Any),
            ("Exact", Some(revision)) if revision > 0 => Ok(Version::Exact(revision)),
            ("Exact", Some(_)) => Err(StatusError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            )),
            ("Exact" | "NotOlderThan", None) => Err(StatusError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            )),
            (other, _) => Err(StatusError::bad_request(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
            ))),
        }
    }
}

fn revision(resource_version: &str) -> Result<Option<i64>, StatusError> {
    if resource_version.is_empty() {
        return Ok(None);
    }
    match resource_version.parse::<i64>() {
        Ok(revision) if revision >= 0 => Ok(Some(revision)),
        _ => Err(StatusError::bad_request(format!(
            "Invalid value: {resource_version:?}: resourceVersion must be a non-negative integer"
        ))),
    }
}

/// A list request.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// What to list.
    pub selector: Selector,
    /// How new it must be. A token to continue has its own version.
    pub version: Version,
    /// At most so many objects; 0 for all.
    pub limit: usize,
    /// The token of the list before.
    pub continue_token: Option<String>,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchFrom {
    /// At the newest state at the time of the request (`resourceVersion` unset).
    #[default]
    Now,
    /// At whatever state is there (`resourceVersion=0`).
    Any,
    /// After this revision.
    Revision(i64),
}

impl WatchFrom {
    /// From the parameter.
    ///
    /// # Errors
    ///
    /// `BadRequest` when it is not a number.
    pub fn parse(resource_version: &str) -> Result<WatchFrom, StatusError> {
        Ok(match revision(resource_version)? {
            None => WatchFrom::Now,
            Some(0) => WatchFrom::Any,
            Some(revision) => WatchFrom::Revision(revision),
        })
    }
}

/// A watch request.
#[derive(Clone, Debug, Default)]
pub struct WatchQuery {
    /// What to watch.
    pub selector: Selector,
    /// Where to begin.
    pub from: WatchFrom,
    /// Whether the present state comes first as `ADDED` events, ended by a bookmark with the annotation
    /// `k8s.io/initial-events-end`. Unset is upstream's older rule: state first, without that bookmark, when
    /// `from` is not a revision.
    pub initial_events: Option<bool>,
    /// Whether bookmarks are wanted, about one a minute.
    pub bookmarks: bool,
}

/// What a `continue` token says; the layout is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContinueToken {
    v: String,
    /// The revision to read at; negative for "the newest".
    pub rv: i64,
    /// The last key of the page before and a zero byte.
    start: String,
}

impl ContinueToken {
    pub fn new(revision: i64, last_key: &str) -> Self {
        Self { v: "meta.k8s.io/v1".into(), rv: revision, start: format!("{last_key}\0") }
    }

    /// The key after which the page begins.
    pub fn after(&self) -> &str {
        self.start.strip_suffix('\0').unwrap_or(&self.start)
    }

    pub fn encode(&self) -> String {
        // Serialization of two strings and a number does not fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    pub fn decode(token: &str) -> Result<Self, StatusError> {
        let refuse =
            |why: &str| StatusError::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| match error {
            DecodeError::InvalidByte(at, _) => refuse(&format!("illegal base64 data at input byte {at}")),
            other => refuse(&other.to_string()),
        })?;
        let token: ContinueToken = serde_json::from_slice(&bytes).map_err(|error| match bytes.first() {
            None => refuse("unexpected end of JSON input"),
            // As Go says it.
            Some(first) if !b"{[\"-0123456789tfn \t\r\n".contains(first) => {
                let first = char::from(*first);
                let quoted =
                    if first.is_control() { format!("\\u{:04x}", u32::from(first)) } else { first.to_string() };
                refuse(&format!("invalid character '{quoted}' looking for beginning of value"))
            }
            Some(_) => refuse(&error.to_string()),
        })?;
        if token.v != "meta.k8s.io/v1" {
            return Err(refuse(&format!("server does not recognize this encoded version {:?}", token.v)));
        }
        if token.rv == 0 {
            return Err(refuse("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if token.start.is_empty() {
            return Err(refuse("encoded start key empty (version meta.k8s.io/v1)"));
        }
        Ok(token)
    }
}

/// A version that the cache has not reached and does not reach soon.
pub(crate) fn too_large(asked: i64, current: i64) -> StatusError {
    let mut error =
        StatusError::unavailable(format!("Timeout: Too large resource version: {asked}, current: {current}"), 1);
    error.reason = Reason::Timeout;
    if let Some(details) = error.details.as_mut() {
        details.causes = Some(vec![StatusCause {
            reason: Some("ResourceVersionTooLarge".into()),
            message: Some("Too large resource version".into()),
            ..StatusCause::default()
        }]);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_versions_follow_upstreams_table() {
        let table = [
            (("", "", 0), Version::Consistent),
            (("", "", 5), Version::Consistent),
            (("0", "", 0), Version::Any),
            (("0", "", 5), Version::Any),
            (("7", "", 0), Version::NotOlderThan(7)),
            (("7", "", 5), Version::Exact(7)),
            (("7", "Exact", 0), Version::Exact(7)),
            (("7", "NotOlderThan", 5), Version::NotOlderThan(7)),
            (("0", "NotOlderThan", 0), Version::Any),
        ];
        for ((version, rule, limit), expected) in table {
            assert_eq!(Version::of_list(version, rule, limit), Ok(expected), "{version} {rule} {limit}");
        }
        for (version, rule) in [("x", ""), ("-1", ""), ("0", "Exact"), ("", "Exact"), ("7", "Newest")] {
            assert!(Version::of_list(version, rule, 0).is_err(), "{version} {rule}");
        }
    }

    #[test]
    fn tokens_come_back() {
        let token = ContinueToken::new(7, "default/web-1");
        let back = ContinueToken::decode(&token.encode()).unwrap();
        assert_eq!((back.rv, back.after()), (7, "default/web-1"));
        assert!(ContinueToken::decode("?").is_err());
        assert!(ContinueToken::decode("e30").is_err());
    }
}
