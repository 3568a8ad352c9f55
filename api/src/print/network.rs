//! Services, what answers for them, and ways to them.

use std::collections::BTreeSet;

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
            let mut addresses = balanced(service);
            addresses.extend(own);
            if addresses.is_empty() { "<pending>".to_owned() } else { addresses.join(",") }
        }
        _ if own.is_empty() => "<none>".to_owned(),
        _ => own.join(","),
    }
}

/// Where a load balancer answers, in order.
fn balanced(object: View<'_>) -> Vec<&str> {
    let points: BTreeSet<&str> = object
        .list("status.loadBalancer.ingress")
        .map(|point| or(point.text("ip"), point.text("hostname")))
        .filter(|address| !address.is_empty())
        .collect();
    points.into_iter().collect()
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

pub(super) fn endpoints(endpoints: View<'_>, now: Timestamp) -> Vec<Value> {
    let mut shown = Vec::new();
    let mut count = 0;
    for subset in endpoints.list("subsets") {
        let ports: Vec<Option<i64>> = match subset.list("ports").count() {
            // A headless Service may have no ports.
            0 => vec![None],
            _ => subset.list("ports").map(|port| Some(port.number("port"))).collect(),
        };
        for port in ports {
            for address in subset.list("addresses").map(|address| address.text("ip")) {
                count += 1;
                if shown.len() < SHOWN {
                    shown.push(match port {
                        None => address.to_owned(),
                        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
                        Some(port) => format!("{address}:{port}"),
                    });
                }
            }
        }
    }
    let mut text = or(&shown.join(","), "<none>").to_owned();
    if count > SHOWN {
        text.push_str(&format!(" + {} more...", count - SHOWN));
    }
    vec![object_name(endpoints), text.into(), age(endpoints, now)]
}

pub(super) fn ingress(ingress: View<'_>, now: Timestamp) -> Vec<Value> {
    let hosts: Vec<String> = ingress
        .list("spec.rules")
        .map(|rule| rule.text("host"))
        .filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect();
    let has_tls = ingress.list("spec.tls").next().is_some();
    vec![
        object_name(ingress),
        or(ingress.text("spec.ingressClassName"), "<none>").into(),
        shorten(&hosts, "*").into(),
        balanced(ingress).join(",").into(),
        if has_tls { "80, 443" } else { "80" }.into(),
        age(ingress, now),
    ]
}

pub(super) fn ingress_class(class: View<'_>, now: Timestamp) -> Vec<Value> {
    let parameters = class.at("spec.parameters");
    let text = match (parameters.text("kind"), parameters.text("apiGroup")) {
        ("", _) => "<none>".to_owned(),
        (kind, "") => format!("{kind}/{}", parameters.text("name")),
        (kind, group) => format!("{kind}.{group}/{}", parameters.text("name")),
    };
    vec![object_name(class), class.text("spec.controller").into(), text.into(), age(class, now)]
}

pub(super) fn network_policy(policy: View<'_>, now: Timestamp) -> Vec<Value> {
    let selector = serde_json::from_value(policy.at("spec.podSelector").0.clone())
        .ok()
        .and_then(|selector| LabelSelector::from_object(Some(&selector)).ok());
    let text = selector.map(|selector| selector.to_string()).unwrap_or_default();
    vec![object_name(policy), or(&text, "<none>").into(), age(policy, now)]
}

pub(super) fn address(address: View<'_>, _now: Timestamp) -> Vec<Value> {
    let parent = address.at("spec.parentRef");
    if parent.0.is_null() {
        return vec![object_name(address), "<none>".into()];
    }
    let resource = match parent.text("group") {
        "" => parent.text("resource").to_lowercase(),
        group => format!("{}.{group}", parent.text("resource")).to_lowercase(),
    };
    let parts = [resource.as_str(), parent.text("namespace"), parent.text("name")];
    let text: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    vec![object_name(address), text.join("/").into()]
}

pub(super) fn service_range(range: View<'_>, now: Timestamp) -> Vec<Value> {
    let ranges: Vec<&str> = range.texts("spec.cidrs").collect();
    vec![object_name(range), ranges.join(",").into(), age(range, now)]
}
