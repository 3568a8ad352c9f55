//! The node's resolvers, from its resolv.conf (resolv.conf(5)).

use std::net::{IpAddr, SocketAddr};

/// How many resolvers count, as the C library does.
const RESOLVERS_MAX: usize = 3;

/// The resolvers that a resolv.conf names, without `ourselves`: asking ourselves would never end.
pub fn resolvers(text: &str, ourselves: IpAddr) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .filter(|address| *address != ourselves && !address.is_unspecified())
        .take(RESOLVERS_MAX)
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_options_and_ourselves_are_left_out() {
        let text = "# nameserver 9.9.9.9\nsearch example.org\nnameserver 10.96.0.10\nnameserver 192.0.2.1 # x\nnameserver bad\nnameserver 2001:db8::1\noptions ndots:5\n";
        let found = resolvers(text, [10, 96, 0, 10].into());
        let expected: Vec<SocketAddr> =
            ["192.0.2.1:53", "[2001:db8::1]:53"].iter().map(|a| a.parse().expect("an address")).collect();
        assert_eq!(found, expected);
    }
}
