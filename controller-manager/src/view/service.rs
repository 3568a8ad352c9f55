//! Services, narrow.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::ObjectKey;
use reeve_api::balancer::ANNOUNCED_BY;
use reeve_api::selector::LabelSelector;
use reeve_client::View;
use serde::{Deserialize, Deserializer};

use super::meta::Meta;

/// What the EndpointSlice and ResourceQuota controllers read of a Service.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub struct ServiceView {
    /// The metadata.
    pub metadata: Meta,
    /// The specification.
    pub spec: ServiceSpecView,
    /// What the load balancer answers on.
    pub ingress: Vec<IngressView>,
    /// The node that answers for the load balancer's addresses.
    pub announced_by: Option<Box<str>>,
}

/// The decoded form, of which only the view is kept.
#[derive(Deserialize)]
struct Wire {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpecView,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    load_balancer: LoadBalancer,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<IngressView>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IngressView {
    /// The address; empty where it is known by a name.
    pub ip: Box<str>,
}

impl From<Wire> for ServiceView {
    fn from(service: Wire) -> Self {
        let annotations = service.metadata.annotations.as_ref();
        ServiceView {
            announced_by: annotations.and_then(|all| all.get(ANNOUNCED_BY)).map(|node| node.as_str().into()),
            ingress: service.status.load_balancer.ingress,
            spec: service.spec,
            metadata: service.metadata.into(),
        }
    }
}

/// The specification's part of the view.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpecView {
    /// Which pods serve; absent when someone else keeps the slices.
    #[serde(deserialize_with = "selector")]
    pub selector: Option<LabelSelector>,
    /// The ports.
    pub ports: Vec<ServicePortView>,
    /// `None` for a headless Service.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// `ClusterIP`, `NodePort`, `LoadBalancer`, `ExternalName`.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// `IPv4`, `IPv6`.
    pub ip_families: Vec<String>,
    /// Whether a `LoadBalancer` gets ports of nodes; absent for yes.
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// Who gives the load balancer's address; absent for this cluster's own pool.
    pub load_balancer_class: Option<String>,
    /// The address that the user wants.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<String>,
    /// `Cluster` or `Local`.
    pub external_traffic_policy: Option<String>,
    /// `PreferSameZone` (`PreferClose`) or `PreferSameNode`; absent for no preference.
    pub traffic_distribution: Option<String>,
    /// Whether pods that are not ready are published as well.
    pub publish_not_ready_addresses: bool,
}

fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<LabelSelector>, D::Error> {
    let pairs = Option::<BTreeMap<String, String>>::deserialize(deserializer)?;
    Ok(pairs.as_ref().map(LabelSelector::from_map))
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePortView {
    /// Empty when it is the only one.
    pub name: Option<String>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Option<String>,
    /// The Service's port.
    pub port: i32,
    /// The pods' port, by number or name.
    pub target_port: Option<IntOrString>,
    /// The port of nodes; 0 for none.
    pub node_port: i32,
    /// For instance `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

impl ServiceView {
    /// Whether the Service has no address of its own.
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip.as_deref() == Some("None")
    }
}

impl View for ServiceView {
    type Kind = Service;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.labels",
        "metadata.annotations",
        "metadata.ownerReferences",
        "metadata.finalizers",
        "spec.selector",
        "spec.ports",
        "spec.clusterIP",
        "spec.type",
        "spec.ipFamilies",
        "spec.allocateLoadBalancerNodePorts",
        "spec.publishNotReadyAddresses",
        "spec.loadBalancerClass",
        "spec.loadBalancerIP",
        "spec.externalTrafficPolicy",
        "spec.trafficDistribution",
        "status.loadBalancer",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}
