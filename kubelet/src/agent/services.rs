//! Services as containers' environment sees them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, Service};
use reeve_api::ObjectKey;
use reeve_client::{Store, View};
use serde::Deserialize;

use crate::pod::env::ServiceFacts;
use crate::pod::spec;

/// The few fields of a Service that make environment variables.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceView {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    ports: Vec<Port>,
    selector: BTreeMap<String, String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "publishNotReadyAddresses")]
    publishes_all: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: String,
    port: i32,
    protocol: String,
}

impl View for ServiceView {
    type Kind = Service;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.resourceVersion",
        "spec.clusterIP",
        "spec.ports",
        "spec.selector",
        "spec.type",
        "spec.publishNotReadyAddresses",
    ];

    fn key(&self) -> ObjectKey {
        ObjectKey::new(self.metadata.namespace.clone(), self.metadata.name.clone())
    }

    fn revision(&self) -> i64 {
        self.metadata.resource_version.parse().unwrap_or_default()
    }
}

/// Whether a Service has the pod among its endpoints only while it is ready.
pub fn selects(store: &Store<ServiceView>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let namespace = spec::key(pod).namespace;
    store.namespace(&namespace).iter().any(|service| {
        let Spec { selector, kind, publishes_all, .. } = &service.spec;
        let matches = selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        kind != "ExternalName" && !publishes_all && !selector.is_empty() && matches
    })
}

/// The Services that a pod's environment names: those of its namespace unless it asks for none, and the API
/// server's.
pub fn visible(store: &Store<ServiceView>, pod: &Pod) -> Vec<ServiceFacts> {
    let namespace = spec::key(pod).namespace;
    let mut services = Vec::new();
    if spec::spec(pod).enable_service_links != Some(false) {
        services.extend(store.namespace(&namespace));
    }
    services.extend(store.get(&ObjectKey::new("default", "kubernetes")));
    services
        .iter()
        .filter(|it| !it.spec.cluster_ip.is_empty() && it.spec.cluster_ip != "None")
        .map(|it| ServiceFacts {
            name: it.metadata.name.clone(),
            cluster_ip: it.spec.cluster_ip.clone(),
            ports: it.spec.ports.iter().map(|port| (port.name.clone(), port.port, port.protocol.clone())).collect(),
        })
        .collect()
}
