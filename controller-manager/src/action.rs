//! What reconciles decide: data that the executor performs and that tests print.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use reeve_api::{GroupVersionResource, ObjectKey};
pub use reeve_client::EventType;
use serde_json::Value;

/// How the dependents of a deleted object are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    Orphan,
}

impl Propagation {
    /// The word in `DeleteOptions.propagationPolicy`.
    pub fn as_str(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

/// Events about a write, told once its outcome is known. The texts are followed by the written object's name or by
/// the error.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The object that the events are about.
    pub regarding: ObjectReference,
    /// Reason and beginning of the text when it succeeded.
    pub success: (&'static str, &'static str),
    /// Reason and beginning of the text when it failed.
    pub failure: (&'static str, &'static str),
}

/// One decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create objects.
    Create {
        /// The resource.
        resource: GroupVersionResource,
        /// The namespace; empty for cluster-scoped objects.
        namespace: String,
        /// The object, shared by its copies.
        object: Arc<Value>,
        /// How many to create of it; more than one needs `metadata.generateName`.
        copies: usize,
        /// Events about each.
        told: Option<Box<Told>>,
    },
    /// Change an object by a merge patch. A `metadata.resourceVersion` or `metadata.uid` in it is a precondition.
    Patch {
        /// The resource.
        resource: GroupVersionResource,
        /// The object.
        key: ObjectKey,
        /// Empty, or `status`.
        subresource: &'static str,
        /// The merge patch.
        patch: Value,
    },
    /// Replace a subresource of an object.
    Replace {
        /// The resource.
        resource: GroupVersionResource,
        /// The object.
        key: ObjectKey,
        /// For instance `finalize`.
        subresource: &'static str,
        /// The whole object.
        object: Value,
    },
    /// Set one condition of an object's status, and leave the others as they are.
    SetCondition {
        /// The resource.
        resource: GroupVersionResource,
        /// The object.
        key: ObjectKey,
        /// Only the object with this uid.
        uid: String,
        /// The condition's type.
        type_: &'static str,
        /// The fields to set.
        fields: Value,
    },
    /// Delete one object.
    Delete {
        /// The resource.
        resource: GroupVersionResource,
        /// The object.
        key: ObjectKey,
        /// Only the object with this uid.
        uid: String,
        /// Only this version, if given.
        revision: Option<i64>,
        /// Zero deletes at once; absent leaves it to the object.
        grace_seconds: Option<i64>,
        /// What becomes of dependents; absent leaves it to the server.
        propagation: Option<Propagation>,
        /// Events about it.
        told: Option<Box<Told>>,
    },
    /// Delete all objects of a resource in a namespace.
    DeleteAll {
        /// The resource.
        resource: GroupVersionResource,
        /// The namespace.
        namespace: String,
    },
    /// Tell users.
    Event {
        /// The object that the event is about.
        regarding: ObjectReference,
        /// Whether it is bad news.
        event_type: EventType,
        /// The reason word.
        reason: &'static str,
        /// The text.
        message: String,
    },
    /// Look again after this time although nothing changed.
    Again(Duration),
}

impl Action {
    /// Whether it changes anything in the cluster.
    pub fn is_write(&self) -> bool {
        !matches!(self, Action::Event { .. } | Action::Again(_))
    }
}

/// The earliest time at which one of the actions wants the key to be looked at again.
pub fn again(actions: &[Action]) -> Option<Duration> {
    let waits = actions.iter().filter_map(|action| match action {
        Action::Again(after) => Some(*after),
        _ => None,
    });
    waits.min()
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Create { resource, namespace, object, copies, .. } => {
                let meta = &object["metadata"];
                let name = meta["name"]
                    .as_str()
                    .map_or_else(|| format!("{}*", meta["generateName"].as_str().unwrap_or_default()), str::to_owned);
                write!(f, "create {} {}", resource.qualified(), ObjectKey::new(namespace.as_str(), name))?;
                if *copies > 1 {
                    write!(f, " x{copies}")?;
                }
                if let Some(replicas) = object["spec"]["replicas"].as_i64() {
                    write!(f, " replicas={replicas}")?;
                }
                Ok(())
            }
            Action::Patch { resource, key, subresource, patch } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                write!(f, "patch {}{slash}{subresource} {key} {}", resource.qualified(), without_versions(patch))
            }
            Action::Replace { resource, key, subresource, object } => {
                let part = if *subresource == "finalize" { &object["spec"] } else { &object["status"] };
                write!(f, "replace {}/{subresource} {key} {part}", resource.qualified())
            }
            Action::SetCondition { resource, key, type_, fields, .. } => {
                write!(f, "set condition {type_} of {} {key} {fields}", resource.qualified())
            }
            Action::Delete { resource, key, grace_seconds, propagation, .. } => {
                write!(f, "delete {} {key}", resource.qualified())?;
                if let Some(grace) = grace_seconds {
                    write!(f, " grace={grace}")?;
                }
                if let Some(propagation) = propagation {
                    write!(f, " {}", propagation.as_str())?;
                }
                Ok(())
            }
            Action::DeleteAll { resource, namespace } => {
                write!(f, "delete all {} in {namespace}", resource.qualified())
            }
            Action::Event { regarding, event_type, reason, message } => write!(
                f,
                "event {} {reason} {}/{}: {message}",
                event_type.as_str(),
                regarding.kind.as_deref().unwrap_or_default(),
                regarding.name.as_deref().unwrap_or_default()
            ),
            Action::Again(after) => write!(f, "again after {after:?}"),
        }
    }
}

/// A patch as people read it: preconditions left out.
fn without_versions(patch: &Value) -> Value {
    let mut patch = patch.clone();
    if let Some(meta) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.shift_remove("resourceVersion");
        meta.shift_remove("uid");
        if meta.is_empty()
            && let Some(all) = patch.as_object_mut()
        {
            all.shift_remove("metadata");
        }
    }
    patch
}
