//! Applies the demo and shows that it answers on every way in: by ClusterIP from a node and from a
//! pod, by NodePort on each node from outside of the nodes, by DNS name from a pod.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    cargo::Workspace,
    command,
    instance::Instance,
    node::Node,
    processes::Daemons,
    rctl::{Rctl, is_ready},
};

/// How long a way in may fail. After a crash, the lease of the controller manager that died has to run out before
/// another one tells the proxies where the pods are now: 15 s.
const RETRY_SECONDS: &str = "30";

/// One way in, and the answer that came.
#[derive(Debug)]
pub struct Shown {
    /// From where to where.
    pub way: String,
    /// The answer, one line.
    pub answer: String,
}

/// Applies the demo and waits until its pods are available.
///
/// # Errors
/// The API server refuses it, or its pods do not come up.
pub fn apply(workspace: &Workspace, rctl: &Rctl) -> Result<()> {
    let manifest = workspace.file("deploy/examples/web.yaml");
    rctl.run(&["apply", "-f", &manifest.display().to_string()])?;
    rctl.run(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    Ok(())
}

/// Asks the demo on every way in.
///
/// # Errors
/// A way does not answer: which, and what the client said.
pub fn show(instance: &Instance, demo: &Path, rctl: &Rctl, daemons: &Daemons) -> Result<Vec<Shown>> {
    let cluster_ip = text(&rctl.json(&["get", "service", "web"])?, "/spec/clusterIP")?;
    let node_port = rctl.json(&["get", "service", "web-nodeport"])?["spec"]["ports"][0]["nodePort"]
        .as_u64()
        .context("Service web-nodeport has no node port")?;
    let pods = rctl.json(&["get", "pods", "-l", "app=web"])?;
    let pod = pods["items"]
        .as_array()
        .and_then(|pods| pods.iter().find(|pod| is_ready(pod)))
        .context("no pod of the demo is Ready")?;
    let pod = text(pod, "/metadata/name")?;
    let nodes = instance.nodes()?;
    let (index, _) = nodes.first().context("the testbed has no node")?;
    let node = Node::new(instance, *index);

    let mut shown = Vec::new();
    let mut show = |way: String, answer: Result<String>| -> Result<()> {
        let answer = answer.with_context(|| format!("no answer {way}"))?;
        shown.push(Shown { way, answer: answer.trim().to_owned() });
        Ok(())
    };
    let url = format!("http://{cluster_ip}/");
    let from_node = node.command(daemons, &demo.display().to_string())?;
    show(format!("by ClusterIP {cluster_ip} from {}", node.name), get(&from_node, &url))?;
    let in_pod = |url: &str| rctl.run(&["exec", &pod, "--", "/bin/demo", "get", url, "--retry", RETRY_SECONDS]);
    show(format!("by ClusterIP {cluster_ip} from pod {pod}"), in_pod(&url))?;
    for (index, name) in &nodes {
        let address = instance.node_address(*index);
        let url = format!("http://{address}:{node_port}/");
        show(format!("by NodePort {address}:{node_port} ({name}) from the host"), {
            get(&[demo.display().to_string()], &url)
        })?;
    }
    show(format!("by name web.default from pod {pod}"), in_pod("http://web.default.svc.cluster.local/"))?;
    Ok(shown)
}

fn get(client: &[String], url: &str) -> Result<String> {
    let (program, words) = client.split_first().context("a client")?;
    command::run(command::system(program).args(words).args(["get", url, "--retry", RETRY_SECONDS]))
}

fn text(object: &Value, pointer: &str) -> Result<String> {
    let value = object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    value.map(str::to_owned).with_context(|| format!("{pointer} is missing in {}", object["metadata"]["name"]))
}
