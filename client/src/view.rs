//! Narrow projections of kinds, and what of a resource to follow.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, Resource};
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use serde::de::DeserializeOwned;

/// What a component reads of a kind. Only [`View::FIELDS`] travel and only the view is held, which keeps a
/// component's memory small. Every kind of `k8s-openapi` is the whole view of itself.
pub trait View: DeserializeOwned + Send + Sync + 'static {
    /// The kind that is viewed.
    type Kind: Resource;
    /// The paths that are read (`metadata.name`, `spec.nodeName`); empty for all. Must include
    /// `metadata.name`, `metadata.namespace` and `metadata.resourceVersion`.
    const FIELDS: &'static [&'static str];
    /// Which object it is.
    fn key(&self) -> ObjectKey;
    /// Its resource version.
    fn revision(&self) -> i64;
}

impl<K> View for K
where
    K: Resource + Metadata<Ty = ObjectMeta> + DeserializeOwned + Send + Sync + 'static,
{
    type Kind = K;
    const FIELDS: &'static [&'static str] = &[];

    fn key(&self) -> ObjectKey {
        ObjectKey::of(self.metadata())
    }

    fn revision(&self) -> i64 {
        self.metadata().revision()
    }
}

/// Which objects of a resource to follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub(crate) namespace: String,
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
}

impl Scope {
    /// All objects.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those in a namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// Only those whose labels match: `app=web,tier in (a,b)`.
    pub fn labels(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.label_selector);
        self
    }

    /// Only those whose fields match: `spec.nodeName=n1`.
    pub fn fields(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.field_selector);
        self
    }
}
