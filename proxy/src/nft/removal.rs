//! Tells when somebody removes a table: `nft flush ruleset` and the restart of many a firewall take all tables with them.
//!
//! The kernel tells of every change of nftables (`linux/netfilter/nfnetlink.h`, `nf_tables.h`), so nothing has to look
//! again and again.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::unix::AsyncFd;

/// The group of nftables' messages (`NFNLGRP_NFTABLES`), as a mask.
const GROUP: u32 = 1 << 6;
/// A table is gone: `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE`.
const TABLE_REMOVED: u16 = (10 << 8) | 2;
/// The attribute with the table's name (`NFTA_TABLE_NAME`).
const TABLE_NAME: u16 = 1;
/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The length of `struct nfgenmsg`, after which attributes begin.
const GENERIC_HEADER: usize = 4;
/// What is read at once. The kernel packs messages into less.
const BUFFER: usize = 32 << 10;

/// A subscription to the removals of tables in the network namespace that it was made in.
pub struct Removals {
    socket: AsyncFd<OwnedFd>,
}

impl Removals {
    /// Subscribes. What is removed from now on is told.
    ///
    /// # Errors
    /// The system has no such socket for this program.
    pub fn follow() -> io::Result<Removals> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP))?;
        #[expect(deprecated, reason = "sound for what owns its descriptor; what is to replace it is for unsafe code")]
        let socket = AsyncFd::new(socket)?;
        Ok(Removals { socket })
    }

    /// Waits until a table of this name is removed, or until so much happened that it may have been: look whether it
    /// is there.
    ///
    /// # Errors
    /// The subscription broke.
    pub async fn removed(&self, table: &str) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let mut ready = self.socket.readable().await?;
            let received = ready
                .try_io(|socket| recv(socket.get_ref(), &mut buffer[..], RecvFlags::DONTWAIT).map_err(io::Error::from));
            match received {
                Ok(Ok((length, _))) => {
                    if removes(buffer.get(..length).unwrap_or_default(), table) {
                        return Ok(());
                    }
                }
                Ok(Err(error)) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // It was not ready after all.
                Err(_) => {}
            }
        }
    }
}

/// Whether one of the messages tells that the table is gone.
fn removes(mut messages: &[u8], table: &str) -> bool {
    while let Some((kind, body, rest)) = message(messages) {
        if kind == TABLE_REMOVED && name(body) == Some(table.as_bytes()) {
            return true;
        }
        messages = rest;
    }
    false
}

/// The first message's kind and body, and what comes after it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    // Messages begin at multiples of four bytes.
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The table's name among a message's attributes.
fn name(body: &[u8]) -> Option<&[u8]> {
    let mut attributes = body.get(GENERIC_HEADER..)?;
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == TABLE_NAME {
            return value.split(|byte| *byte == 0).next();
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(kind: u16, attribute: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut body = [&[2, 0, 0, 0][..], &length.to_ne_bytes(), &attribute.to_ne_bytes(), value].concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = u32::try_from(HEADER + body.len()).expect("short");
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &body].concat()
    }

    #[test]
    fn only_the_removal_of_this_table_counts() {
        let removal = bytes(TABLE_REMOVED, TABLE_NAME, b"ours\0");
        let others = [
            bytes(TABLE_REMOVED, TABLE_NAME, b"ours-not\0"),
            bytes(TABLE_REMOVED, 2, b"ours\0"),
            bytes(10 << 8, TABLE_NAME, b"ours\0"),
        ]
        .concat();
        assert!(!removes(&others, "ours"));
        assert!(removes(&[others.clone(), removal.clone()].concat(), "ours"));
        for length in 0..removal.len() {
            assert!(!removes(removal.get(..length).unwrap_or_default(), "ours") || length >= HEADER + 12);
        }
        assert!(!removes(&[0; 64], "ours"), "a length of nothing ends it");
    }
}
