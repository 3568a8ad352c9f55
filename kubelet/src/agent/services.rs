//! Services as containers' environment sees them.

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
    const FIELDS: &'static [&'static str] =
        &["metadata.name", "metadata.namespace", "metadata.resourceVersion", "spec.clusterIP", "spec.ports"];

    fn key(&self) -> ObjectKey {
        ObjectKey::new(self.metadata.namespace.clone(), self.metadata.name.clone())
    }

    fn revision(&self) -> i64 {
        self.metadata.resource_version.parse().unwrap_or_default()
    }
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
