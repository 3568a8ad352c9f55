//! Leases of nodes, narrow.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use super::meta::Meta;

/// What the node lifecycle controller reads of a Lease.
#[derive(Clone, Debug, Deserialize)]
pub struct LeaseView {
    /// The metadata.
    pub metadata: Meta,
    #[serde(default)]
    spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    renew_time: Option<MicroTime>,
}

impl LeaseView {
    /// When the node last said that it lives.
    pub fn renewed(&self) -> Option<Timestamp> {
        self.spec.renew_time.as_ref().map(|time| time.0)
    }
}

impl View for LeaseView {
    type Kind = Lease;
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
        "spec.renewTime",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}
