//! Leases of nodes, narrow.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use reeve_api::ObjectKey;
use reeve_api::handover::APPLIED_REVISION;
use reeve_client::View;
use serde::Deserialize;

use super::meta::Meta;

/// What controllers read of a Lease: of a node's own, or of its proxy's ([`reeve_api::handover`]).
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Wire")]
pub struct LeaseView {
    /// The metadata.
    pub metadata: Meta,
    /// Who holds it.
    pub holder: Option<Box<str>>,
    /// The version of EndpointSlices that a proxy is at.
    pub applied_revision: Option<i64>,
    renew_time: Option<Timestamp>,
}

/// The decoded form, of which only the view is kept.
#[derive(Deserialize)]
struct Wire {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
}

impl From<Wire> for LeaseView {
    fn from(lease: Wire) -> Self {
        let applied = lease.metadata.annotations.as_ref().and_then(|all| all.get(APPLIED_REVISION));
        LeaseView {
            holder: lease.spec.holder_identity.map(Into::into),
            applied_revision: applied.and_then(|version| version.parse().ok()),
            renew_time: lease.spec.renew_time.map(|time| time.0),
            metadata: lease.metadata.into(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    holder_identity: Option<String>,
    renew_time: Option<MicroTime>,
}

impl LeaseView {
    /// When the node last said that it lives.
    pub fn renewed(&self) -> Option<Timestamp> {
        self.renew_time
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
        "metadata.annotations",
        "metadata.ownerReferences",
        "metadata.finalizers",
        "spec.holderIdentity",
        "spec.renewTime",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}
