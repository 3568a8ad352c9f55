//! The web server of the demo. It says who answers, so that balancing and updates can be seen, and
//! it ends the way an ordinary server does: it finishes what is open, takes nothing new, and is gone.
//! That nobody asks it any more by then is the cluster's part.

use std::{
    io,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{applets::hostname, association, datagram, health};

/// Connections served at a time; one more is told 503.
const CONNECTIONS_MAX: usize = 512;
/// The longest request head that is read.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// How long a connection may be idle or slow.
const IDLE: Duration = Duration::from_secs(30);
/// After SIGTERM the server ends when nothing is open any more, or after this long.
const DRAIN_MAX: Duration = Duration::from_secs(20);

/// What the connections share.
struct State {
    hostname: String,
    version: String,
    ready: AtomicBool,
    healthy: AtomicBool,
    draining: AtomicBool,
    activity: Mutex<Activity>,
    changed: Condvar,
}

/// Who is being served.
#[derive(Default)]
struct Activity {
    connections: usize,
    /// Connections that have yet to send their first request, and requests that are being answered.
    open: usize,
}

impl State {
    fn activity(&self) -> std::sync::MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Activity)) {
        change(&mut self.activity());
        self.changed.notify_all();
    }

    /// Returns when nothing is open, or `DRAIN_MAX` has passed.
    fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + DRAIN_MAX;
        let mut activity = self.activity();
        while activity.open > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            activity = self.changed.wait_timeout(activity, left).map_or_else(|error| error.into_inner().0, |it| it.0);
        }
    }
}

/// `serve [--port N] [--grpc-port N] [--sctp-port N]`: serves until SIGTERM or SIGINT.
pub fn main(arguments: &[String]) -> u8 {
    let number = |flag: &str| {
        let parsed = crate::option(arguments, flag).map(str::parse::<u16>).transpose();
        parsed.inspect_err(|error| eprintln!("serve: {flag}: {error}"))
    };
    let (Ok(port), Ok(grpc_port), Ok(sctp_port)) = (number("--port"), number("--grpc-port"), number("--sctp-port"))
    else {
        return 2;
    };
    let port = port.unwrap_or(8080);
    match serve(port, grpc_port, sctp_port) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("serve: port {port}: {error}");
            1
        }
    }
}

fn serve(port: u16, grpc_port: Option<u16>, sctp_port: Option<u16>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    let datagrams = UdpSocket::bind(("0.0.0.0", port))?;
    let state = Arc::new(new_state());
    if let Some(grpc_port) = grpc_port {
        let listener = TcpListener::bind(("0.0.0.0", grpc_port))?;
        let tells = health_of(Arc::clone(&state));
        // Ends with the process.
        thread::spawn(move || {
            if let Err(error) = health::serve(listener, tells) {
                eprintln!("serve: grpc: {error}");
            }
        });
    }
    if let Some(sctp_port) = sctp_port {
        let listener = association::open(sctp_port)?;
        // Ends with the process.
        thread::spawn(move || {
            if let Err(error) = association::serve(&listener) {
                eprintln!("serve: sctp: {error}");
            }
        });
    }
    println!("{} version={} listens on port {port}", state.hostname, state.version);
    // Both threads end with the process.
    thread::spawn(move || {
        if let Err(error) = datagram::serve(&datagrams) {
            eprintln!("serve: udp: {error}");
        }
    });
    let accepting = Arc::clone(&state);
    thread::spawn(move || accept(&listener, &accepting));
    if let Some(signal) = signals.forever().next() {
        println!("signal {signal}: finishing what is open");
        state.drain();
    }
    Ok(())
}

/// What gRPC's health service tells of each name.
fn health_of(state: Arc<State>) -> health::Tells {
    Arc::new(move |service| match service {
        "" | "liveness" => Some(state.healthy.load(Ordering::Relaxed)),
        "readiness" => Some(state.ready.load(Ordering::Relaxed)),
        _ => None,
    })
}

fn new_state() -> State {
    State {
        hostname: hostname(),
        version: std::env::var("DEMO_VERSION").unwrap_or_else(|_| "0".to_owned()),
        ready: AtomicBool::new(true),
        healthy: AtomicBool::new(true),
        draining: AtomicBool::new(false),
        activity: Mutex::new(Activity::default()),
        changed: Condvar::new(),
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                eprintln!("serve: accept: {error}");
                continue;
            }
        };
        if state.draining.load(Ordering::Relaxed) {
            // Closed unread, as a port that nobody listens on any more.
            continue;
        }
        let admitted = {
            let mut activity = state.activity();
            let admitted = activity.connections < CONNECTIONS_MAX;
            activity.connections += usize::from(admitted);
            activity.open += usize::from(admitted);
            admitted
        };
        if !admitted {
            report(respond(&stream, 503, "too many connections\n", true));
            continue;
        }
        let shared = Arc::clone(state);
        let spawned = thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            report(connection(&stream, &shared));
            shared.change(|activity| activity.connections -= 1);
        });
        if let Err(error) = spawned {
            eprintln!("serve: no thread for a connection: {error}");
            state.change(|activity| {
                activity.connections -= 1;
                activity.open -= 1;
            });
        }
    }
}

/// A peer that goes away is no news; anything else is worth a line.
fn report(result: io::Result<()>) {
    if let Err(error) = result {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut => {}
            _ => eprintln!("serve: connection: {error}"),
        }
    }
}

/// Serves the requests of one connection, one after the other.
fn connection(stream: &TcpStream, state: &State) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut request = read_request(&mut reader);
    let result = loop {
        let asked = match request {
            Ok(Some(asked)) => asked,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (status, body) = answer(&asked, state);
        let close = asked.close || state.draining.load(Ordering::Relaxed);
        let written = respond(stream, status, &body, close);
        if close || written.is_err() {
            break written;
        }
        state.change(|activity| activity.open -= 1);
        request = read_request(&mut reader);
        // Also where it is none: the end of the connection takes it back.
        state.change(|activity| activity.open += 1);
    };
    state.change(|activity| activity.open -= 1);
    result
}

/// The parts of a request that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: String,
    close: bool,
}

/// Reads one request and drops its body; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(_method), Some(path), Some(protocol)) = (words.next(), words.next(), words.next()) else {
        return Err(malformed("no request line"));
    };
    let mut request = Request { path: path.to_owned(), close: protocol == "HTTP/1.0" };
    let mut body_length = 0u64;
    loop {
        let mut header = String::new();
        if head.read_line(&mut header)? == 0 {
            return Err(malformed("the head is too long or cut short"));
        }
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let Some((name, value)) = header.split_once(':') else {
            return Err(malformed("a header without a colon"));
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            body_length = value.parse().map_err(|_| malformed("content-length is not a number"))?;
        } else if name.eq_ignore_ascii_case("connection") {
            request.close = value.eq_ignore_ascii_case("close");
        }
    }
    io::copy(&mut reader.take(body_length), &mut io::sink())?;
    Ok(Some(request))
}

#[expect(clippy::disallowed_methods, reason = "a slow answer is what /slow is asked for")]
fn answer(request: &Request, state: &State) -> (u16, String) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let flag = |value: &AtomicBool| {
        if value.load(Ordering::Relaxed) { (200, "ok\n") } else { (503, "off\n") }
    };
    let set = |value: &AtomicBool, to: bool| {
        value.store(to, Ordering::Relaxed);
        (200, "done\n")
    };
    let (status, text) = match path {
        "/healthz" => flag(&state.healthy),
        "/healthz/off" => set(&state.healthy, false),
        "/ready" => flag(&state.ready),
        "/ready/on" => set(&state.ready, true),
        "/ready/off" => set(&state.ready, false),
        "/env" => {
            let mut lines: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect();
            lines.sort();
            return (200, lines.concat());
        }
        "/slow" => {
            let milliseconds = query.strip_prefix("ms=").and_then(|text| text.parse().ok()).unwrap_or(1000u64);
            thread::sleep(Duration::from_millis(milliseconds.min(60_000)));
            return (200, who(state, path));
        }
        _ => return (200, who(state, path)),
    };
    (status, text.to_owned())
}

fn who(state: &State, path: &str) -> String {
    format!("{} version={} path={path}\n", state.hostname, state.version)
}

fn respond(mut stream: &TcpStream, status: u16, body: &str, close: bool) -> io::Result<()> {
    let reason = if status == 200 { "OK" } else { "Service Unavailable" };
    let connection = if close { "close" } else { "keep-alive" };
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(response.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> io::Result<Option<Request>> {
        read_request(&mut text.as_bytes())
    }

    #[test]
    fn requests_are_read_one_after_the_other() -> io::Result<()> {
        let mut input =
            "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /b HTTP/1.1\r\nConnection: close\r\n\r\n".as_bytes();
        assert_eq!(read_request(&mut input)?, Some(Request { path: "/a".to_owned(), close: false }));
        assert_eq!(read_request(&mut input)?, Some(Request { path: "/b".to_owned(), close: true }));
        assert_eq!(read_request(&mut input)?, None);
        Ok(())
    }

    #[test]
    fn malformed_requests_end_the_connection() {
        for text in ["\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1\r\nnonsense\r\n\r\n", "GET / HTTP/1.1\r\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn readiness_can_be_switched() {
        let state = new_state();
        let ask = |path: &str| answer(&Request { path: path.to_owned(), close: false }, &state).0;
        assert_eq!(ask("/ready"), 200);
        assert_eq!(ask("/ready/off"), 200);
        assert_eq!(ask("/ready"), 503);
        assert_eq!(ask("/healthz"), 200);
        assert_eq!(ask("/ready/on"), 200);
        assert_eq!(ask("/ready"), 200);
    }
}
