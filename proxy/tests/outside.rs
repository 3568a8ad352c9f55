//! What clients outside of the cluster meet: host ports, load balancers' addresses, health checks. Against the real
//! kernel, in network namespaces that each test makes for itself.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};

use reeve_api::ObjectKey;
use reeve_proxy::nft::model::Protocol;
use reeve_proxy::nft::{Kernel as _, Nft};
use reeve_proxy::node::announce::{BALANCER_LINK, tell_neighbours};
use reeve_proxy::node::link::Links;
use reeve_proxy::node::sysctl;
use reeve_proxy::serve::health::Health;
use reeve_proxy::serve::node_ports::{Check, NodePorts};
use reeve_proxy::services::RuleSet;
use reeve_proxy::services::frontend::{Endpoint, Frontend, FrontendKey, Side, Without};
use reeve_proxy::services::host_ports::{self, HostPortsView};
use reeve_proxy::services::objects::{NodePortAddresses, Surroundings};
use support::{CLIENT, NODE, PATIENCE, POD_PORT, Site, ask_tcp, ask_udp, cannot_run, pod};

const BALANCER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 50);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Writes the frontends into the node's kernel.
fn install(site: &Site, frontends: Vec<Frontend>) {
    let mut rules = RuleSet::new(Surroundings {
        pod_networks: vec!["10.244.0.0/16".parse().expect("a network")],
        node_ports: NodePortAddresses::AllLocal,
        service_ranges: vec!["10.96.0.0/16".parse().expect("a network")],
    });
    rules.update([(ObjectKey::new("shop", "web"), frontends)]);
    let mut kernel = Nft::with_command(["ip", "netns", "exec", &site.node.0, "nft"]);
    let whole = rules.whole(None).expect("valid");
    block_on(kernel.commit(&whole)).expect("the kernel takes it");
}

#[test]
fn host_ports_answer_on_all_addresses_and_keep_the_client() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let view: HostPortsView = serde_json::from_str(&format!(
        r#"{{"metadata":{{"name":"p","namespace":"shop"}},"status":{{"phase":"Running","podIP":"{}"}},
            "spec":{{"containers":[{{"ports":[{{"containerPort":{POD_PORT},"hostPort":8081}},
                {{"containerPort":{POD_PORT},"hostPort":8082,"protocol":"UDP"}},
                {{"containerPort":{POD_PORT},"hostPort":8083,"hostIP":"127.0.0.1"}}]}}]}}}}"#,
        pod(0)
    ))
    .expect("a pod");
    install(&site, host_ports::frontends(&view));
    site.node.within(|| sysctl::route_loopback().expect("the setting"));
    assert_eq!(ask_tcp(&site.client, NODE, 8081), Ok((pod(0), CLIENT)), "the client's address is kept");
    assert_eq!(ask_udp(&site.client, NODE, 8082), Ok((pod(0), CLIENT)));
    let loopback = Ipv4Addr::LOCALHOST;
    for (address, port) in [(NODE, 8081), (loopback, 8081), (loopback, 8083)] {
        assert_eq!(ask_tcp(&site.node, address, port).map(|answer| answer.0), Ok(pod(0)), "{address}:{port}");
    }
    assert_eq!(ask_udp(&site.node, loopback, 8082).map(|answer| answer.0), Ok(pod(0)));
    let neighbour = site.pods.get(1).expect("two pods");
    assert_eq!(ask_tcp(neighbour, NODE, 8081).map(|answer| answer.0), Ok(pod(0)));
    let itself = site.pods.first().expect("two pods");
    assert_eq!(ask_tcp(itself, NODE, 8081).map(|answer| answer.0), Ok(pod(0)), "also of the pod itself");
    assert_eq!(ask_tcp(&site.client, NODE, 8083), Err(ErrorKind::ConnectionRefused), "for loopback alone");
}

#[test]
fn loopback_addresses_stay_closed_to_strangers() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let secret = site.node.within(|| {
        sysctl::route_loopback().expect("the setting");
        std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000)).expect("binds")
    });
    // A client that sends a loopback address to the node as if it were a router, before its own local routes count.
    for command in [
        "route add 127.0.0.9/32 via 192.168.77.1",
        "rule add pref 10 lookup local",
        "rule add pref 1 to 127.0.0.9 lookup main",
        "rule delete pref 0 lookup local",
    ] {
        site.client.ip(command);
    }
    let attempt = || {
        site.client.within(|| {
            sysctl::route_loopback().expect("the setting");
            let target = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), 9000).into();
            TcpStream::connect_timeout(&target, std::time::Duration::from_millis(500)).map(drop).map_err(|e| e.kind())
        })
    };
    assert_eq!(attempt(), Ok(()), "without our rules the setting opens loopback to everybody");
    install(&site, Vec::new());
    assert_eq!(attempt(), Err(ErrorKind::TimedOut));
    drop(secret);
}

#[test]
fn a_load_balancers_address_is_announced_and_takes_only_its_ranges() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let frontend = |allowed: &str| Frontend {
        key: FrontendKey::Address(BALANCER, Protocol::Tcp, 80),
        side: Side::External,
        endpoints: vec![Endpoint { address: SocketAddrV4::new(pod(1), POD_PORT), local: true }],
        outside: None,
        without: Without::Reject,
        affinity: None,
        allowed: vec![allowed.parse().expect("a network")],
        exclusive: true,
        comment: "shop/web".into(),
    };
    install(&site, vec![frontend("192.168.77.0/24")]);
    assert_eq!(ask_tcp(&site.client, BALANCER, 80).ok(), None, "nobody answers for the address yet");
    let old = "02:00:00:00:00:99";
    site.client.ip(&format!("neighbour replace {BALANCER} lladdr {old} dev eth0 nud reachable"));
    let hold = |addresses: BTreeSet<Ipv4Addr>| {
        site.node.within(move || {
            block_on(async {
                let links = Links::open().expect("netlink");
                links.hold(BALANCER_LINK, &addresses).await.expect("holds")
            })
        })
    };
    assert_eq!(hold(BTreeSet::new()), BTreeSet::new(), "nothing to carry: no link is made");
    assert_eq!(hold(BTreeSet::from([BALANCER])), BTreeSet::from([BALANCER]));
    assert_eq!(hold(BTreeSet::from([BALANCER])), BTreeSet::new(), "it is there already");
    assert_eq!(site.node.within(|| tell_neighbours(BALANCER).expect("sends")), 1, "on the one link of its network");
    let shown = site.client.ip(&format!("neighbour show {BALANCER}"));
    assert!(!shown.contains(old), "the neighbour has learnt the new way: {shown}");
    assert_eq!(ask_tcp(&site.client, BALANCER, 80).map(|answer| answer.0), Ok(pod(1)));
    assert_eq!(ask_tcp(&site.client, BALANCER, 22), Err(ErrorKind::ConnectionRefused), "not the node's own servers");
    let way = site.node.ip(&format!("route get {BALANCER}"));
    assert!(!way.contains(&format!("src {BALANCER}")), "the node itself asks from an address of its own: {way}");
    install(&site, vec![frontend("192.0.2.0/24")]);
    assert!(ask_tcp(&site.client, BALANCER, 80).is_err(), "not of the ranges");
    hold(BTreeSet::new());
    assert!(!site.node.ip(&format!("address show dev {BALANCER_LINK}")).contains("192.168.77.50"));
}

#[test]
fn load_balancers_learn_where_the_endpoints_are() {
    if cannot_run() {
        return;
    }
    let site = Site::new();
    let codes = site.node.within(|| {
        block_on(async {
            let health = Health::default();
            health.updated(jiff::Timestamp::now());
            let ports = NodePorts::new(health);
            let web = ObjectKey::new("shop", "web");
            let mut codes = BTreeMap::new();
            for (port, endpoints) in [(30100, 2), (30100, 0), (30101, 1)] {
                ports.set(&web, Some(Check { port, endpoints })).await.expect("listens");
                codes.insert((port, endpoints), get(port).await);
            }
            ports.set(&web, None).await.expect("ends");
            // The listener goes with its task, which the runtime has to get to.
            let closed = async {
                while tokio::net::TcpStream::connect(("127.0.0.1", 30101)).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            };
            (codes, tokio::time::timeout(PATIENCE, closed).await.is_ok())
        })
    });
    let expected = [((30100, 0), 503), ((30100, 2), 200), ((30101, 1), 200)];
    assert_eq!(codes, (BTreeMap::from(expected), true));
}

/// The status code of an answer over HTTP from this thread's namespace.
async fn get(port: u16) -> u16 {
    // A blocking thread of the runtime would live in another namespace.
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .expect("sends");
    let mut text = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text);
    tokio::time::timeout(PATIENCE, read).await.expect("in time").expect("an answer");
    assert!(text.contains("x-load-balancing-endpoint-weight: "), "{text}");
    text.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a status code")
}
