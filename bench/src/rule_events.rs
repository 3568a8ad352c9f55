//! What a node's kernel tells of changes to its nftables: the earliest moment at which anybody can know that a rule is
//! there.
//!
//! The messages are those of `linux/netfilter/nfnetlink.h` and `nf_tables.h`; a transaction's come after it took effect.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The group of nftables' messages (`NFNLGRP_NFTABLES`), as a mask.
const GROUP: u32 = 1 << 6;
/// A new element of a set or map: `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM`.
const NEW_ELEMENT: u16 = 10 << 8 | 12;
/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// What waits to be read at most; a change makes a few kilobytes.
const BUFFER: usize = 8 << 20;

/// A subscription.
pub struct RuleEvents {
    socket: OwnedFd,
}

impl RuleEvents {
    /// Subscribes to the changes in a network namespace. What changes from now on is told.
    pub fn subscribe(namespace: &Path, patience: Duration) -> Result<Self> {
        let path = namespace.to_owned();
        // A socket belongs to the namespace that its thread was in.
        let opened = std::thread::spawn(move || -> Result<OwnedFd> {
            let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
            set_socket_recv_buffer_size_force(&socket, BUFFER)?;
            set_socket_timeout(&socket, Timeout::Recv, Some(patience))?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
            Ok(socket)
        });
        let socket = opened.join().map_err(|_| anyhow::anyhow!("the thread of the subscription panicked"))?;
        Ok(Self { socket: socket.context("cannot subscribe to changes of nftables")? })
    }

    /// Waits for a change, whatever it is, and says when it was told.
    pub fn any(&self) -> Result<Instant> {
        match recv(&self.socket, &mut [0_u8; HEADER], RecvFlags::empty()) {
            // More than there is room for is a change too.
            Ok(_) | Err(Errno::NOBUFS) => Ok(Instant::now()),
            Err(error) => Err(error).context("no change of nftables was told"),
        }
    }

    /// Waits until an element with this address has come into a set or map, and says when that was told.
    pub fn element_with(&self, address: Ipv4Addr) -> Result<Instant> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => {
                    let now = Instant::now();
                    if elements(&buffer[..length]).any(|it| memchr::memmem::find(it, &address.octets()).is_some()) {
                        return Ok(now);
                    }
                }
                Err(Errno::NOBUFS) => bail!("changes of nftables were lost: they came faster than they were read"),
                Err(error) => return Err(error).with_context(|| format!("no element with {address} was told")),
            }
        }
    }
}

/// The bodies of the messages that tell of new elements.
fn elements(mut messages: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let header = messages.get(..HEADER)?;
            let length = u32::from_ne_bytes(header.get(..4)?.try_into().ok()?);
            let kind = u16::from_ne_bytes(header.get(4..6)?.try_into().ok()?);
            let length = usize::try_from(length).ok()?;
            let body = messages.get(HEADER..length)?;
            // Messages begin at multiples of four bytes.
            messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
            if kind == NEW_ELEMENT {
                return Some(body);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_of_elements_are_looked_at() {
        let message = |kind: u16, body: &[u8]| {
            let length = u32::try_from(HEADER + body.len()).unwrap();
            let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let datagram = [message(0x0a0f, b"other"), message(NEW_ELEMENT, b"first"), message(NEW_ELEMENT, b"2nd")];
        assert_eq!(elements(&datagram.concat()).collect::<Vec<_>>(), [&b"first"[..], b"2nd"]);
        assert_eq!(elements(&[1, 2, 3]).count(), 0);
        assert_eq!(elements(&[0; 64]).count(), 0, "a length of nothing ends it");
    }
}
