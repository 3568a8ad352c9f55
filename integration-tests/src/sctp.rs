//! SCTP packets made by hand (RFC 9260), for kernels that have no SCTP sockets: they still translate its packets.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

/// The chunk that opens an association.
pub const INIT: u8 = 1;
/// The chunk that answers it.
pub const INIT_ACK: u8 = 2;

/// A packet with one chunk, as it opens an association.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub destination: SocketAddrV4,
    /// The tag that the receiver chose; 0 in the first packet.
    pub tag: u32,
    /// [`INIT`] or [`INIT_ACK`].
    pub chunk: u8,
    /// The tag that the sender chooses.
    pub own_tag: u32,
}

impl Packet {
    /// What follows the IP header.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.port().to_be_bytes());
        bytes.extend(self.destination.port().to_be_bytes());
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend([0; 4]);
        // Type, no flags, the length; then tag, window, streams out and in, first sequence number.
        bytes.extend([self.chunk, 0, 0, 20]);
        bytes.extend(self.own_tag.to_be_bytes());
        bytes.extend(65_535_u32.to_be_bytes());
        bytes.extend([0, 1, 0, 1]);
        bytes.extend(1_u32.to_be_bytes());
        let checksum = crc32c(&bytes);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a packet with its IP header.
    ///
    /// # Errors
    /// It is too short, or its checksum is wrong.
    pub fn parse(packet: &[u8]) -> Result<Self> {
        let header = usize::from(packet.first().context("an empty packet")? & 0x0f) * 4;
        ensure!(header >= 20 && packet.len() >= header + 20, "no whole SCTP packet: {packet:?}");
        let (ip, sctp) = packet.split_at(header);
        let mut zeroed = sctp.to_vec();
        zeroed[8..12].fill(0);
        let (told, right) = (u32::from_le_bytes(array(&sctp[8..12])?), crc32c(&zeroed));
        ensure!(told == right, "the checksum is {told:#x}, and would be {right:#x}");
        let address = |at: usize| -> Result<Ipv4Addr> { Ok(Ipv4Addr::from(array::<4>(&ip[at..at + 4])?)) };
        let port = |at: usize| -> Result<u16> { Ok(u16::from_be_bytes(array(&sctp[at..at + 2])?)) };
        Ok(Self {
            source: SocketAddrV4::new(address(12)?, port(0)?),
            destination: SocketAddrV4::new(address(16)?, port(2)?),
            tag: u32::from_be_bytes(array(&sctp[4..8])?),
            chunk: sctp[12],
            own_tag: u32::from_be_bytes(array(&sctp[16..20])?),
        })
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().context("a packet that is cut short")
}

/// The checksum of SCTP: CRC32c.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// Whether this kernel speaks SCTP itself: it then refuses associations that none of its sockets knows.
pub fn kernel_answers() -> bool {
    socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::SCTP)).is_ok()
}

/// A socket for packets of SCTP, in the network namespace of the thread that made it.
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens it; from then on it gets a copy of every packet that arrives.
    ///
    /// # Errors
    /// It takes root.
    pub fn open() -> Result<Self> {
        let socket = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::SCTP))
            .context("cannot open a raw socket")?;
        Ok(Self(socket))
    }

    /// Sends a packet; the kernel chooses its source address.
    ///
    /// # Errors
    /// There is no way to its destination.
    pub fn send(&self, packet: &Packet) -> Result<()> {
        let to = SocketAddrV4::new(*packet.destination.ip(), 0);
        sendto(&self.0, &packet.to_bytes(), SendFlags::empty(), &to)?;
        Ok(())
    }

    /// Waits for a packet; others are passed over.
    ///
    /// # Errors
    /// None comes within the time: with those that came.
    pub fn wait_for(&self, limit: Duration, is_wanted: impl Fn(&Packet) -> bool) -> Result<Packet> {
        let deadline = Instant::now() + limit;
        let mut others = Vec::new();
        let mut buffer = [0; 2048];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no such packet within {limit:?}, only {others:?}");
            }
            set_socket_timeout(&self.0, Timeout::Recv, Some(left))?;
            let length = match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            let packet = Packet::parse(&buffer[..length])?;
            if is_wanted(&packet) {
                return Ok(packet);
            }
            others.push(packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_were_made() -> Result<()> {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the checksum's published example");
        let [source, destination] =
            [([192, 0, 2, 1], 4000), ([192, 0, 2, 2], 7)].map(|(ip, port)| SocketAddrV4::new(ip.into(), port));
        let packet = Packet { source, destination, tag: 0, chunk: INIT, own_tag: 77 };
        let mut whole = vec![0x45; 12];
        whole.extend(source.ip().octets());
        whole.extend(destination.ip().octets());
        whole.extend(packet.to_bytes());
        assert_eq!(Packet::parse(&whole)?, packet);
        whole[21] ^= 1;
        assert!(Packet::parse(&whole).is_err(), "the checksum does not fit any more");
        Ok(())
    }
}
