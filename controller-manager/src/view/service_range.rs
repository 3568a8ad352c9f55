//! ServiceCIDRs, narrow.

use k8s_openapi::api::networking::v1::ServiceCIDR;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use super::meta::Meta;

/// What controllers read of a ServiceCIDR.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceRangeView {
    /// The metadata.
    pub metadata: Meta,
    /// The ranges.
    #[serde(default)]
    pub spec: ServiceRangeSpec,
    #[serde(default)]
    status: Status,
}

/// The specification's part of the view.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceRangeSpec {
    /// Such as `10.96.0.0/16`; one of each version at most.
    pub cidrs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Option<Vec<RangeCondition>>,
}

/// A condition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RangeCondition {
    #[serde(rename = "type")]
    type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why.
    pub reason: String,
}

impl ServiceRangeView {
    /// Whether Services may take addresses of it.
    pub fn ready(&self) -> Option<&RangeCondition> {
        self.status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready")
    }
}

impl View for ServiceRangeView {
    type Kind = ServiceCIDR;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.labels",
        "metadata.ownerReferences",
        "metadata.finalizers",
        "spec.cidrs",
        "status.conditions",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}
