//! The HTTP client: one request a connection, so that every request is balanced anew.

use std::{
    fmt, io,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use crate::dns;

/// The pause between two tries of one request.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not one that this client can use.
    #[error("{0:?} is not a URL such as http://web:80/path")]
    Url(String),
    /// The host has no address.
    #[error(transparent)]
    Name(#[from] dns::DnsError),
    /// No connection came about.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection broke, or took too long.
    #[error("no whole answer from {address}: {source}")]
    Exchange {
        /// Where to.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// What came back is not HTTP.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
}

impl ClientError {
    /// curl's exit code for the same failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Url(_) => 3,
            Self::Name(_) => 6,
            Self::Connect { source, .. } | Self::Exchange { source, .. }
                if matches!(source.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) =>
            {
                28
            }
            Self::Connect { .. } => 7,
            Self::Exchange { .. } => 56,
            Self::NotHttp(_) => 1,
        }
    }
}

/// A parsed `http://host[:port][/path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host name or address.
    pub host: String,
    /// TCP port, 80 where the URL names none.
    pub port: u16,
    /// Path with query, at least `/`.
    pub path: String,
}

impl Url {
    /// Parses a URL; the scheme may be left out.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let invalid = || ClientError::Url(text.to_owned());
        let rest = text.strip_prefix("http://").unwrap_or(text);
        if rest.contains("://") {
            return Err(invalid());
        }
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse().map_err(|_| invalid())?),
            _ => (authority, 80),
        };
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Sends one GET and reads the whole answer, within `timeout` for each step.
pub fn get(url: &Url, timeout: Duration) -> Result<Answer, ClientError> {
    let (address, mut stream) = connect(&url.host, url.port, timeout)?;
    let exchange = |source| ClientError::Exchange { address, source };
    stream.set_read_timeout(Some(timeout)).map_err(exchange)?;
    stream.set_write_timeout(Some(timeout)).map_err(exchange)?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: reeve-demo\r\nConnection: close\r\n\r\n",
        url.path, url.host
    );
    stream.write_all(request.as_bytes()).map_err(exchange)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(exchange)?;
    parse_answer(&bytes, address)
}

/// Like [`get`], and tries again for as long as `patience` lasts: a Service may be seconds old.
#[expect(clippy::disallowed_methods, reason = "no event tells a client that a Service has begun to answer")]
fn get_patiently(url: &Url, timeout: Duration, patience: Duration) -> Result<Answer, ClientError> {
    let deadline = Instant::now() + patience;
    loop {
        match get(url, timeout) {
            Err(ClientError::Url(text)) => return Err(ClientError::Url(text)),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => thread::sleep(RETRY_PAUSE),
            Ok(answer) => return Ok(answer),
        }
    }
}

/// Opens a connection to the first of a host's addresses that takes it.
fn connect(host: &str, port: u16, timeout: Duration) -> Result<(SocketAddr, TcpStream), ClientError> {
    let mut failure = None;
    for address in dns::resolve(host)? {
        let address = SocketAddr::new(address, port);
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok((address, stream)),
            Err(source) => failure = Some(ClientError::Connect { address, source }),
        }
    }
    Err(failure.unwrap_or_else(|| ClientError::Name(dns::DnsError::NotFound(host.to_owned()))))
}

fn parse_answer(bytes: &[u8], address: SocketAddr) -> Result<Answer, ClientError> {
    let cut_short = || ClientError::Exchange { address, source: io::ErrorKind::UnexpectedEof.into() };
    let head_end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(cut_short)?;
    let head = String::from_utf8_lossy(&bytes[..head_end]);
    let mut lines = head.lines();
    let status_line = lines.next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| ClientError::NotHttp(status_line.to_owned()))?;
    let declared = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    let body = bytes[head_end + 4..].to_vec();
    if declared.is_some_and(|length| body.len() < length) {
        return Err(cut_short());
    }
    Ok(Answer { status, body })
}

fn timeout_of(arguments: &[String]) -> Duration {
    crate::option(arguments, "--timeout")
        .and_then(|seconds| seconds.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero())
        .unwrap_or(Duration::from_secs(5))
}

/// `get URL`: prints the body; the exit code tells what went wrong.
pub fn main(arguments: &[String]) -> u8 {
    let words = crate::positional(arguments);
    let Some(url) = words.first() else {
        eprintln!("usage: get URL [--timeout SECONDS] [--retry SECONDS]");
        return 2;
    };
    let patience = crate::option(arguments, "--retry").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    match Url::parse(url).and_then(|url| get_patiently(&url, timeout_of(arguments), Duration::from_secs(patience))) {
        Ok(answer) => {
            if let Err(error) = io::stdout().write_all(&answer.body) {
                eprintln!("get: {error}");
                return 23;
            }
            if answer.status >= 400 {
                eprintln!("get: HTTP status {}", answer.status);
                return 22;
            }
            0
        }
        Err(error) => {
            eprintln!("get: {error}");
            error.exit_code()
        }
    }
}

/// `dial HOST:PORT`: exit code 0 when a connection comes about.
pub fn dial_main(arguments: &[String]) -> u8 {
    let words = crate::positional(arguments);
    let target = words.first().and_then(|word| word.rsplit_once(':'));
    let Some((host, port)) = target.and_then(|(host, port)| Some((host, port.parse().ok()?))) else {
        eprintln!("usage: dial HOST:PORT [--timeout SECONDS]");
        return 2;
    };
    match connect(host, port, timeout_of(arguments)) {
        Ok((address, _)) => {
            println!("connected to {address}");
            0
        }
        Err(error) => {
            eprintln!("dial: {error}");
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, host: &str, port: u16, path: &str| {
            let expected = Url { host: host.to_owned(), port, path: path.to_owned() };
            assert_eq!(Url::parse(text).ok(), Some(expected), "{text}");
        };
        check("http://web", "web", 80, "/");
        check("http://10.96.0.7:8080/a/b?c=d", "10.96.0.7", 8080, "/a/b?c=d");
        check("web.shop:81/x", "web.shop", 81, "/x");
        for bad in ["https://web", "http://:80/", "http://web:port/"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(parse_answer(whole, address).map(|answer| answer.status).ok(), Some(200));
        assert!(parse_answer(&whole[..whole.len() - 1], address).is_err());
        assert!(parse_answer(b"", address).is_err());
    }
}
