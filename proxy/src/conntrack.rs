//! Flows that the kernel still sends to endpoints which are gone.
//!
//! A TCP client notices that its peer is gone and connects again. A UDP or SCTP client goes on sending, and the
//! kernel goes on translating as it did for the first packet. So after a change of such a frontend the flows that
//! lead elsewhere than its endpoints are deleted. What is stale is read from the kernel, not remembered, so it
//! holds after a restart too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::nft::model::Protocol;
use crate::services::FrontendKey;
use crate::services::frontend::Endpoint;

/// A flow of the connection table, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Where the client sent it.
    pub destination: SocketAddrV4,
    /// Where it went.
    pub endpoint: SocketAddrV4,
}

/// What to delete: all flows of a frontend to an endpoint that it does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stale {
    frontend: FrontendKey,
    endpoint: SocketAddrV4,
}

/// Whether flows of the protocol outlive their endpoint.
pub fn outlives_endpoints(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Udp | Protocol::Sctp)
}

/// What to delete where a flow is one of the frontends' and leads to something else than their endpoints.
pub fn stale(flow: Flow, frontends: &BTreeMap<FrontendKey, Vec<Endpoint>>) -> Option<Stale> {
    let (address, port) = (*flow.destination.ip(), flow.destination.port());
    let by_address = FrontendKey::Address(address, flow.protocol, port);
    let by_port = FrontendKey::NodePort(flow.protocol, port);
    // A flow to this port of a stranger is none of ours: it was not translated. What the node sends to itself is ours
    // all the same: it went nowhere when there was no endpoint, and is remembered so.
    let is_ours = flow.endpoint != flow.destination || flow.source == address;
    let (frontend, endpoints) = match (frontends.get(&by_address), frontends.get(&by_port)) {
        (Some(endpoints), _) => (by_address, endpoints),
        (None, Some(endpoints)) if is_ours => (by_port, endpoints),
        _ => return None,
    };
    let is_current = endpoints.iter().any(|endpoint| endpoint.address == flow.endpoint);
    (!is_current).then_some(Stale { frontend, endpoint: flow.endpoint })
}

/// Why stale flows may remain.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The program could not be run.
    #[error("cannot run conntrack: {0} (is the package conntrack installed?)")]
    Run(#[from] std::io::Error),
    /// It failed.
    #[error("conntrack {arguments}: {complaint}")]
    Failed {
        /// What it was to do.
        arguments: String,
        /// What it said.
        complaint: String,
    },
}

/// Deletes the flows of the frontends that lead to something else than their endpoints; returns how many kinds.
pub async fn clean(frontends: &BTreeMap<FrontendKey, Vec<Endpoint>>) -> Result<usize, ConntrackError> {
    let protocols: BTreeSet<Protocol> =
        frontends.keys().map(|key| key.protocol()).filter(|protocol| outlives_endpoints(*protocol)).collect();
    let mut deleted = 0;
    for protocol in protocols {
        for stale in listed(protocol, frontends).await? {
            delete(&stale.arguments()).await?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

impl Stale {
    fn arguments(self) -> Vec<String> {
        let mut words = vec!["-D".to_owned(), "-p".into(), self.frontend.protocol().to_string()];
        let port = match self.frontend {
            FrontendKey::Address(address, _, port) => {
                words.extend(["--orig-dst".into(), address.to_string()]);
                port
            }
            FrontendKey::NodePort(_, port) => port,
        };
        words.extend(["--orig-port-dst".into(), port.to_string()]);
        words.extend(["--reply-src".into(), self.endpoint.ip().to_string()]);
        words.extend(["--reply-port-src".into(), self.endpoint.port().to_string()]);
        words
    }
}

/// The stale ones of all flows of a protocol, of which there may be very many: they are read line by line.
async fn listed(
    protocol: Protocol,
    frontends: &BTreeMap<FrontendKey, Vec<Endpoint>>,
) -> Result<BTreeSet<Stale>, ConntrackError> {
    let arguments = ["-L", "-p", &protocol.to_string()].map(str::to_owned);
    let mut child = tokio::process::Command::new("conntrack")
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut found = BTreeSet::new();
    if let Some(output) = child.stdout.take() {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            found.extend(parse(protocol, &line).and_then(|flow| stale(flow, frontends)));
        }
    }
    let output = child.wait_with_output().await?;
    if output.status.success() { Ok(found) } else { Err(failed(&arguments, &output.stderr)) }
}

async fn delete(arguments: &[String]) -> Result<(), ConntrackError> {
    let output = tokio::process::Command::new("conntrack").args(arguments).kill_on_drop(true).output().await?;
    // Deleting flows that have just ended by themselves fails; that is what was wanted.
    let is_done = output.status.success() || output.status.code() == Some(1);
    if is_done { Ok(()) } else { Err(failed(arguments, &output.stderr)) }
}

fn failed(arguments: &[String], complaint: &[u8]) -> ConntrackError {
    ConntrackError::Failed {
        arguments: arguments.join(" "),
        complaint: String::from_utf8_lossy(complaint).trim().to_owned(),
    }
}

/// A line of `conntrack -L`: the tuple of the original direction, then the one of the answers.
fn parse(protocol: Protocol, line: &str) -> Option<Flow> {
    let values = |name: &'static str| line.split_whitespace().filter_map(move |word| word.strip_prefix(name));
    let source: Ipv4Addr = values("src=").next()?.parse().ok()?;
    let destination: Ipv4Addr = values("dst=").next()?.parse().ok()?;
    let destination_port: u16 = values("dport=").next()?.parse().ok()?;
    let endpoint: Ipv4Addr = values("src=").nth(1)?.parse().ok()?;
    let endpoint_port: u16 = values("sport=").nth(1)?.parse().ok()?;
    Some(Flow {
        protocol,
        source,
        destination: SocketAddrV4::new(destination, destination_port),
        endpoint: SocketAddrV4::new(endpoint, endpoint_port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flows_of_known_frontends_to_unknown_endpoints_are_stale() {
        let line = |destination: &str, port: u16, endpoint: &str| {
            let reply = if endpoint == destination { port } else { 53 };
            format!(
                "udp      17 117 src=10.244.1.9 dst={destination} sport=4000 dport={port} [UNREPLIED] src={endpoint} dst=10.244.1.9 sport={reply} dport=4000 mark=0 use=1"
            )
        };
        let flows: Vec<Flow> = [
            line("10.96.0.20", 53, "10.244.2.5"),
            line("10.96.0.20", 53, "10.244.2.6"),
            line("192.168.0.1", 30053, "10.244.2.6"),
            line("8.8.8.8", 30053, "8.8.8.8"),
            line("10.244.1.9", 30053, "10.244.1.9"),
        ]
        .iter()
        .filter_map(|line| parse(Protocol::Udp, line))
        .collect();
        assert_eq!(flows.len(), 5);
        let endpoint = Endpoint { address: SocketAddrV4::new([10, 244, 2, 5].into(), 53), local: false };
        let frontends = BTreeMap::from([
            (FrontendKey::Address([10, 96, 0, 20].into(), Protocol::Udp, 53), vec![endpoint]),
            (FrontendKey::NodePort(Protocol::Udp, 30053), Vec::new()),
        ]);
        let stale = flows.iter().filter_map(|flow| stale(*flow, &frontends));
        let commands: Vec<String> = stale.map(|stale| stale.arguments().join(" ")).collect();
        assert_eq!(
            commands,
            [
                "-D -p udp --orig-dst 10.96.0.20 --orig-port-dst 53 --reply-src 10.244.2.6 --reply-port-src 53",
                "-D -p udp --orig-port-dst 30053 --reply-src 10.244.2.6 --reply-port-src 53",
                "-D -p udp --orig-port-dst 30053 --reply-src 10.244.1.9 --reply-port-src 30053",
            ]
        );
    }
}
