//! Services.

use serde_json::Value;

use super::plain_or;
use super::writer::Writer;
use crate::value::{count, entries, flag, items, name, namespace, plain, text};

/// Endpoints that a line lists before it only counts them.
const ENDPOINTS_SHOWN_MAX: usize = 3;

/// Describes a service; `slices` are its endpoint slices.
pub fn describe(writer: &mut Writer, object: &Value, slices: &[Value]) {
    writer.field(0, "Name", name(object));
    writer.field(0, "Namespace", namespace(object));
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[crate::merge::LAST_APPLIED]);
    let selector: Vec<String> =
        entries(object, "spec.selector").into_iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
    let selector = if selector.is_empty() { "<none>".to_owned() } else { selector.join(",") };
    writer.field(0, "Selector", &selector);
    writer.field(0, "Type", text(object, "spec.type"));
    writer.field(0, "IP Family Policy", &plain_or(object, "spec.ipFamilyPolicy", "<none>"));
    let list = |path: &str| items(object, path).iter().map(plain).collect::<Vec<_>>().join(",");
    writer.field(0, "IP Families", &list("spec.ipFamilies"));
    writer.field(0, "IP", text(object, "spec.clusterIP"));
    writer.field(0, "IPs", &list("spec.clusterIPs"));
    writer.optional(0, "External IPs", &list("spec.externalIPs"));
    writer.optional(0, "External Name", text(object, "spec.externalName"));
    writer.optional(0, "LoadBalancer Class", text(object, "spec.loadBalancerClass"));
    let ingress: Vec<String> = items(object, "status.loadBalancer.ingress")
        .iter()
        .map(|ingress| [text(ingress, "ip"), text(ingress, "hostname")].concat())
        .collect();
    writer.optional(0, "LoadBalancer Ingress", &ingress.join(", "));
    for port in items(object, "spec.ports") {
        let port_name = plain_or(port, "name", "<unset>");
        let protocol = plain_or(port, "protocol", "TCP");
        writer.field(0, "Port", &format!("{port_name}\t{}/{protocol}", count(port, "port")));
        writer.field(0, "TargetPort", &format!("{}/{protocol}", plain_or(port, "targetPort", "<unset>")));
        if count(port, "nodePort") > 0 {
            writer.field(0, "NodePort", &format!("{port_name}\t{}/{protocol}", count(port, "nodePort")));
        }
        writer.field(0, "Endpoints", &endpoints_of(slices, text(port, "name")));
    }
    writer.field(0, "Session Affinity", &plain_or(object, "spec.sessionAffinity", "None"));
    writer.optional(0, "External Traffic Policy", text(object, "spec.externalTrafficPolicy"));
    writer.optional(0, "Internal Traffic Policy", text(object, "spec.internalTrafficPolicy"));
    if count(object, "spec.healthCheckNodePort") > 0 {
        writer.field(0, "HealthCheck NodePort", &count(object, "spec.healthCheckNodePort").to_string());
    }
}

/// `10.0.0.1:80,10.0.0.2:80 + 4 more...` of the ready endpoints of a named port.
pub fn endpoints_of(slices: &[Value], port_name: &str) -> String {
    let mut addresses = Vec::new();
    for slice in slices {
        let Some(port) = items(slice, "ports").iter().find(|port| text(port, "name") == port_name) else { continue };
        for endpoint in items(slice, "endpoints") {
            // Ready unless it says otherwise.
            if endpoint.pointer("/conditions/ready").is_none() || flag(endpoint, "conditions.ready") {
                for address in items(endpoint, "addresses") {
                    let address = plain(address);
                    let host = if address.contains(':') { format!("[{address}]") } else { address };
                    addresses.push(format!("{host}:{}", count(port, "port")));
                }
            }
        }
    }
    addresses.sort();
    addresses.dedup();
    match addresses.len() {
        0 => "<none>".to_owned(),
        shown if shown <= ENDPOINTS_SHOWN_MAX => addresses.join(","),
        all => {
            format!("{} + {} more...", addresses[..ENDPOINTS_SHOWN_MAX].join(","), all - ENDPOINTS_SHOWN_MAX)
        }
    }
}
