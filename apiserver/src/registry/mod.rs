//! The registry: each kind is a row here and a strategy in [`kinds`].

pub mod custom;
pub mod decode;
pub mod encode;
pub mod erased;
pub mod kinds;
pub mod strategy;

mod internal;
mod pod_template;
mod rows;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reeve_api::{GroupVersionKind, GroupVersionResource, ResourceInfo, StatusError};

pub use decode::{DecodeError, FieldValidation, duplicate_fields, json_patch_fields};
pub use erased::{AnyObject, Decoded, Kind, MANAGED_FIELDS, Object, join_managers, split_managers};
pub use strategy::{RequestContext, Strategy, UserInfo};

/// What a subresource does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubresourceAction {
    /// Reads and writes the object's status.
    Status,
    /// Reads and writes another part of the object; the strategy knows it by its name.
    Part(&'static str),
    /// Reads and writes the object as a `Scale`.
    Scale,
    /// Writes what holds a namespace (`spec.finalizers`).
    Finalize,
    /// Approves or denies a certificate request.
    Approval,
    /// Gives a pod its node.
    Binding,
    /// Asks for a pod's deletion, within disruption budgets.
    Eviction,
    /// Streams a container's output.
    Log,
    /// Runs a command in a container.
    Exec,
    /// Attaches to a container's main process.
    Attach,
    /// Forwards ports of a pod.
    PortForward,
    /// Makes a token for a service account.
    Token,
    /// Hands requests on to what the object stands for.
    Proxy,
}

/// A question that a resource answers instead of storing objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Review {
    /// Whose token is it?
    Token,
    /// Who am I?
    SelfSubject,
    /// May somebody do that?
    SubjectAccess,
    /// May somebody do that in this namespace?
    LocalSubjectAccess,
    /// May I do that?
    SelfSubjectAccess,
    /// What may I do?
    SelfSubjectRules,
}

/// A row below a resource: `pods/status`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// The last segment of its path.
    pub name: &'static str,
    /// What it does.
    pub action: SubresourceAction,
    /// The kind that it takes and gives.
    pub kind: GroupVersionKind,
    /// For discovery.
    pub verbs: &'static [&'static str],
}

/// Translation between the shape that is served and the shape that is stored, where they differ.
pub trait Conversion: Send + Sync + fmt::Debug {
    /// From the served to the stored shape; both are canonical bytes.
    ///
    /// # Errors
    /// When the bytes are not an object of the served kind.
    fn to_stored(&self, served: &[u8]) -> Result<Vec<u8>, StatusError>;

    /// From the stored to the served shape; both are canonical bytes.
    ///
    /// # Errors
    /// When the bytes are not an object of the stored kind.
    fn to_served(&self, stored: &[u8]) -> Result<Vec<u8>, StatusError>;
}

/// A resource: names, place in the store, and rules.
#[derive(Clone, Debug)]
pub struct Row {
    /// What discovery tells.
    pub info: ResourceInfo,
    /// The beginning of its keys, with a slash at the end: `/registry/pods/`.
    pub storage_prefix: Cow<'static, str>,
    /// How long an object is kept after its last write; `None` for ever.
    pub time_to_live: Option<Duration>,
    /// Decodes objects and brings their rules.
    pub kind: Arc<dyn Kind>,
    /// What is below each object.
    pub subresources: Vec<Subresource>,
    /// What clients are told of a resource that should not be used any more.
    pub deprecation: Option<Cow<'static, str>>,
    /// For a resource that is another view of a stored one (events of `events.k8s.io`).
    pub conversion: Option<Arc<dyn Conversion>>,
    /// For a resource whose objects are questions: nothing of it is stored.
    pub review: Option<Review>,
}

impl Row {
    /// Whether its objects are measured when somebody asks; nothing of it is stored.
    pub fn is_measured(&self) -> bool {
        self.info.resource.group == kinds::metrics::GROUP && self.storage_prefix.is_empty()
    }

    /// The subresource of a name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// The key of an object in the store.
    pub fn storage_key(&self, namespace: &str, name: &str) -> String {
        let prefix = &self.storage_prefix;
        if self.info.namespaced { format!("{prefix}{namespace}/{name}") } else { format!("{prefix}{name}") }
    }
}

/// All resources that the server knows.
#[derive(Clone, Debug)]
pub struct Registry {
    rows: Vec<Arc<Row>>,
    by_resource: HashMap<GroupVersionResource, usize>,
}

impl Registry {
    /// The built-in kinds.
    pub fn builtin() -> Self {
        Self::new(rows::builtin())
    }

    /// These rows and those of `metrics.k8s.io`.
    #[must_use]
    pub fn with_metrics(&self) -> Self {
        let rows: Vec<Arc<Row>> = rows::metrics::rows().into_iter().map(Arc::new).collect();
        self.with(&rows)
    }

    /// Whether a kind is built in, though it may have no resource of its own.
    fn knows(kind: &GroupVersionKind) -> bool {
        rows::names(kind)
    }

    fn new(rows: Vec<Row>) -> Self {
        let by_resource = rows.iter().enumerate().map(|(index, row)| (row.info.resource.clone(), index)).collect();
        Self { rows: rows.into_iter().map(Arc::new).collect(), by_resource }
    }

    /// These rows and others after them.
    #[must_use]
    pub fn with(&self, others: &[Arc<Row>]) -> Self {
        let rows: Vec<Arc<Row>> = self.rows.iter().chain(others).cloned().collect();
        let by_resource = rows.iter().enumerate().map(|(index, row)| (row.info.resource.clone(), index)).collect();
        Self { rows, by_resource }
    }

    /// All rows, in the order of discovery.
    pub fn rows(&self) -> &[Arc<Row>] {
        &self.rows
    }

    /// The row of a resource.
    pub fn get(&self, resource: &GroupVersionResource) -> Option<&Arc<Row>> {
        self.by_resource.get(resource).map(|index| &self.rows[*index])
    }

    /// The row whose objects are of a kind.
    pub fn by_kind(&self, kind: &GroupVersionKind) -> Option<&Arc<Row>> {
        self.rows.iter().find(|row| row.info.kind() == *kind)
    }

    /// The first row that a user may mean by a word ([`ResourceInfo::answers_to`]).
    pub fn by_word(&self, word: &str) -> Option<&Arc<Row>> {
        self.rows.iter().find(|row| row.info.answers_to(word))
    }
}

/// Upstream's order of versions, the greatest first: `v2`, `v1`, `v2beta1`, `v1beta2`, `v1alpha1`, then all others.
pub fn version_order(version: &str) -> (u8, u32, u32) {
    let parse = || -> Option<(u8, u32, u32)> {
        let rest = version.strip_prefix('v')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let major = rest[..digits].parse().ok()?;
        let rest = &rest[digits..];
        let (stage, minor) = if rest.is_empty() {
            (3, "0")
        } else if let Some(minor) = rest.strip_prefix("beta") {
            (2, minor)
        } else {
            (1, rest.strip_prefix("alpha")?)
        };
        Some((stage, major, minor.parse().ok()?))
    };
    parse().unwrap_or((0, 0, 0))
}

#[cfg(test)]
mod tests;
