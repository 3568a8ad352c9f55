//! Services, endpoints and rules that more than one party has a hand in: other proxies, users, firewalls of nodes.

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{Bed, bed, name},
    wait::ask_until,
};
use serde_json::json;

/// Whether a node's kernel leads connections of a Service's address anywhere.
fn is_forwarded(bed: &Bed, node: usize, service: &str) -> Result<bool> {
    let address = bed.cluster_ip(service)?;
    let map = bed.nft(node, &["list", "map", "ip", "reeve-proxy", "services"])?;
    Ok(map.contains(&format!("{address} . tcp . 80 ")))
}

#[test]
fn service_owners_other_proxies_keep_what_is_labelled_as_theirs() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("owned")?;
    bed.from_node(1, &["get", &deployed.cluster_url()?, "--retry", "10"])?;
    for label in ["service.kubernetes.io/service-proxy-name=other", "service.kubernetes.io/headless="] {
        let (key, _) = label.split_once('=').context("a label")?;
        for (change, wanted) in [(label, false), (&*format!("{key}-"), true)] {
            bed.rctl(&["label", "service", "owned", change])?;
            for node in 1..=3 {
                let what = format!("node {node} forwards {label}: {wanted}");
                let forwards = || is_forwarded(&bed, node, "owned");
                ask_until(&what, forwards, |found| matches!(found, Ok(found) if *found == wanted))??;
            }
        }
    }
    bed.from_node(1, &["get", &deployed.cluster_url()?, "--retry", "10"])?;
    Ok(())
}

#[test]
fn service_owners_removed_rules_come_back_and_those_of_others_stay() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("flushed")?;
    let (url, node_port) = (deployed.cluster_url()?, deployed.node_port_url(2)?);
    bed.from_node(2, &["get", &url, "--retry", "10"])?;
    // What the start of many a firewall does; then it writes its own.
    bed.nft(2, &["flush", "ruleset"])?;
    bed.nft(2, &["add", "table", "inet", "firewall"])?;
    // Until they are back, somebody beyond the default route may answer in the Service's place.
    let rules = || bed.nft(2, &["list", "table", "ip", "reeve-proxy"]);
    let address = bed.cluster_ip(&deployed.name)?.to_string();
    ask_until("the rules are back", rules, |rules| rules.as_ref().is_ok_and(|text| text.contains(&address)))??;
    bed.from_node(2, &["get", &url, "--retry", "10"])?;
    bed.from_host(&["get", &node_port, "--retry", "10"])?;
    let kept = bed.nft(2, &["list", "tables"])?;
    bed.nft(2, &["delete", "table", "inet", "firewall"])?;
    assert!(kept.contains("table inet firewall"), "{kept}");
    Ok(())
}

#[test]
fn service_owners_endpoints_of_the_api_server_and_of_users_are_there() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let own = bed.testbed.rctl.json(&["get", "endpoints", "kubernetes"])?;
    let slice = bed.testbed.rctl.json(&["get", "endpointslices", "kubernetes"])?;
    assert_eq!(own["subsets"][0]["addresses"][0]["ip"], slice["endpoints"][0]["addresses"][0]);
    assert_eq!(own["subsets"][0]["ports"][0]["port"], slice["ports"][0]["port"]);
    assert_eq!(own["metadata"]["labels"], json!({"endpointslice.kubernetes.io/skip-mirror": "true"}));
    // A user's may come before its Service, and goes with it.
    let _kept = bed.keep_applied(
        "
apiVersion: v1
kind: Endpoints
metadata: {name: early}
subsets: [{addresses: [{ip: 10.0.0.24}], ports: [{port: 80}]}]
",
    )?;
    // By then the controllers have looked at it: they do so in the order of changes.
    let _later = bed.deploy("later")?;
    assert_eq!(name(&bed.testbed.rctl.json(&["get", "endpoints", "early"])?), "early");
    bed.apply("{apiVersion: v1, kind: Service, metadata: {name: early}, spec: {ports: [{port: 80}]}}")?;
    let mirrored = ["endpointslices", "-l", "kubernetes.io/service-name=early"];
    bed.wait_for(&mirrored, "a slice for the new Service", |list| {
        list["items"][0]["endpoints"][0]["addresses"] == json!(["10.0.0.24"])
    })?;
    bed.rctl(&["delete", "service", "early"])?;
    bed.wait_for(&["endpoints"], "the endpoints go with their Service", |list| {
        list["items"].as_array().is_some_and(|items| items.iter().all(|item| name(item) != "early"))
    })?;
    Ok(())
}
