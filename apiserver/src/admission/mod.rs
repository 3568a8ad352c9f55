//! Admission: what the cluster adds to objects and what it refuses, beyond the rules of their kinds.
//!
//! The two lists below are the chain, in its order. Plug-ins that change objects run first, before the object is
//! validated; those that only judge run last. A plug-in is a function of the request, the objects and what is
//! cached; none waits. Three are called by the handlers: namespace lifecycle, which may have to wait for a namespace that
//! was made a moment ago, resource quota, which counts in the store, and webhooks, which are somewhere else.
//!
//! Names, order, rules and texts are those of `k8s.io/kubernetes/plugin/pkg/admission`.

mod certificates;
mod classes;
mod limit_ranger;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod pod_limits;
mod pod_nodes;
mod pod_security;
mod priority;
pub mod quota;
mod role_escalation;
mod runtime_class;
mod service_account;
mod volume_resize;
pub mod webhooks;

use std::borrow::Cow;
use std::collections::HashMap;

use reeve_api::StatusError;
use serde::de::DeserializeOwned;

use crate::authorization::{Authorizer, rbac};
use crate::registry::{AnyObject, Row, split_managers};
use crate::request::{Target, User, Verb};
use crate::storage::cache::{Resource, Selector};

/// Changes an object before it is validated. On updates the third argument is the object as it was.
type Mutate = fn(&Request<'_>, &mut dyn AnyObject, Option<&dyn AnyObject>) -> Result<(), StatusError>;
/// Judges an object. What it only warns of goes into the list.
type Judge = fn(&Request<'_>, &dyn AnyObject, Option<&dyn AnyObject>, &mut Vec<String>) -> Result<(), StatusError>;

/// The plug-ins that change objects.
const MUTATING: [(&str, Mutate); 8] = [
    ("LimitRanger", limit_ranger::fill),
    ("ServiceAccount", service_account::fill),
    ("TaintNodesByCondition", pod_nodes::taint),
    ("Priority", priority::fill),
    ("DefaultTolerationSeconds", pod_nodes::tolerate),
    ("DefaultStorageClass", classes::default_storage_class),
    ("RuntimeClass", runtime_class::fill),
    ("DefaultIngressClass", classes::default_ingress_class),
];

/// The plug-ins that judge objects.
const VALIDATING: [(&str, Judge); 9] = [
    ("LimitRanger", limit_ranger::judge),
    ("NodeRestriction", node_restriction::judge),
    ("PodSecurity", pod_security::judge),
    ("Priority", priority::judge),
    ("PersistentVolumeClaimResize", volume_resize::judge),
    ("CertificateApproval", certificates::approval),
    ("CertificateSigning", certificates::signing),
    ("CertificateSubjectRestriction", certificates::subject),
    // Upstream's storage of roles does this; it comes here so that all refusals are in one place.
    ("RoleEscalation", role_escalation::judge),
];

/// What plug-ins know of a request.
pub struct Request<'a> {
    /// Who asks.
    pub user: &'a User,
    /// Create or update; patches are updates.
    pub verb: Verb,
    /// The row of the object.
    pub row: &'a Row,
    /// The place of the object.
    pub target: &'a Target,
    /// Who may do what.
    pub authorizer: &'a dyn Authorizer,
    /// Roles and bindings.
    pub policy: &'a rbac::Sources,
    /// Other objects.
    pub cached: &'a Cached,
}

impl Request<'_> {
    /// Whether the request is about a resource or a part of it (`pods`, `pods/status`).
    pub fn is_of(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.row.info.resource.group == group
            && self.row.info.resource.resource == resource
            && self.target.subresource == subresource
    }

    /// The refusal of an object.
    pub fn forbidden(&self, object: &dyn AnyObject, why: impl std::fmt::Display) -> StatusError {
        let name = object.metadata().name.as_deref().unwrap_or(&self.target.name);
        StatusError::forbidden(&self.row.info.resource, name, why)
    }
}

/// The cached objects of all resources, by storage prefix.
pub struct Cached(HashMap<Cow<'static, str>, Resource>);

impl Cached {
    /// A view of resources.
    pub fn new(resources: HashMap<Cow<'static, str>, Resource>) -> Self {
        Self(resources)
    }

    /// The resource of a prefix; `None` for kinds that the server does not have.
    pub fn resource(&self, prefix: &str) -> Option<&Resource> {
        self.0.get(prefix)
    }

    /// One object; `namespace` is empty for those of the cluster.
    pub fn get<T: DeserializeOwned>(&self, prefix: &str, namespace: &str, name: &str) -> Option<T> {
        let entry = self.0.get(prefix)?.snapshot().get(namespace, name)?;
        read(entry.object(), prefix)
    }

    /// The objects of a namespace, or all when it is empty.
    pub fn list<T: DeserializeOwned>(&self, prefix: &str, namespace: &str) -> Vec<T> {
        let Some(resource) = self.0.get(prefix) else { return Vec::new() };
        let entries = resource.snapshot().select(Selector::namespace(namespace));
        entries.filter_map(|entry| read(entry.object(), prefix)).collect()
    }

    /// The objects of the cluster whose text has a piece; the others are not decoded.
    pub fn list_having<T: DeserializeOwned>(&self, prefix: &str, piece: &str) -> Vec<T> {
        let Some(resource) = self.0.get(prefix) else { return Vec::new() };
        let entries = resource.snapshot().select(Selector::namespace(""));
        let having = entries.filter(|entry| memchr::memmem::find(entry.object(), piece.as_bytes()).is_some());
        having.filter_map(|entry| read(entry.object(), prefix)).collect()
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8], prefix: &str) -> Option<T> {
    // Nobody here asks who set what.
    match serde_json::from_slice(&split_managers(bytes).0) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(prefix, %error, "a stored object cannot be read; admission does without it");
            None
        }
    }
}

/// Runs the plug-ins that change objects.
///
/// # Errors
/// The first refusal.
pub fn mutate(
    request: &Request<'_>,
    object: &mut dyn AnyObject,
    old: Option<&dyn AnyObject>,
) -> Result<(), StatusError> {
    for (name, plugin) in MUTATING {
        plugin(request, object, old).inspect_err(|error| refused(name, error))?;
    }
    Ok(())
}

/// Runs the plug-ins that judge objects.
///
/// # Errors
/// The first refusal.
pub fn validate(
    request: &Request<'_>,
    object: &dyn AnyObject,
    old: Option<&dyn AnyObject>,
    warnings: &mut Vec<String>,
) -> Result<(), StatusError> {
    for (name, plugin) in VALIDATING {
        plugin(request, object, old, warnings).inspect_err(|error| refused(name, error))?;
    }
    Ok(())
}

fn refused(plugin: &str, error: &StatusError) {
    tracing::debug!(plugin, %error, "admission refuses");
}

/// The object as its kind's own type.
fn typed<T: 'static>(object: &dyn AnyObject) -> Option<&T> {
    object.inner().downcast_ref()
}

/// The object as its kind's own type, to be changed.
fn typed_mut<T: 'static>(object: &mut dyn AnyObject) -> Option<&mut T> {
    object.inner_mut().downcast_mut()
}
