//! Nodes join with a bootstrap token, and the figures of their kubelets are served to those who may.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{bed, is_serving, name};
use xtask::command;

#[test]
fn identity_nodes_have_joined_with_a_token() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    for node in bed.testbed.nodes()? {
        let kubeconfig = std::fs::read_to_string(node.kubeconfig())?;
        assert!(kubeconfig.contains("kubelet-client-current.pem"), "{kubeconfig}");
        assert!(!kubeconfig.contains("token"), "the bootstrap token does not stay");
    }
    Ok(())
}

#[test]
fn identity_kubelets_tell_figures_to_those_who_may() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("measured")?;
    let pods = deployed.wait_pods("a pod serves", |pods| pods.iter().any(is_serving))?;
    let pod = name(pods.iter().find(|pod| is_serving(pod)).context("a pod")?).to_owned();
    let top = bed.rctl(&["top", "pod", &pod])?;
    assert!(top.contains("CPU(cores)") && top.contains(&pod), "{top}");
    assert!(bed.rctl(&["top", "node"])?.lines().count() > 3);
    let Some(curl) = command::find("curl") else { return Ok(()) };
    let address = bed.testbed.node_addresses()?.first().copied().context("a node")?;
    let ask = |identity: Option<&str>| -> Result<String> {
        let mut curl = Command::new(&curl);
        curl.arg("-s").arg("--cacert").arg(bed.testbed.pki.pair("ca").certificate);
        if let Some(identity) = identity {
            let pair = bed.testbed.pki.pair(identity);
            curl.arg("--cert").arg::<&Path>(&pair.certificate).arg("--key").arg::<&Path>(&pair.key);
        }
        command::run(curl.arg(format!("https://{address}:10250/metrics/resource")))
    };
    assert!(ask(Some("admin"))?.contains("node_cpu_usage_seconds_total"));
    assert!(ask(Some("proxy"))?.contains("Forbidden (user=system:kube-proxy, verb=get, resource=nodes"));
    assert_eq!(ask(None)?, "Unauthorized");
    Ok(())
}
