//! Links and routes against the real kernel, and the DNS server over real sockets.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use reeve_client::store::{Writer, store};
use reeve_client::watch::Event;
use reeve_proxy::dns::{Server, Zone};
use reeve_proxy::nft::model::Network;
use reeve_proxy::node::link::{DNS_LINK, Links};
use reeve_proxy::node::routes::{Hop, OwnAddress, Routes, changes};
use reeve_proxy::serve::metrics::Metrics;
use reeve_proxy::services::view::{EndpointSliceView, ServiceView};
use reeve_proxy::sync::BY_SERVICE;
use support::{Namespace, PATIENCE, cannot_run, unique};
use tokio_util::sync::CancellationToken;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn network(text: &str) -> Network {
    text.parse().expect("a network")
}

#[test]
fn routes_and_the_dns_link_come_and_go_and_those_of_others_stay() {
    if cannot_run() {
        return;
    }
    let namespace = Namespace::new("links", &unique());
    namespace.ip("link add up0 type veth peer name down0");
    namespace.ip("link set down0 up");
    namespace.ip("address add 192.168.7.10/24 dev up0");
    namespace.ip("link set up0 up");
    namespace.ip("route add 10.99.0.0/24 via 192.168.7.99");
    namespace.within(|| {
        block_on(async {
            let links = Links::open().expect("netlink");
            let own = links.own_addresses("cni0").await.expect("lists");
            let address = Ipv4Addr::new(192, 168, 7, 10);
            assert_eq!(own, [OwnAddress { address, network: network("192.168.7.0/24"), mtu: 1500 }]);
            let one = Routes::from([
                (network("10.244.1.0/24"), Hop::Link(Ipv4Addr::new(192, 168, 7, 11))),
                (network("10.244.2.0/24"), Hop::Link(Ipv4Addr::new(192, 168, 7, 12))),
            ]);
            links.change(&changes(&Routes::new(), &one)).await.expect("adds");
            assert_eq!(links.routes().await.expect("lists"), one);
            let two = Routes::from([(network("10.244.1.0/24"), Hop::Link(Ipv4Addr::new(192, 168, 7, 13)))]);
            links.change(&changes(&one, &two)).await.expect("changes");
            assert_eq!(links.routes().await.expect("lists"), two);
            for address in [Ipv4Addr::new(10, 96, 0, 10), Ipv4Addr::new(10, 96, 0, 53)] {
                links.carry(address).await.expect("carries");
                links.carry(address).await.expect("carries it still");
            }
        });
    });
    let shown = namespace.ip(&format!("-brief address show dev {DNS_LINK}"));
    assert!(shown.contains("10.96.0.53/32") && !shown.contains("10.96.0.10"), "{shown}");
    let routes = namespace.ip("route");
    assert!(routes.contains("10.99.0.0/24 via 192.168.7.99"), "{routes}");
    assert!(routes.contains("10.244.1.0/24 via 192.168.7.13"), "{routes}");
    namespace.within(|| {
        block_on(async {
            let links = Links::open().expect("netlink");
            links.drop_carrier().await.expect("removes");
            links.drop_carrier().await.expect("absent is fine");
            let remove = links.routes().await.expect("lists");
            links.change(&changes(&remove, &Routes::new())).await.expect("removes");
        });
    });
    assert!(!namespace.ip("route").contains("10.244."), "our routes are gone");
    assert!(!namespace.ip("-brief link").contains(DNS_LINK));
}

/// A DNS server on loopback, fed by hand.
struct Dns {
    address: SocketAddr,
    services: Writer<ServiceView>,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Dns {
    fn start(resolv_conf: &std::path::Path) -> Dns {
        let (services, service_store) = store::<ServiceView>(&[]);
        let (_, slice_store) = store::<EndpointSliceView>(&[(BY_SERVICE, EndpointSliceView::index_by_service)]);
        let zone = Zone::new("cluster.local", service_store, slice_store).expect("a domain");
        let shutdown = CancellationToken::new();
        let (token, resolv_conf) = (shutdown.clone(), resolv_conf.to_owned());
        let (tell, address) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            block_on(async {
                let server =
                    Server::bind(Ipv4Addr::LOCALHOST, 0, zone, resolv_conf, Metrics::new()).await.expect("binds");
                tell.send(server.address().expect("bound")).expect("the test waits");
                server.run(token).await;
            });
        });
        Dns { address: address.recv().expect("starts"), services, shutdown, thread: Some(thread) }
    }

    fn add(&mut self, name: &str, address: &str) {
        let text = format!(
            r#"{{"metadata":{{"namespace":"shop","name":"{name}","resourceVersion":"1"}},"spec":{{"clusterIP":"{address}"}}}}"#
        );
        self.services.write(Event::Apply(serde_json::from_str(&text).expect("a Service")), &mut |_| {});
    }

    fn ask(&self, name: &str, kind: RecordType, tcp: bool) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        let bytes = question.to_vec().expect("encodes");
        let answer = if tcp {
            let mut stream = TcpStream::connect(self.address).expect("connects");
            stream.set_read_timeout(Some(PATIENCE)).expect("sets");
            let length = u16::try_from(bytes.len()).expect("short");
            stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).expect("sends");
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("an answer");
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).expect("an answer");
            answer
        } else {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
            socket.set_read_timeout(Some(PATIENCE)).expect("sets");
            socket.send_to(&bytes, self.address).expect("sends");
            let mut buffer = vec![0; 4096];
            let length = socket.recv(&mut buffer).expect("an answer");
            buffer.truncate(length);
            buffer
        };
        let answer = Message::from_vec(&answer).expect("a message");
        assert_eq!(answer.metadata.id, question.metadata.id);
        answer
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[test]
fn dns_answers_over_udp_and_tcp_and_at_once_after_a_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let resolv_conf = folder.path().join("resolv.conf");
    std::fs::write(&resolv_conf, "search example.org\n").expect("writes");
    let mut dns = Dns::start(&resolv_conf);
    for tcp in [false, true] {
        let name = if tcp { "b.shop.svc.cluster.local." } else { "a.shop.svc.cluster.local." };
        let absent = dns.ask(name, RecordType::A, tcp);
        assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
        dns.add(if tcp { "b" } else { "a" }, "10.96.0.77");
        let present = dns.ask(name, RecordType::A, tcp);
        let data: Vec<String> = present.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!(data, ["10.96.0.77"]);
        // Nobody to ask about the rest of the world.
        let unknown = dns.ask("example.org.", RecordType::A, tcp);
        assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
    }
}
