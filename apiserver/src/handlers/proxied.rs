//! Where a proxied request goes: the address of a pod, of an endpoint of a service, or of a node.
//!
//! Rules and texts are those of `ResourceLocation` in `k8s.io/kubernetes/pkg/registry/core`.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use reeve_api::{GroupVersionResource, StatusError};
use serde::de::DeserializeOwned;

use super::Handlers;
use super::pods::kubelet_address;
use crate::outbound::{Destination, Through};
use crate::pod_streams::PodLocation;
use crate::registry::kinds::rules::AddressRange;
use crate::request::{Target, User, Verb};
use crate::storage::cache::Version;

const SLICES_PREFIX: &str = "/registry/endpointslices/";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The place that a proxied request goes to.
#[derive(Clone)]
pub struct Place {
    /// `http` or `https`.
    pub https: bool,
    /// The address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether a kubelet answers there, which wants to know who asks.
    pub kubelet: bool,
    /// The node that connects for this server.
    pub through: Option<Through>,
}

/// An endpoint of a service.
pub struct EndpointPlace {
    host: String,
    port: u16,
    through: Option<Through>,
}

impl EndpointPlace {
    /// As where a request goes, to a server with this name.
    pub fn destination(self, tls: Option<Arc<rustls::ClientConfig>>, server_name: String) -> Destination {
        let EndpointPlace { host, port, through } = self;
        Destination { host, port, tls, server_name: Some(server_name), through }
    }
}

/// Whether an address is one of a node's pods: those of its own network are everybody's.
fn is_of_pods(node: &Node, address: &str) -> bool {
    let spec = node.spec.as_ref();
    let ranges = spec.into_iter().flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr));
    address.parse().is_ok_and(|address| ranges.filter_map(|range| AddressRange::parse(range)).any(|it| it.has(address)))
}

/// `[scheme:]name[:port]`.
fn split(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts[..] {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme @ ("" | "http" | "https"), name, port] => (scheme, name, port),
        _ => return None,
    };
    (!name.is_empty()).then_some((scheme, name, port))
}

/// Users must not reach what only this host can.
fn proxyable(address: &str) -> Result<(), StatusError> {
    let refused = || StatusError::bad_request("address not allowed");
    let address: IpAddr = address.parse().map_err(|_| refused())?;
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || local {
        return Err(refused());
    }
    Ok(())
}

fn port_number(port: &str, default: u16) -> Result<u16, StatusError> {
    if port.is_empty() {
        return Ok(default);
    }
    port.parse().map_err(|_| StatusError::bad_request(format!("invalid port {port:?}")))
}

impl Handlers {
    /// Finds the place, after authorization. `prefix`es are those of the store.
    ///
    /// # Errors
    /// When the user may not, when there is no such object, and when it has no address that may be used.
    pub async fn locate_proxied(&self, user: &User, verb: Verb, target: &Target) -> Result<Place, StatusError> {
        self.row(user, verb, target)?;
        let id = target.name.as_str();
        let what = target.resource.resource.trim_end_matches('s');
        let parts = split(id).ok_or_else(|| StatusError::bad_request(format!("invalid {what} request {id:?}")))?;
        match target.resource.resource.as_str() {
            "pods" => self.locate_in_pod(target, parts).await,
            "services" => self.locate_endpoint(target, parts).await,
            _ => self.locate_node(parts).await,
        }
    }

    async fn read<T: DeserializeOwned>(&self, prefix: &str, namespace: &str, name: &str) -> Result<T, StatusError> {
        let resource = self.stored(prefix);
        let entry = resource.get(namespace, name, Version::Consistent).await?;
        let entry = entry.ok_or_else(|| StatusError::not_found(&resource.config().resource, name))?;
        serde_json::from_slice(entry.object()).map_err(StatusError::internal)
    }

    async fn locate_in_pod(&self, target: &Target, parts: (&str, &str, &str)) -> Result<Place, StatusError> {
        let (scheme, name, port) = parts;
        let pod: Pod = self.read("/registry/pods/", &target.namespace, name).await?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let host = pod.status.and_then(|status| status.pod_ip).unwrap_or_default();
        proxyable(&host)?;
        let ports = pod.spec.into_iter().flat_map(|spec| spec.containers);
        let first = ports.filter_map(|container| container.ports).flatten().next();
        let default = first.and_then(|port| u16::try_from(port.container_port).ok());
        let https = scheme == "https";
        let port = port_number(port, default.unwrap_or(if https { 443 } else { 80 }))?;
        let through = self.through(&host, node.as_deref());
        Ok(Place { https, host, port, kubelet: false, through })
    }

    /// The node to connect from, where an address is one of its pods'.
    fn through(&self, address: &str, node: Option<&str>) -> Option<Through> {
        let kubelets = self.kubelets().filter(|kubelets| kubelets.has_credentials())?;
        let name = node.filter(|name| !name.is_empty())?;
        let node: Node = self.cached.get("/registry/minions/", "", name).filter(|node| is_of_pods(node, address))?;
        let location =
            PodLocation { node: name.to_owned(), kubelet: kubelet_address(&node)?, container: String::new() };
        Some(Through { kubelets, location })
    }

    /// A service as the cache has it.
    pub fn cached_service(&self, namespace: &str, name: &str) -> Option<Service> {
        self.cached.get("/registry/services/specs/", namespace, name)
    }

    /// All objects of a built-in resource as the cache has them.
    pub fn all<T: DeserializeOwned>(&self, prefix: &str) -> Vec<T> {
        self.cached.list(prefix, "")
    }

    /// An endpoint behind a port of a service, as the server itself reaches it: by what is cached.
    ///
    /// # Errors
    /// When there is no such service or port, and when nobody is behind it.
    pub fn service_endpoint(&self, namespace: &str, name: &str, port: i32) -> Result<EndpointPlace, StatusError> {
        let service = self.cached_service(namespace, name);
        let service = service.ok_or_else(|| StatusError::not_found(&GroupVersionResource::of::<Service>(), name))?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let named = ports
            .iter()
            .find(|known| known.port == port)
            .ok_or_else(|| StatusError::unavailable(format!("no service port {port} found for service {name:?}"), 1))?;
        self.endpoint(namespace, name, named.name.as_deref().unwrap_or_default())
    }

    /// One of the endpoints that are ready, by chance.
    fn endpoint(&self, namespace: &str, name: &str, port_name: &str) -> Result<EndpointPlace, StatusError> {
        let slices: Vec<EndpointSlice> = self.cached.list(SLICES_PREFIX, namespace);
        let mut places = Vec::new();
        for slice in slices {
            let labels = slice.metadata.labels.unwrap_or_default();
            if labels.get(SERVICE_LABEL).is_none_or(|service| service != name) {
                continue;
            }
            let own = slice.ports.iter().flatten();
            let mut own = own.filter(|own| own.name.as_deref().unwrap_or_default() == port_name);
            let Some(port) = own.next().and_then(|own| u16::try_from(own.port?).ok()) else { continue };
            for endpoint in slice.endpoints.into_iter().flatten() {
                if endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false) {
                    let node = endpoint.node_name;
                    places.extend(endpoint.addresses.into_iter().map(|address| (address, port, node.clone())));
                }
            }
        }
        if places.is_empty() {
            return Err(StatusError::unavailable(format!("no endpoints available for service {name:?}"), 1));
        }
        let (host, port, node) = places.swap_remove(rand::random_range(0..places.len()));
        let through = self.through(&host, node.as_deref());
        Ok(EndpointPlace { host, port, through })
    }

    async fn locate_endpoint(&self, target: &Target, parts: (&str, &str, &str)) -> Result<Place, StatusError> {
        let (scheme, name, port) = parts;
        let service: Service = self.read("/registry/services/specs/", &target.namespace, name).await?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let mut port_name = port.to_owned();
        if let Ok(number) = port.parse::<i32>() {
            let named = ports.iter().find(|known| known.port == number).ok_or_else(|| {
                StatusError::unavailable(format!("no service port {number} found for service {name:?}"), 1)
            })?;
            port_name = named.name.clone().unwrap_or_default();
        }
        let EndpointPlace { host, port, through } = self.endpoint(&target.namespace, name, &port_name)?;
        proxyable(&host)?;
        Ok(Place { https: scheme == "https", host, port, kubelet: false, through })
    }

    async fn locate_node(&self, parts: (&str, &str, &str)) -> Result<Place, StatusError> {
        let (scheme, name, port) = parts;
        let node: Node = self.read("/registry/minions/", "", name).await?;
        let address =
            kubelet_address(&node).ok_or_else(|| StatusError::not_found(&GroupVersionResource::of::<Node>(), name))?;
        let (host, own_port) = address.rsplit_once(':').unwrap_or((&address, "10250"));
        let host = host.trim_matches(['[', ']']).to_owned();
        let own_port = port_number(own_port, 10250)?;
        if port.is_empty() || port == own_port.to_string() {
            return Ok(Place { https: true, host, port: own_port, kubelet: true, through: None });
        }
        proxyable(&host)?;
        let port = port_number(port, own_port)?;
        Ok(Place { https: scheme == "https", port, host, kubelet: false, through: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_a_scheme_and_a_port() {
        assert_eq!(split("a"), Some(("", "a", "")));
        assert_eq!(split("a:80"), Some(("", "a", "80")));
        assert_eq!(split("https:a:"), Some(("https", "a", "")));
        assert_eq!(split(":a:web"), Some(("", "a", "web")));
        assert_eq!(split("ftp:a:1"), None);
        assert_eq!(split(":80"), None);
    }

    #[test]
    fn only_addresses_of_its_pods_are_reached_through_a_node() {
        let node = serde_json::json!({
            "metadata": {"name": "n"},
            "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]},
        });
        let node: Node = serde_json::from_value(node).unwrap();
        for of_pods in ["10.244.1.7", "fd00:1::7"] {
            assert!(is_of_pods(&node, of_pods), "{of_pods}");
        }
        for other in ["10.244.2.7", "192.168.0.1", "fd00:2::7", "localhost", ""] {
            assert!(!is_of_pods(&node, other), "{other}");
        }
    }

    #[test]
    fn addresses_of_this_host_and_of_nobody_are_refused() {
        for bad in ["", "127.0.0.1", "0.0.0.0", "169.254.0.1", "224.0.0.1", "::1", "fe80::1", "a.example"] {
            assert!(proxyable(bad).is_err(), "{bad}");
        }
        for good in ["10.244.0.3", "192.168.1.1", "fd00::1"] {
            assert!(proxyable(good).is_ok(), "{good}");
        }
    }
}
