//! Links, addresses and routes of the node, by rtnetlink.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::announce::BALANCER_LINK;
use super::routes::{Changes, Hop, OwnAddress, Routes};
use super::tunnel::{self, TUNNEL_LINK};
use crate::nft::model::Network;

/// Marks our routes among all of the node's (`/etc/iproute2/rt_protos` leaves it to private use).
const OUR_ROUTES: RouteProtocol = RouteProtocol::Other(201);

/// The routing table of the node's own addresses (`local` in `/etc/iproute2/rt_tables`).
const LOCAL_TABLE: u32 = 255;

/// The link that carries the DNS address: a bridge without ports, because every kernel that runs pods has bridges,
/// and not every one has dummy links.
pub const DNS_LINK: &str = "reeve-dns";

/// Why the node's links are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The kernel refused.
    #[error("cannot {what}: {source}")]
    Refused {
        /// What was to be done.
        what: String,
        /// The kernel's answer.
        source: rtnetlink::Error,
    },
    /// A link is gone while it was worked on.
    #[error("link {0} does not exist")]
    Missing(String),
}

pub(super) fn refused(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> LinkError {
    let what = what.into();
    move |source| LinkError::Refused { what, source }
}

/// The node's links.
#[derive(Clone)]
pub struct Links {
    pub(super) handle: Handle,
}

impl Links {
    /// Opens the netlink socket of the network namespace that the process lives in.
    pub fn open() -> Result<Links, LinkError> {
        let (connection, handle, _messages) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Links { handle })
    }

    async fn links(&self) -> Result<Vec<LinkMessage>, LinkError> {
        self.handle.link().get().execute().try_collect().await.map_err(refused("list the links"))
    }

    /// A link by its name. All links are listed: asking for one that does not exist is an error that cannot be told
    /// from others.
    pub(super) async fn link(&self, name: &str) -> Result<Option<LinkMessage>, LinkError> {
        Ok(self.links().await?.into_iter().find(|link| name_of(link) == Some(name)))
    }

    async fn index_of(&self, name: &str) -> Result<Option<u32>, LinkError> {
        Ok(self.link(name).await?.map(|link| link.header.index))
    }

    /// Puts the address on a link of its own, which is made if needed. Any other address there is removed.
    pub async fn carry(&self, address: Ipv4Addr) -> Result<(), LinkError> {
        self.hold(DNS_LINK, &BTreeSet::from([address])).await.map(drop)
    }

    /// Makes a link of ours carry these addresses and no other; returns those that are new there. The link is made
    /// when there is something to carry, and stays.
    pub async fn hold(&self, link: &str, wanted: &BTreeSet<Ipv4Addr>) -> Result<BTreeSet<Ipv4Addr>, LinkError> {
        let index = match self.index_of(link).await? {
            Some(index) => index,
            None if wanted.is_empty() => return Ok(BTreeSet::new()),
            None => {
                let made = LinkBridge::new(link).build();
                self.handle.link().add(made).execute().await.map_err(refused(format!("add link {link}")))?;
                self.index_of(link).await?.ok_or_else(|| LinkError::Missing(link.to_owned()))?
            }
        };
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().set(up).execute().await.map_err(refused(format!("set {link} up")))?;
        let mut missing = wanted.clone();
        let (own, others): (Vec<_>, Vec<_>) =
            self.addresses().await?.into_iter().partition(|(message, ..)| message.header.index == index);
        for (message, present, _) in own {
            if !missing.remove(&present) {
                let what = format!("remove {present} from {link}");
                self.handle.address().del(message).execute().await.map_err(refused(what))?;
            }
        }
        for address in &missing {
            let request = self.handle.address().add(index, IpAddr::V4(*address), 32).replace();
            request.execute().await.map_err(refused(format!("put {address} on {link}")))?;
            let near = |(_, other, prefix): &&(AddressMessage, Ipv4Addr, u8)| {
                *prefix < 32 && Network::new(*other, *prefix).is_some_and(|network| network.contains(*address))
            };
            if let Some((_, node, _)) = others.iter().find(near) {
                self.ask_from(*node, *address, index).await?;
            }
        }
        Ok(missing)
    }

    /// Has connections of the node itself to one of its addresses begin at another one. From the address itself, which
    /// is rewritten to a pod on another node, the answer would seem to come from its own receiver, and be dropped.
    async fn ask_from(&self, node: Ipv4Addr, address: Ipv4Addr, index: u32) -> Result<(), LinkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .table_id(LOCAL_TABLE)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .protocol(RouteProtocol::Kernel)
            .destination_prefix(address, 32)
            .output_interface(index)
            .pref_source(node)
            .build();
        let replaced = self.handle.route().add(route).replace().execute().await;
        replaced.map_err(refused(format!("have connections to {address} begin at {node}")))
    }

    /// Removes the links of ours; absent is fine.
    pub async fn drop_carrier(&self) -> Result<(), LinkError> {
        for link in [DNS_LINK, BALANCER_LINK, TUNNEL_LINK] {
            if let Some(index) = self.index_of(link).await? {
                self.handle.link().del(index).execute().await.map_err(refused(format!("remove link {link}")))?;
            }
        }
        Ok(())
    }

    pub(super) async fn addresses(&self) -> Result<Vec<(AddressMessage, Ipv4Addr, u8)>, LinkError> {
        let messages: Vec<AddressMessage> =
            self.handle.address().get().execute().try_collect().await.map_err(refused("list the addresses"))?;
        Ok(messages
            .into_iter()
            .filter(|message| message.header.family == AddressFamily::Inet)
            .filter_map(|message| {
                let address = message.attributes.iter().find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                    _ => None,
                })?;
                let prefix = message.header.prefix_len;
                Some((message, address, prefix))
            })
            .collect())
    }

    /// The node's own addresses, but those of the link `without` and of links of ours.
    pub async fn own_addresses(&self, without: &str) -> Result<Vec<OwnAddress>, LinkError> {
        let links = self.links().await?;
        let mtus: BTreeMap<u32, u32> = links
            .iter()
            .filter(|link| {
                ![Some(without), Some(TUNNEL_LINK), Some(DNS_LINK), Some(BALANCER_LINK)].contains(&name_of(link))
            })
            .map(|link| (link.header.index, mtu_of(link).unwrap_or(tunnel::USUAL_MTU)))
            .collect();
        let of = |(message, address, prefix): (AddressMessage, Ipv4Addr, u8)| {
            let mtu = *mtus.get(&message.header.index)?;
            Some(OwnAddress { address, network: Network::new(address, prefix)?, mtu })
        };
        Ok(self
            .addresses()
            .await?
            .into_iter()
            .filter(|(_, address, _)| !address.is_loopback())
            .filter_map(of)
            .collect())
    }

    /// Our routes as they are.
    pub async fn routes(&self) -> Result<Routes, LinkError> {
        let tunnel = self.index_of(TUNNEL_LINK).await?;
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages: Vec<RouteMessage> =
            self.handle.route().get(all).execute().try_collect().await.map_err(refused("list the routes"))?;
        let ours = messages.iter().filter(|message| message.header.protocol == OUR_ROUTES);
        Ok(ours.filter_map(|message| read(message, tunnel)).collect())
    }

    /// Changes our routes.
    pub async fn change(&self, changes: &Changes) -> Result<(), LinkError> {
        let tunnel = self.index_of(TUNNEL_LINK).await?;
        for (network, hop) in &changes.remove {
            let removed = self.handle.route().del(route(*network, *hop, tunnel)?).execute().await;
            removed.map_err(refused(format!("remove the route to {network} via {hop}")))?;
        }
        for (network, hop) in &changes.replace {
            let added = self.handle.route().add(route(*network, *hop, tunnel)?).replace().execute().await;
            added.map_err(refused(format!("add the route to {network} via {hop}")))?;
        }
        Ok(())
    }
}

fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

fn mtu_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// A route of ours; `tunnel` is the index of the tunnel's device.
fn route(network: Network, hop: Hop, tunnel: Option<u32>) -> Result<RouteMessage, LinkError> {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(network.address(), network.prefix())
        .protocol(OUR_ROUTES);
    Ok(match hop {
        Hop::Link(gateway) => route.gateway(gateway).build(),
        Hop::Tunnel(gateway) => {
            let index = tunnel.ok_or_else(|| LinkError::Missing(TUNNEL_LINK.to_owned()))?;
            // No address of the device is on the gateway's network.
            route.gateway(gateway).output_interface(index).onlink().build()
        }
    })
}

fn read(message: &RouteMessage, tunnel: Option<u32>) -> Option<(Network, Hop)> {
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })?;
    let gateway = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(*address),
        _ => None,
    })?;
    let is_tunnel = tunnel.is_some_and(|tunnel| {
        message.attributes.iter().any(|a| matches!(a, RouteAttribute::Oif(oif) if *oif == tunnel))
    });
    let hop = if is_tunnel { Hop::Tunnel(gateway) } else { Hop::Link(gateway) };
    Some((Network::new(destination, message.header.destination_prefix_length)?, hop))
}
