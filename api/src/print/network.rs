//! Services and EndpointSlices.

use jiff::Timestamp;
use serde_json::Value;

use super::view::{View, age, object_name, or};
use crate::selector::LabelSelector;

/// Ports and addresses beyond this many are only counted.
const SHOWN: usize = 3;

pub(super) fn service(service: View<'_>, now: Timestamp) -> Vec<Value> {
    let first = service.texts("spec.clusterIPs").next().unwrap_or_default();
    let address = or(first, service.text("spec.clusterIP"));
    let selector = LabelSelector::from_map(&service.map("spec.selector")).to_string();
    vec![
        object_name(service),
        service.text("spec.type").into(),
        or(address, "<none>").into(),
        external_address(service).into(),
        ports(service).into(),
        age(service, now),
        or(&selector, "<none>").into(),
    ]
}

fn external_address(service: View<'_>) -> String {
    let own: Vec<&str> = service.texts("spec.externalIPs").collect();
    match service.text("spec.type") {
        "ExternalName" => service.text("spec.externalName").to_owned(),
        "LoadBalancer" => {
            let mut addresses: Vec<&str> = service
                .list("status.loadBalancer.ingress")
                .map(|ingress| or(ingress.text("ip"), ingress.text("hostname")))
                .filter(|address| !address.is_empty())
                .collect();
            addresses.extend(own);
            if addresses.is_empty() { "<pending>".to_owned() } else { addresses.join(",") }
        }
        _ if own.is_empty() => "<none>".to_owned(),
        _ => own.join(","),
    }
}

fn ports(service: View<'_>) -> String {
    let ports: Vec<String> = service
        .list("spec.ports")
        .map(|port| {
            let (number, protocol) = (port.number("port"), port.text("protocol"));
            match port.number("nodePort") {
                0 => format!("{number}/{protocol}"),
                node_port => format!("{number}:{node_port}/{protocol}"),
            }
        })
        .collect();
    or(&ports.join(","), "<none>").to_owned()
}

pub(super) fn endpoint_slice(slice: View<'_>, now: Timestamp) -> Vec<Value> {
    vec![
        object_name(slice),
        slice.text("addressType").into(),
        slice_ports(slice).into(),
        slice_endpoints(slice).into(),
        age(slice, now),
    ]
}

fn slice_ports(slice: View<'_>) -> String {
    let ports: Vec<String> = slice
        .list("ports")
        .map(|port| match port.at("port").0.as_i64() {
            Some(number) => number.to_string(),
            None => or(port.text("name"), "*").to_owned(),
        })
        .collect();
    shorten(&ports, "<unset>")
}

fn slice_endpoints(slice: View<'_>) -> String {
    let addresses: Vec<String> =
        slice.list("endpoints").flat_map(|endpoint| endpoint.texts("addresses")).map(str::to_owned).collect();
    shorten(&addresses, "<unset>")
}

fn shorten(texts: &[String], absent: &str) -> String {
    match texts.len() {
        0 => absent.to_owned(),
        count if count > SHOWN => format!("{} + {} more...", texts[..SHOWN].join(","), count - SHOWN),
        _ => texts.join(","),
    }
}
