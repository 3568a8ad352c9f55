//! Services beyond the demo's: UDP.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{bed, is_serving, name};

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
    let service = bed.testbed.rctl.json(&["get", "service", "echo"])?;
    let cluster = format!("{}:7", service["spec"]["clusterIP"].as_str().context("no clusterIP")?);
    let service = bed.testbed.rctl.json(&["get", "service", "echo-nodeport"])?;
    let node_port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no nodePort")?;

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

    // A pod that has gone gets nothing any more, also from a client that had talked to it.
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
