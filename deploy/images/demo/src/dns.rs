//! Names to addresses. A static glibc has no name service, so the program asks the servers of
//! `/etc/resolv.conf` itself, with the search list and `ndots` as resolv.conf(5) says.

use std::{
    fs, io,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The name cannot stand in a query.
    #[error("{name:?} is not a DNS name: {reason}")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Every candidate of the search list was answered, and none exists.
    #[error("no such name: {0}")]
    NotFound(String),
    /// No server gave a usable answer.
    #[error("no answer for {name} from {servers}: {reason}")]
    NoAnswer {
        /// What was asked for.
        name: String,
        /// Who was asked.
        servers: String,
        /// The last server's failure.
        reason: String,
    },
}

/// The parts of `/etc/resolv.conf` that matter here.
#[derive(Debug, PartialEq, Eq)]
pub struct ResolverConfig {
    /// Servers, asked in this order.
    pub servers: Vec<IpAddr>,
    /// Suffixes for names with fewer than `ndots` dots.
    pub search: Vec<String>,
    /// From how many dots on a name is tried as it stands first.
    pub ndots: usize,
    /// How long one server may take.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: usize,
}

impl ResolverConfig {
    /// Reads the system's configuration; an absent file means its defaults.
    pub fn system() -> io::Result<Self> {
        match fs::read_to_string("/etc/resolv.conf") {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::parse("")),
            Err(error) => Err(error),
        }
    }

    /// Parses the text of a resolv.conf. Lines it does not know are ignored, as libc does.
    pub fn parse(text: &str) -> Self {
        let mut config =
            Self { servers: Vec::new(), search: Vec::new(), ndots: 1, timeout: Duration::from_secs(2), attempts: 2 };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => config.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                Some("search" | "domain") => config.search = words.map(str::to_owned).collect(),
                Some("options") => words.for_each(|option| config.set_option(option)),
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(IpAddr::from([127, 0, 0, 1]));
        }
        config
    }

    fn set_option(&mut self, option: &str) {
        let Some((key, value)) = option.split_once(':') else {
            return;
        };
        let Ok(number) = value.parse::<usize>() else { return };
        match key {
            "ndots" => self.ndots = number.min(15),
            "timeout" => self.timeout = Duration::from_secs(number.clamp(1, 30) as u64),
            "attempts" => self.attempts = number.clamp(1, 5),
            _ => {}
        }
    }

    /// The absolute names to try for `name`, in order.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().map(|suffix| format!("{name}.{suffix}"));
        let dots = name.matches('.').count();
        if dots >= self.ndots {
            std::iter::once(name.to_owned()).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(name.to_owned())).collect()
        }
    }
}

/// The addresses of a host name, an address literal, or a line of `/etc/hosts`.
pub fn resolve(host: &str) -> Result<Vec<IpAddr>, DnsError> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    let from_file = hosts_file(&fs::read_to_string("/etc/hosts").unwrap_or_default(), host);
    if !from_file.is_empty() {
        return Ok(from_file);
    }
    let records = lookup(host, RecordType::A)?;
    let addresses: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
    if addresses.is_empty() { Err(DnsError::NotFound(host.to_owned())) } else { Ok(addresses) }
}

/// The addresses that the text of a hosts file gives a name.
fn hosts_file(text: &str, host: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        })
        .collect()
}

/// The answer records for a name; the first candidate of the search list that exists wins.
pub fn lookup(name: &str, record_type: RecordType) -> Result<Vec<Record>, DnsError> {
    let config = ResolverConfig::system().map_err(|error| DnsError::NoAnswer {
        name: name.to_owned(),
        servers: "/etc/resolv.conf".to_owned(),
        reason: error.to_string(),
    })?;
    for candidate in config.candidates(name) {
        let message = ask(&config, &candidate, record_type)?;
        if message.metadata.response_code == ResponseCode::NoError && !message.answers.is_empty() {
            return Ok(message.answers);
        }
    }
    Err(DnsError::NotFound(name.to_owned()))
}

/// Asks the servers in turn until one says that the name exists or that it does not.
fn ask(config: &ResolverConfig, name: &str, record_type: RecordType) -> Result<Message, DnsError> {
    let name_error = |reason: String| DnsError::Name { name: name.to_owned(), reason };
    let mut wire_name = Name::from_ascii(name).map_err(|error| name_error(error.to_string()))?;
    wire_name.set_fqdn(true);
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(wire_name, record_type));
    let bytes = query.to_vec().map_err(|error| name_error(error.to_string()))?;

    let mut reason = "no server was asked".to_owned();
    for _ in 0..config.attempts {
        for server in &config.servers {
            match exchange(SocketAddr::new(*server, 53), &bytes, query.metadata.id, config.timeout) {
                Ok(answer)
                    if matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) =>
                {
                    return Ok(answer);
                }
                Ok(answer) => reason = answer.metadata.response_code.to_string(),
                Err(error) => reason = error.to_string(),
            }
        }
    }
    let servers = config.servers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    Err(DnsError::NoAnswer { name: name.to_owned(), servers, reason })
}

/// One question to one server by UDP, and by TCP where the answer did not fit.
fn exchange(server: SocketAddr, query: &[u8], id: u16, timeout: Duration) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0u16; 8]) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(server)?;
    socket.send(query)?;
    let mut buffer = [0u8; 4096];
    let length = socket.recv(&mut buffer)?;
    let answer = decode(&buffer[..length], id)?;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(query)?;
    let mut prefix = [0u8; 2];
    stream.read_exact(&mut prefix)?;
    let mut bytes = vec![0u8; usize::from(u16::from_be_bytes(prefix))];
    stream.read_exact(&mut bytes)?;
    decode(&bytes, id)
}

fn decode(bytes: &[u8], id: u16) -> io::Result<Message> {
    let message = Message::from_vec(bytes).map_err(io::Error::other)?;
    if message.metadata.id == id { Ok(message) } else { Err(io::Error::other("the answer is to another question")) }
}

/// How long [`follow`] pauses between two questions.
const FOLLOW_PAUSE: Duration = Duration::from_micros(500);

/// `lookup NAME --follow SERVER`: asks one server for the addresses of an absolute name until standard input ends, and
/// prints each change of the answer with its time in microseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "DNS has no way to be told of changes: the pause is between questions")]
fn follow(name: &str, server: &str) -> Result<(), DnsError> {
    let failed = |reason: String| DnsError::NoAnswer { name: name.to_owned(), servers: server.to_owned(), reason };
    let server = server.parse().map_err(|error: std::net::AddrParseError| failed(error.to_string()))?;
    let config = ResolverConfig { servers: vec![server], ..ResolverConfig::parse("options timeout:1") };
    let (sender, ended) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        // Whatever ends it, also an error, ends the questions.
        io::stdin().lock().read_to_end(&mut Vec::new()).ok();
        drop(sender);
    });
    let mut last = None;
    while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
        let answer = ask(&config, name.trim_end_matches('.'), RecordType::A)?;
        let mut addresses: Vec<String> = answer.answers.iter().map(|record| data_text(&record.data)).collect();
        addresses.sort();
        if last.as_ref() != Some(&addresses) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            println!("{} {}", now.as_micros(), addresses.join(","));
            last = Some(addresses);
        }
        std::thread::sleep(FOLLOW_PAUSE);
    }
    Ok(())
}

/// `lookup NAME [TYPE]`: one line a record.
pub fn main(arguments: &[String]) -> u8 {
    let words = crate::positional(arguments);
    let Some(name) = words.first() else {
        eprintln!("usage: lookup NAME [TYPE] [--follow SERVER]");
        return 2;
    };
    if let Some(server) = crate::option(arguments, "--follow") {
        return match follow(name, server) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("lookup: {error}");
                6
            }
        };
    }
    let record_type = match words.get(1).copied().unwrap_or("A").to_ascii_uppercase().parse::<RecordType>() {
        Ok(record_type) => record_type,
        Err(error) => {
            eprintln!("lookup: {error}");
            return 2;
        }
    };
    match lookup(name, record_type) {
        Ok(records) => {
            for record in records {
                println!("{} {} {}", record.name, record.record_type(), data_text(&record.data));
            }
            0
        }
        Err(error) => {
            eprintln!("lookup: {error}");
            6
        }
    }
}

fn data_text(data: &RData) -> String {
    data.ip_addr().map_or_else(|| data.to_string(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod_config() -> ResolverConfig {
        ResolverConfig::parse(
            "# written by the kubelet\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver 10.96.0.10\noptions ndots:5 timeout:1\n",
        )
    }

    #[test]
    fn reads_what_a_kubelet_writes() {
        let config = pod_config();
        assert_eq!(config.servers, [IpAddr::from([10, 96, 0, 10])]);
        assert_eq!(config.ndots, 5);
        assert_eq!(config.timeout, Duration::from_secs(1));
        assert_eq!(config.search.len(), 3);
    }

    #[test]
    fn short_names_are_searched_first_and_absolute_ones_never() {
        let config = pod_config();
        assert_eq!(config.candidates("web").first().map(String::as_str), Some("web.default.svc.cluster.local"));
        assert_eq!(config.candidates("web").last().map(String::as_str), Some("web"));
        assert_eq!(config.candidates("a.b.c.d.e.f").first().map(String::as_str), Some("a.b.c.d.e.f"));
        assert_eq!(config.candidates("example.org."), ["example.org"]);
    }

    #[test]
    fn hosts_file_lines_are_found_by_any_of_their_names() {
        let text = "127.0.0.1 localhost\n10.244.1.7\tweb-1 web-1.example # the pod\n";
        assert_eq!(hosts_file(text, "WEB-1.example"), [IpAddr::from([10, 244, 1, 7])]);
        assert!(hosts_file(text, "web").is_empty());
    }
}
