//! Definitions of custom kinds, narrow.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use super::meta::Meta;

/// What controllers read of a definition.
#[derive(Clone, Debug, Deserialize)]
pub struct DefinitionView {
    /// The metadata. The name is the qualified name of the resource: `PLURAL.GROUP`.
    pub metadata: Meta,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    /// `null` of a new definition.
    conditions: Option<Vec<Condition>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
}

impl DefinitionView {
    /// Whether its objects are to be served.
    pub fn is_established(&self) -> bool {
        let established = |condition: &Condition| condition.type_ == "Established" && condition.status == "True";
        !self.metadata.is_deleting() && self.status.conditions.iter().flatten().any(established)
    }
}

impl View for DefinitionView {
    type Kind = CustomResourceDefinition;
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
        "status.conditions",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}
