//! Services beyond the demo's: UDP and SCTP.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use reeve_integration_tests::{
    bed::{bed, is_serving, name, who},
    sctp::{INIT, INIT_ACK, Packet, Socket, kernel_answers},
    wait::ask_until,
};

const ECHO: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo}
spec:
  replicas: 3
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: echo, image: 'reeve.local/demo:1', ports: [{containerPort: 8080, protocol: UDP}]}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 7, targetPort: 8080, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo-nodeport}
spec: {type: NodePort, selector: {app: echo}, ports: [{port: 7, targetPort: 8080, protocol: UDP}]}
";

#[test]
fn services_udp_from_pods_nodes_and_outside() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _echo = bed.keep_applied(ECHO)?;
    bed.rctl(&["rollout", "status", "deployment/echo", "--timeout=120s"])?;
    let pods = bed.wait_for(&["pods", "-l", "app=echo"], "three pods serve", |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 3 && pods.iter().all(is_serving))
    })?;
    let pods: Vec<String> = pods["items"].as_array().into_iter().flatten().map(|pod| name(pod).to_owned()).collect();
    let cluster = SocketAddrV4::new(bed.cluster_ip("echo")?, 7);
    let (service, cluster) = (cluster, cluster.to_string());
    let node_port = bed.node_port("echo-nodeport")?;

    let mut answered = BTreeSet::new();
    for round in 0..8 {
        for node in 1..=3 {
            let text = format!("round {round}");
            let outside = format!("{}:{node_port}", bed.testbed.instance.node_address(node));
            for answer in [bed.from_node(node, &["udp", &cluster, &text])?, bed.from_host(&["udp", &outside, &text])?] {
                let (pod, echoed) = answer.trim().split_once(' ').context("an answer has two parts")?;
                assert_eq!(echoed, text);
                assert!(pods.iter().any(|known| known == pod), "{pod} is none of {pods:?}");
                answered.insert(pod.to_owned());
            }
        }
    }
    assert_eq!(answered.len(), 3, "every pod gets datagrams: {answered:?}");
    let by_name = bed.rctl(&["exec", &pods[0], "--", "demo", "udp", "echo:7", "by name"])?;
    assert!(by_name.trim().ends_with(" by name"), "{by_name}");

    // Clients that keep their port, as resolvers do, stay with their pod; when it goes, their flow moves on.
    let inside = bed.within_node(1, || client_of(service))?;
    let outside = client_of(SocketAddrV4::new(bed.testbed.instance.node_address(2), node_port))?;
    let clients = [("from node 1", inside), ("from outside", outside)];
    let mut chosen = BTreeSet::new();
    for (from, client) in &clients {
        let first = ask(client, "first")?;
        for _ in 0..4 {
            assert_eq!(ask(client, "again")?, first, "{from}");
        }
        chosen.insert(first);
    }
    bed.rctl(&[&["delete", "pod", "--wait=false"], &*chosen.iter().map(String::as_str).collect::<Vec<_>>()].concat())?;
    let pods = bed.wait_for(&["pods", "-l", "app=echo"], "three pods serve, the chosen ones are gone", |list| {
        let is_left = |pod: &serde_json::Value| is_serving(pod) && !chosen.contains(name(pod));
        list["items"].as_array().is_some_and(|pods| pods.len() == 3 && pods.iter().all(is_left))
    })?;
    let live: Vec<&str> = pods["items"].as_array().into_iter().flatten().map(name).collect();
    for (from, client) in &clients {
        let pod = ask(client, "still there?")?;
        assert!(live.contains(&&*pod), "{from}: {pod} is none of {live:?}");
    }

    // A pod that has gone gets nothing any more.
    bed.rctl(&["scale", "deployment/echo", "--replicas=1"])?;
    let left = bed.wait_for(&["pods", "-l", "app=echo"], "one pod is left", |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 1 && pods.iter().all(is_serving))
    })?;
    let left = name(&left["items"][0]).to_owned();
    for _ in 0..8 {
        assert_eq!(bed.from_node(1, &["udp", &cluster, "still there"])?.trim(), format!("{left} still there"));
    }
    Ok(())
}

/// A client with one port for all that it asks.
fn client_of(service: SocketAddrV4) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.connect(service)?;
    Ok(socket)
}

/// The pod that answers. A datagram may get lost on the way, so a few are sent.
fn ask(client: &UdpSocket, text: &str) -> Result<String> {
    let mut buffer = [0; 512];
    for _ in 0..10 {
        client.send(text.as_bytes())?;
        if let Ok(length) = client.recv(&mut buffer) {
            return Ok(who(&String::from_utf8_lossy(&buffer[..length])));
        }
    }
    bail!("no answer to {text:?} from {:?}", client.peer_addr())
}

/// A Service whose one endpoint is the host itself, where packets can be looked at.
fn signalling(host: Ipv4Addr) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: signalling}}
spec: {{type: NodePort, ports: [{{name: diameter, port: 7, targetPort: 3868, protocol: SCTP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: signalling-1, labels: {{kubernetes.io/service-name: signalling}}}}
addressType: IPv4
ports: [{{name: diameter, port: 3868, protocol: SCTP}}]
endpoints: [{{addresses: [{host}]}}]
"
    )
}

/// How long a packet may take.
const ARRIVAL: Duration = Duration::from_secs(5);

#[test]
fn services_sctp_packets_are_translated_both_ways() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    if kernel_answers() {
        eprintln!("skipped: this kernel answers these packets itself; whole associations are tested in its place");
        return Ok(());
    }
    let host = bed.testbed.instance.host_address();
    let _signalling = bed.keep_applied(&signalling(host))?;
    let (cluster_ip, node_port) = (bed.cluster_ip("signalling")?, bed.node_port("signalling")?);
    let server = Socket::open()?;
    for node in 1..=3 {
        for (map, key) in [
            ("endpoints-sctp", format!("{cluster_ip} . 7 . ")),
            ("node-port-endpoints-sctp", format!("{node_port} . ")),
        ] {
            let list = || bed.nft(node, &["list", "map", "ip", "reeve-proxy", map]);
            let has_endpoint = |listed: &Result<String>| {
                let wanted = format!(" : {host} . 3868");
                listed.as_ref().is_ok_and(|text| text.lines().any(|line| line.contains(&key) && line.contains(&wanted)))
            };
            ask_until(&format!("{map} of node {node} has the endpoint"), list, has_endpoint)??;
        }
        let address = bed.testbed.instance.node_address(node);
        let client = bed.within_node(node, Socket::open)?;
        let ways = [
            ("its node port from outside", &server, SocketAddrV4::new(address, node_port)),
            ("the cluster address from the node", &client, SocketAddrV4::new(cluster_ip, 7)),
        ];
        for (number, (way, client, service)) in ways.into_iter().enumerate() {
            let source = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 40_000 + u16::try_from(10 * node + number)?);
            let own_tag = u32::from(source.port());
            client.send(&Packet { source, destination: service, tag: 0, chunk: INIT, own_tag })?;
            let arrived = server
                .wait_for(ARRIVAL, |packet| packet.chunk == INIT && packet.own_tag == own_tag)
                .with_context(|| format!("node {node}, {way}"))?;
            assert_eq!(arrived.destination, SocketAddrV4::new(host, 3868), "node {node}, {way}");
            assert_eq!(*arrived.source.ip(), address, "node {node}, {way}: answers come back by way of the node");
            let answer = Packet {
                source: arrived.destination,
                destination: arrived.source,
                tag: own_tag,
                chunk: INIT_ACK,
                own_tag: 1,
            };
            server.send(&answer)?;
            let answer = client
                .wait_for(ARRIVAL, |packet| packet.chunk == INIT_ACK && packet.tag == own_tag)
                .with_context(|| format!("the answer by node {node}, {way}"))?;
            assert_eq!(answer.source, service, "node {node}, {way}: it comes from whom was asked");
            assert_eq!(answer.destination.port(), source.port(), "node {node}, {way}");
        }
    }
    Ok(())
}
