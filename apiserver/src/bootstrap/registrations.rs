//! The versions that the server itself serves, as the registration of each.

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use reeve_api::StatusError;

use super::create;
use crate::handlers::Handlers;
use crate::registry::kinds::api_service::{AUTOMANAGED, ON_START};

/// The priorities of groups, from `k8s.io/kubernetes/pkg/controlplane/apiserver`.
const GROUPS: [(&str, i32); 21] = [
    ("", 18_000),
    ("apiregistration.k8s.io", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
];

fn version_priority(group: &str, version: &str) -> i32 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io", _) => 21,
        ("resource.k8s.io", _) => 20,
        _ => 15,
    }
}

/// Registers what is not registered yet.
pub(super) async fn reconcile(handlers: &Handlers) -> Result<(), StatusError> {
    let mut versions: Vec<(String, String)> = Vec::new();
    for row in handlers.registry().rows().iter().filter(|row| row.kind.custom().is_none()) {
        let version = (row.info.resource.group.clone(), row.info.resource.version.clone());
        // The registry of versions is not a version that it lists.
        if version.0 != "apiregistration.k8s.io" && !versions.contains(&version) {
            versions.push(version);
        }
    }
    let services: Vec<APIService> = versions.iter().map(|(group, version)| registration(group, version)).collect();
    futures::future::try_join_all(services.iter().map(|service| create(handlers, "", service))).await.map(drop)
}

fn registration(group: &str, version: &str) -> APIService {
    let mut metadata = super::named(&format!("{version}.{group}"), None);
    metadata.labels = Some([(AUTOMANAGED.to_owned(), ON_START.to_owned())].into());
    let priority = GROUPS.iter().find(|(known, _)| *known == group).map_or(1000, |(_, priority)| *priority);
    APIService {
        metadata,
        spec: Some(APIServiceSpec {
            group: Some(group.to_owned()).filter(|group| !group.is_empty()),
            version: Some(version.to_owned()),
            group_priority_minimum: priority,
            version_priority: version_priority(group, version),
            ..APIServiceSpec::default()
        }),
        status: None,
    }
}
