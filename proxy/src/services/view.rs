//! What the proxy reads of Services and EndpointSlices. Only these fields travel and are held.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::{Deserialize, Deserializer};

/// Name, namespace and version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.uid`, for events.
    pub uid: Box<str>,
    resource_version: String,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "kubernetes.io/service-name")]
    service_name: Option<Box<str>>,
    #[serde(rename = "service.kubernetes.io/headless")]
    headless: Option<Box<str>>,
    #[serde(rename = "service.kubernetes.io/service-proxy-name")]
    proxy_name: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    /// [`reeve_api::balancer::ANNOUNCED_BY`]
    #[serde(rename = "proxy.reeve.dev/announced-by")]
    announced_by: Option<Box<str>>,
}

impl Metadata {
    /// The node that announces the load balancer's addresses.
    pub fn announced_by(&self) -> Option<&str> {
        self.annotations.announced_by.as_deref()
    }

    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.as_str(), self.name.as_str())
    }

    pub(super) fn revision(&self) -> i64 {
        self.resource_version.parse().unwrap_or(0)
    }
}

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceView {
    /// Its identity.
    pub metadata: Metadata,
    /// What is read of its spec.
    pub spec: ServiceSpecView,
    /// What is read of its status.
    pub status: ServiceStatusView,
}

impl ServiceView {
    /// Whether it is forwarded by this program, and not by another one or by nobody.
    pub fn is_ours(&self) -> bool {
        self.metadata.labels.headless.is_none() && self.metadata.labels.proxy_name.is_none()
    }
}

/// `Service.spec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpecView {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub type_: String,
    /// An address, `None` for headless, or empty.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    /// The ports.
    #[serde(deserialize_with = "null_as_empty")]
    pub ports: Vec<ServicePortView>,
    /// Addresses of users' own that lead here.
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    /// The target of an `ExternalName`.
    pub external_name: String,
    /// `ClientIP` or `None`.
    pub session_affinity: String,
    session_affinity_config: SessionAffinityConfigView,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: String,
    /// `Cluster` or `Local`.
    pub internal_traffic_policy: String,
    /// Whether DNS names endpoints before they are ready.
    pub publish_not_ready_addresses: bool,
    /// Who may use the load balancer's addresses; empty for everybody.
    #[serde(deserialize_with = "null_as_default")]
    pub load_balancer_source_ranges: Vec<String>,
    /// The port on which load balancers ask whether this node has endpoints; 0 for none.
    pub health_check_node_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SessionAffinityConfigView {
    #[serde(rename = "clientIP")]
    client_ip: ClientIpView,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClientIpView {
    timeout_seconds: Option<u32>,
}

/// The timeout of session affinity where none is given, in seconds (upstream's default: three hours).
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

impl ServiceSpecView {
    /// Seconds for which a client stays with its endpoint, if it does.
    pub fn affinity_seconds(&self) -> Option<u32> {
        (self.session_affinity == "ClientIP")
            .then(|| self.session_affinity_config.client_ip.timeout_seconds.unwrap_or(DEFAULT_AFFINITY_SECONDS))
    }
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePortView {
    /// Its name; empty where a Service has one port.
    pub name: String,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    pub protocol: String,
    /// The port on the Service's addresses.
    pub port: u16,
    /// The port on the nodes' addresses; 0 for none.
    pub node_port: u16,
}

/// `Service.status`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatusView {
    load_balancer: LoadBalancerView,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancerView {
    ingress: Vec<IngressView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct IngressView {
    ip: String,
    ip_mode: String,
}

impl ServiceStatusView {
    /// The load balancer's addresses whose traffic arrives here untranslated.
    pub fn load_balancer_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.load_balancer.ingress.iter().filter(|ingress| ingress.ip_mode != "Proxy").filter_map(|i| i.ip.parse().ok())
    }
}

impl View for ServiceView {
    type Kind = Service;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.labels",
        "metadata.annotations",
        "spec.type",
        "spec.clusterIP",
        "spec.ports",
        "spec.externalIPs",
        "spec.externalName",
        "spec.sessionAffinity",
        "spec.sessionAffinityConfig",
        "spec.externalTrafficPolicy",
        "spec.internalTrafficPolicy",
        "spec.publishNotReadyAddresses",
        "spec.loadBalancerSourceRanges",
        "spec.healthCheckNodePort",
        "status.loadBalancer",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision()
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSliceView {
    metadata: Metadata,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The ports that all endpoints have.
    #[serde(deserialize_with = "null_as_empty")]
    pub ports: Vec<EndpointPortView>,
    /// The endpoints.
    #[serde(deserialize_with = "null_as_empty")]
    pub endpoints: Vec<EndpointView>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointPortView {
    /// The name of the Service's port.
    #[serde(deserialize_with = "null_as_default")]
    pub name: String,
    /// `TCP` (also when empty), `UDP` or `SCTP`.
    #[serde(deserialize_with = "null_as_default")]
    pub protocol: String,
    /// The port; absent means all ports, which no Service can use.
    pub port: Option<u16>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointView {
    /// Its address, of the slice's family; endpoints that are names have none here.
    #[serde(rename = "addresses", deserialize_with = "first_address")]
    pub address: Option<IpAddr>,
    conditions: ConditionsView,
    /// The pod's hostname where it has a name of its own in DNS.
    pub hostname: Option<Box<str>>,
    /// The node on which it runs.
    pub node_name: Option<Box<str>>,
    /// Who should use it; absent for everybody.
    pub hints: Option<Box<HintsView>>,
}

/// Where the clients are that should use an endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HintsView {
    #[serde(deserialize_with = "null_as_default")]
    for_zones: Vec<NamedView>,
    #[serde(deserialize_with = "null_as_default")]
    for_nodes: Vec<NamedView>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NamedView {
    name: Box<str>,
}

impl HintsView {
    /// How many nodes and how many zones it is for.
    pub fn counts(&self) -> (usize, usize) {
        (self.for_nodes.len(), self.for_zones.len())
    }

    /// Whether it is for a node.
    pub fn is_for_node(&self, node: &str) -> bool {
        self.for_nodes.iter().any(|named| &*named.name == node)
    }

    /// Whether it is for a zone.
    pub fn is_for_zone(&self, zone: &str) -> bool {
        self.for_zones.iter().any(|named| &*named.name == zone)
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct ConditionsView {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl EndpointView {
    /// Its address, where it is one that rules can lead to.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        match self.address {
            Some(IpAddr::V4(address)) => Some(address),
            Some(IpAddr::V6(_)) | None => None,
        }
    }

    /// Whether it takes traffic; unknown counts as yes.
    pub fn is_ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }

    /// Whether it is going but still answers: taken when nothing else is there.
    pub fn is_serving_last_requests(&self) -> bool {
        self.conditions.serving.unwrap_or(true) && self.conditions.terminating.unwrap_or(false)
    }

    /// An endpoint of a test.
    #[cfg(test)]
    pub fn for_test(address: Ipv4Addr, ready: bool, serving: bool, terminating: bool) -> EndpointView {
        let conditions = ConditionsView { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) };
        EndpointView { address: Some(address.into()), conditions, hostname: None, node_name: None, hints: None }
    }
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A list without room to grow: it never does, and there are many.
fn null_as_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let mut list: Vec<T> = null_as_default(deserializer)?;
    list.shrink_to_fit();
    Ok(list)
}

/// All addresses of an endpoint are interchangeable (discovery/v1), so one is kept.
fn first_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let addresses: Vec<String> = Vec::deserialize(deserializer)?;
    Ok(addresses.first().and_then(|address| address.parse().ok()))
}

impl EndpointSliceView {
    /// The Service that the slice belongs to.
    pub fn service(&self) -> Option<ObjectKey> {
        let name = self.metadata.labels.service_name.as_deref().filter(|name| !name.is_empty())?;
        Some(ObjectKey::new(self.metadata.namespace.as_str(), name))
    }

    /// Whether any of its endpoints is about to end.
    pub fn has_terminating(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.conditions.terminating.unwrap_or(false))
    }

    /// The values under which slices are found by Service.
    pub fn index_by_service(&self) -> Vec<String> {
        self.service().map(|key| key.to_string()).into_iter().collect()
    }

    /// A slice of a test.
    #[cfg(test)]
    pub fn for_test(service: &ObjectKey, name: &str) -> EndpointSliceView {
        EndpointSliceView {
            metadata: Metadata {
                name: name.into(),
                namespace: service.namespace.to_string(),
                labels: Labels { service_name: Some(service.name.to_string().into()), ..Labels::default() },
                ..Metadata::default()
            },
            address_type: "IPv4".into(),
            ..EndpointSliceView::default()
        }
    }
}

impl View for EndpointSliceView {
    type Kind = EndpointSlice;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.resourceVersion",
        "metadata.labels",
        "addressType",
        "ports",
        "endpoints",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_read_with_and_without_its_optional_fields() {
        let slice: EndpointSliceView = serde_json::from_str(
            r#"{"metadata":{"name":"web-x","namespace":"shop","resourceVersion":"7","labels":{"kubernetes.io/service-name":"web"}},
                "addressType":"IPv4","ports":[{"name":null,"port":8080,"protocol":"TCP"}],
                "endpoints":[{"addresses":["10.244.0.5"],"conditions":{"ready":false},"nodeName":"n1"},{"addresses":["10.244.0.6"]}]}"#,
        )
        .expect("the API's own form");
        assert_eq!(slice.key(), ObjectKey::new("shop", "web-x"));
        assert_eq!(slice.revision(), 7);
        assert_eq!(slice.service(), Some(ObjectKey::new("shop", "web")));
        let ready: Vec<bool> = slice.endpoints.iter().map(EndpointView::is_ready).collect();
        assert_eq!(ready, [false, true]);
        // The API writes empty lists of slices as null.
        let empty: EndpointSliceView =
            serde_json::from_str(r#"{"metadata":{"name":"web-x"},"addressType":"IPv4","ports":null,"endpoints":null}"#)
                .expect("the API's own form");
        assert!(empty.endpoints.is_empty() && empty.ports.is_empty());
    }

    #[test]
    fn affinity_has_upstreams_default_timeout() {
        let spec: ServiceSpecView = serde_json::from_str(r#"{"sessionAffinity":"ClientIP"}"#).expect("valid");
        assert_eq!(spec.affinity_seconds(), Some(10_800));
        let spec: ServiceSpecView = serde_json::from_str(
            r#"{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":5}}}"#,
        )
        .expect("valid");
        assert_eq!(spec.affinity_seconds(), Some(5));
        assert_eq!(ServiceSpecView::default().affinity_seconds(), None);
    }
}
