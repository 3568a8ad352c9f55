//! UDP: an echo server that says who answers, and a client for it.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use crate::{applets::hostname, dns};

/// Answers every datagram with this host's name and what came, until the process ends.
pub fn serve(socket: &UdpSocket) -> io::Result<()> {
    let name = hostname();
    let mut buffer = [0u8; 2048];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer)?;
        let mut answer = format!("{name} ").into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        if let Err(error) = socket.send_to(&answer, peer) {
            eprintln!("udp: cannot answer {peer}: {error}");
        }
    }
}

fn ask(address: SocketAddr, text: &str) -> io::Result<String> {
    let any: IpAddr = if address.is_ipv4() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([0u16; 8]) };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.connect(address)?;
    socket.send(text.as_bytes())?;
    let mut buffer = [0u8; 2048];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// `udp HOST:PORT TEXT`: prints the answer.
pub fn main(arguments: &[String]) -> u8 {
    let words = crate::positional(arguments);
    let target = words.first().and_then(|word| word.rsplit_once(':'));
    let Some((host, port)) = target.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?))) else {
        eprintln!("usage: udp HOST:PORT TEXT");
        return 2;
    };
    let text = words.get(1..).unwrap_or_default().join(" ");
    let address = match dns::resolve(host) {
        Ok(addresses) => addresses.first().map(|address| SocketAddr::new(*address, port)),
        Err(error) => {
            eprintln!("udp: {error}");
            return 6;
        }
    };
    match address.map(|address| ask(address, &text)) {
        Some(Ok(answer)) => {
            println!("{answer}");
            0
        }
        Some(Err(error)) => {
            eprintln!("udp: no answer from {host}:{port}: {error}");
            28
        }
        None => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_comes_back_with_the_hosts_name() -> io::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        std::thread::spawn(move || serve(&socket));
        assert_eq!(ask(address, "hello")?, format!("{} hello", hostname()));
        Ok(())
    }
}
