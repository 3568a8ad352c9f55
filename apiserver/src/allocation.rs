//! Cluster IPs and node ports: which are free, and the claims that make an allocation exact.
//!
//! A claim is a key of its own that must be absent, written in the same transaction as its Service: an address or
//! port is handed out never twice, and a crash leaves neither a Service without its claim nor a claim without its
//! Service. Which value to try is decided from the claims that the cache shows; a lost race is tried again.
//!
//! An address takes two keys: the claim, which only this server writes, and the IPAddress that users see. So an
//! IPAddress that a user made keeps Services off its address, and one that a user deleted gives no other Service the
//! address: its claim is still there.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The addresses that Services may have: `10.96.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRange {
    base: u32,
    prefix: u8,
}

/// The smallest and the largest prefix that leave addresses for Services.
const PREFIXES: RangeInclusive<u8> = 1..=30;

impl ServiceRange {
    /// The range of a ServiceCIDR; none when it is not of IPv4 or has no address for a Service.
    pub fn of(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: Ipv4Addr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok().filter(|prefix| PREFIXES.contains(prefix))?;
        let mask = u32::MAX << (32 - prefix);
        Some(Self { base: u32::from(address) & mask, prefix })
    }

    fn size(self) -> u32 {
        1 << (32 - self.prefix)
    }

    /// The address of the `kubernetes` Service: the first of the range.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// Whether a Service may have this address: not the network's own and not the broadcast address.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        address > self.base && address < self.base + self.size() - 1
    }

    /// A free address. Upstream keeps the lower part of the range for addresses chosen by hand, so that those
    /// rarely collide; so do we: `unit` in `[0, 1)` picks where in the upper part the search begins.
    pub fn pick(self, used: impl Fn(Ipv4Addr) -> bool, unit: f64) -> Option<Ipv4Addr> {
        let usable = self.size() - 2;
        // KEP-3070: min(max(16, size/16), 256).
        let reserved = (usable / 16).clamp(16, 256).min(usable);
        let upper = usable - reserved;
        let begin = (f64::from(upper) * unit) as u32;
        let free = |offset: u32| {
            let address = Ipv4Addr::from(self.base + 1 + offset);
            (!used(address)).then_some(address)
        };
        (0..upper)
            .map(|step| reserved + (begin + step) % upper)
            .find_map(&free)
            .or_else(|| (0..reserved).find_map(&free))
    }
}

impl fmt::Display for ServiceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

impl FromStr for ServiceRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not an IPv4 range such as 10.96.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        address.parse::<Ipv4Addr>().map_err(|_| error())?;
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        Self::of(text)
            .filter(|_| (8..=28).contains(&prefix))
            .ok_or_else(|| format!("{text:?}: the prefix must be from /8 to /28"))
    }
}

/// The ports that Services may have on nodes: `30000-32767`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Whether the port is in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// A free port; `unit` in `[0, 1)` picks where the search begins.
    pub fn pick(self, used: impl Fn(u16) -> bool, unit: f64) -> Option<u16> {
        let size = u32::from(self.last - self.first) + 1;
        let begin = (f64::from(size) * unit) as u32;
        (0..size).map(|step| self.first + ((begin + step) % size) as u16).find(|&port| !used(port))
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a port range such as 30000-32767");
        let (first, last) = text.split_once('-').ok_or_else(error)?;
        let first: u16 = first.parse().map_err(|_| error())?;
        let last: u16 = last.parse().map_err(|_| error())?;
        if first == 0 || first > last {
            return Err(error());
        }
        Ok(Self { first, last })
    }
}

/// Where claims are kept.
pub const CLAIMS_PREFIX: &str = "/registry/ranges/";

/// Where the claims of addresses are, below [`CLAIMS_PREFIX`].
pub const CLAIMED_ADDRESSES: &str = "serviceips";

/// The key that claims an address.
pub fn address_key(address: Ipv4Addr) -> String {
    format!("{CLAIMS_PREFIX}{CLAIMED_ADDRESSES}/{address}")
}

/// Where IPAddresses are kept.
pub const ADDRESSES_PREFIX: &str = "/registry/ipaddresses/";

/// The key of an address's IPAddress.
pub fn object_key(address: Ipv4Addr) -> String {
    format!("{ADDRESSES_PREFIX}{address}")
}

/// The key that claims a node port. UDP and TCP may share a number, as upstream allows.
pub fn port_key(protocol: &str, port: u16) -> String {
    format!("{CLAIMS_PREFIX}servicenodeports/{protocol}/{port}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_address_is_found_before_the_range_is_full() {
        let range: ServiceRange = "10.0.0.0/27".parse().unwrap();
        let mut used = HashSet::new();
        while let Some(address) = range.pick(|address| used.contains(&address), 0.7) {
            assert!(range.contains(address));
            assert!(used.insert(address));
        }
        assert_eq!(used.len(), 30);
    }

    #[test]
    fn addresses_chosen_by_hand_rarely_collide() {
        let range: ServiceRange = "10.96.0.0/16".parse().unwrap();
        assert_eq!(range.first(), Ipv4Addr::new(10, 96, 0, 1));
        let picked = range.pick(|_| false, 0.0).unwrap();
        assert_eq!(picked, Ipv4Addr::new(10, 96, 1, 1));
        assert!(!range.contains(Ipv4Addr::new(10, 96, 0, 0)) && !range.contains(Ipv4Addr::new(10, 96, 255, 255)));
    }

    #[test]
    fn a_range_may_be_smaller_than_that_of_the_flag() {
        let range = ServiceRange::of("10.98.0.9/30").unwrap();
        assert_eq!(range.to_string(), "10.98.0.8/30");
        let first = range.pick(|_| false, 0.9).unwrap();
        let second = range.pick(|address| address == first, 0.9).unwrap();
        assert_eq!([first, second].map(|address| range.contains(address)), [true; 2]);
        assert_eq!(range.pick(|address| address == first || address == second, 0.0), None);
        assert_eq!(["10.98.0.8/31", "fd00::/112", "10.98.0.0/0", "x"].map(ServiceRange::of), [None; 4]);
        assert!("10.98.0.8/30".parse::<ServiceRange>().is_err(), "the flag's is for a whole cluster");
    }

    #[test]
    fn ports_wrap_around() {
        let range: PortRange = "30000-30001".parse().unwrap();
        assert_eq!(range.pick(|port| port == 30001, 0.9), Some(30000));
        assert_eq!(range.pick(|_| true, 0.0), None);
        assert!("5-1".parse::<PortRange>().is_err());
    }
}
