//! Host ports: what containers of this node's pods answer on the node's own addresses.
//!
//! They are frontends like node ports, with one endpoint, so they come into the kernel by the same transactions and
//! no program runs for them when a pod starts (the portmap plugin of CNI takes some 25 ms of each start and stop).

use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::core::v1::Pod;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use super::frontend::{Endpoint, Frontend, FrontendKey, Side, Without, protocol};

/// A pod, as far as its host ports need it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HostPortsView {
    metadata: Metadata,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Box<str>,
    namespace: Box<str>,
    resource_version: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_network: bool,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    container_port: u16,
    host_port: u16,
    #[serde(rename = "hostIP")]
    host_ip: Box<str>,
    protocol: Box<str>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: Box<str>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Box<str>>,
}

impl HostPortsView {
    /// Whether it has any.
    pub fn is_used(&self) -> bool {
        let ended = matches!(&*self.status.phase, "Succeeded" | "Failed");
        !self.spec.host_network && !ended && self.status.pod_ip.is_some() && self.ports().next().is_some()
    }

    fn ports(&self) -> impl Iterator<Item = &Port> {
        let containers = self.spec.containers.iter().chain(&self.spec.init_containers);
        containers.flat_map(|container| &container.ports).filter(|port| port.host_port != 0)
    }
}

impl View for HostPortsView {
    type Kind = Pod;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.resourceVersion",
        "spec.hostNetwork",
        "spec.containers.ports",
        "spec.initContainers.ports",
        "status.phase",
        "status.podIP",
    ];

    fn key(&self) -> ObjectKey {
        ObjectKey::new(&*self.metadata.namespace, &*self.metadata.name)
    }

    fn revision(&self) -> i64 {
        self.metadata.resource_version.parse().unwrap_or(0)
    }
}

/// What the owner's name of a pod's frontends begins with. No Service's name holds a slash.
const OWNER: &str = "pod/";

/// Under what a pod's frontends are known among those of Services.
pub fn owner(pod: &ObjectKey) -> ObjectKey {
    ObjectKey::new(&*pod.namespace, format!("{OWNER}{}", pod.name).as_str())
}

/// The pod whose frontends an owner's key names, if it names a pod's.
pub fn pod(owner: &ObjectKey) -> Option<ObjectKey> {
    owner.name.strip_prefix(OWNER).map(|name| ObjectKey::new(&*owner.namespace, name))
}

/// The frontends of a pod. Its clients keep their addresses, but those on the node and its pods, whose answers would
/// not come back this way.
pub fn frontends(view: &HostPortsView) -> Vec<Frontend> {
    let address: Option<Ipv4Addr> = view.status.pod_ip.as_deref().and_then(|address| address.parse().ok());
    let Some(address) = address.filter(|_| view.is_used()) else { return Vec::new() };
    let mut found = Vec::new();
    for port in view.ports() {
        let Some(of) = protocol(&port.protocol) else { continue };
        let keys = match port.host_ip.parse::<Ipv4Addr>() {
            Ok(given) if !given.is_unspecified() => vec![FrontendKey::Address(given, of, port.host_port)],
            Err(_) if !port.host_ip.is_empty() => continue,
            _ => vec![
                FrontendKey::NodePort(of, port.host_port),
                FrontendKey::Address(Ipv4Addr::LOCALHOST, of, port.host_port),
            ],
        };
        let endpoint = Endpoint { address: SocketAddrV4::new(address, port.container_port), local: true };
        found.extend(keys.into_iter().map(|key| Frontend {
            key,
            side: Side::External,
            endpoints: vec![endpoint],
            outside: Some(vec![endpoint]),
            without: Without::Reject,
            affinity: None,
            allowed: Vec::new(),
            exclusive: false,
            comment: format!("{}/{}:{}", view.metadata.namespace, view.metadata.name, port.host_port).into(),
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(extra: &str, phase: &str) -> HostPortsView {
        let text = format!(
            r#"{{"metadata":{{"name":"p","namespace":"shop"}},"spec":{{{extra}"containers":[{{"ports":[
                {{"containerPort":8080,"hostPort":80}},{{"containerPort":53,"hostPort":53,"hostIP":"127.0.0.1","protocol":"UDP"}},
                {{"containerPort":9}}]}}]}},"status":{{"phase":"{phase}","podIP":"10.244.1.5"}}}}"#
        );
        serde_json::from_str(&text).expect("a pod")
    }

    #[test]
    fn a_port_answers_on_all_addresses_or_on_the_given_one_while_the_pod_runs() {
        let keys: Vec<String> = frontends(&view("", "Running")).iter().map(|f| f.key.to_string()).collect();
        assert_eq!(keys, ["node port 80/tcp", "127.0.0.1:80/tcp", "127.0.0.1:53/udp"]);
        assert!(frontends(&view("", "Succeeded")).is_empty());
        assert!(frontends(&view(r#""hostNetwork":true,"#, "Running")).is_empty());
        let key = ObjectKey::new("shop", "p");
        assert_eq!(pod(&owner(&key)), Some(key.clone()));
        assert_eq!(pod(&key), None);
    }
}
