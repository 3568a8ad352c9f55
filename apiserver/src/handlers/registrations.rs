//! The versions of custom groups are registered too: each has an APIService as long as it is served.

use std::collections::BTreeSet;

use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use reeve_api::{GroupVersionResource, ObjectMeta, Reason, StatusError};

use super::definitions::server;
use super::{DeleteOptions, Handlers, WriteOptions};
use crate::registry::kinds::api_service::{AUTOMANAGED, FOLLOWING};
use crate::request::Target;

const PREFIX: &str = "/registry/apiregistration.k8s.io/apiservices/";
/// Upstream's priorities of custom groups: after all that is built in.
const GROUP_PRIORITY: i32 = 1000;
const VERSION_PRIORITY: i32 = 100;

fn target(name: &str) -> Target {
    Target {
        resource: GroupVersionResource::of::<APIService>(),
        namespace: String::new(),
        name: name.to_owned(),
        subresource: String::new(),
    }
}

fn follows(service: &APIService) -> bool {
    service.metadata.labels.as_ref().and_then(|labels| labels.get(AUTOMANAGED)).is_some_and(|how| how == FOLLOWING)
}

impl Handlers {
    /// Registers what custom kinds are served, and takes away what is served no longer.
    ///
    /// # Errors
    /// When the store does not answer; to be tried again.
    pub(super) async fn register_custom_versions(&self) -> Result<(), StatusError> {
        let registry = self.registry();
        let custom = registry.rows().iter().filter(|row| row.kind.custom().is_some());
        let versions: BTreeSet<(String, String)> =
            custom.map(|row| (row.info.resource.group.clone(), row.info.resource.version.clone())).collect();
        let known: Vec<APIService> = self.cached.list(PREFIX, "");
        let name_of = |service: &APIService| service.metadata.name.clone().unwrap_or_default();
        for (group, version) in &versions {
            let name = format!("{version}.{group}");
            if known.iter().any(|service| name_of(service) == name) {
                continue;
            }
            let body = serde_json::to_vec(&registration(&name, group, version)).map_err(StatusError::internal)?;
            match self.create(&server(), &target(""), body.into(), &WriteOptions::default()).await {
                Err(error) if error.reason != Reason::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        for service in known.iter().filter(|service| follows(service)) {
            let name = name_of(service);
            if versions.iter().any(|(group, version)| name == format!("{version}.{group}")) {
                continue;
            }
            match self.delete(&server(), &target(&name), &DeleteOptions::default()).await {
                Err(error) if error.reason != Reason::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn registration(name: &str, group: &str, version: &str) -> APIService {
    APIService {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(AUTOMANAGED.to_owned(), FOLLOWING.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(APIServiceSpec {
            group: Some(group.to_owned()),
            version: Some(version.to_owned()),
            group_priority_minimum: GROUP_PRIORITY,
            version_priority: VERSION_PRIORITY,
            ..APIServiceSpec::default()
        }),
        status: None,
    }
}
