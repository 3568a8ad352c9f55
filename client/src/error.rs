//! Why a call failed: the server's answer, or a layer below it.

use reeve_api::{Reason, StatusError};
use reeve_proto::STATUS_TRAILER;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with a Kubernetes `Status`.
    #[error(transparent)]
    Status(Box<StatusError>),
    /// The server could not be reached, or the connection broke.
    #[error("cannot reach the API server {server}: {message}")]
    Transport {
        /// The address that was tried.
        server: String,
        /// The causes, outermost first.
        message: String,
    },
    /// The server's certificate, or ours, was not accepted.
    #[error("TLS with the API server {server} failed: {message}")]
    Tls {
        /// The address that was tried.
        server: String,
        /// The causes, outermost first.
        message: String,
    },
    /// The server sent something that is not what the protocol says.
    #[error("the API server's answer cannot be decoded: {message}")]
    Decode {
        /// What was wrong.
        message: String,
    },
    /// An object could not be encoded.
    #[error("the object cannot be encoded: {0}")]
    Encode(String),
}

impl Error {
    /// From a failed gRPC call.
    pub(crate) fn from_grpc(status: tonic::Status, server: &str) -> Self {
        if let Some(bytes) = status.metadata().get_bin(STATUS_TRAILER)
            && let Ok(bytes) = bytes.to_bytes()
            && let Ok(status) = serde_json::from_slice(&bytes)
        {
            return Error::Status(Box::new(StatusError::from_status(status)));
        }
        let mut message = status.message().to_owned();
        let mut tls = false;
        let mut source = std::error::Error::source(&status);
        while let Some(cause) = source {
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                tls |= io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            }
            tls |= cause.is::<rustls::Error>();
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        match status.code() {
            _ if tls => Error::Tls { server: server.to_owned(), message },
            tonic::Code::Unauthenticated => Error::Status(Box::new(StatusError::new(Reason::Unauthorized, message))),
            tonic::Code::Unimplemented => Error::Status(Box::new(StatusError::new(Reason::MethodNotAllowed, message))),
            tonic::Code::OutOfRange | tonic::Code::DataLoss | tonic::Code::InvalidArgument => Error::Decode { message },
            tonic::Code::DeadlineExceeded => Error::Status(Box::new(StatusError::new(Reason::Timeout, message))),
            _ => Error::Transport { server: server.to_owned(), message },
        }
    }

    /// The reason that the server gave.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Status(status) => Some(status.reason),
            _ => None,
        }
    }

    /// The server's answer.
    pub fn status(&self) -> Option<&StatusError> {
        match self {
            Error::Status(status) => Some(status),
            _ => None,
        }
    }

    /// No such object.
    pub fn is_not_found(&self) -> bool {
        self.reason() == Some(Reason::NotFound)
    }

    /// Another writer was first.
    pub fn is_conflict(&self) -> bool {
        self.reason() == Some(Reason::Conflict)
    }

    /// An object of that name exists.
    pub fn is_already_exists(&self) -> bool {
        self.reason() == Some(Reason::AlreadyExists)
    }

    /// The resource version is too old: list again.
    pub fn is_expired(&self) -> bool {
        matches!(self.reason(), Some(Reason::Expired | Reason::Gone))
    }

    /// The object or request breaks a rule; trying again cannot help.
    pub fn is_invalid(&self) -> bool {
        matches!(self.reason(), Some(Reason::Invalid | Reason::BadRequest))
    }

    /// Whether it was never answered, so that the write may or may not have happened.
    pub fn is_transport(&self) -> bool {
        matches!(self, Error::Transport { .. } | Error::Tls { .. })
    }
}

impl From<StatusError> for Error {
    fn from(status: StatusError) -> Self {
        Error::Status(Box::new(status))
    }
}
