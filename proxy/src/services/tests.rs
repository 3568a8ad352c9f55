//! The rule set as a whole: golden dump, packet walks, and random worlds.
//!
//! Address plan: pods 10.244.0.0/16 (this node 10.244.1.0/24), nodes 192.168.0.0/24 (this node .1), cluster
//! addresses 10.96.0.0/16, clients outside 203.0.113.0/24.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;
use reeve_api::ObjectKey;

use super::frontend::Place;
use super::objects::{NodePortAddresses, Surroundings};
use super::view::{EndpointPortView, EndpointSliceView, EndpointView, ServiceView};
use super::{RuleSet, Update, frontends};
use crate::nft::FakeTables;
use crate::nft::model::Protocol;
use crate::nft::trace::{Landing, Node, Packet};

const NODE: &str = "n1";
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 1, 9);
const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

fn place() -> Place<'static> {
    static NODES: BTreeSet<Ipv4Addr> = BTreeSet::new();
    Place { node: NODE, zone: Some("zone-a"), nodes: &NODES }
}

fn surroundings() -> Surroundings {
    Surroundings {
        pod_networks: vec!["10.244.0.0/16".parse().expect("a network")],
        node_ports: NodePortAddresses::AllLocal,
        service_ranges: vec!["10.96.0.0/16".parse().expect("a network")],
    }
}

fn service(name: &str, spec: &str) -> (ObjectKey, ServiceView) {
    let text = format!(r#"{{"metadata":{{"namespace":"shop","name":"{name}"}},"spec":{spec}}}"#);
    (ObjectKey::new("shop", name), serde_json::from_str(&text).expect("a Service"))
}

/// Endpoints with their last two octets: `10.244.1.x` is on this node.
fn slice(
    service: &ObjectKey,
    port_name: &str,
    protocol: &str,
    port: u16,
    endpoints: &[(u8, u8, &str)],
) -> EndpointSliceView {
    let mut slice = EndpointSliceView::for_test(service, "slice");
    slice.ports = vec![EndpointPortView { name: port_name.into(), protocol: protocol.into(), port: Some(port) }];
    slice.endpoints = endpoints
        .iter()
        .map(|&(net, last, state)| {
            let (ready, serving, terminating) = match state {
                "ready" => (true, true, false),
                "leaving" => (false, true, true),
                "gone" => (false, false, true),
                _ => (false, false, false),
            };
            let mut endpoint = EndpointView::for_test(Ipv4Addr::new(10, 244, net, last), ready, serving, terminating);
            endpoint.node_name = Some(format!("n{net}").into());
            endpoint
        })
        .collect();
    slice
}

/// Applies all steps of an update and returns their scripts.
fn apply(kernel: &mut FakeTables, update: &Update) -> String {
    let mut scripts = String::new();
    for transaction in update.transactions().expect("valid") {
        kernel.apply(&transaction).expect("the kernel takes every step");
        scripts.push_str(&transaction.to_string());
    }
    scripts
}

struct World {
    rules: RuleSet,
    kernel: FakeTables,
}

impl World {
    fn new() -> World {
        let rules = RuleSet::new(surroundings());
        let mut kernel = FakeTables::default();
        kernel.apply(&rules.whole(None).expect("valid")).expect("applies");
        World { rules, kernel }
    }

    /// Applies the change to the twin and returns the script.
    fn set(&mut self, service: &(ObjectKey, ServiceView), slices: &[EndpointSliceView]) -> String {
        let wanted = frontends(&service.1, slices.iter(), place());
        let update = self.rules.update([(service.0.clone(), wanted)]);
        apply(&mut self.kernel, &update)
    }

    fn walk(&mut self, source: Ipv4Addr, destination: (Ipv4Addr, u16), protocol: Protocol, random: u32) -> Landing {
        let node = Node { local: [NODE_ADDRESS, Ipv4Addr::new(127, 0, 0, 1)].into() };
        let destination = SocketAddrV4::new(destination.0, destination.1);
        self.kernel.trace(&node, Packet { source, destination, protocol, random })
    }
}

fn reaches(net: u8, last: u8, port: u16, masqueraded: bool) -> Landing {
    Landing::Reaches { destination: SocketAddrV4::new(Ipv4Addr::new(10, 244, net, last), port), masqueraded }
}

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 20);

#[test]
fn flows_are_looked_through_when_an_endpoint_went_and_when_the_first_came() {
    let dns = service("dns", r#"{"type":"ClusterIP","clusterIP":"10.96.0.20","ports":[{"port":53,"protocol":"UDP"}]}"#);
    let mut rules = RuleSet::new(surroundings());
    let mut looks = |endpoints: &[(u8, u8, &str)]| {
        let slices = [slice(&dns.0, "", "UDP", 53, endpoints)];
        let update = rules.update([(dns.0.clone(), frontends(&dns.1, slices.iter(), place()))]);
        update.touched.values().map(Vec::len).collect::<Vec<_>>()
    };
    let none: [usize; 0] = [];
    assert_eq!(looks(&[]), [0], "clients may have tried before there was a Service");
    assert_eq!(looks(&[(1, 5, "ready")]), [1], "or before it had endpoints");
    assert_eq!(looks(&[(1, 5, "ready"), (2, 6, "ready")]), none, "one more takes no flow away");
    assert_eq!(looks(&[(2, 6, "ready")]), [1]);
    assert_eq!(looks(&[(2, 6, "leaving")]), none, "the last one goes on until it is gone");
    assert_eq!(looks(&[]), [0]);
}

fn web(extra: &str) -> (ObjectKey, ServiceView) {
    service(
        "web",
        &format!(
            r#"{{"type":"NodePort","clusterIP":"10.96.0.20","ports":[{{"name":"http","port":80,"nodePort":30080}}]{extra}}}"#
        ),
    )
}

#[test]
fn the_whole_table_is_as_recorded() {
    let mut world = World::new();
    let web = web(r#","externalIPs":["198.51.100.9"]"#);
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready"), (2, 5, "ready"), (2, 6, "starting")])]);
    let local = service(
        "local",
        r#"{"type":"NodePort","clusterIP":"10.96.0.21","externalTrafficPolicy":"Local","ports":[{"port":53,"protocol":"UDP","nodePort":30053}]}"#,
    );
    world.set(&local, &[slice(&local.0, "", "UDP", 53, &[(1, 7, "ready"), (2, 7, "ready")])]);
    let sticky = service(
        "sticky",
        r#"{"type":"ClusterIP","clusterIP":"10.96.0.22","sessionAffinity":"ClientIP","ports":[{"port":80}]}"#,
    );
    world.set(&sticky, &[slice(&sticky.0, "", "TCP", 80, &[(1, 8, "ready"), (2, 8, "ready")])]);
    let empty =
        service("empty", r#"{"type":"NodePort","clusterIP":"10.96.0.23","ports":[{"port":80,"nodePort":30090}]}"#);
    world.set(&empty, &[]);
    let dump = world.kernel.dump();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/table.txt");
    if std::env::var_os("REEVE_UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &dump).expect("testdata can be written");
    }
    let recorded = std::fs::read_to_string(path).expect("testdata/table.txt; REEVE_UPDATE_GOLDEN=1 writes it");
    assert_eq!(dump, recorded, "REEVE_UPDATE_GOLDEN=1 accepts the difference");
}

#[test]
fn a_pod_a_node_and_a_stranger_reach_every_endpoint() {
    let mut world = World::new();
    let web = web("");
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready"), (2, 5, "ready")])]);
    for (random, net) in [(0, 1), (1, 2), (2, 1)] {
        assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, random), reaches(net, 5, 8080, false));
        assert_eq!(world.walk(NODE_ADDRESS, (VIP, 80), Protocol::Tcp, random), reaches(net, 5, 8080, true));
        assert_eq!(world.walk(CLIENT, (NODE_ADDRESS, 30080), Protocol::Tcp, random), reaches(net, 5, 8080, true));
        assert_eq!(world.walk(POD, (NODE_ADDRESS, 30080), Protocol::Tcp, random), reaches(net, 5, 8080, true));
    }
    let untouched = SocketAddrV4::new(NODE_ADDRESS, 22);
    let landing = world.walk(CLIENT, (NODE_ADDRESS, 22), Protocol::Tcp, 0);
    assert_eq!(landing, Landing::Reaches { destination: untouched, masqueraded: false });
}

#[test]
fn an_endpoint_that_reaches_itself_sees_the_node_as_source() {
    let mut world = World::new();
    let web = web("");
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready"), (2, 5, "ready")])]);
    let own = Ipv4Addr::new(10, 244, 1, 5);
    assert_eq!(world.walk(own, (VIP, 80), Protocol::Tcp, 0), reaches(1, 5, 8080, true));
    assert_eq!(world.walk(own, (VIP, 80), Protocol::Tcp, 1), reaches(2, 5, 8080, false));
}

#[test]
fn without_endpoints_clients_are_refused() {
    let mut world = World::new();
    let web = web("");
    world.set(&web, &[]);
    assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, 0), Landing::Rejected);
    assert_eq!(world.walk(NODE_ADDRESS, (VIP, 80), Protocol::Tcp, 0), Landing::Rejected);
    assert_eq!(world.walk(CLIENT, (NODE_ADDRESS, 30080), Protocol::Tcp, 0), Landing::Rejected);
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(2, 5, "ready")])]);
    assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, 0), reaches(2, 5, 8080, false));
    assert_eq!(world.walk(POD, (VIP, 81), Protocol::Tcp, 0), Landing::Rejected, "a port the Service does not have");
    assert_eq!(world.walk(POD, (VIP, 80), Protocol::Udp, 0), Landing::Rejected);
}

#[test]
fn what_is_sent_to_nobodys_address_of_the_ranges_goes_nowhere() {
    let mut world = World::new();
    let web = web("");
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready")])]);
    let nobody = Ipv4Addr::new(10, 96, 9, 9);
    for source in [POD, NODE_ADDRESS, CLIENT] {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            assert_eq!(world.walk(source, (nobody, 80), protocol, 0), Landing::Dropped, "{source}");
        }
        assert_eq!(world.walk(source, (VIP, 81), Protocol::Tcp, 0), Landing::Rejected, "a Service's address");
    }
    let own = SocketAddrV4::new(Ipv4Addr::new(10, 96, 0, 10), 53);
    let node = Node { local: [NODE_ADDRESS, *own.ip()].into() };
    for source in [POD, NODE_ADDRESS] {
        let packet = Packet { source, destination: own, protocol: Protocol::Udp, random: 0 };
        let reached = Landing::Reaches { destination: own, masqueraded: false };
        assert_eq!(world.kernel.trace(&node, packet), reached, "this node's own: the cluster's DNS");
    }

    // A range that comes and one that goes are elements, not rules.
    let elsewhere = SocketAddrV4::new(Ipv4Addr::new(10, 98, 0, 9), 80);
    let passes = Landing::Reaches { destination: elsewhere, masqueraded: true };
    assert_eq!(world.walk(POD, (*elsewhere.ip(), 80), Protocol::Tcp, 0), passes);
    let moved = Surroundings { service_ranges: vec!["10.98.0.0/24".parse().expect("a network")], ..surroundings() };
    let update = world.rules.set_surroundings(moved);
    assert_eq!(
        apply(&mut world.kernel, &update),
        "delete element ip reeve-proxy service-ranges { 10.96.0.0/16 }\n\
         add element ip reeve-proxy service-ranges { 10.98.0.0/24 }\n"
    );
    assert_eq!(world.walk(POD, (*elsewhere.ip(), 80), Protocol::Tcp, 0), Landing::Dropped);
    let outside = SocketAddrV4::new(nobody, 80);
    let passes = Landing::Reaches { destination: outside, masqueraded: true };
    assert_eq!(world.walk(POD, (nobody, 80), Protocol::Tcp, 0), passes);
}

#[test]
fn terminating_endpoints_serve_only_when_nothing_else_does() {
    let mut world = World::new();
    let web = web("");
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "leaving"), (2, 5, "ready"), (2, 6, "gone")])]);
    for random in 0..3 {
        assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, random), reaches(2, 5, 8080, false));
    }
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "leaving"), (2, 6, "gone")])]);
    for random in 0..3 {
        assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, random), reaches(1, 5, 8080, false));
    }
}

#[test]
fn external_policy_local_keeps_the_client_and_the_node() {
    let mut world = World::new();
    let web = web(r#","externalTrafficPolicy":"Local""#);
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready"), (2, 5, "ready")])]);
    for random in 0..3 {
        assert_eq!(world.walk(CLIENT, (NODE_ADDRESS, 30080), Protocol::Tcp, random), reaches(1, 5, 8080, false));
    }
    assert_eq!(world.walk(POD, (NODE_ADDRESS, 30080), Protocol::Tcp, 1), reaches(2, 5, 8080, true));
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(2, 5, "ready")])]);
    assert_eq!(world.walk(CLIENT, (NODE_ADDRESS, 30080), Protocol::Tcp, 0), Landing::Dropped);
    assert_eq!(world.walk(NODE_ADDRESS, (NODE_ADDRESS, 30080), Protocol::Tcp, 0), reaches(2, 5, 8080, true));
}

#[test]
fn internal_policy_local_stays_on_the_node() {
    let mut world = World::new();
    let web = web(r#","internalTrafficPolicy":"Local""#);
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready"), (2, 5, "ready")])]);
    assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, 1), reaches(1, 5, 8080, false));
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(2, 5, "ready")])]);
    assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, 0), Landing::Dropped);
}

#[test]
fn a_sticky_client_stays_with_its_endpoint() {
    let mut world = World::new();
    let web = web(r#","sessionAffinity":"ClientIP""#);
    let endpoints = [(1, 5, "ready"), (2, 5, "ready"), (2, 6, "ready")];
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &endpoints)]);
    let first = world.walk(POD, (VIP, 80), Protocol::Tcp, 1);
    for random in 0..5 {
        assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, random), first);
    }
    assert_eq!(first, reaches(2, 5, 8080, false));
    world.set(&web, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready")])]);
    assert_eq!(world.walk(POD, (VIP, 80), Protocol::Tcp, 1), reaches(1, 5, 8080, false), "its endpoint is gone");
}

#[test]
fn pods_leave_the_cluster_as_the_node() {
    let mut world = World::new();
    let outside = SocketAddrV4::new(CLIENT, 443);
    let landing = world.walk(POD, (CLIENT, 443), Protocol::Tcp, 0);
    assert_eq!(landing, Landing::Reaches { destination: outside, masqueraded: true });
    let other_pod = SocketAddrV4::new(Ipv4Addr::new(10, 244, 2, 9), 80);
    let landing = world.walk(POD, (*other_pod.ip(), 80), Protocol::Tcp, 0);
    assert_eq!(landing, Landing::Reaches { destination: other_pod, masqueraded: false });
}

#[test]
fn one_endpoint_that_goes_changes_four_elements_and_no_rule() {
    let mut world = World::new();
    let first = service("first", r#"{"type":"ClusterIP","clusterIP":"10.96.0.30","ports":[{"port":80}]}"#);
    let other = service("other", r#"{"type":"ClusterIP","clusterIP":"10.96.0.31","ports":[{"port":80}]}"#);
    let three = [(2, 1, "ready"), (2, 2, "ready"), (2, 3, "ready")];
    world.set(&other, &[slice(&other.0, "", "TCP", 80, &three[..2])]);
    world.set(&first, &[slice(&first.0, "", "TCP", 80, &three)]);
    let another = service("another", r#"{"type":"ClusterIP","clusterIP":"10.96.0.32","ports":[{"port":80}]}"#);
    world.set(&another, &[slice(&another.0, "", "TCP", 80, &three)]);
    let script = world.set(&first, &[slice(&first.0, "", "TCP", 80, &[three[1], three[2]])]);
    assert_eq!(
        script,
        "delete element ip reeve-proxy services { 10.96.0.30 . tcp . 80 }\n\
         delete element ip reeve-proxy endpoints-tcp { 10.96.0.30 . 80 . 0 }\n\
         add element ip reeve-proxy services { 10.96.0.30 . tcp . 80 comment \"shop/first\" : goto cluster-ip-tcp-2 }\n\
         add element ip reeve-proxy endpoints-tcp { 10.96.0.30 . 80 . 0 : 10.244.2.3 . 80 }\n\
         delete element ip reeve-proxy endpoints-tcp { 10.96.0.30 . 80 . 2 }\n"
    );
    assert_eq!(world.set(&first, &[slice(&first.0, "", "TCP", 80, &[three[2], three[1]])]), "", "order is no change");
}

#[test]
fn a_frontend_that_two_services_want_passes_on_when_the_first_goes() {
    let mut world = World::new();
    let spec = |ip: &str| {
        format!(r#"{{"type":"ClusterIP","clusterIP":"{ip}","externalIPs":["198.51.100.9"],"ports":[{{"port":80}}]}}"#)
    };
    let (first, second) = (service("first", &spec("10.96.0.30")), service("second", &spec("10.96.0.31")));
    world.set(&first, &[slice(&first.0, "", "TCP", 80, &[(2, 1, "ready")])]);
    let slices = [slice(&second.0, "", "TCP", 80, &[(2, 2, "ready")])];
    let update = world.rules.update([(second.0.clone(), frontends(&second.1, slices.iter(), place()))]);
    assert_eq!(update.refused.len(), 1);
    apply(&mut world.kernel, &update);
    let external = Ipv4Addr::new(198, 51, 100, 9);
    assert_eq!(world.walk(POD, (external, 80), Protocol::Tcp, 0), reaches(2, 1, 80, true));
    let update = world.rules.update([(first.0.clone(), Vec::new())]);
    assert_eq!(update.freed.iter().collect::<Vec<_>>(), [&second.0]);
    apply(&mut world.kernel, &update);
    world.set(&second, &slices);
    assert_eq!(world.walk(POD, (external, 80), Protocol::Tcp, 0), reaches(2, 2, 80, true));
}

/// Endpoints of nodes n1 and n2 with hints, as (net, last, zones, nodes).
fn hinted(service: &ObjectKey, endpoints: &[(u8, u8, &str, &str)]) -> EndpointSliceView {
    let named =
        |names: &str| names.split_whitespace().map(|name| format!(r#"{{"name":"{name}"}}"#)).collect::<Vec<_>>();
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|(net, last, zones, nodes)| {
            format!(
                r#"{{"addresses":["10.244.{net}.{last}"],"nodeName":"n{net}","hints":{{"forZones":[{}],"forNodes":[{}]}}}}"#,
                named(zones).join(","),
                named(nodes).join(",")
            )
        })
        .collect();
    let text = format!(
        r#"{{"metadata":{{"name":"web-h","namespace":"{}","labels":{{"kubernetes.io/service-name":"{}"}}}},
            "addressType":"IPv4","ports":[{{"name":"http","port":8080}}],"endpoints":[{}]}}"#,
        service.namespace,
        service.name,
        endpoints.join(",")
    );
    serde_json::from_str(&text).expect("a slice")
}

#[test]
fn hints_keep_traffic_near_when_every_endpoint_has_some_and_one_is_for_here() {
    let web = web("");
    let landings = |endpoints: &[(u8, u8, &str, &str)]| -> Vec<u8> {
        let mut world = World::new();
        world.set(&web, &[hinted(&web.0, endpoints)]);
        let mut found: Vec<u8> = (0..6)
            .map(|random| match world.walk(POD, (VIP, 80), Protocol::Tcp, random) {
                Landing::Reaches { destination, .. } => destination.ip().octets()[3],
                other => panic!("{other:?}"),
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    assert_eq!(landings(&[(1, 5, "zone-a", ""), (2, 6, "zone-b", ""), (2, 7, "zone-a", "")]), [5, 7], "own zone");
    assert_eq!(landings(&[(1, 5, "zone-a", "n1"), (2, 6, "zone-b", "n2"), (2, 7, "zone-a", "n2")]), [5], "own node");
    assert_eq!(landings(&[(2, 6, "zone-a", "n2"), (2, 7, "zone-b", "n2")]), [6], "no node, but the zone");
    assert_eq!(landings(&[(1, 5, "zone-a", ""), (2, 6, "", "")]), [5, 6], "one without a hint: none count");
    assert_eq!(landings(&[(2, 6, "zone-b", ""), (2, 7, "zone-c", "")]), [6, 7], "none for this zone");
}

fn balanced(extra: &str) -> (ObjectKey, ServiceView) {
    let text = format!(
        r#"{{"metadata":{{"namespace":"shop","name":"web"}},"spec":{{"type":"LoadBalancer","clusterIP":"10.96.0.20",
            "ports":[{{"name":"http","port":80,"nodePort":30080}}]{extra}}},
            "status":{{"loadBalancer":{{"ingress":[{{"ip":"198.51.100.40","ipMode":"VIP"}}]}}}}}}"#
    );
    (ObjectKey::new("shop", "web"), serde_json::from_str(&text).expect("a Service"))
}

#[test]
fn a_load_balancers_address_takes_only_the_ranges_and_only_the_ports() {
    let address = Ipv4Addr::new(198, 51, 100, 40);
    let mut world = World::new();
    let web = balanced(r#","loadBalancerSourceRanges":["203.0.113.0/24"," 203.0.113.7/32","2001:db8::/32"]"#);
    let slices = [slice(&web.0, "http", "TCP", 8080, &[(2, 5, "ready")])];
    world.set(&web, &slices);
    assert_eq!(world.walk(CLIENT, (address, 80), Protocol::Tcp, 0), reaches(2, 5, 8080, true));
    let stranger = Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(world.walk(stranger, (address, 80), Protocol::Tcp, 0), Landing::Dropped);
    assert_eq!(world.walk(stranger, (NODE_ADDRESS, 30080), Protocol::Tcp, 0), reaches(2, 5, 8080, true));
    assert_eq!(world.walk(CLIENT, (address, 22), Protocol::Tcp, 0), Landing::Rejected, "not the node's own server");
    let local = balanced(r#","externalTrafficPolicy":"Local","loadBalancerSourceRanges":["203.0.113.0/24"]"#);
    world.set(&local, &[slice(&web.0, "http", "TCP", 8080, &[(1, 5, "ready"), (2, 5, "ready")])]);
    assert_eq!(world.walk(CLIENT, (address, 80), Protocol::Tcp, 1), reaches(1, 5, 8080, false));
    assert_eq!(world.walk(stranger, (address, 80), Protocol::Tcp, 1), Landing::Dropped);
    world.set(&balanced(""), &slices);
    assert_eq!(world.walk(stranger, (address, 80), Protocol::Tcp, 0), reaches(2, 5, 8080, true));
}

#[test]
fn an_external_address_that_a_node_has_is_not_taken() {
    let nodes = BTreeSet::from([NODE_ADDRESS]);
    let web = web(r#","externalIPs":["198.51.100.9","192.168.0.1"]"#);
    let slices = [slice(&web.0, "http", "TCP", 8080, &[(2, 5, "ready")])];
    let found = frontends(&web.1, slices.iter(), Place { nodes: &nodes, ..place() });
    let keys: Vec<String> = found.iter().map(|frontend| frontend.key.to_string()).collect();
    assert_eq!(keys, ["10.96.0.20:80/tcp", "198.51.100.9:80/tcp", "node port 30080/tcp"]);
    assert_eq!(super::frontend::refused_addresses(&web.1, &nodes), [NODE_ADDRESS]);
}

/// A Service of a random world: its type, policies, affinity and the states of its possible endpoints.
type Random = (u8, bool, bool, Option<u8>, Vec<u8>);

fn random_service(
    index: usize,
    (kind, external_local, internal_local, affinity, states): &Random,
) -> (ObjectKey, ServiceView, Vec<EndpointSliceView>) {
    let kind_name = *["ClusterIP", "NodePort", "LoadBalancer"].get(usize::from(*kind)).expect("one of three");
    let policy = |local: bool| if local { "Local" } else { "Cluster" };
    let affinity = affinity.map_or(String::new(), |seconds| {
        format!(
            r#","sessionAffinity":"ClientIP","sessionAffinityConfig":{{"clientIP":{{"timeoutSeconds":{}}}}}"#,
            seconds + 1
        )
    });
    let spec = format!(
        r#"{{"type":"{kind_name}","clusterIP":"10.96.0.{index}","externalIPs":["198.51.100.{}"],"loadBalancerSourceRanges":["203.0.113.0/24"],"externalTrafficPolicy":"{}","internalTrafficPolicy":"{}","ports":[{{"port":80,"nodePort":{}}}]{affinity}}}"#,
        index / 2,
        policy(*external_local),
        policy(*internal_local),
        30_000 + index,
    );
    let name = format!("s{index}");
    let text = format!(
        r#"{{"metadata":{{"namespace":"shop","name":"{name}"}},"spec":{spec},
            "status":{{"loadBalancer":{{"ingress":[{{"ip":"198.51.100.4{index}"}}]}}}}}}"#
    );
    let key = ObjectKey::new("shop", name);
    let view: ServiceView = serde_json::from_str(&text).expect("a Service");
    let endpoints: Vec<(u8, u8, &str)> = (1u8..)
        .zip(states)
        .filter_map(|(last, state)| {
            let name = *["", "ready", "ready", "leaving", "gone"].get(usize::from(*state))?;
            (!name.is_empty()).then_some((1 + last % 2, last, name))
        })
        .collect();
    let slices = vec![slice(&key, "", "TCP", 80, &endpoints)];
    (key, view, slices)
}

fn world_strategy() -> impl Strategy<Value = BTreeMap<usize, Random>> {
    let one =
        (0u8..3, any::<bool>(), any::<bool>(), proptest::option::of(0u8..2), proptest::collection::vec(0u8..5, 0..6));
    proptest::collection::btree_map(0usize..6, one, 0..6)
}

proptest! {
    /// Whatever follows on whatever: the small transactions lead to the very table that a fresh start writes.
    #[test]
    fn small_steps_lead_where_a_fresh_start_does(worlds in proptest::collection::vec(world_strategy(), 1..6)) {
        let mut rules = RuleSet::new(surroundings());
        let mut kernel = FakeTables::default();
        kernel.apply(&rules.whole(None).expect("valid")).expect("applies");
        let mut before: BTreeMap<usize, Random> = BTreeMap::new();
        for world in worlds {
            let mut changes: BTreeMap<ObjectKey, Vec<super::Frontend>> = before
                .keys()
                .map(|index| (ObjectKey::new("shop", format!("s{index}").as_str()), Vec::new()))
                .collect();
            for (index, random) in &world {
                let (key, view, slices) = random_service(*index, random);
                changes.insert(key, frontends(&view, slices.iter(), place()));
            }
            let update = rules.update(changes.clone());
            apply(&mut kernel, &update);
            // Those who waited for a frontend that is free now get it.
            let waiting = update.freed.iter().filter_map(|key| Some((key.clone(), changes.get(key)?.clone())));
            let update = rules.update(waiting.collect::<Vec<_>>());
            apply(&mut kernel, &update);
            let mut fresh = FakeTables::default();
            fresh.apply(&rules.whole(None).expect("valid")).expect("applies");
            prop_assert_eq!(kernel.dump(), fresh.dump());
            // A restart knows nothing of its predecessor but the names of what it left.
            let mut restarted = kernel.clone();
            let mut successor = RuleSet::new(surroundings());
            successor.update(changes.clone());
            restarted.apply(&successor.whole(Some(&kernel.existing())).expect("valid")).expect("applies");
            let mut fresh = FakeTables::default();
            fresh.apply(&successor.whole(None).expect("valid")).expect("applies");
            prop_assert_eq!(restarted.dump(), fresh.dump());
            before = world;
        }
    }
}
