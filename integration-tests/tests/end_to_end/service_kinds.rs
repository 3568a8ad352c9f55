//! Services of every kind: whom they choose, where they answer, and their names.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use reeve_integration_tests::{
    bed::{Bed, bed, is_serving, name, who},
    wait::ask_until,
};
use serde_json::Value;
use xtask::instance::CLUSTER_DNS;

/// A Service of the demo's pods with this name and specification.
fn service(name: &str, app: &str, spec: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {app}}}, ports: [{{name: http, port: 80, targetPort: http}}], {spec}}}
"
    )
}

fn cluster_url(bed: &Bed, service: &str) -> Result<String> {
    Ok(format!("http://{}/", bed.cluster_ip(service)?))
}

#[test]
fn service_kinds_affinity_keeps_a_client_with_its_pod() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _deployed = bed.deploy("faithful")?;
    let _sticky = bed.keep_applied(&service("sticky", "faithful", "type: NodePort, sessionAffinity: ClientIP"))?;
    let url = cluster_url(&bed, "sticky")?;
    let outside = format!("http://{}:{}/", bed.testbed.instance.node_address(2), bed.node_port("sticky")?);
    let from_outside = || Ok(who(&bed.from_host(&["get", &outside, "--retry", "10"])?));
    let from_node = |node| Ok(who(&bed.from_node(node, &["get", &url, "--retry", "10"])?));
    stays("from outside", from_outside)?;
    for node in 1..=3 {
        stays(&format!("from node {node}"), || from_node(node))?;
    }

    // Each client is forgotten when it has not come for the time-out, and finds another pod sooner or later.
    let short = format!(
        "type: NodePort, sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {FORGOTTEN}}}}}"
    );
    bed.apply(&service("sticky", "faithful", &short))?;
    let firsts = [from_node(1)?, from_outside()?];
    let mut moved = [false; 2];
    // With three pods, that a client that is forgotten never moves has a probability of 3^-30.
    for _ in 0..30 {
        for node in [1, 2] {
            let what = format!("node {node} remembers no client");
            ask_until(&what, || remembers(&bed, node), |found| matches!(found, Ok(Some(false))))??;
        }
        for ((moved, first), now) in moved.iter_mut().zip(&firsts).zip([from_node(1)?, from_outside()?]) {
            *moved |= now != *first;
        }
        if moved == [true; 2] {
            // Until then, also with the short time-out, clients stay.
            stays("from node 1", || from_node(1))?;
            return stays("from outside", from_outside);
        }
    }
    bail!("whether clients moved after the time-out: {moved:?}")
}

/// The time-out of the affinity, in seconds.
const FORGOTTEN: u64 = 2;

/// Whether a node's kernel remembers a client for the short time; `None` before it has sets for that.
fn remembers(bed: &Bed, node: usize) -> Result<Option<bool>> {
    let table = bed.nft(node, &["list", "table", "ip", "reeve-proxy"])?;
    let sets: Vec<&str> = table.split(&format!("set recent-{FORGOTTEN}s-")).skip(1).collect();
    let has_clients = |set: &&str| set.split_once("\n\t}").is_some_and(|(body, _)| body.contains("expires"));
    Ok((!sets.is_empty()).then(|| sets.iter().any(has_clients)))
}

/// Ten times the same pod.
fn stays(who: &str, ask: impl Fn() -> Result<String>) -> Result<()> {
    let first = ask()?;
    for _ in 0..10 {
        assert_eq!(ask()?, first, "{who}");
    }
    Ok(())
}

#[test]
fn service_kinds_local_traffic_policy_answers_where_a_pod_is() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("local")?;
    bed.rctl(&["scale", "deployment/local", "--replicas=1"])?;
    let pods = deployed.wait_pods("one pod is left", |pods| pods.len() == 1 && pods.iter().all(is_serving))?;
    let home = pods[0]["spec"]["nodeName"].as_str().context("a node")?.to_owned();
    let _near = bed.keep_applied(&service("near", "local", "type: NodePort, externalTrafficPolicy: Local"))?;
    let _inside = bed.keep_applied(&service("inside", "local", "internalTrafficPolicy: Local"))?;
    let near = bed.testbed.rctl.json(&["get", "service", "near"])?;
    let port = near["spec"]["ports"][0]["nodePort"].as_u64().context("no nodePort")?;
    let inside = cluster_url(&bed, "inside")?;
    let nodes: Vec<_> = bed.testbed.nodes()?.into_iter().map(|node| (node.index, node.name == home)).collect();
    // Where it answers first: then the rules of this Service are everywhere, or come within a moment.
    for (index, is_home) in nodes.into_iter().rev() {
        let outside = format!("http://{}:{port}/", bed.testbed.instance.node_address(index));
        if is_home {
            assert!(bed.from_host(&["get", &outside, "--retry", "10"])?.starts_with("local-"));
            assert!(bed.from_node(index, &["get", &inside, "--retry", "10"])?.starts_with("local-"));
        } else {
            assert!(bed.from_host(&["get", &outside, "--timeout", "1"]).is_err(), "no pod on node {index}");
            assert!(bed.from_node(index, &["get", &inside, "--timeout", "1"]).is_err(), "no pod on node {index}");
        }
    }
    Ok(())
}

#[test]
fn service_kinds_load_balancers_get_an_address_that_answers() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _deployed = bed.deploy("public")?;
    let _balanced = bed.keep_applied(&service("balanced", "public", "type: LoadBalancer"))?;
    let given = bed.wait_for(&["service", "balanced"], "an address is given", |service| {
        service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    })?;
    let address = given["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap_or_default().to_owned();
    assert!(bed.rctl(&["get", "service", "balanced"])?.contains(&address), "shown as EXTERNAL-IP");
    let url = format!("http://{address}/");
    assert!(bed.from_host(&["get", &url, "--retry", "20"])?.starts_with("public-"));
    let answered: BTreeSet<String> =
        (0..40).map(|_| Ok(who(&bed.from_host(&["get", &url])?))).collect::<Result<_>>()?;
    assert_eq!(answered.len(), 3, "every pod is asked: {answered:?}");
    for node in 1..=3 {
        assert!(bed.from_node(node, &["get", &url, "--retry", "10"])?.starts_with("public-"), "from node {node}");
    }
    Ok(())
}

#[test]
fn service_kinds_external_addresses_answer_but_none_of_a_node() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _deployed = bed.deploy("elsewhere")?;
    let node = bed.testbed.instance.node_address(1);
    // Among the nodes' addresses and nobody's: so that only the rules can answer.
    let [a, b, c, _] = node.octets();
    let external = std::net::Ipv4Addr::new(a, b, c, 254);
    let spec = format!("externalIPs: [{external}, {node}]");
    let _external = bed.keep_applied(&service("external", "elsewhere", &spec))?;
    for index in 1..=3 {
        let answer = bed.from_node(index, &["get", &format!("http://{external}/"), "--retry", "10"])?;
        assert!(answer.starts_with("elsewhere-"), "from node {index}: {answer}");
    }
    let told = |events: &Value| {
        events["items"].as_array().is_some_and(|all| {
            all.iter().any(|event| {
                event["type"] == "Warning"
                    && event["message"].as_str().is_some_and(|message| message.contains(&node.to_string()))
            })
        })
    };
    let of_it = ["events", "--field-selector", "involvedObject.kind=Service,involvedObject.name=external"];
    bed.wait_for(&of_it, "a warning names the node's address", told)?;
    // The node's own services go on: this is its kubelet.
    assert!(bed.from_node(2, &["dial", &format!("{node}:10250")]).is_ok());
    Ok(())
}

#[test]
fn service_kinds_without_selector_follow_what_a_user_writes() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("behind")?;
    let pods = deployed.wait_pods("three pods serve", |pods| pods.iter().filter(|pod| is_serving(pod)).count() == 3)?;
    let address = pods[0]["status"]["podIP"].as_str().context("an address")?;
    let _manual = bed.keep_applied(&format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: by-hand}}
spec: {{ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Endpoints
metadata: {{name: by-hand}}
subsets: [{{addresses: [{{ip: {address}}}], ports: [{{port: 8080}}]}}]
"
    ))?;
    let url = cluster_url(&bed, "by-hand")?;
    for node in 1..=3 {
        assert_eq!(who(&bed.from_node(node, &["get", &url, "--retry", "10"])?), name(&pods[0]));
    }
    Ok(())
}

const NAMED: &str = "
apiVersion: v1
kind: Service
metadata: {name: named}
spec: {clusterIP: None, selector: {app: named}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec: {type: ExternalName, externalName: named.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: alone}
spec: {selector: {pod: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: named, pod: a}}
spec:
  hostname: one
  subdomain: named
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: 'reeve.local/demo:1'}]
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: named, pod: b}}
spec:
  hostname: two
  subdomain: named
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: 'reeve.local/demo:1'}]
";

/// A Service whose endpoints somebody else has, with addresses of the other family.
const SIX: &str = "
apiVersion: v1
kind: Service
metadata: {name: six}
spec: {clusterIP: None, ports: [{name: http, port: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: six-1, labels: {kubernetes.io/service-name: six}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ['2001:db8::a'], hostname: left}, {addresses: ['2001:db8::b']}]
";

#[test]
fn service_kinds_have_names_for_ipv6() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _six = bed.keep_applied(SIX)?;
    let domain = "default.svc.cluster.local";
    // Type 28 is AAAA, 1 A, 33 SRV, 12 PTR. A code of 0 says that the name exists, whether it has such a record or not.
    let asked = |name: &str, kind: u16| bed.within_node(2, || records(name, kind));
    let whole = |counts: &Result<Counts>| counts.as_ref().is_ok_and(|counts| counts.answers == 2);
    let six = format!("six.{domain}");
    ask_until("two addresses", || asked(&six, 28), whole)??;
    let none = Counts { code: 0, answers: 0, beside: 0 };
    assert_eq!(asked(&six, 1)?, none, "no address of the usual family");
    assert_eq!(asked(&format!("kubernetes.{domain}"), 28)?, none, "a name of the usual family alone");
    assert_eq!(asked(&format!("nobody.{domain}"), 28)?.code, 3, "no such name");
    let one = Counts { code: 0, answers: 1, beside: 0 };
    assert_eq!(asked(&format!("left.six.{domain}"), 28)?, one);
    assert_eq!(asked(&format!("2001-db8--b.six.{domain}"), 28)?, one);
    let targets = Counts { code: 0, answers: 2, beside: 2 };
    assert_eq!(asked(&format!("_http._tcp.six.{domain}"), 33)?, targets, "targets come with their addresses");
    let nibbles = format!("a.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23));
    assert_eq!(asked(&nibbles, 12)?, one);
    Ok(())
}

/// What an answer of DNS holds.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    code: u8,
    answers: u16,
    beside: u16,
}

/// Asks the cluster's DNS, on the node where the thread is (RFC 1035, section 4.1).
fn records(name: &str, kind: u16) -> Result<Counts> {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend(kind.to_be_bytes());
    question.extend([0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(&question, (CLUSTER_DNS, 53))?;
    let mut answer = [0; 2048];
    let length = socket.recv(&mut answer)?;
    let [0, 7, _, flags, _, _, a1, a2, _, _, b1, b2, ..] = answer[..length] else { bail!("no answer to the question") };
    let (answers, beside) = (u16::from_be_bytes([a1, a2]), u16::from_be_bytes([b1, b2]));
    Ok(Counts { code: flags & 0x0f, answers, beside })
}

#[test]
fn service_kinds_have_names_of_every_type() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _named = bed.keep_applied(NAMED)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/a", "pod/b", "--timeout=120s"])?;
    let both_ready = |slices: &Value| {
        let endpoints = slices["items"][0]["endpoints"].as_array();
        endpoints.is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["conditions"]["ready"] == true))
    };
    bed.wait_for(&["endpointslices", "-l", "kubernetes.io/service-name=named"], "two endpoints", both_ready)?;
    let address = |pod: &str| -> Result<String> {
        let pod = bed.testbed.rctl.json(&["get", "pod", pod])?;
        Ok(pod["status"]["podIP"].as_str().context("an address")?.to_owned())
    };
    let (a, b) = (address("a")?, address("b")?);
    let inside = |words: &[&str]| bed.rctl(&[&["exec", "a", "--", "demo"], words].concat());
    // Another pod's proxy is not asked: the first answer may be from before the change, so it is asked until it is there.
    inside(&["get", "http://named:8080/", "--retry", "10"])?;
    inside(&["get", "http://two.named:8080/", "--retry", "10"])?;
    let domain = "default.svc.cluster.local";
    let records = inside(&["lookup", "named"])?;
    assert!(records.contains(&a) && records.contains(&b), "{records}");
    assert!(inside(&["lookup", "two.named"])?.contains(&b));
    let services = inside(&["lookup", "_http._tcp.named", "SRV"])?;
    for host in ["one", "two"] {
        assert!(services.contains(&format!("8080 {host}.named.{domain}")), "{services}");
    }
    assert!(inside(&["lookup", "other", "CNAME"])?.contains(&format!("named.{domain}")));
    assert!(inside(&["lookup", &format!("{}.default.pod.cluster.local.", b.replace('.', "-"))])?.contains(&b));
    let reversed: Vec<&str> = b.rsplit('.').collect();
    let pointer = inside(&["lookup", &format!("{}.in-addr.arpa.", reversed.join(".")), "PTR"])?;
    assert!(pointer.contains(&format!("two.named.{domain}")), "{pointer}");
    // A pod reaches itself through its own Service, and finds it in no environment: it is older than the pod or not.
    let itself = inside(&["get", "http://alone/", "--retry", "10"])?;
    assert!(itself.starts_with("one "), "{itself}");
    let full = bed.rctl(&["exec", "b", "--", "cat", "/etc/hosts"])?;
    assert!(full.contains(&format!("two.named.{domain}")), "{full}");
    Ok(())
}

const ON_THE_NODE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: host-port}
spec:
  nodeSelector: {kubernetes.io/hostname: node-1}
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: 'reeve.local/demo:1', ports: [{containerPort: 8080, hostPort: 18080}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: host-network}
spec:
  hostNetwork: true
  nodeSelector: {kubernetes.io/hostname: node-1}
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: 'reeve.local/demo:1', args: [serve, --port, '18081']}]
";

#[test]
fn service_kinds_ports_and_network_of_the_node() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _on_the_node = bed.keep_applied(ON_THE_NODE)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/host-port", "pod/host-network", "--timeout=120s"])?;
    let node = bed.testbed.instance.node_address(1);
    assert!(bed.from_host(&["get", &format!("http://{node}:18080/"), "--retry", "10"])?.starts_with("host-port "));
    assert!(bed.from_node(2, &["get", &format!("http://{node}:18080/")])?.starts_with("host-port "));
    assert!(bed.from_node(3, &["get", &format!("http://{node}:18081/")])?.contains("version=1"));
    let pod = bed.testbed.rctl.json(&["get", "pod", "host-network"])?;
    assert_eq!(pod["status"]["podIP"], node.to_string());
    Ok(())
}
