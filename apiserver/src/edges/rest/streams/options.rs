//! What the query of a stream asks for: `PodExecOptions`, `PodAttachOptions`, `PodPortForwardOptions`.

use reeve_api::StatusError;
use reeve_proto::v1;

use crate::pod_streams::Session;
use crate::request::Target;

/// Ports that one connection may forward.
const PORTS_MAX: usize = 64;

/// A process and its streams.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Empty for the pod's only container.
    pub container: String,
    command: Vec<String>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Process {
    /// Reads the query of an exec or attach.
    pub fn parse(query: &str, session: Session) -> Result<Process, StatusError> {
        let mut process = Process::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let flag = !matches!(value.to_ascii_lowercase().as_str(), "false" | "0");
            match name.as_ref() {
                "container" => process.container = value.into_owned(),
                "command" => process.command.push(value.into_owned()),
                "stdin" => process.stdin = flag,
                "stdout" => process.stdout = flag,
                "stderr" => process.stderr = flag,
                "tty" => process.tty = flag,
                _ => {}
            }
        }
        // A terminal has one output.
        process.stderr &= !process.tty;
        if !(process.stdin || process.stdout || process.stderr) {
            return Err(StatusError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        if session == Session::Exec && process.command.is_empty() {
            return Err(StatusError::bad_request("you must specify at least one command for the container"));
        }
        Ok(process)
    }

    /// The message that starts it in a container.
    pub fn start(self, target: &Target, container: &str) -> v1::ExecStart {
        v1::ExecStart {
            namespace: target.namespace.clone(),
            pod: target.name.clone(),
            container: container.to_owned(),
            command: self.command,
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            tty: self.tty,
        }
    }
}

/// The ports of a port-forward: `ports=80,81&ports=82`. Clients that tunnel name them later.
pub fn ports(query: &str) -> Result<Vec<u16>, StatusError> {
    let mut ports = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "ports" && name != "port" {
            continue;
        }
        for text in value.split(',') {
            match text.parse::<u16>() {
                Ok(port) if port > 0 => ports.push(port),
                _ => return Err(StatusError::bad_request(format!("unable to parse {text:?} as a port"))),
            }
        }
    }
    if ports.len() > PORTS_MAX {
        return Err(StatusError::bad_request(format!("at most {PORTS_MAX} ports can be forwarded by one connection")));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_keep_their_order_and_flags_are_read() {
        let process =
            Process::parse("command=sh&command=-c&command=a%20b&stdin=true&stdout=1&stderr=true&tty=0", Session::Exec);
        let process = process.unwrap();
        assert_eq!(process.command, ["sh", "-c", "a b"]);
        assert!(process.stdin && process.stdout && process.stderr && !process.tty);
        assert!(!Process::parse("command=sh&stdout=true&stderr=true&tty=true", Session::Exec).unwrap().stderr);
        assert!(Process::parse("command=sh", Session::Exec).is_err());
        assert!(Process::parse("stdout=true", Session::Exec).is_err());
        assert!(Process::parse("stdout=true", Session::Attach).is_ok());
    }

    #[test]
    fn ports_come_in_lists() {
        assert_eq!(ports("ports=80,81&ports=82"), Ok(vec![80, 81, 82]));
        assert_eq!(ports(""), Ok(vec![]));
        for query in ["ports=0", "ports=x", "ports=70000", "ports="] {
            assert!(ports(query).is_err(), "{query}");
        }
    }
}
