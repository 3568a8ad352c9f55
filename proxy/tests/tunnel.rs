//! Nodes on different links, against the real kernel: two nodes with a pod each, and a router that knows no pods.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};

use reeve_api::ObjectKey;
use reeve_proxy::nft::model::Protocol;
use reeve_proxy::nft::{Kernel as _, Nft};
use reeve_proxy::node::link::Links;
use reeve_proxy::node::routes::{Plan, plan};
use reeve_proxy::node::tunnel::TUNNEL_LINK;
use reeve_proxy::node::view::NodeView;
use reeve_proxy::services::RuleSet;
use reeve_proxy::services::frontend::{Endpoint, Frontend, FrontendKey, Side, Without};
use reeve_proxy::services::objects::{NodePortAddresses, Surroundings};
use support::{Namespace, PATIENCE, POD_PORT, ask_tcp, cannot_run, run, serve, unique};

const PORT: u16 = 4789;
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// A node `10.N.0.2` on a link of its own with the router, and a pod `10.244.N.5`.
struct Far {
    number: u8,
    node: Namespace,
    pod: Namespace,
}

impl Far {
    fn new(number: u8, router: &Namespace, unique: &str, pod_mtu: u32) -> Far {
        let node = Namespace::new(&format!("far{number}"), unique);
        let pod = Namespace::new(&format!("farpod{number}"), unique);
        node.ip(&format!("link add up0 type veth peer name to{number} netns {}", router.0));
        router.ip(&format!("address add 10.{number}.0.1/24 dev to{number}"));
        router.ip(&format!("link set to{number} up"));
        node.ip(&format!("address add 10.{number}.0.2/24 dev up0"));
        node.ip("link set up0 up");
        node.ip(&format!("route add default via 10.{number}.0.1"));
        node.ip("link add cni0 type bridge");
        node.ip(&format!("address add 10.244.{number}.1/24 dev cni0"));
        node.ip("link set cni0 up");
        node.ip(&format!("link add port0 mtu {pod_mtu} type veth peer name eth0 mtu {pod_mtu} netns {}", pod.0));
        node.ip("link set port0 master cni0");
        node.ip("link set port0 up");
        pod.ip("link set eth0 up");
        pod.ip(&format!("address add 10.244.{number}.5/24 dev eth0"));
        pod.ip(&format!("route add default via 10.244.{number}.1"));
        let far = Far { number, node, pod };
        forward(&far.node);
        serve(&far.pod, far.pod_address());
        far
    }

    fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 2)
    }

    fn pod_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.number, 5)
    }

    /// What a start of the proxy and every change of the Nodes do.
    fn connect(&self, nodes: &[NodeView]) -> Plan {
        let (own, nodes) = (format!("n{}", self.number), nodes.to_vec());
        self.node.within(move || {
            block_on(async {
                let links = Links::open().expect("netlink");
                let addresses = links.own_addresses("cni0").await.expect("lists");
                let plan = plan(&own, nodes.iter(), &addresses);
                let applied = links.apply(&plan, PORT).await.expect("applies");
                applied.tunnel.expect("the kernel has VXLAN");
                plan
            })
        })
    }

    /// What is there of the tunnel: device, routes, neighbours, forwarding.
    fn state(&self) -> String {
        let routes = self.node.ip("route show proto 201");
        if !self.node.ip("-brief link").contains(TUNNEL_LINK) {
            return routes;
        }
        let neighbours = self.node.ip(&format!("neighbour show dev {TUNNEL_LINK}"));
        let forwarding = run(&["bridge", "-n", &self.node.0, "fdb", "show", "dev", TUNNEL_LINK]);
        let device = self.node.ip(&format!("-brief address show dev {TUNNEL_LINK}"));
        format!("{routes}{neighbours}{forwarding}{device}")
    }
}

fn forward(namespace: &Namespace) {
    namespace.within(|| {
        for (name, value) in [("ip_forward", "1"), ("conf/all/rp_filter", "2")] {
            std::fs::write(format!("/proc/sys/net/ipv4/{name}"), value).expect(name);
        }
    });
}

fn view(number: u8, address: Ipv4Addr) -> NodeView {
    let text = format!(
        r#"{{"metadata":{{"name":"n{number}"}},"spec":{{"podCIDR":"10.244.{number}.0/24"}},
            "status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}}]}}}}"#
    );
    serde_json::from_str(&text).expect("a Node")
}

/// Installs the rules of a Service in front of one endpoint.
fn forward_service(node: &Namespace, endpoint: Ipv4Addr) {
    let surroundings = Surroundings {
        pod_networks: vec!["10.244.1.0/24".parse().expect("valid"), "10.244.2.0/24".parse().expect("valid")],
        node_ports: NodePortAddresses::AllLocal,
        service_ranges: vec!["10.96.0.0/16".parse().expect("a network")],
    };
    let mut rules = RuleSet::new(surroundings);
    let frontend = |key, side| Frontend {
        key,
        side,
        endpoints: vec![Endpoint { address: SocketAddrV4::new(endpoint, POD_PORT), local: false }],
        outside: None,
        without: Without::Reject,
        affinity: None,
        allowed: Vec::new(),
        exclusive: true,
        comment: "shop/web:http".into(),
    };
    let frontends = vec![
        frontend(FrontendKey::Address(VIP, Protocol::Tcp, 80), Side::Internal),
        frontend(FrontendKey::NodePort(Protocol::Tcp, 30080), Side::External),
    ];
    rules.update([(ObjectKey::new("shop", "web"), frontends)]);
    let mut kernel = Nft::with_command(["ip", "netns", "exec", &node.0, "nft"]);
    block_on(kernel.commit(&rules.whole(None).expect("valid"))).expect("the kernel takes it");
}

/// Sends many bytes over TCP one way and a datagram larger than any link both ways.
fn exchange_much(from: &Namespace, to: &Namespace, address: Ipv4Addr) {
    const MUCH: usize = 1_000_000;
    const LARGE: usize = 4_000;
    let (ready, wait) = std::sync::mpsc::sync_channel(1);
    let server = to.spawn(move || {
        let tcp = TcpListener::bind((address, 9_000)).expect("binds");
        let udp = UdpSocket::bind((address, 9_000)).expect("binds");
        udp.set_read_timeout(Some(PATIENCE)).expect("sets");
        ready.send(()).expect("the test waits");
        let (mut stream, _) = tcp.accept().expect("a client");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("reads all");
        let mut buffer = [0; LARGE];
        let (length, peer) = udp.recv_from(&mut buffer).expect("a datagram");
        udp.send_to(&buffer[..length], peer).expect("sends");
        (bytes.len(), length)
    });
    wait.recv().expect("the server starts");
    let returned = from.within(move || {
        let mut stream = TcpStream::connect_timeout(&(address, 9_000).into(), PATIENCE).expect("connects");
        stream.write_all(&vec![1; MUCH]).expect("writes");
        stream.shutdown(Shutdown::Write).expect("ends");
        let udp = UdpSocket::bind("0.0.0.0:0").expect("binds");
        udp.set_read_timeout(Some(PATIENCE)).expect("sets");
        udp.connect((address, 9_000)).expect("connects");
        // The first one may but tell the sender how little the way takes.
        drop(stream);
        udp.send(&[2; LARGE]).expect("sends");
        udp.recv(&mut [0; LARGE]).expect("an answer")
    });
    assert_eq!((server.join().expect("the server"), returned), ((MUCH, LARGE), LARGE));
}

#[test]
fn pods_and_services_are_reached_through_a_router_that_knows_no_pods() {
    if cannot_run() {
        return;
    }
    let unique = unique();
    let router = Namespace::new("router", &unique);
    forward(&router);
    // One pod has the size that the configuration gives while there is a tunnel, the other is from before.
    let (one, two) = (Far::new(1, &router, &unique, 1450), Far::new(2, &router, &unique, 1500));
    let nodes = [view(1, one.address()), view(2, two.address())];
    for far in [&one, &two] {
        let plan = far.connect(&nodes);
        assert_eq!(plan.tunnel.map(|tunnel| tunnel.mtu), Some(1450));
        let before = far.state();
        far.connect(&nodes);
        assert_eq!(far.state(), before, "a restart finds all as it should be");
    }
    let answer = ask_tcp(&one.pod, two.pod_address(), POD_PORT);
    assert_eq!(answer, Ok((two.pod_address(), one.pod_address())), "pods see each other's address");
    exchange_much(&one.pod, &two.pod, two.pod_address());
    exchange_much(&two.pod, &one.pod, one.pod_address());
    // The node itself, and Services: a pod keeps its address, the node and strangers get one inside of the tunnel.
    let inside = Ipv4Addr::new(10, 244, 1, 0);
    assert_eq!(ask_tcp(&one.node, two.pod_address(), POD_PORT), Ok((two.pod_address(), inside)));
    forward_service(&one.node, two.pod_address());
    forward_service(&two.node, two.pod_address());
    assert_eq!(ask_tcp(&one.pod, VIP, 80), Ok((two.pod_address(), one.pod_address())));
    assert_eq!(ask_tcp(&one.node, VIP, 80), Ok((two.pod_address(), inside)));
    assert_eq!(ask_tcp(&router, one.address(), 30080), Ok((two.pod_address(), inside)));
}

#[test]
fn the_tunnel_follows_the_nodes_and_leaves_nothing() {
    if cannot_run() {
        return;
    }
    let unique = unique();
    let router = Namespace::new("router", &unique);
    let one = Far::new(1, &router, &unique, 1450);
    let far = |number: u8| Ipv4Addr::new(10, number, 0, 2);
    let own = view(1, one.address());
    assert_eq!(one.state(), "");
    one.connect(&[own.clone(), view(2, far(2)), view(3, far(3))]);
    let state = one.state();
    for expected in [
        "10.244.2.0/24 via 10.244.2.0",
        "10.244.3.0 lladdr 02:52:0a:03:00:02 PERMANENT",
        "02:52:0a:02:00:02 dst 10.2.0.2 self permanent",
        "10.244.1.0/32",
    ] {
        assert!(state.contains(expected), "{expected}: {state}");
    }
    // One moves, one comes to the own link, one is new; a stranger's entries of former times go.
    one.node.ip(&format!("neighbour add 10.244.9.0 lladdr 02:52:0a:09:00:02 nud permanent dev {TUNNEL_LINK}"));
    one.node.ip("route add 10.99.0.0/24 via 10.1.0.1");
    one.connect(&[own.clone(), view(2, far(7)), view(3, Ipv4Addr::new(10, 1, 0, 9)), view(4, far(4))]);
    let state = one.state();
    assert!(state.contains("10.244.3.0/24 via 10.1.0.9"), "{state}");
    assert!(state.contains("10.244.2.0 lladdr 02:52:0a:07:00:02 PERMANENT"), "{state}");
    for gone in ["10.2.0.2", "10.3.0.2", "10.244.9.0", "10.244.3.0 lladdr"] {
        assert!(!state.contains(gone), "{gone}: {state}");
    }
    // A device of another form is replaced, with all that it held.
    one.node.ip(&format!("link delete {TUNNEL_LINK}"));
    one.node.ip(&format!("link add {TUNNEL_LINK} type vxlan id 7 dstport 4000 local 10.1.0.2"));
    one.connect(&[own.clone(), view(4, far(4))]);
    let state = one.state();
    assert!(state.contains("10.244.4.0/24 via 10.244.4.0") && state.contains("dst 10.4.0.2"), "{state}");
    one.connect(&[own]);
    assert_eq!(one.state(), "");
    assert!(!one.node.ip("-brief link").contains(TUNNEL_LINK));
    assert!(one.node.ip("route").contains("10.99.0.0/24 via 10.1.0.1"), "a route of others stays");
}
