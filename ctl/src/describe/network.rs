//! Ingresses and network policies.

use serde_json::Value;

use super::service::endpoints_of;
use super::writer::Writer;
use super::{Subject, plain_or};
use crate::merge::LAST_APPLIED;
use crate::value::{at, items, name, namespace, plain, text};
use crate::verbs::common::selector_text;

/// Describes an ingress; the services and endpoint slices of its namespace are related.
pub fn ingress(writer: &mut Writer, subject: &Subject) {
    let ingress = &subject.object;
    writer.field(0, "Name", name(ingress));
    writer.map(0, "Labels", ingress, "metadata.labels", "=", &[]);
    writer.field(0, "Namespace", namespace(ingress));
    let addresses: Vec<String> = items(ingress, "status.loadBalancer.ingress")
        .iter()
        .map(|one| [text(one, "ip"), text(one, "hostname")].concat())
        .collect();
    writer.field(0, "Address", &addresses.join(","));
    writer.field(0, "Ingress Class", &plain_or(ingress, "spec.ingressClassName", "<none>"));
    let default = at(ingress, "spec.defaultBackend").map(|backend| described(backend, &subject.related));
    writer.field(0, "Default backend", default.as_deref().unwrap_or("<default>"));
    let tls = items(ingress, "spec.tls");
    if !tls.is_empty() {
        writer.line(0, "TLS:");
        for one in tls {
            let hosts: Vec<String> = items(one, "hosts").iter().map(plain).collect();
            match text(one, "secretName") {
                "" => writer.line(1, &format!("SNI routes {}", hosts.join(","))),
                secret => writer.line(1, &format!("{secret} terminates {}", hosts.join(","))),
            }
        }
    }
    writer.line(0, "Rules:");
    writer.line(1, "Host\tPath\tBackends");
    writer.line(1, "----\t----\t--------");
    let rules = items(ingress, "spec.rules");
    for rule in rules {
        writer.line(1, &format!("{}\t", plain_or(rule, "host", "*")));
        for path in items(rule, "http.paths") {
            let backend = at(path, "backend").map(|backend| described(backend, &subject.related)).unwrap_or_default();
            writer.line(1, &format!("\t{} \t{backend}", text(path, "path")));
        }
    }
    if rules.is_empty() {
        writer.line(1, &format!("*\t*\t{}", default.as_deref().unwrap_or("<default>")));
    }
    writer.map(0, "Annotations", ingress, "metadata.annotations", ": ", &[LAST_APPLIED]);
}

/// `web:80 (10.0.0.1:8080)`, or what is wrong with the service.
fn described(backend: &Value, related: &[Value]) -> String {
    let Some(service_ref) = at(backend, "service") else {
        let (kind, name) = (text(backend, "resource.kind"), text(backend, "resource.name"));
        return format!("APIGroup: {}, Kind: {kind}, Name: {name}", text(backend, "resource.apiGroup"));
    };
    let service_name = text(service_ref, "name");
    let port = match text(service_ref, "port.name") {
        "" => plain_or(service_ref, "port.number", ""),
        name => name.to_owned(),
    };
    let service = related.iter().find(|one| text(one, "kind") == "Service" && name(one) == service_name);
    let Some(service) = service else {
        return format!("{service_name}:{port} (<error: services {service_name:?} not found>)");
    };
    let known =
        items(service, "spec.ports").iter().find(|one| text(one, "name") == port || plain_or(one, "port", "") == port);
    let slices: Vec<Value> = related
        .iter()
        .filter(|one| text(one, "kind") == "EndpointSlice")
        .filter(|one| {
            crate::value::entries(one, "metadata.labels")
                .iter()
                .any(|(key, value)| *key == "kubernetes.io/service-name" && *value == service_name)
        })
        .cloned()
        .collect();
    let found = known.map(|port| endpoints_of(&slices, text(port, "name"))).unwrap_or_default();
    format!("{service_name}:{port} ({found})")
}

/// Describes a network policy.
pub fn policy(writer: &mut Writer, policy: &Value) {
    writer.field(0, "Name", name(policy));
    writer.field(0, "Namespace", namespace(policy));
    let created = text(policy, "metadata.creationTimestamp").replace('T', " ").replace('Z', " +0000 UTC");
    writer.field(0, "Created on", &created);
    writer.map(0, "Labels", policy, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", policy, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.line(0, "Spec:");
    let selector = at(policy, "spec.podSelector").map(selector_text).unwrap_or_default();
    let all = "<none> (Allowing the specific traffic to all pods in this namespace)";
    let chosen = if matches!(selector.as_str(), "" | "<none>") { all } else { &selector };
    writer.line(1, &format!("PodSelector:     {chosen}"));
    let types: Vec<String> = items(policy, "spec.policyTypes").iter().map(plain).collect();
    for (kind, key, peers, side) in
        [("Ingress", "ingress", "From", "source"), ("Egress", "egress", "To", "destination")]
    {
        let lower = kind.to_lowercase();
        if !types.iter().any(|one| one == kind) {
            writer.line(1, &format!("Not affecting {lower} traffic"));
            continue;
        }
        writer.line(1, &format!("Allowing {lower} traffic:"));
        let rules = items(policy, &format!("spec.{key}"));
        if rules.is_empty() {
            writer.line(2, &format!("<none> (Selected pods are isolated for {lower} connectivity)"));
        }
        for (index, rule) in rules.iter().enumerate() {
            if index > 0 {
                writer.line(2, "----------");
            }
            traffic(writer, rule, peers, side);
        }
    }
    writer.line(1, &format!("Policy Types: {}", types.join(", ")));
}

fn traffic(writer: &mut Writer, rule: &Value, peers: &str, side: &str) {
    let ports = items(rule, "ports");
    if ports.is_empty() {
        writer.line(2, "To Port: <any> (traffic allowed to all ports)");
    }
    for port in ports {
        let protocol = plain_or(port, "protocol", "TCP");
        writer.line(2, &format!("To Port: {}/{protocol}", plain_or(port, "port", "")));
    }
    let list = items(rule, &peers.to_lowercase());
    if list.is_empty() {
        writer.line(2, &format!("{peers}: <any> (traffic not restricted by {side})"));
    }
    for peer in list {
        writer.line(2, &format!("{peers}:"));
        for (title, key) in [("NamespaceSelector", "namespaceSelector"), ("PodSelector", "podSelector")] {
            if let Some(selector) = at(peer, key) {
                writer.line(3, &format!("{title}: {}", selector_text(selector)));
            }
        }
        if let Some(block) = at(peer, "ipBlock") {
            writer.line(3, "IPBlock:");
            writer.line(4, &format!("CIDR: {}", text(block, "cidr")));
            let except: Vec<String> = items(block, "except").iter().map(plain).collect();
            writer.line(4, &format!("Except: {}", except.join(", ")));
        }
    }
}
