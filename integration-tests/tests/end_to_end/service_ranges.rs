//! A second range of Services' addresses: it becomes ready, its addresses answer and are listed, it stays as long as
//! they are used, and packets to addresses that no Service has do not leave their node.

use anyhow::{Context as _, Result, ensure};
use reeve_integration_tests::{
    bed::{Bed, bed},
    kubectl::{Kubectl, TIMEOUT, contains},
    wait::ask_until,
};
use serde_json::Value;

const RANGE: &str = "
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: extra}
spec: {cidrs: [10.97.41.0/24]}
";

/// The Service's address.
const ADDRESS: &str = "10.97.41.9";

/// One of the range that no Service has.
const NOBODYS: &str = "10.97.41.200";

fn service(name: &str, address: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: {address}, selector: {{app: ranged}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
"
    )
}

/// How many packets to an address have left a node.
struct Left<'a> {
    bed: &'a Bed,
    node: usize,
}

impl<'a> Left<'a> {
    const TABLE: &'static str = "reeve-test-ranges";

    fn count(bed: &'a Bed, node: usize, address: &str) -> Result<Self> {
        let this = Self { bed, node };
        let chain = "{ type filter hook postrouting priority 300; }";
        let rule = format!("ip daddr {address} counter");
        for command in [format!("add table ip {0}", Self::TABLE), format!("add chain ip {0} out {chain}", Self::TABLE)]
        {
            bed.nft(node, &[&command])?;
        }
        bed.nft(node, &[&format!("add rule ip {} out {rule}", Self::TABLE)])?;
        Ok(this)
    }

    fn packets(&self) -> Result<u64> {
        let listed = self.bed.nft(self.node, &["list", "table", "ip", Self::TABLE])?;
        let number = listed.split_once("packets ").and_then(|(_, rest)| rest.split_once(' ')).context("a counter")?;
        Ok(number.0.parse()?)
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.bed.nft(self.node, &["delete", "table", "ip", Self::TABLE]) {
            eprintln!("cannot remove the counter of node {}: {error:#}", self.node);
        }
    }
}

/// The condition `Ready` of the range.
fn ready(kubectl: &Kubectl) -> Result<Value> {
    let range = kubectl.json(&["get", "servicecidr", "extra"])?;
    let conditions = range["status"]["conditions"].as_array().cloned().unwrap_or_default();
    Ok(conditions.into_iter().find(|condition| condition["type"] == "Ready").unwrap_or(Value::Null))
}

#[test]
fn service_ranges_come_are_used_and_go() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let kubectl = Kubectl::new(&bed, "ranges")?;
    let _deployed = bed.deploy("ranged")?;
    let outside = Left::count(&bed, 1, NOBODYS)?;
    let dial = |address: &str| bed.from_node(1, &["get", &format!("http://{address}/"), "--timeout", "1"]);
    // Nobody's address of no range is the network's business: the counter counts.
    assert!(dial(NOBODYS).is_err());
    let before = outside.packets()?;
    ensure!(before > 0, "packets to an address outside of all ranges leave the node");

    kubectl.feed(&["create", "-f", "-"], RANGE)?;
    kubectl.run(&["wait", "--for=condition=Ready", "servicecidr/extra", TIMEOUT])?;
    assert_eq!(ready(&kubectl)?["message"], "Kubernetes Service CIDR is ready");
    let has_range =
        || Ok(bed.nft(1, &["list", "set", "ip", "reeve-proxy", "service-ranges"])?.contains("10.97.41.0/24"));
    ask_until("the node's rules have the range", has_range, |found: &Result<bool>| matches!(found, Ok(true)))??;
    let before = outside.packets()?;
    assert!(dial(NOBODYS).is_err());
    assert_eq!(outside.packets()?, before, "of a range, they do not");

    let ranged = bed.keep_applied(&service("ranged-too", ADDRESS))?;
    let url = format!("http://{ADDRESS}/");
    for node in 1..=3 {
        let answer = bed.from_node(node, &["get", &url, "--retry", "20"])?;
        assert!(answer.starts_with("ranged-"), "from node {node}: {answer}");
    }
    let refused = dial(&format!("{ADDRESS}:81"));
    assert!(refused.is_err_and(|error| format!("{error:#}").contains("refused")), "a port that the Service has not");
    contains(&kubectl.run(&["get", "ipaddress", ADDRESS])?, &["PARENTREF", "services/default/ranged-too"])?;
    contains(&kubectl.run(&["get", "ipaddresses"])?, &["services/default/kubernetes", ADDRESS])?;

    // An address that somebody deletes by hand comes again: the Service has it.
    let uid = kubectl.json(&["get", "ipaddress", ADDRESS])?["metadata"]["uid"].clone();
    kubectl.run(&["delete", "ipaddress", ADDRESS])?;
    let is_new = |found: &Result<Value>| found.as_ref().is_ok_and(|one| one["metadata"]["uid"] != uid);
    ask_until("the address is there again", || kubectl.json(&["get", "ipaddress", ADDRESS]), is_new)??;

    kubectl.run(&["delete", "servicecidr", "extra", "--wait=false"])?;
    let is_held = |found: &Result<Value>| found.as_ref().is_ok_and(|ready| ready["reason"] == "Terminating");
    let held = ask_until("the range waits for its addresses", || ready(&kubectl), is_held)??;
    assert_eq!(held["status"], "False");
    contains(
        held["message"].as_str().unwrap_or_default(),
        &["There are still IPAddresses referencing the ServiceCIDR"],
    )?;
    let more = kubectl.feed(&["create", "-f", "-"], &service("late", "10.97.41.10"));
    assert!(more.is_err_and(|error| format!("{error:#}").contains("does not match the current range")));
    assert!(bed.from_node(2, &["get", &url])?.starts_with("ranged-"), "what is there goes on");

    drop(ranged);
    kubectl.run(&["wait", "--for=delete", "servicecidr/extra", TIMEOUT])?;
    let gone = kubectl.ends_with(1, &["get", "ipaddress", ADDRESS])?;
    contains(&gone, &["not found"])
}
