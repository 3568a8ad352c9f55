//! EndpointSlice: addresses that answer for a Service.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use reeve_api::validation::{ErrorList, Path, format};

use super::generation;
use crate::registry::strategy::{RequestContext, Strategy};

const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;

/// The strategy.
pub struct EndpointSlices;

impl Strategy for EndpointSlices {
    type Object = EndpointSlice;

    fn default(&self, slice: &mut EndpointSlice) {
        slice.ports = slice.ports.take().filter(|ports| !ports.is_empty());
        slice.endpoints = slice.endpoints.take().filter(|endpoints| !endpoints.is_empty());
        for port in slice.ports.iter_mut().flatten() {
            port.name.get_or_insert_default();
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
        for endpoint in slice.endpoints.iter_mut().flatten() {
            endpoint.conditions.get_or_insert_default();
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, slice: &mut EndpointSlice) {
        generation::start(&mut slice.metadata);
    }

    fn validate(&self, slice: &EndpointSlice) -> ErrorList {
        let mut errors = ErrorList::new();
        let path_type = Path::new("addressType");
        if slice.address_type.is_empty() {
            errors.required(&path_type, "");
        } else if !ADDRESS_TYPES.contains(&slice.address_type.as_str()) {
            errors.not_supported(&path_type, &slice.address_type, &ADDRESS_TYPES);
        }
        let path = Path::new("endpoints");
        let endpoints = slice.endpoints.as_deref().unwrap_or_default();
        if endpoints.len() > ENDPOINTS_MAX {
            errors.too_many(&path, endpoints.len(), ENDPOINTS_MAX);
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            validate_endpoint(endpoint, &slice.address_type, &path.index(index), &mut errors);
        }
        let path = Path::new("ports");
        let ports = slice.ports.as_deref().unwrap_or_default();
        if ports.len() > PORTS_MAX {
            errors.too_many(&path, ports.len(), PORTS_MAX);
        }
        let mut names = std::collections::BTreeSet::new();
        for (index, port) in ports.iter().enumerate() {
            let path = path.index(index);
            let name = port.name.as_deref().unwrap_or_default();
            if !name.is_empty() {
                errors.invalid_each(&path.child("name"), name, format::dns1123_label(name));
            }
            if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
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
            if let Some(number) = port.port {
                for problem in format::port(i64::from(number)) {
                    errors.invalid(&path.child("port"), number, problem);
                }
            }
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, slice: &mut EndpointSlice, old: &EndpointSlice) {
        let changed = slice.endpoints != old.endpoints
            || slice.ports != old.ports
            || slice.address_type != old.address_type
            || slice.metadata.labels != old.metadata.labels
            || slice.metadata.annotations != old.metadata.annotations;
        generation::follow(&mut slice.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, slice: &EndpointSlice, old: &EndpointSlice) -> ErrorList {
        let mut errors = self.validate(slice);
        if slice.address_type != old.address_type {
            errors.invalid(&Path::new("addressType"), &slice.address_type, "field is immutable");
        }
        errors
    }

    fn warnings(&self, slice: &EndpointSlice, _old: Option<&EndpointSlice>) -> Vec<String> {
        let is_names = slice.address_type == "FQDN";
        is_names.then(|| "spec.addressType: FQDN endpoints are deprecated".to_owned()).into_iter().collect()
    }
}

fn validate_endpoint(endpoint: &Endpoint, address_type: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let path_addresses = path.child("addresses");
    match endpoint.addresses.len() {
        0 => errors.required(&path_addresses, "must contain at least 1 address"),
        count if count > ADDRESSES_MAX => errors.too_many(&path_addresses, count, ADDRESSES_MAX),
        _ => {}
    }
    for address in &endpoint.addresses {
        let path = path_addresses;
        match address_type {
            "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
                errors.invalid(&path, address, "must be an IPv4 address");
            }
            "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
                errors.invalid(&path, address, "must be an IPv6 address");
            }
            "FQDN" => errors.invalid_each(&path, address, format::dns1123_subdomain(address)),
            _ => {}
        }
    }
    if let Some(node) = &endpoint.node_name {
        errors.invalid_each(&path.child("nodeName"), node, format::dns1123_subdomain(node));
    }
    if let Some(hostname) = &endpoint.hostname {
        errors.invalid_each(&path.child("hostname"), hostname, format::dns1123_label(hostname));
    }
}
