//! The tunnel's device, its neighbours and its forwarding table, by rtnetlink.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::{LinkUnspec, LinkVxlan};

use super::link::{LinkError, Links, refused};
use super::tunnel::{Entries, Mac, NETWORK_IDENTIFIER, TUNNEL_LINK, Tunnel, mac_of};

impl Links {
    /// Makes the device as it should be and adds what its tables lack. What they hold too much stays: routes may
    /// still need it.
    pub(super) async fn open_tunnel(&self, tunnel: &Tunnel, port: u16) -> Result<(), LinkError> {
        let index = self.tunnel_device(tunnel, port).await?;
        self.carry_inside(index, tunnel.inside).await?;
        let missing = tunnel.entries().without(&self.entries(index).await?);
        for (mac, node) in missing.forwarding {
            let request = self.handle.neighbours().add_bridge(index, &mac).destination(IpAddr::V4(node));
            let request = request.flags(NeighbourFlags::Own).replace();
            request.execute().await.map_err(refused(format!("forward to node {node} on {TUNNEL_LINK}")))?;
        }
        for (inside, mac) in missing.neighbours {
            let request = self.handle.neighbours().add(index, IpAddr::V4(inside)).link_layer_address(&mac).replace();
            request.execute().await.map_err(refused(format!("add neighbour {inside} on {TUNNEL_LINK}")))?;
        }
        Ok(())
    }

    /// Removes what the device's tables hold too much; without a tunnel the device itself.
    pub(super) async fn close_tunnel(&self, wanted: Option<&Tunnel>) -> Result<(), LinkError> {
        let Some(device) = self.link(TUNNEL_LINK).await? else { return Ok(()) };
        let index = device.header.index;
        let Some(tunnel) = wanted else {
            let removed = self.handle.link().del(index).execute().await;
            return removed.map_err(refused(format!("remove link {TUNNEL_LINK}")));
        };
        let stale = self.entries(index).await?.unknown_to(&tunnel.entries());
        for (inside, mac) in stale.neighbours {
            let mut message = message(AddressFamily::Inet, index, mac);
            message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(inside)));
            let removed = self.handle.neighbours().del(message).execute().await;
            removed.map_err(refused(format!("remove neighbour {inside} from {TUNNEL_LINK}")))?;
        }
        for (mac, node) in stale.forwarding {
            let mut message = message(AddressFamily::Bridge, index, mac);
            message.header.flags = NeighbourFlags::Own;
            message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(node)));
            let removed = self.handle.neighbours().del(message).execute().await;
            removed.map_err(refused(format!("stop forwarding to node {node} on {TUNNEL_LINK}")))?;
        }
        Ok(())
    }

    /// The device's index. One of another form is replaced: most of its form cannot be changed.
    async fn tunnel_device(&self, tunnel: &Tunnel, port: u16) -> Result<u32, LinkError> {
        if let Some(device) = self.link(TUNNEL_LINK).await? {
            let index = device.header.index;
            if has_form(&device, tunnel.local, port) {
                let up = LinkUnspec::new_with_index(index).mtu(tunnel.mtu).up().build();
                self.handle.link().set(up).execute().await.map_err(refused(format!("set {TUNNEL_LINK} up")))?;
                return Ok(index);
            }
            let removed = self.handle.link().del(index).execute().await;
            removed.map_err(refused(format!("remove link {TUNNEL_LINK}")))?;
        }
        let made = LinkVxlan::new(TUNNEL_LINK, NETWORK_IDENTIFIER)
            .local(tunnel.local)
            .port(port)
            .learning(false)
            .address(mac_of(tunnel.local).to_vec())
            .mtu(tunnel.mtu)
            .up()
            .build();
        let added = self.handle.link().add(made).execute().await;
        added.map_err(refused(format!("add link {TUNNEL_LINK} (has the kernel the module vxlan?)")))?;
        let device = self.link(TUNNEL_LINK).await?;
        device.map(|device| device.header.index).ok_or_else(|| LinkError::Missing(TUNNEL_LINK.to_owned()))
    }

    async fn carry_inside(&self, index: u32, inside: Ipv4Addr) -> Result<(), LinkError> {
        let present = self.addresses().await?.into_iter().filter(|(message, ..)| message.header.index == index);
        let (kept, others): (Vec<_>, Vec<_>) =
            present.partition(|(_, address, prefix)| (*address, *prefix) == (inside, 32));
        for (message, address, _) in others {
            let removed = self.handle.address().del(message).execute().await;
            removed.map_err(refused(format!("remove {address} from {TUNNEL_LINK}")))?;
        }
        if kept.is_empty() {
            let added = self.handle.address().add(index, IpAddr::V4(inside), 32).replace().execute().await;
            added.map_err(refused(format!("put {inside} on {TUNNEL_LINK}")))?;
        }
        Ok(())
    }

    async fn entries(&self, index: u32) -> Result<Entries, LinkError> {
        let mut entries = Entries::default();
        for message in self.neighbours_of(index, AddressFamily::Inet).await? {
            if message.header.state == NeighbourState::Permanent
                && let (Some(inside), Some(mac)) = (destination(&message), mac(&message))
            {
                entries.neighbours.insert(inside, mac);
            }
        }
        for message in self.neighbours_of(index, AddressFamily::Bridge).await? {
            if let (Some(node), Some(mac)) = (destination(&message), mac(&message)) {
                entries.forwarding.insert(mac, node);
            }
        }
        Ok(entries)
    }

    async fn neighbours_of(&self, index: u32, family: AddressFamily) -> Result<Vec<NeighbourMessage>, LinkError> {
        let request = self.handle.neighbours().get().set_address_family(family);
        let all: Vec<NeighbourMessage> =
            request.execute().try_collect().await.map_err(refused(format!("list the neighbours of {TUNNEL_LINK}")))?;
        Ok(all.into_iter().filter(|message| message.header.ifindex == index).collect())
    }
}

fn message(family: AddressFamily, index: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = index;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
}

fn destination(message: &NeighbourMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some(*address),
        // Of a forwarding table the family is that of bridges, and the address but bytes.
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            <[u8; 4]>::try_from(bytes.as_slice()).ok().map(Ipv4Addr::from)
        }
        _ => None,
    })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    })
}

fn has_form(device: &LinkMessage, local: Ipv4Addr, port: u16) -> bool {
    let has_mac =
        device.attributes.iter().any(|a| matches!(a, LinkAttribute::Address(mac) if mac.as_slice() == mac_of(local)));
    let infos = device.attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let vxlan = infos.flatten().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vxlan(vxlan)) => Some(vxlan),
        _ => None,
    });
    let has = |wanted: InfoVxlan| vxlan.is_some_and(|vxlan| vxlan.contains(&wanted));
    has_mac && has(InfoVxlan::Id(NETWORK_IDENTIFIER)) && has(InfoVxlan::Local(local)) && has(InfoVxlan::Port(port))
}
