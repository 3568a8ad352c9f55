//! What a failed command tells its user: the layer that failed, what was wrong, and the next step.
//!
//! Texts of errors that kubectl has are kubectl's (`k8s.io/kubectl/pkg/cmd/util/helpers.go`); where kubectl is
//! vague (the network, TLS, who the user is), lines follow that say where the setting comes from and what to do.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use reeve_api::status::{Reason, StatusCause};
use reeve_api::{StatusError, resource::qualified};

/// The part of the way to an answer that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// No kubeconfig, no context, no readable credential.
    Configuration,
    /// No connection to the address.
    Network,
    /// The two sides do not trust each other.
    Tls,
    /// The server does not know who asks.
    Authentication,
    /// What the server serves could not be read.
    Discovery,
    /// The server's answer makes no sense.
    Server,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layer::Configuration => "configuration",
            Layer::Network => "network",
            Layer::Tls => "TLS",
            Layer::Authentication => "authentication",
            Layer::Discovery => "discovery",
            Layer::Server => "server",
        })
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Printed as `error: TEXT`.
    #[error("{0}")]
    Message(String),
    /// Printed as it is.
    #[error("{0}")]
    Plain(String),
    /// A wrong call; followed by where to read about the command.
    #[error("{message}")]
    Usage {
        /// What was wrong.
        message: String,
        /// The command line up to its arguments, such as `rctl logs`.
        command: &'static str,
    },
    /// The API server refused. `context` stands before its words, such as `error when creating "web.yaml"`.
    #[error("{}{status}", .context.as_deref().map(|context| format!("{context}: ")).unwrap_or_default())]
    Server {
        /// What the server said.
        status: Box<StatusError>,
        /// What was being done.
        context: Option<String>,
    },
    /// A layer below the API failed.
    #[error("{message}")]
    Layer {
        /// Which.
        layer: Layer,
        /// What happened, where.
        message: String,
        /// Where the settings come from and what to do.
        hints: Vec<String>,
    },
    /// Several independent failures of one command.
    #[error("{} errors", .0.len())]
    Many(Vec<Failure>),
    /// All is said; only the exit code is left.
    #[error("exit code {0}")]
    Exit(i32),
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// What a command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// An `error: TEXT`.
pub fn fail<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Failure::Message(message.into()))
}

/// A wrong call of a command.
pub fn usage<T>(command: &'static str, message: impl Into<String>) -> Outcome<T> {
    Err(Failure::Usage { message: message.into(), command })
}

impl From<StatusError> for Failure {
    fn from(status: StatusError) -> Self {
        Failure::Server { status: Box::new(status), context: None }
    }
}

impl Failure {
    /// Adds what was being done, where the server's words alone would not say.
    pub fn during(self, text: impl Into<String>) -> Self {
        match self {
            Failure::Server { status, context: None } => Failure::Server { status, context: Some(text.into()) },
            other => other,
        }
    }

    /// The server's reason, if the server refused.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Failure::Server { status, .. } => Some(status.reason),
            _ => None,
        }
    }

    /// One failure of several, or success of none.
    pub fn collect(mut failures: Vec<Failure>) -> Outcome {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Failure::Many(failures)),
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> i32 {
        match self {
            Failure::Exit(code) => *code,
            // A reader that went away is how pipes end; the code is the shell's for SIGPIPE.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 141,
            _ => 1,
        }
    }

    /// What is printed on standard error, without a final line break; empty for nothing.
    pub fn text(&self) -> String {
        match self {
            Failure::Message(message) => format!("error: {message}"),
            Failure::Plain(message) => message.clone(),
            Failure::Usage { message, command } => {
                format!("error: {message}\nSee '{command} -h' for help and examples")
            }
            Failure::Server { status, context } => server_text(status, context.as_deref()),
            Failure::Layer { layer, message, hints } => {
                let mut text = format!("error: {layer}: {message}");
                for hint in hints {
                    text.push_str("\n  ");
                    text.push_str(hint);
                }
                text
            }
            Failure::Many(failures) => {
                failures.iter().map(Failure::text).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
            }
            Failure::Exit(_) => String::new(),
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => String::new(),
            Failure::Output(error) => format!("error: cannot write the output: {error}"),
        }
    }
}

fn server_text(status: &StatusError, context: Option<&str>) -> String {
    let context = context.map(|context| format!("{context}: ")).unwrap_or_default();
    match status.reason {
        Reason::Invalid => invalid_text(status),
        Reason::Unauthorized => format!(
            "error: You must be logged in to the server ({})\n  \
             authentication: the server does not accept the credentials of this context's user; see \
             'rctl config view --minify', and check that its certificate is of this cluster's CA and not expired.",
            status.message
        ),
        Reason::Forbidden => format!(
            "Error from server ({}): {context}{status}\n  \
             authorization: the server knows who asks but no rule allows it; ask an administrator for a role, or \
             choose another user (rctl config get-contexts).",
            status.reason.as_str()
        ),
        reason => format!("Error from server ({}): {context}{status}", reason.as_str()),
    }
}

/// The field errors of a refused object, one a line if there are several.
fn invalid_text(status: &StatusError) -> String {
    let Some(details) = status.details.as_deref() else {
        return match status.message.as_str() {
            "" => "The request is invalid".to_owned(),
            message => format!("The request is invalid: {message}"),
        };
    };
    let kind = qualified(details.kind.as_deref().unwrap_or_default(), "");
    let name = details.name.as_deref().unwrap_or_default();
    let causes = details.causes.as_deref().unwrap_or_default();
    let head = if !kind.is_empty() || !name.is_empty() {
        format!("The {kind} {name:?} is invalid")
    } else if causes.is_empty() && !status.message.is_empty() {
        format!("The request is invalid: {}", status.message)
    } else {
        "The request is invalid".to_owned()
    };
    let mut seen = BTreeSet::new();
    let lines: Vec<String> = causes.iter().map(cause_text).filter(|line| seen.insert(line.clone())).collect();
    match lines.as_slice() {
        [] => head,
        [line] => format!("{head}: {line}"),
        lines => format!("{head}: \n* {}", lines.join("\n* ")),
    }
}

fn cause_text(cause: &StatusCause) -> String {
    let text = cause.message.as_deref().unwrap_or_default();
    match cause.field.as_deref() {
        Some(field) if !field.is_empty() => format!("{field}: {text}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use reeve_api::GroupVersionResource;

    use super::*;

    #[test]
    fn errors_of_the_server_read_as_kubectls() {
        let pods = GroupVersionResource::new("", "v1", "pods");
        let failure = Failure::from(StatusError::not_found(&pods, "x"));
        assert_eq!(failure.text(), r#"Error from server (NotFound): pods "x" not found"#);
        assert_eq!(failure.exit_code(), 1);
        let failure = failure.during("error when creating \"web.yaml\"");
        assert_eq!(
            failure.text(),
            r#"Error from server (NotFound): error when creating "web.yaml": pods "x" not found"#
        );
    }

    #[test]
    fn a_refused_object_lists_its_fields() {
        let cause = |field: &str, message: &str| StatusCause {
            field: Some(field.into()),
            message: Some(message.into()),
            ..StatusCause::default()
        };
        let one = StatusError::invalid("apps", "Deployment", "web", vec![cause("spec.replicas", "Invalid value: -1")]);
        assert_eq!(Failure::from(one).text(), "The Deployment \"web\" is invalid: spec.replicas: Invalid value: -1");
        let two = StatusError::invalid("", "Pod", "a", vec![cause("spec.a", "x"), cause("spec.b", "y")]);
        assert_eq!(Failure::from(two).text(), "The Pod \"a\" is invalid: \n* spec.a: x\n* spec.b: y");
    }

    #[test]
    fn a_closed_pipe_is_silent() {
        let failure = Failure::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.text().as_str(), failure.exit_code()), ("", 141));
    }

    #[test]
    fn a_layer_is_named_with_its_next_step() {
        let failure = Failure::Layer {
            layer: Layer::Network,
            message: "the connection to the server 127.0.0.1:6443 was refused".into(),
            hints: vec!["check that it runs".into()],
        };
        assert_eq!(
            failure.text(),
            "error: network: the connection to the server 127.0.0.1:6443 was refused\n  check that it runs"
        );
    }
}
