//! Services of every kind: whom they choose, where they answer, and their names.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{Bed, bed, is_serving, name};
use serde_json::Value;

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
    let service = bed.testbed.rctl.json(&["get", "service", service])?;
    Ok(format!("http://{}/", service["spec"]["clusterIP"].as_str().context("no clusterIP")?))
}

/// The pod that answered.
fn who(answer: &str) -> String {
    answer.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn service_kinds_affinity_keeps_a_client_with_its_pod() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _deployed = bed.deploy("faithful")?;
    let _sticky = bed.keep_applied(&service("sticky", "faithful", "sessionAffinity: ClientIP"))?;
    let url = cluster_url(&bed, "sticky")?;
    for node in 1..=3 {
        let first = who(&bed.from_node(node, &["get", &url, "--retry", "10"])?);
        for _ in 0..10 {
            assert_eq!(who(&bed.from_node(node, &["get", &url])?), first, "from node {node}");
        }
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
