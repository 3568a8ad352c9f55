//! Network namespaces of a test: made with names of their own, removed when the test ends, however it ends.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use std::io::{Read as _, Write as _};

/// How long anything in a test may take before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Why the test cannot run here, if it cannot: it says so and passes.
pub fn cannot_run() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        Some("root")
    } else {
        ["ip", "nft"].into_iter().find(|program| Command::new(program).arg("-V").output().is_err())
    };
    if let Some(missing) = missing {
        eprintln!("SKIPPED: this test makes network namespaces and needs {missing}");
    }
    missing.is_some()
}

/// Runs a command that must succeed, and returns what it printed.
pub fn run(words: &[&str]) -> String {
    let (program, arguments) = words.split_first().expect("a command");
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A network namespace, removed on drop.
pub struct Namespace(pub String);

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A short name that no other test has: process and counter.
pub fn unique() -> String {
    format!("{:x}x{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

impl Namespace {
    pub fn new(prefix: &str, unique: &str) -> Namespace {
        let name = format!("reeve-{prefix}-{unique}");
        run(&["ip", "netns", "add", &name]);
        let namespace = Namespace(name);
        namespace.ip("link set lo up");
        namespace
    }

    /// `ip` in the namespace.
    pub fn ip(&self, arguments: &str) -> String {
        let mut words = vec!["ip", "-n", self.0.as_str()];
        words.extend(arguments.split_whitespace());
        run(&words)
    }

    /// Runs a closure on a thread that lives in the namespace.
    pub fn within<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.spawn(work).join().expect("the thread in the namespace")
    }

    /// The same without waiting.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
        let path = format!("/run/netns/{}", self.0);
        std::thread::spawn(move || {
            use std::os::fd::AsFd as _;
            let file = std::fs::File::open(path).expect("the namespace's file");
            rustix::thread::move_into_link_name_space(file.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))
                .expect("setns");
            work()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let done = Command::new("ip").args(["netns", "delete", &self.0]).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("namespace {} remains", self.0);
        }
    }
}

/// A node with two pods on a bridge, and a client outside that is the node's default route.
///
/// Pods 10.244.1.5 and 10.244.1.6, node 192.168.77.1, client 192.168.77.2. Each pod answers TCP and UDP on 8080
/// with its own address and that of its client.
pub struct Site {
    pub node: Namespace,
    pub client: Namespace,
    pub pods: Vec<Namespace>,
}

pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
pub const POD_PORT: u16 = 8080;

pub fn pod(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, 1, 5 + u8::try_from(index).expect("few pods"))
}

impl Site {
    pub fn new() -> Site {
        let unique = unique();
        let node = Namespace::new("node", &unique);
        let client = Namespace::new("client", &unique);
        let link = |inside: &Namespace, name: &str| {
            node.ip(&format!("link add {name} type veth peer name eth0 netns {}", inside.0));
            node.ip(&format!("link set {name} up"));
            inside.ip("link set eth0 up");
        };
        link(&client, "up0");
        node.ip("address add 192.168.77.1/24 dev up0");
        client.ip("address add 192.168.77.2/24 dev eth0");
        node.ip("route add default via 192.168.77.2");
        node.ip("link add cni0 type bridge");
        node.ip("address add 10.244.1.1/24 dev cni0");
        node.ip("link set cni0 up");
        node.within(|| {
            for (name, value) in [("ipv4/ip_forward", "1"), ("bridge/bridge-nf-call-iptables", "1")] {
                std::fs::write(format!("/proc/sys/net/{name}"), value).expect(name);
            }
        });
        let pods: Vec<Namespace> = (0..2)
            .map(|index| {
                let namespace = Namespace::new(&format!("pod{index}"), &unique);
                let port = format!("port{index}");
                link(&namespace, &port);
                node.ip(&format!("link set {port} master cni0"));
                node.ip(&format!("link set {port} type bridge_slave hairpin on"));
                namespace.ip(&format!("address add {}/24 dev eth0", pod(index)));
                namespace.ip("route add default via 10.244.1.1");
                serve(&namespace, pod(index));
                namespace
            })
            .collect();
        Site { node, client, pods }
    }
}

/// Answers each connection and datagram with "server client", until the namespace is gone with the test.
pub fn serve(namespace: &Namespace, address: Ipv4Addr) {
    let (ready, wait) = std::sync::mpsc::sync_channel(1);
    namespace.spawn(move || {
        let tcp = TcpListener::bind(SocketAddrV4::new(address, POD_PORT)).expect("bind");
        let udp = UdpSocket::bind(SocketAddrV4::new(address, POD_PORT)).expect("bind");
        ready.send(()).expect("the test waits");
        std::thread::spawn(move || {
            let mut buffer = [0; 16];
            while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                if udp.send_to(format!("{address} {}", peer.ip()).as_bytes(), peer).is_err() {
                    return;
                }
            }
        });
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok(peer) = stream.peer_addr() else { continue };
            // A client that gave up is no failure of the server.
            drop(stream.write_all(format!("{address} {}", peer.ip()).as_bytes()));
        }
    });
    wait.recv().expect("the server starts");
}

/// Server's and client's address as the server saw them, or why there was no answer.
pub type Answer = Result<(Ipv4Addr, Ipv4Addr), std::io::ErrorKind>;

fn parse(text: &str) -> Answer {
    let (server, client) = text.split_once(' ').ok_or(std::io::ErrorKind::InvalidData)?;
    let address = |text: &str| text.parse().map_err(|_| std::io::ErrorKind::InvalidData);
    Ok((address(server)?, address(client)?))
}

pub fn ask_tcp(from: &Namespace, address: Ipv4Addr, port: u16) -> Answer {
    from.within(move || ask_tcp_here(address, port))
}

/// The same from the thread that runs.
pub fn ask_tcp_here(address: Ipv4Addr, port: u16) -> Answer {
    let target = SocketAddrV4::new(address, port).into();
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).map_err(|error| error.kind())?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.kind())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.kind())?;
    parse(&text)
}

pub fn ask_udp(from: &Namespace, address: Ipv4Addr, port: u16) -> Answer {
    from.within(move || {
        let ask = || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            ask_udp_on(&socket, address, port)
        };
        parse(&ask().map_err(|error| error.kind())?)
    })
}

/// One question on a socket, so that several questions can share a flow.
pub fn ask_udp_on(socket: &UdpSocket, address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SocketAddrV4::new(address, port))?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}
