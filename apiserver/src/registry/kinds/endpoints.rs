//! Endpoints: the older form of endpoint slices.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, Endpoints};
use reeve_api::validation::{ErrorList, Path, format};

use crate::registry::strategy::Strategy;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// The strategy.
pub struct AllEndpoints;

impl Strategy for AllEndpoints {
    type Object = Endpoints;

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn default(&self, endpoints: &mut Endpoints) {
        for port in endpoints.subsets.iter_mut().flatten().flat_map(|subset| &mut subset.ports).flatten() {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
    }

    fn validate(&self, endpoints: &Endpoints) -> ErrorList {
        let mut errors = ErrorList::new();
        let path_subsets = Path::new("subsets");
        for (index, subset) in endpoints.subsets.iter().flatten().enumerate() {
            let path = path_subsets.index(index);
            let ready = subset.addresses.as_deref().unwrap_or_default();
            let others = subset.not_ready_addresses.as_deref().unwrap_or_default();
            if ready.is_empty() && others.is_empty() {
                errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
            }
            addresses(ready, &path.child("addresses"), &mut errors);
            addresses(others, &path.child("notReadyAddresses"), &mut errors);
            ports(subset.ports.as_deref().unwrap_or_default(), &path.child("ports"), &mut errors);
        }
        errors
    }
}

fn addresses(addresses: &[EndpointAddress], path: &Path<'_>, errors: &mut ErrorList) {
    for (index, address) in addresses.iter().enumerate() {
        let path = path.index(index);
        errors.invalid_each(&path.child("ip"), &address.ip, format::ip(&address.ip));
        if let Some(name) = address.hostname.as_deref().filter(|name| !name.is_empty()) {
            errors.invalid_each(&path.child("hostname"), name, format::dns1123_label(name));
        }
        if let Some(node) = address.node_name.as_deref() {
            errors.invalid_each(&path.child("nodeName"), node, format::dns1123_subdomain(node));
        }
        special_address(&address.ip, &path.child("ip"), errors);
    }
}

/// Addresses that mean this machine or many machines cannot be endpoints.
pub(super) fn special_address(address: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let Ok(parsed) = address.parse::<IpAddr>() else { return };
    let (is_link_local, is_link_local_multicast) = match parsed {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            (first & 0xffc0 == 0xfe80, first == 0xff02)
        }
    };
    for (is_special, why) in [
        (parsed.is_unspecified(), format!("may not be unspecified ({address})")),
        (parsed.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (is_link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (is_link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ] {
        if is_special {
            errors.invalid(path, address, why);
        }
    }
}

fn ports(ports: &[EndpointPort], path: &Path<'_>, errors: &mut ErrorList) {
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            errors.invalid_each(&path.child("name"), name, format::dns1123_label(name));
        } else if ports.len() > 1 {
            errors.required(&path.child("name"), "");
        }
        for problem in format::port(i64::from(port.port)) {
            errors.invalid(&path.child("port"), port.port, problem);
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if protocol.is_empty() {
            errors.required(&path.child("protocol"), "");
        } else if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
        }
        if let Some(protocol) = port.app_protocol.as_deref() {
            errors.invalid_each(&path.child("appProtocol"), protocol, format::qualified_name(protocol));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_elsewhere() {
        let subsets = serde_json::from_value(serde_json::json!([
            {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}, {"name": "b", "port": 0}]},
            {},
        ]));
        let mut endpoints = Endpoints { subsets: subsets.unwrap(), ..Endpoints::default() };
        AllEndpoints.default(&mut endpoints);
        let texts: Vec<String> = AllEndpoints.validate(&endpoints).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                r#"subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)"#,
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[1].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "subsets[1]: Required value: must specify `addresses` or `notReadyAddresses`",
            ]
        );
    }
}
