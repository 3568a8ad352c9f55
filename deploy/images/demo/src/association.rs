//! SCTP: an echo server that says who answers, and a client for it. One association is one stream, as with TCP.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::OwnedFd,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, listen, socket_with, sockopt};

use crate::{applets::hostname, dns};

/// Associations that wait to be accepted.
const BACKLOG: i32 = 64;
/// How long an answer may take, and an idle client.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket for one association at a time. Its calls are those of TCP, so the standard library's types serve it.
fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::SCTP))?)
}

/// A listener on every address.
pub fn open(port: u16) -> io::Result<TcpListener> {
    let socket = socket()?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Answers each message with this host's name and what came, one association after the other, until the process ends.
pub fn serve(listener: &TcpListener) -> io::Result<()> {
    let name = hostname();
    loop {
        let (mut stream, peer) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0u8; 2048];
        let answered = loop {
            match stream.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(length) => {
                    let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
                    if let Err(error) = stream.write_all(&answer) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = answered {
            eprintln!("sctp: {peer}: {error}");
        }
    }
}

fn ask(address: SocketAddrV4, text: &str) -> io::Result<String> {
    let socket = socket()?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    connect(&socket, &address)?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(text.as_bytes())?;
    let mut buffer = [0u8; 2048];
    let length = stream.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// `sctp HOST:PORT TEXT`: prints the answer.
pub fn main(arguments: &[String]) -> u8 {
    let words = crate::positional(arguments);
    let target = words.first().and_then(|word| word.rsplit_once(':'));
    let Some((host, port)) = target.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) else {
        eprintln!("usage: sctp HOST:PORT TEXT");
        return 2;
    };
    let text = words.get(1..).unwrap_or_default().join(" ");
    let addresses = match dns::resolve(host) {
        Ok(addresses) => addresses,
        Err(error) => {
            eprintln!("sctp: {error}");
            return 6;
        }
    };
    let Some(address) = addresses.iter().find_map(|address| match address {
        std::net::IpAddr::V4(address) => Some(SocketAddrV4::new(*address, port)),
        std::net::IpAddr::V6(_) => None,
    }) else {
        eprintln!("sctp: {host} has no IPv4 address");
        return 6;
    };
    match ask(address, &text) {
        Ok(answer) => {
            println!("{answer}");
            0
        }
        Err(error) => {
            eprintln!("sctp: no answer from {address}: {error}");
            if error.kind() == io::ErrorKind::ConnectionRefused { 7 } else { 28 }
        }
    }
}
