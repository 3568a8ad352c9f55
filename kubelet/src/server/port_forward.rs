//! A connection inside a pod's network.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Dials a port of an address in the network of the node.
pub async fn dial_from_node(address: IpAddr, port: u16) -> io::Result<tokio::net::TcpStream> {
    match tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect((address, port))).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Dials a port on the loopback address of the network namespace of a process. A socket stays in the namespace
/// that it was made in, so a thread of its own enters the namespace, connects, and ends: no other thread is ever
/// in a pod's network.
pub fn dial(pid: Option<i32>, port: u16) -> io::Result<TcpStream> {
    let worker = std::thread::Builder::new().name("port-forward".into()).spawn(move || {
        if let Some(pid) = pid {
            let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&four, CONNECT_TIMEOUT)
            .or_else(|error| TcpStream::connect_timeout(&six, CONNECT_TIMEOUT).map_err(|_| error))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    })?;
    worker.join().map_err(|_| io::Error::other("the connecting thread panicked"))?
}
