//! The addresses that may be given to load balancers.

use std::net::Ipv4Addr;
use std::str::FromStr;

/// Addresses from the first to the last of each range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    ranges: Vec<(Ipv4Addr, Ipv4Addr)>,
}

/// A range that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a range of IPv4 addresses like 192.0.2.32/27 or 192.0.2.40-192.0.2.60")]
pub struct PoolError(String);

impl Pool {
    /// The pool of several ranges.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Pool, PoolError> {
        let ranges = texts.into_iter().map(|text| range(text.trim()).ok_or_else(|| PoolError(text.to_owned())));
        Ok(Pool { ranges: ranges.collect::<Result<_, _>>()? })
    }

    /// Whether there is nothing to give.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the address may be given.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&address))
    }

    /// The addresses in order.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.ranges.iter().flat_map(|(first, last)| (u32::from(*first)..=u32::from(*last)).map(Ipv4Addr::from))
    }
}

fn range(text: &str) -> Option<(Ipv4Addr, Ipv4Addr)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (Ipv4Addr::from_str(first.trim()).ok()?, Ipv4Addr::from_str(last.trim()).ok()?);
        return (first <= last).then_some((first, last));
    }
    let (address, prefix) = text.split_once('/').unwrap_or((text, "32"));
    let (address, prefix) = (u32::from(Ipv4Addr::from_str(address).ok()?), prefix.parse::<u32>().ok()?);
    let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix)?).unwrap_or(0);
    // A network's own address and its broadcast address are usable for a load balancer: no host has to take them.
    (address & mask == address).then(|| (address.into(), (address | !mask).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_networks_or_bounds() {
        let pool = Pool::new(["192.0.2.8/30", "198.51.100.1-198.51.100.2", "203.0.113.9"]).unwrap();
        let all: Vec<String> = pool.addresses().map(|address| address.to_string()).collect();
        let expected =
            ["192.0.2.8", "192.0.2.9", "192.0.2.10", "192.0.2.11", "198.51.100.1", "198.51.100.2", "203.0.113.9"];
        assert_eq!(all, expected);
        assert!(pool.contains([192, 0, 2, 11].into()) && !pool.contains([192, 0, 2, 12].into()));
        for wrong in ["", "192.0.2.9/30", "192.0.2.9-192.0.2.1", "192.0.2.0/33", "2001:db8::/64"] {
            assert_eq!(Pool::new([wrong]), Err(PoolError(wrong.to_owned())));
        }
    }
}
