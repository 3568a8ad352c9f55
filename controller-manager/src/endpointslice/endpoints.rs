//! The endpoint that a pod is for a Service.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::view::{PodView, ServicePortView, ServiceView};

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 32 bits.
    V4,
    /// 128 bits.
    V6,
}

impl Family {
    /// The word in `addressType` and `ipFamilies`.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The families that a Service has slices for: none for a mere name.
    pub fn of(service: &ServiceView) -> Vec<Family> {
        if service.spec.type_.as_deref() == Some("ExternalName") {
            return vec![];
        }
        let known = |name: &str| [Family::V4, Family::V6].into_iter().find(|family| family.as_str() == name);
        let families: Vec<Family> = service.spec.ip_families.iter().filter_map(|name| known(name)).collect();
        if !families.is_empty() {
            return families;
        }
        let v6 = service.spec.cluster_ip.as_deref().is_some_and(|ip| ip.contains(':'));
        vec![if v6 { Family::V6 } else { Family::V4 }]
    }

    /// Whether an address is of the family.
    pub fn has(self, address: &str) -> bool {
        address.contains(':') == (self == Family::V6)
    }
}

/// The endpoint, or `None` when the pod has no address of the family or has ended.
pub fn endpoint(
    service: &ServiceView,
    pod: &PodView,
    family: Family,
    zone_of: &dyn Fn(&str) -> Option<String>,
) -> Option<Endpoint> {
    if pod.has_ended() {
        return None;
    }
    let address = pod.addresses.iter().find(|address| family.has(address))?;
    let serving = pod.readiness.ready;
    let terminating = pod.metadata.is_deleting();
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let in_domain = pod.subdomain.as_ref().is_some_and(|subdomain| **subdomain == *service.metadata.name);
    let zone = zone_of(&pod.node);
    Some(Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: pod.hostname.as_ref().filter(|_| in_domain).map(ToString::to_string),
        node_name: Some(pod.node.to_string()).filter(|node| !node.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.metadata.namespace.to_string()),
            name: Some(pod.metadata.name.to_string()),
            uid: Some(pod.metadata.uid.to_string()),
            ..ObjectReference::default()
        }),
        hints: hints(service.spec.traffic_distribution.as_deref(), ready, &pod.node, zone.as_deref()),
        zone,
        ..Endpoint::default()
    })
}

/// Who should use an endpoint, as the Service's `trafficDistribution` prefers: those of its zone, or of its node.
fn hints(distribution: Option<&str>, ready: bool, node: &str, zone: Option<&str>) -> Option<EndpointHints> {
    let near_node = distribution == Some("PreferSameNode");
    let near_zone = near_node || matches!(distribution, Some("PreferClose" | "PreferSameZone"));
    if !ready || !near_zone {
        return None;
    }
    let for_zones = zone.map(|zone| vec![ForZone { name: zone.to_owned() }]);
    let for_nodes = (near_node && !node.is_empty()).then(|| vec![ForNode { name: node.to_owned() }]);
    (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints { for_zones, for_nodes })
}

/// What the Service's ports are on a pod. A named target port that the pod does not have is left out.
pub fn ports(service: &ServiceView, pod: &PodView) -> Vec<EndpointPort> {
    let resolve = |port: &ServicePortView| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let number = match &port.target_port {
            None | Some(IntOrString::Int(0)) => port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(name)) => {
                pod.ports.iter().find(|named| named.name == *name && named.protocol == protocol)?.port
            }
        };
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number),
            protocol: Some(protocol.to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    };
    service.spec.ports.iter().filter_map(resolve).collect()
}
