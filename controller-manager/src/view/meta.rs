//! Metadata, narrow.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use super::intern::{Interned, intern};

/// Labels, shared by all objects that have the same.
pub type Labels = Interned<BTreeMap<String, String>>;

/// An owner reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Group and version of the owner's kind.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name; it lives in the same namespace or in none.
    pub name: String,
    /// The owner's uid.
    pub uid: String,
    /// Whether it is the one owner that controls the object.
    #[serde(default)]
    pub controller: bool,
    /// Whether a foreground deletion of the owner waits for the object.
    #[serde(default)]
    pub block_owner_deletion: bool,
}

impl From<OwnerReference> for Owner {
    fn from(owner: OwnerReference) -> Self {
        Owner {
            api_version: owner.api_version,
            kind: owner.kind,
            name: owner.name,
            uid: owner.uid,
            controller: owner.controller == Some(true),
            block_owner_deletion: owner.block_owner_deletion == Some(true),
        }
    }
}

impl From<&Owner> for OwnerReference {
    fn from(owner: &Owner) -> Self {
        OwnerReference {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            controller: owner.controller.then_some(true),
            block_owner_deletion: owner.block_owner_deletion.then_some(true),
        }
    }
}

/// The metadata that controllers read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "ObjectMeta")]
pub struct Meta {
    /// Empty for cluster-scoped objects.
    pub namespace: Interned<String>,
    /// The name.
    pub name: Box<str>,
    /// The uid.
    pub uid: Box<str>,
    /// The resource version.
    pub revision: i64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When its deletion was asked for, with the grace period added.
    pub deleted: Option<Timestamp>,
    /// Its labels.
    pub labels: Labels,
    /// Its owners.
    pub owners: Interned<Vec<Owner>>,
    /// What must be done before it may go.
    pub finalizers: Interned<Vec<String>>,
}

impl Meta {
    /// The paths to ask the server for.
    pub const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.labels",
        "metadata.ownerReferences",
        "metadata.finalizers",
    ];

    /// Which object it is.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.as_str(), &*self.name)
    }

    /// The owner that controls it.
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }

    /// Whether its deletion was asked for.
    pub fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }
}

impl From<ObjectMeta> for Meta {
    fn from(meta: ObjectMeta) -> Self {
        let owners = meta.owner_references.unwrap_or_default();
        Meta {
            namespace: intern(meta.namespace.unwrap_or_default()),
            name: meta.name.unwrap_or_default().into(),
            uid: meta.uid.unwrap_or_default().into(),
            revision: meta.resource_version.and_then(|version| version.parse().ok()).unwrap_or(0),
            created: meta.creation_timestamp.map(|time| time.0),
            deleted: meta.deletion_timestamp.map(|time| time.0),
            labels: intern(meta.labels.unwrap_or_default()),
            owners: intern(owners.into_iter().map(Owner::from).collect()),
            finalizers: intern(meta.finalizers.unwrap_or_default()),
        }
    }
}

/// Only the metadata of a kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound = "")]
pub struct MetaView<K> {
    /// The metadata.
    pub metadata: Meta,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K: k8s_openapi::Resource + 'static> View for MetaView<K> {
    type Kind = K;
    const FIELDS: &'static [&'static str] = Meta::FIELDS;

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}
