//! The network of the nodes: one bridge that carries the host's address, and for each node a
//! network namespace that hangs on it by a veth pair. What exists already is left as it is.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, path::PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    command,
    instance::{Instance, node_name},
};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// A network of 256 addresses that nothing on this machine has a route to. Where the search
/// starts depends on the testbed, so that two that come up at once rarely meet.
///
/// # Errors
/// The routes cannot be read, or every candidate is taken.
pub fn free_network(id: &str) -> Result<[u8; 3]> {
    let routes = command::run(command::system("ip").args(["-j", "-4", "route", "show", "table", "all"]))?;
    let start = u8::from_str_radix(id.get(..2).unwrap_or_default(), 16).unwrap_or(0);
    choose_network(&routes, start)
}

#[derive(Deserialize)]
struct Route {
    dst: String,
}

fn choose_network(routes: &str, start: u8) -> Result<[u8; 3]> {
    let routes: Vec<Route> = serde_json::from_str(routes).context("`ip route` did not print JSON")?;
    let taken: Vec<(u32, u32)> = routes.iter().filter_map(|route| range(&route.dst)).collect();
    for offset in 0..=u8::MAX {
        let candidate = [172, 30, start.wrapping_add(offset)];
        let first = u32::from(Ipv4Addr::new(candidate[0], candidate[1], candidate[2], 0));
        if !taken.iter().any(|(low, high)| *low <= first + 255 && first <= *high) {
            return Ok(candidate);
        }
    }
    bail!("no free network: routes to all of 172.30.0.0/16 exist on this machine")
}

/// First and last address of a route's destination; `None` for the default route.
fn range(destination: &str) -> Option<(u32, u32)> {
    let (address, length) = destination.split_once('/').unwrap_or((destination, "32"));
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let length: u32 = length.parse().ok().filter(|length| (1..=32).contains(length))?;
    let mask = u32::MAX << (32 - length);
    Some((address & mask, address | !mask))
}

/// What of the testbed's links and namespaces exists.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Links of the host.
    pub links: BTreeSet<String>,
    /// Named network namespaces.
    pub namespaces: BTreeSet<String>,
}

/// Looks at this machine.
///
/// # Errors
/// `ip` fails.
pub fn existing(instance: &Instance) -> Result<Existing> {
    #[derive(Deserialize)]
    struct Link {
        ifname: String,
    }
    let links: Vec<Link> = serde_json::from_str(&command::run(command::system("ip").args(["-j", "link", "show"]))?)
        .context("`ip link` did not print JSON")?;
    let prefix = instance.bridge();
    let links = links.into_iter().map(|link| link.ifname).filter(|name| name.starts_with(&prefix)).collect();
    let prefix = instance.network_namespace("");
    let namespaces = command::run(command::system("ip").args(["netns", "list"]))?
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with(&prefix))
        .map(str::to_owned)
        .collect();
    Ok(Existing { links, namespaces })
}

/// Makes the bridge, and lets what the nodes send beyond it leave with the host's address.
///
/// # Errors
/// The kernel refuses, or the tools are missing.
pub fn create_bridge(instance: &mut Instance) -> Result<()> {
    let bridge = instance.bridge();
    if !existing(instance)?.links.contains(&bridge) {
        let address = instance.host_address();
        batch(
            None,
            &format!("link add {bridge} type bridge\naddr add {address}/24 dev {bridge}\nlink set {bridge} up\n"),
        )?;
    }
    let forwarding = fs::read_to_string(FORWARDING).with_context(|| format!("cannot read {FORWARDING}"))?;
    if forwarding.trim() == "0" {
        instance.settings.enabled_forwarding = true;
        instance.save()?;
        fs::write(FORWARDING, "1").with_context(|| format!("cannot write {FORWARDING}"))?;
    }
    let (table, network) = (instance.name(), instance.host_address());
    let rules = format!(
        "table ip {table} {{}}\nflush table ip {table}\ntable ip {table} {{\n\
         chain postrouting {{ type nat hook postrouting priority 100; policy accept;\n\
         ip saddr {network}/24 oifname != \"{bridge}\" masquerade; }}\n}}\n"
    );
    command::run_with_input(command::system("nft").args(["-f", "-"]), &rules)?;
    Ok(())
}

/// Makes a node's network namespace and link.
///
/// # Errors
/// The kernel refuses, or the tools are missing.
pub fn create_node(instance: &Instance, index: usize) -> Result<()> {
    let (namespace, link) = (instance.network_namespace(&node_name(index)), instance.link(index));
    let existing = existing(instance)?;
    if !existing.namespaces.contains(&namespace) {
        command::run(command::system("ip").args(["netns", "add", &namespace]))?;
    }
    if existing.links.contains(&link) {
        return Ok(());
    }
    let (bridge, host) = (instance.bridge(), instance.host_address());
    batch(
        None,
        &format!(
            "link add {link} type veth peer name eth0 netns {namespace}\nlink set {link} master {bridge}\n\
             link set {link} up\n"
        ),
    )?;
    let address = instance.node_address(index);
    batch(
        Some(&namespace),
        &format!("link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\nroute add default via {host}\n"),
    )?;
    let path = namespace_path(instance, &node_name(index));
    let enter = format!("--net={}", path.display());
    command::run(command::system("nsenter").args([&enter, "sh", "-c", &format!("echo 1 >{FORWARDING}")]))?;
    Ok(())
}

/// The file of a node's network namespace.
pub fn namespace_path(instance: &Instance, node: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(instance.network_namespace(node))
}

fn batch(namespace: Option<&str>, lines: &str) -> Result<()> {
    let mut ip = command::system("ip");
    if let Some(namespace) = namespace {
        ip.args(["-n", namespace]);
    }
    command::run_with_input(ip.args(["-batch", "-"]), lines).with_context(|| format!("while running:\n{lines}"))?;
    Ok(())
}

/// Removes the testbed's links, namespaces and rules, and the forwarding if it was switched on.
///
/// # Errors
/// Something that exists cannot be removed.
pub fn remove(instance: &Instance) -> Result<()> {
    let existing = existing(instance)?;
    for link in &existing.links {
        // The host's end of a pair goes with its namespace; whichever comes first takes both.
        if PathBuf::from("/sys/class/net").join(link).exists() {
            command::run(command::system("ip").args(["link", "delete", link]))?;
        }
    }
    for namespace in &existing.namespaces {
        command::run(command::system("ip").args(["netns", "delete", namespace]))?;
    }
    let tables = command::run(command::system("nft").args(["list", "tables"]))?;
    let table = instance.name();
    if tables.lines().any(|line| line == format!("table ip {table}")) {
        command::run(command::system("nft").args(["delete", "table", "ip", &table]))?;
    }
    if instance.settings.enabled_forwarding && !other_testbeds(instance)? {
        fs::write(FORWARDING, "0").with_context(|| format!("cannot write {FORWARDING}"))?;
    }
    Ok(())
}

/// Whether another testbed still needs forwarding.
fn other_testbeds(instance: &Instance) -> Result<bool> {
    let own = instance.name();
    let tables = command::run(command::system("nft").args(["list", "tables"]))?;
    Ok(tables.lines().filter_map(|line| line.strip_prefix("table ip reeve-")).any(|id| format!("reeve-{id}") != own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_something_routes_to_is_not_taken() -> Result<()> {
        let none = r#"[{"dst":"default","gateway":"192.0.2.1"},{"dst":"192.0.2.0/24"}]"#;
        assert_eq!(choose_network(none, 7)?, [172, 30, 7]);
        let next = r#"[{"dst":"172.30.7.0/24"},{"dst":"172.30.8.1"}]"#;
        assert_eq!(choose_network(next, 7)?, [172, 30, 9]);
        let wrapped = r#"[{"dst":"172.30.255.0/24"}]"#;
        assert_eq!(choose_network(wrapped, 255)?, [172, 30, 0]);
        assert!(choose_network(r#"[{"dst":"172.16.0.0/12"}]"#, 0).is_err());
        Ok(())
    }
}
