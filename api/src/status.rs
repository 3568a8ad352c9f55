//! Errors as clients see them: the Kubernetes `Status`, with upstream's reasons, codes and texts.
//!
//! Rules from `k8s.io/apimachinery/pkg/api/errors`.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

use crate::resource::{GroupVersionResource, qualified};

/// Why a request failed, by upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 406.
    NotAcceptable,
    /// 409, on create.
    AlreadyExists,
    /// 409, on update.
    Conflict,
    /// 410: the resource version is no longer known; list again.
    Expired,
    /// 410.
    Gone,
    /// 413.
    RequestEntityTooLarge,
    /// 415.
    UnsupportedMediaType,
    /// 422.
    Invalid,
    /// 429.
    TooManyRequests,
    /// 500.
    InternalError,
    /// 503.
    ServiceUnavailable,
    /// 504, with a time to retry after.
    ServerTimeout,
    /// 504.
    Timeout,
    /// 500, without a word for it.
    Unknown,
}

impl Reason {
    /// All reasons, for tests that enumerate them.
    pub const ALL: [Reason; 19] = [
        Reason::BadRequest,
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::MethodNotAllowed,
        Reason::NotAcceptable,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Expired,
        Reason::Gone,
        Reason::RequestEntityTooLarge,
        Reason::UnsupportedMediaType,
        Reason::Invalid,
        Reason::TooManyRequests,
        Reason::InternalError,
        Reason::ServiceUnavailable,
        Reason::ServerTimeout,
        Reason::Timeout,
        Reason::Unknown,
    ];

    /// The word in `Status.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BadRequest => "BadRequest",
            Reason::Unauthorized => "Unauthorized",
            Reason::Forbidden => "Forbidden",
            Reason::NotFound => "NotFound",
            Reason::MethodNotAllowed => "MethodNotAllowed",
            Reason::NotAcceptable => "NotAcceptable",
            Reason::AlreadyExists => "AlreadyExists",
            Reason::Conflict => "Conflict",
            Reason::Expired => "Expired",
            Reason::Gone => "Gone",
            Reason::RequestEntityTooLarge => "RequestEntityTooLarge",
            Reason::UnsupportedMediaType => "UnsupportedMediaType",
            Reason::Invalid => "Invalid",
            Reason::TooManyRequests => "TooManyRequests",
            Reason::InternalError => "InternalError",
            Reason::ServiceUnavailable => "ServiceUnavailable",
            Reason::ServerTimeout => "ServerTimeout",
            Reason::Timeout => "Timeout",
            Reason::Unknown => "",
        }
    }

    /// The reason that a word in `Status.reason` names.
    pub fn parse(word: &str) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// The HTTP status code.
    pub fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Expired | Reason::Gone => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError | Reason::Unknown => 500,
            Reason::ServiceUnavailable => 503,
            Reason::ServerTimeout | Reason::Timeout => 504,
        }
    }
}

/// A failed request. It converts into the [`Status`] that clients read.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusError {
    /// The class of the failure.
    pub reason: Reason,
    /// The whole text for a person.
    pub message: String,
    /// What the failure is about.
    pub details: Option<Box<StatusDetails>>,
    /// Where an expired list may go on, inconsistently.
    pub continue_token: Option<Box<str>>,
    /// What the user should hear beside the error; no part of the [`Status`].
    pub warnings: Vec<String>,
}

impl StatusError {
    /// An error with a text and no details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), details: None, continue_token: None, warnings: Vec::new() }
    }

    fn about(reason: Reason, resource: &GroupVersionResource, name: &str, message: String) -> Self {
        let details = StatusDetails {
            group: Some(resource.group.clone()).filter(|group| !group.is_empty()),
            kind: Some(resource.resource.clone()),
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            ..StatusDetails::default()
        };
        Self { details: Some(Box::new(details)), ..Self::new(reason, message) }
    }

    /// The request itself is malformed.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// No such object.
    pub fn not_found(resource: &GroupVersionResource, name: &str) -> Self {
        let message = format!("{} {name:?} not found", resource.qualified());
        Self::about(Reason::NotFound, resource, name, message)
    }

    /// A create met an object of that name.
    pub fn already_exists(resource: &GroupVersionResource, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", resource.qualified());
        Self::about(Reason::AlreadyExists, resource, name, message)
    }

    /// A write was decided on a state that is no longer the newest.
    pub fn conflict(resource: &GroupVersionResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", resource.qualified());
        Self::about(Reason::Conflict, resource, name, message)
    }

    /// The usual conflict: another writer was first.
    pub fn modified(resource: &GroupVersionResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// The user may not do that.
    pub fn forbidden(resource: &GroupVersionResource, name: &str, why: impl fmt::Display) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {why}", resource.qualified())
        } else {
            format!("{} {name:?} is forbidden: {why}", resource.qualified())
        };
        Self::about(Reason::Forbidden, resource, name, message)
    }

    /// The object breaks rules of its kind. `causes` are one per field error.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<StatusCause>) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for cause in &causes {
            let text = cause.message.as_deref().unwrap_or_default();
            let text = match cause.field.as_deref() {
                Some(field) => format!("{field}: {text}"),
                None => text.to_owned(),
            };
            // The text for people says the same thing once; the causes keep every place.
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let all = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{} {name:?} is invalid: {all}", qualified(kind, group));
        let details = StatusDetails {
            group: Some(group.to_owned()).filter(|group| !group.is_empty()),
            kind: Some(kind.to_owned()).filter(|kind| !kind.is_empty()),
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            causes: Some(causes),
            ..StatusDetails::default()
        };
        Self { details: Some(Box::new(details)), ..Self::new(Reason::Invalid, message) }
    }

    /// A resource version that the server no longer knows.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// The server cannot do it now; the client may try again after a while.
    pub fn unavailable(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        let details = StatusDetails { retry_after_seconds: Some(retry_after_seconds), ..StatusDetails::default() };
        Self { details: Some(Box::new(details)), ..Self::new(Reason::ServiceUnavailable, message) }
    }

    /// A defect of the server or a part that it needs.
    pub fn internal(cause: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {cause}");
        let details = StatusDetails {
            causes: Some(vec![StatusCause { message: Some(cause.to_string()), ..StatusCause::default() }]),
            ..StatusDetails::default()
        };
        Self { details: Some(Box::new(details)), ..Self::new(Reason::InternalError, message) }
    }

    /// The error with warnings that were found before those that it has.
    #[must_use]
    pub fn warned(mut self, mut warnings: Vec<String>) -> Self {
        warnings.append(&mut self.warnings);
        Self { warnings, ..self }
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.reason.code()
    }

    /// Seconds after which a client may try again.
    pub fn retry_after_seconds(&self) -> Option<i32> {
        self.details.as_ref()?.retry_after_seconds
    }

    /// The object that clients read.
    pub fn to_status(&self) -> Status {
        Status {
            code: Some(i32::from(self.code())),
            details: self.details.as_deref().cloned(),
            message: Some(self.message.clone()),
            metadata: ListMeta { continue_: self.continue_token.as_deref().map(str::to_owned), ..ListMeta::default() },
            reason: Some(self.reason.as_str().to_owned()).filter(|reason| !reason.is_empty()),
            status: Some("Failure".to_owned()),
        }
    }

    /// The error that a received [`Status`] stands for.
    pub fn from_status(status: Status) -> Self {
        let word = status.reason.as_deref().unwrap_or_default();
        let reason =
            Reason::parse(word).filter(|_| !word.is_empty() || status.code == Some(500)).unwrap_or_else(|| {
                Reason::ALL
                    .into_iter()
                    .find(|reason| Some(i32::from(reason.code())) == status.code)
                    .unwrap_or(Reason::InternalError)
            });
        Self {
            reason,
            message: status.message.unwrap_or_default(),
            details: status.details.map(Box::new),
            continue_token: status.metadata.continue_.map(String::into_boxed_str),
            warnings: Vec::new(),
        }
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StatusError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        let deployments = GroupVersionResource::new("apps", "v1", "deployments");
        assert_eq!(StatusError::not_found(&deployments, "web").to_string(), r#"deployments.apps "web" not found"#);
        assert_eq!(
            StatusError::modified(&deployments, "web").to_string(),
            "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; \
             please apply your changes to the latest version and try again"
        );
    }

    #[test]
    fn a_status_survives_the_wire() {
        for reason in Reason::ALL {
            let error = StatusError::new(reason, "text");
            assert_eq!(StatusError::from_status(error.to_status()), error);
        }
    }
}
