//! Services against the real kernel, in network namespaces that each test makes for itself.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reeve_api::ObjectKey;
use reeve_proxy::nft::model::Protocol;
use reeve_proxy::nft::removal::Removals;
use reeve_proxy::nft::{Kernel as _, Nft};
use reeve_proxy::services::frontend::{Endpoint, Frontend, FrontendKey, Side, Without};
use reeve_proxy::services::objects::{NodePortAddresses, Surroundings, TABLE};
use reeve_proxy::services::{RuleSet, Update};
use support::{CLIENT, NODE, POD_PORT, Site, ask_tcp, ask_tcp_here, ask_udp, ask_udp_on, cannot_run, pod, run, serve};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);
const NODE_PORT: u16 = 30080;

/// The proxy's core with the real kernel of a node.
struct Proxy {
    rules: RuleSet,
    kernel: Nft,
    runtime: tokio::runtime::Runtime,
}

impl Proxy {
    fn start(site: &Site) -> Proxy {
        let surroundings = Surroundings {
            pod_networks: vec!["10.244.0.0/16".parse().expect("a network")],
            node_ports: NodePortAddresses::AllLocal,
            service_ranges: vec!["10.96.0.0/16".parse().expect("a network")],
        };
        let kernel = Nft::with_command(["ip", "netns", "exec", &site.node.0, "nft"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut proxy = Proxy { rules: RuleSet::new(surroundings), kernel, runtime };
        proxy.replace();
        proxy
    }

    /// What a start does: everything in one transaction, in the place of what was there.
    fn replace(&mut self) {
        let existing = self.runtime.block_on(self.kernel.existing(TABLE)).expect("nft lists");
        let whole = self.rules.whole(existing.as_ref()).expect("valid");
        self.runtime.block_on(self.kernel.commit(&whole)).expect("the kernel takes it");
    }

    fn set(&mut self, name: &str, frontends: Vec<Frontend>) -> Update {
        let update = self.rules.update([(ObjectKey::new("shop", name), frontends)]);
        for transaction in update.transactions().expect("valid") {
            self.runtime.block_on(self.kernel.commit(&transaction)).expect("the kernel takes it");
        }
        update
    }
}

fn web(pods: &[usize]) -> Vec<Frontend> {
    let endpoints: Vec<Endpoint> =
        pods.iter().map(|&index| Endpoint { address: SocketAddrV4::new(pod(index), POD_PORT), local: true }).collect();
    let frontend = |key, side| Frontend {
        key,
        side,
        endpoints: endpoints.clone(),
        outside: None,
        without: Without::Reject,
        affinity: None,
        allowed: Vec::new(),
        exclusive: true,
        comment: "shop/web:http".into(),
    };
    [Protocol::Tcp, Protocol::Udp]
        .into_iter()
        .flat_map(|protocol| {
            [
                frontend(FrontendKey::Address(VIP, protocol, 80), Side::Internal),
                frontend(FrontendKey::NodePort(protocol, NODE_PORT), Side::External),
            ]
        })
        .collect()
}

#[test]
fn every_client_reaches_every_endpoint_over_tcp_and_udp() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let mut proxy = Proxy::start(&site);
    proxy.set("web", web(&[0, 1]));
    let pod0 = site.pods.first().expect("two pods");
    for ask in [ask_tcp, ask_udp] {
        // From a pod, which is one of the endpoints: the other endpoint sees it, itself sees the node (hairpin).
        let mut seen = [false; 2];
        while seen.contains(&false) {
            let (server, client) = ask(pod0, VIP, 80).expect("an answer");
            if server == pod(0) {
                assert_ne!(client, pod(0), "one that reaches itself must see another source");
                seen[0] = true;
            } else {
                assert_eq!((server, client), (pod(1), pod(0)), "pods keep their address");
                seen[1] = true;
            }
        }
        // From the node, and from outside to the node's address.
        for (from, address, port) in
            [(&site.node, VIP, 80), (&site.client, NODE, NODE_PORT), (&site.node, NODE, NODE_PORT)]
        {
            let mut seen = std::collections::BTreeSet::new();
            while seen.len() < 2 {
                let (server, client) = ask(from, address, port).expect("an answer");
                assert_ne!(client, CLIENT, "strangers are masqueraded, or the answer would go past the node");
                seen.insert(server);
            }
        }
    }
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let mut proxy = Proxy::start(&site);
    proxy.set("web", web(&[]));
    let pod0 = site.pods.first().expect("two pods");
    for ask in [ask_tcp, ask_udp] {
        assert_eq!(ask(pod0, VIP, 80), Err(ErrorKind::ConnectionRefused));
        // A datagram that the node itself sends fails in the call: the kernel refuses it on the way out.
        let refused = ask(&site.node, VIP, 80);
        assert!(matches!(refused, Err(ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied)), "{refused:?}");
        assert_eq!(ask(&site.client, NODE, NODE_PORT), Err(ErrorKind::ConnectionRefused));
    }
    proxy.set("web", web(&[1]));
    assert_eq!(ask_tcp(pod0, VIP, 80).map(|answer| answer.0), Ok(pod(1)));
    assert_eq!(ask_tcp(pod0, VIP, 81), Err(ErrorKind::ConnectionRefused), "a port the Service does not have");
    proxy.set("web", web(&[0]));
    for _ in 0..8 {
        assert_eq!(ask_tcp(&site.client, NODE, NODE_PORT).map(|answer| answer.0), Ok(pod(0)), "only who is left");
    }
    proxy.set("web", Vec::new());
    assert!(ask_tcp(&site.client, NODE, NODE_PORT).is_err());
}

#[test]
fn what_is_sent_to_nobodys_address_of_the_ranges_stays_on_the_node() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let mut proxy = Proxy::start(&site);
    // Somebody beyond the default route has such an address, and would answer.
    let nobodys = Ipv4Addr::new(10, 96, 9, 9);
    site.client.ip(&format!("address add {nobodys}/32 dev lo"));
    serve(&site.client, nobodys);
    let pod0 = site.pods.first().expect("two pods");
    let mut surround = |service_ranges: &[&str]| {
        let service_ranges = service_ranges.iter().map(|range| range.parse().expect("a network")).collect();
        let surroundings = Surroundings { service_ranges, ..proxy.rules.surroundings().clone() };
        for transaction in proxy.rules.set_surroundings(surroundings).transactions().expect("valid") {
            proxy.runtime.block_on(proxy.kernel.commit(&transaction)).expect("the kernel takes it");
        }
    };
    for from in [pod0, &site.node] {
        let silent = ask_tcp(from, nobodys, POD_PORT);
        assert!(matches!(silent, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{silent:?}");
    }
    surround(&["10.98.0.0/24"]);
    for from in [pod0, &site.node] {
        assert_eq!(ask_tcp(from, nobodys, POD_PORT).expect("an answer").0, nobodys, "it is in no range any more");
    }
    surround(&["10.96.0.0/20", "10.98.0.0/24"]);
    let silent = ask_tcp(pod0, nobodys, POD_PORT);
    assert!(matches!(silent, Err(ErrorKind::TimedOut | ErrorKind::WouldBlock)), "{silent:?}");
}

#[test]
fn restarts_and_changes_lose_no_connection() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let mut proxy = Proxy::start(&site);
    proxy.set("web", web(&[0, 1]));
    let stop = Arc::new(AtomicBool::new(false));
    let askers: Vec<_> = [(&site.client, NODE, NODE_PORT), (&site.node, VIP, 80)]
        .into_iter()
        .map(|(from, address, port)| {
            let stop = stop.clone();
            from.spawn(move || {
                let mut answers = 0u32;
                while !stop.load(Ordering::Relaxed) {
                    ask_tcp_here(address, port).expect("no connection is lost");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for round in 0..100 {
        proxy.replace();
        proxy.set("web", web(if round % 2 == 0 { &[1] } else { &[0, 1] }));
        proxy.set("other", Vec::new());
    }
    stop.store(true, Ordering::Relaxed);
    for asker in askers {
        let answers = asker.join().expect("no connection is lost");
        assert!(answers > 100, "the load ran alongside: {answers} answers");
    }
}

#[test]
fn a_removed_table_is_noticed_and_others_are_left_alone() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let mut proxy = Proxy::start(&site);
    proxy.set("web", web(&[0]));
    let nft = |words: &str| {
        let words = [&["ip", "netns", "exec", &site.node.0, "nft"][..], &words.split(' ').collect::<Vec<_>>()].concat();
        run(&words)
    };
    nft("add table inet theirs");
    nft("add chain inet theirs input { type filter hook input priority 5 ; policy accept ; }");
    let (to_test, told) = std::sync::mpsc::sync_channel(2);
    let follower = site.node.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let removals = Removals::follow().expect("subscribes");
            to_test.send("follows").expect("the test waits");
            removals.removed(TABLE).await.expect("is told");
            to_test.send("removed").expect("the test waits");
        });
    });
    assert_eq!(told.recv(), Ok("follows"));
    // Our own changes, and what others do to what is theirs, tell nothing.
    proxy.set("web", web(&[0, 1]));
    proxy.replace();
    nft("add table inet passing");
    nft("delete table inet passing");
    assert!(ask_tcp(&site.client, NODE, NODE_PORT).is_ok());
    assert_eq!(told.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
    assert!(nft("list tables").contains("theirs"), "a restart leaves the tables of others");
    nft("flush ruleset");
    assert_eq!(told.recv(), Ok("removed"));
    follower.join().expect("the follower ends well");
    assert!(ask_tcp(&site.client, NODE, NODE_PORT).is_err());
    proxy.replace();
    assert!(ask_tcp(&site.client, NODE, NODE_PORT).is_ok());
}

#[test]
fn a_sticky_client_keeps_its_endpoint_and_outside_policy_keeps_the_client() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let mut proxy = Proxy::start(&site);
    let mut sticky = web(&[0, 1]);
    for frontend in &mut sticky {
        frontend.affinity = Some(60);
    }
    proxy.set("web", sticky);
    let (first, _) = ask_tcp(&site.client, NODE, NODE_PORT).expect("an answer");
    for _ in 0..8 {
        assert_eq!(ask_tcp(&site.client, NODE, NODE_PORT).map(|answer| answer.0), Ok(first));
    }
    let mut local = web(&[0, 1]);
    for frontend in local.iter_mut().filter(|frontend| frontend.side == Side::External) {
        frontend.outside = Some(frontend.endpoints.iter().copied().skip(1).collect());
    }
    proxy.set("web", local);
    assert_eq!(ask_tcp(&site.client, NODE, NODE_PORT), Ok((pod(1), CLIENT)), "the endpoint sees its client");
}

#[test]
fn a_udp_flow_does_not_outlive_its_endpoint() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let mut proxy = Proxy::start(&site);
    proxy.set("web", web(&[0]));
    let (to_client, questions) = std::sync::mpsc::sync_channel::<()>(0);
    let (to_test, answers) = std::sync::mpsc::sync_channel(0);
    // One socket for all questions, as resolvers and game clients have it.
    let client = site.client.spawn(move || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("binds");
        while questions.recv().is_ok() {
            let answer = ask_udp_on(&socket, NODE, NODE_PORT).map_err(|error| error.kind());
            to_test.send(answer).expect("the test waits");
        }
    });
    let ask = || {
        to_client.send(()).expect("the client lives");
        answers.recv().expect("the client lives").expect("an answer")
    };
    assert!(ask().starts_with(&pod(0).to_string()));
    let update = proxy.set("web", web(&[1]));
    assert!(ask().starts_with(&pod(0).to_string()), "the kernel goes on with the flow: this is what is cleaned");
    let touched = update.touched;
    let deleted = site.node.within(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(reeve_proxy::conntrack::clean(&touched)).expect("conntrack works")
    });
    assert_eq!(deleted, 1);
    assert!(ask().starts_with(&pod(1).to_string()));
    drop(to_client);
    client.join().expect("the client ends well");
}
