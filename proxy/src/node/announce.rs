//! Addresses of load balancers that this node answers for on its links.
//!
//! The controller manager says which node announces a Service's addresses. They are put on a link of this program's
//! own, and since Linux answers ARP for any of its addresses on every link, that makes this node the neighbours' way
//! to them. An address that is new here is told to the neighbours at once, who may still send to the node before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_client::backoff::Backoff;
use reeve_client::{Next, Queue, Runner, RunnerConfig, runner};
use tokio_util::sync::CancellationToken;

use super::link::{LinkError, Links};
use crate::nft::model::Network;

/// The link that carries the addresses.
pub const BALANCER_LINK: &str = "reeve-lb";

/// Where the announced addresses are noted. Cheap to clone.
#[derive(Clone)]
pub struct Announcements {
    wanted: Arc<Mutex<BTreeMap<ObjectKey, Vec<Ipv4Addr>>>>,
    queue: Queue<()>,
}

impl Announcements {
    /// A Service's addresses that this node announces.
    pub fn set(&self, service: &ObjectKey, addresses: Vec<Ipv4Addr>) {
        let changed = {
            let mut wanted = self.wanted.lock();
            if addresses.is_empty() {
                wanted.remove(service).is_some()
            } else {
                wanted.insert(service.clone(), addresses.clone()) != Some(addresses)
            }
        };
        if changed {
            self.queue.add(());
        }
    }

    /// All Services were looked at: what else the link carries is of the past.
    pub fn whole(&self) {
        self.queue.add(());
    }
}

/// A place for announcements and the runner that carries them out.
pub fn announcements() -> (Announcements, Runner<()>) {
    let (queue, runner) = runner(RunnerConfig { name: "announcements", workers: 1, backoff: Backoff::RETRY });
    (Announcements { wanted: Arc::default(), queue }, runner)
}

/// Carries announcements out until shutdown.
pub async fn run(links: Links, places: Announcements, runner: Runner<()>, shutdown: CancellationToken) {
    runner
        .run(shutdown, move |()| {
            let (links, places) = (links.clone(), places.clone());
            async move { turn(&links, &places).await.map(|()| Next::Done) }
        })
        .await;
}

async fn turn(links: &Links, places: &Announcements) -> Result<(), LinkError> {
    let wanted: BTreeSet<Ipv4Addr> = places.wanted.lock().values().flatten().copied().collect();
    let added = links.hold(BALANCER_LINK, &wanted).await?;
    for address in added {
        match tell_neighbours(address) {
            Ok(0) => tracing::warn!(%address, "no link of this node is on the network of the load balancer's address"),
            Ok(links) => tracing::info!(%address, links, "announces a load balancer's address"),
            // The neighbours find out when their entries age.
            Err(error) => tracing::warn!(%address, %error, "cannot tell the neighbours of a load balancer's address"),
        }
    }
    Ok(())
}

/// Tells the neighbours on every link whose network holds the address; returns on how many.
pub fn tell_neighbours(address: Ipv4Addr) -> std::io::Result<usize> {
    let mut networks: BTreeMap<String, bool> = BTreeMap::new();
    let mut hardware: BTreeMap<String, LinkAddr> = BTreeMap::new();
    for interface in getifaddrs()? {
        let usable = interface.flags.contains(InterfaceFlags::IFF_UP)
            && !interface.flags.intersects(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_NOARP);
        let Some(own) = interface.address.filter(|_| usable) else { continue };
        if let Some(link) = own.as_link_addr() {
            hardware.insert(interface.interface_name.clone(), *link);
        }
        let mask = interface.netmask.as_ref().and_then(|mask| mask.as_sockaddr_in()).map(|mask| mask.ip());
        if let (Some(ip), Some(mask)) = (own.as_sockaddr_in().map(|own| own.ip()), mask) {
            let prefix = u8::try_from(u32::from(mask).leading_ones()).unwrap_or(32);
            let holds = prefix < 32 && Network::new(ip, prefix).is_some_and(|network| network.contains(address));
            *networks.entry(interface.interface_name.clone()).or_default() |= holds;
        }
    }
    let near = networks.into_iter().filter(|(_, holds)| *holds).filter_map(|(name, _)| hardware.get(&name));
    let mut told = 0;
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    for link in near {
        let Some(mac) = link.addr() else { continue };
        for operation in [1, 2] {
            sendto(socket.as_raw_fd(), &frame(mac, address, operation), link, MsgFlags::MSG_DONTWAIT)?;
        }
        told += 1;
    }
    Ok(told)
}

/// An Ethernet frame with a gratuitous ARP packet (RFC 826, RFC 5227): request (1) or reply (2).
fn frame(mac: [u8; 6], address: Ipv4Addr, operation: u8) -> Vec<u8> {
    const BROADCAST: [u8; 6] = [0xff; 6];
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    // EtherType ARP; Ethernet and IPv4 with their lengths.
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(mac);
    frame.extend(address.octets());
    frame.extend(if operation == 1 { [0; 6] } else { BROADCAST });
    frame.extend(address.octets());
    frame
}
