//! Where connections of Services go while pods differ, end and move, and who may make them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddrV4, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use reeve_integration_tests::{
    bed::{bed, is_serving, who},
    load::Load,
    wait::ask_until,
};
use serde_json::{Value, json};

/// Two pods as during an update: ports of the same names have other numbers.
const VERSIONS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: version-one, labels: {app: versions}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: 'reeve.local/demo:1', ports: [{name: web, containerPort: 8080}]}
  - {name: admin, image: 'reeve.local/demo:1', args: [serve, --port, '8081'], ports: [{name: admin, containerPort: 8081}]}
---
apiVersion: v1
kind: Pod
metadata: {name: version-two, labels: {app: versions}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: 'reeve.local/demo:2', args: [serve, --port, '9090'], ports: [{name: web, containerPort: 9090}]}
  - {name: admin, image: 'reeve.local/demo:2', args: [serve, --port, '9091'], ports: [{name: admin, containerPort: 9091}]}
---
apiVersion: v1
kind: Service
metadata: {name: versions}
spec:
  selector: {app: versions}
  ports: [{name: http, port: 80, targetPort: web}, {name: manage, port: 81, targetPort: admin}]
---
apiVersion: v1
kind: Service
metadata: {name: versions-pods}
spec:
  clusterIP: None
  selector: {app: versions}
  ports: [{name: http, port: 80, targetPort: web}]
";

#[test]
fn service_traffic_finds_ports_by_name_on_each_pod() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _versions = bed.keep_applied(VERSIONS)?;
    bed.rctl(&["wait", "--for=condition=Ready", "pod/version-one", "pod/version-two", "--timeout=120s"])?;
    let is_whole = |slices: &Value| {
        let slices = slices["items"].as_array();
        let is_ready = |slice: &Value| slice["endpoints"][0]["conditions"]["ready"] == true;
        slices.is_some_and(|slices| slices.len() == 2 && slices.iter().all(is_ready))
    };
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=versions"];
    let slices = bed.wait_for(&slices, "a slice for the ports of each version", is_whole)?;
    let numbers = |slice: &Value| -> BTreeSet<Option<u64>> {
        slice["ports"].as_array().into_iter().flatten().map(|port| port["port"].as_u64()).collect()
    };
    let found: BTreeSet<_> = slices["items"].as_array().into_iter().flatten().map(numbers).collect();
    let expected = [[8080, 8081], [9090, 9091]].map(|ports| ports.map(Some).into_iter().collect());
    assert_eq!(found, BTreeSet::from(expected));

    let address = bed.cluster_ip("versions")?;
    for port in [80, 81] {
        let url = format!("http://{address}:{port}/");
        let get = ["get", &url, "--retry", "10"];
        for node in 1..=3 {
            both_answer(|| bed.from_node(node, &get)).with_context(|| format!("port {port} from node {node}"))?;
        }
        // Each of them is asked by itself too: it goes out by the Service and comes back.
        for pod in ["version-one", "version-two"] {
            let inside = [&["exec", pod, "--", "demo"], &get[..]].concat();
            both_answer(|| bed.rctl(&inside)).with_context(|| format!("port {port} from {pod}"))?;
        }
    }
    let asked = ["exec", "version-one", "--", "demo", "lookup", "_http._tcp.versions-pods", "SRV"];
    let services = bed.rctl(&asked)?;
    for target in [" 8080 ", " 9090 "] {
        assert!(services.contains(target), "the number of the port on each pod: {services}");
    }
    Ok(())
}

/// Asks until both versions have answered. That one is missed so often by chance has a probability of 2^-60.
fn both_answer(ask: impl Fn() -> Result<String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        seen.insert(who(&ask()?));
        if ["version-one", "version-two"].iter().all(|pod| seen.contains(*pod)) {
            return Ok(());
        }
    }
    bail!("only {seen:?} answered")
}

/// Pods that take their time to end, and serve meanwhile.
const ENDING: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: ending}
spec:
  replicas: 2
  selector: {matchLabels: {app: ending}}
  template:
    metadata: {labels: {app: ending}}
    spec:
      containers:
      - name: main
        image: 'reeve.local/demo:1'
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /ready, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 6}}}
---
apiVersion: v1
kind: Service
metadata: {name: ending}
spec: {type: NodePort, selector: {app: ending}, ports: [{port: 80, targetPort: http}]}
";

#[test]
fn service_traffic_goes_to_ending_pods_when_no_other_is_left() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let _ending = bed.keep_applied(ENDING)?;
    bed.rctl(&["rollout", "status", "deployment/ending", "--timeout=120s"])?;
    let cluster = format!("http://{}/", bed.cluster_ip("ending")?);
    let node_port = format!("http://{}:{}/", bed.testbed.instance.node_address(2), bed.node_port("ending")?);
    bed.from_node(1, &["get", &cluster, "--retry", "10"])?;
    bed.from_host(&["get", &node_port, "--retry", "10"])?;
    bed.rctl(&["scale", "deployment/ending", "--replicas=0"])?;
    let slices = ["endpointslices", "-l", "kubernetes.io/service-name=ending"];
    let all_end = |slices: &Value| {
        let endpoints = slices["items"][0]["endpoints"].as_array();
        let ending = json!({"ready": false, "serving": true, "terminating": true});
        endpoints.is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["conditions"] == ending))
    };
    bed.wait_for(&slices, "both endpoints end, and serve still", all_end)?;
    Load::burst(&bed, &node_port, 40).context("by the node port")?;
    bed.from_node(1, &["load", &cluster, "--workers", "4", "--rate", "100", "--requests", "40"])?;
    let none_left = |list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    bed.wait_for(&["pods", "-l", "app=ending"], "no pod is left", none_left)?;
    let is_refused =
        |answer: &Result<String>| answer.as_ref().is_err_and(|error| format!("{error:#}").contains("refused"));
    for url in [&cluster, &node_port] {
        ask_until("nobody is there any more", || bed.from_node(1, &["get", url]), is_refused)?.err();
    }
    Ok(())
}

/// A load balancer's Service that only nodes with pods serve.
fn guarded(ranges: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: guarded-outside}}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [{ranges}]
  selector: {{app: guarded}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"
    )
}

#[test]
fn service_traffic_of_load_balancers_is_checked_and_guarded() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("guarded")?;
    let host = bed.testbed.instance.host_address();
    let [a, b, c, _] = host.octets();
    let link = format!("{a}.{b}.{c}.0/24");
    let _guarded = bed.keep_applied(&guarded(&link))?;
    let given = bed.wait_for(&["service", "guarded-outside"], "an address is given", |service| {
        service["status"]["loadBalancer"]["ingress"][0]["ip"].is_string()
    })?;
    let url = format!("http://{}/", given["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap_or_default());
    let port = given["spec"]["healthCheckNodePort"].as_u64().context("a port for health checks")?;

    // What load balancers ask each node: how many pods it has, and whether to send it anything.
    for replicas in [3, 1, 0] {
        bed.rctl(&["scale", "deployment/guarded", &format!("--replicas={replicas}")])?;
        let pods = deployed.wait_pods(&format!("{replicas} pods serve"), |pods| {
            pods.len() == replicas && pods.iter().all(is_serving)
        })?;
        let mut counts = BTreeMap::<&str, u64>::new();
        for pod in &pods {
            *counts.entry(pod["spec"]["nodeName"].as_str().context("a node")?).or_default() += 1;
        }
        for node in bed.testbed.nodes()? {
            let count = counts.get(node.name.as_str()).copied().unwrap_or_default();
            let body = json!({
                "service": {"namespace": "default", "name": "guarded-outside"},
                "localEndpoints": count,
                "serviceProxyHealthy": true,
            });
            let expected = (if count > 0 { 200 } else { 503 }, body);
            let address = SocketAddrV4::new(bed.testbed.instance.node_address(node.index), u16::try_from(port)?);
            let what = format!("with {replicas} pods, {} answers {expected:?}", node.name);
            ask_until(&what, || health(address), |answer| answer.as_ref().is_ok_and(|it| *it == expected))??;
        }
    }
    bed.rctl(&["scale", "deployment/guarded", "--replicas=3"])?;
    deployed.wait_pods("three pods serve", |pods| pods.len() == 3 && pods.iter().all(is_serving))?;

    // The whole link may come, then the host alone, then somebody else, then everybody.
    let from_host = || bed.from_host(&["get", &url, "--timeout", "1"]);
    let from_node = || bed.from_node(2, &["get", &url, "--timeout", "1"]);
    for (ranges, host_may, node_may) in [
        (link, true, true),
        (format!("{host}/32"), true, false),
        ("192.0.2.0/24".to_owned(), false, false),
        ("0.0.0.0/0".to_owned(), true, true),
    ] {
        bed.apply(&guarded(&ranges))?;
        let is = |may: bool| {
            move |answer: &Result<String>| match answer {
                Ok(text) => may && text.starts_with("guarded-"),
                Err(error) => !may && format!("{error:#}").contains("timed out"),
            }
        };
        ask_until(&format!("{ranges}: the host may connect: {host_may}"), from_host, is(host_may))?.ok();
        ask_until(&format!("{ranges}: a node may connect: {node_may}"), from_node, is(node_may))?.ok();
    }
    Ok(())
}

/// The status and the body of an answer over HTTP.
fn health(address: SocketAddrV4) -> Result<(u16, Value)> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address.into(), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("a whole answer")?;
    let status = head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).context("a status code")?;
    Ok((status, serde_json::from_str(body)?))
}
