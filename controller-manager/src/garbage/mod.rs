//! Garbage collection: objects go when all their owners are gone.
//!
//! Rules from upstream's `pkg/controller/garbagecollector`. The stores' indexes by owner are the graph. An owner that
//! no store shows is asked for by name before its dependents go. An owner that is being deleted in the foreground
//! (finalizer `foregroundDeletion`) waits for the dependents that block it; one that is to leave its dependents
//! (`orphan`) is taken out of their owner references first.

pub mod shell;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use reeve_api::{GroupVersionResource, ObjectKey};
use serde_json::{Value, json};

use crate::action::{Action, Propagation};
use crate::object::to_json;
use crate::view::{Meta, Owner};

/// The finalizer of an owner that goes after its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an owner that leaves its dependents.
pub const ORPHAN: &str = "orphan";

/// An object of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its resource.
    pub resource: GroupVersionResource,
    /// Its metadata.
    pub meta: Meta,
}

/// What is known of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerState {
    /// It exists.
    Solid,
    /// It is being deleted and waits for its dependents.
    Waiting,
    /// There is no object of that name and uid.
    Absent,
}

/// Decides about one object.
///
/// `owners` tells the state of each owner in the order of the references, `dependents` who has it as an owner.
pub fn reconcile(item: &Item, owners: &[OwnerState], dependents: &[Item]) -> Vec<Action> {
    if item.meta.is_deleting() {
        return finalize(item, dependents);
    }
    if owners.is_empty() {
        return vec![];
    }
    let is_solid = |state: &OwnerState| *state == OwnerState::Solid;
    if owners.iter().any(is_solid) {
        if owners.iter().all(is_solid) {
            return vec![];
        }
        let solid = item.meta.owners.iter().zip(owners).filter(|(_, state)| is_solid(state));
        return vec![set_owners(item, solid.map(|(owner, _)| owner))];
    }
    let has = |finalizer: &str| item.meta.finalizers.iter().any(|present| present == finalizer);
    let waited_for = owners.contains(&OwnerState::Waiting) && !dependents.is_empty();
    let propagation = if has(ORPHAN) {
        Propagation::Orphan
    } else if waited_for || has(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    vec![Action::Delete {
        resource: item.resource.clone(),
        key: item.meta.key(),
        uid: item.meta.uid.to_string(),
        revision: Some(item.meta.revision),
        grace_seconds: None,
        propagation: Some(propagation),
        told: None,
    }]
}

/// What an object that is being deleted owes its dependents.
fn finalize(item: &Item, dependents: &[Item]) -> Vec<Action> {
    let has = |finalizer: &str| item.meta.finalizers.iter().any(|present| present == finalizer);
    if has(ORPHAN) {
        let mut actions: Vec<Action> = dependents
            .iter()
            .map(|dependent| {
                set_owners(dependent, dependent.meta.owners.iter().filter(|owner| *owner.uid != *item.meta.uid))
            })
            .collect();
        actions.push(remove_finalizer(item, ORPHAN));
        return actions;
    }
    if has(FOREGROUND) {
        let blocks = |dependent: &Item| {
            dependent.meta.owners.iter().any(|owner| *owner.uid == *item.meta.uid && owner.block_owner_deletion)
        };
        if !dependents.iter().any(blocks) {
            return vec![remove_finalizer(item, FOREGROUND)];
        }
        // The dependents' own turns delete them.
    }
    vec![]
}

fn set_owners<'a>(item: &Item, owners: impl Iterator<Item = &'a Owner>) -> Action {
    let owners: Vec<OwnerReference> = owners.map(OwnerReference::from).collect();
    let owners = if owners.is_empty() { Value::Null } else { to_json(&owners) };
    patch(item, "ownerReferences", owners)
}

fn remove_finalizer(item: &Item, finalizer: &str) -> Action {
    let rest: Vec<&String> = item.meta.finalizers.iter().filter(|present| *present != finalizer).collect();
    patch(item, "finalizers", if rest.is_empty() { Value::Null } else { json!(rest) })
}

fn patch(item: &Item, field: &str, value: Value) -> Action {
    Action::Patch {
        resource: item.resource.clone(),
        key: item.meta.key(),
        subresource: "",
        patch: json!({"metadata": {
            "uid": &*item.meta.uid,
            "resourceVersion": item.meta.revision.to_string(),
            field: value,
        }}),
    }
}

/// What a turn looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The resource.
    pub resource: GroupVersionResource,
    /// The object.
    pub key: ObjectKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, meta: Value) -> Item {
        let mut all = json!({"name": name, "namespace": "x", "uid": name, "resourceVersion": "3"});
        for (field, value) in meta.as_object().unwrap() {
            all[field] = value.clone();
        }
        let resource = GroupVersionResource::new("", "v1", "configmaps");
        Item { resource, meta: serde_json::from_value(all).unwrap() }
    }

    fn owned_by(name: &str, owners: &[&str]) -> Item {
        let owner = |uid: &&str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": true});
        item(name, json!({"ownerReferences": owners.iter().map(owner).collect::<Vec<_>>()}))
    }

    fn texts(actions: &[Action]) -> Vec<String> {
        actions.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_object_goes_with_its_last_owner() {
        use OwnerState::{Absent, Solid, Waiting};
        let one = owned_by("a", &["o"]);
        assert_eq!(reconcile(&one, &[Solid], &[]), []);
        assert_eq!(texts(&reconcile(&one, &[Absent], &[])), ["delete configmaps x/a Background"]);
        assert_eq!(texts(&reconcile(&one, &[Waiting], &[])), ["delete configmaps x/a Background"]);
        assert_eq!(texts(&reconcile(&one, &[Waiting], &[owned_by("b", &["a"])])), ["delete configmaps x/a Foreground"]);
        let two = owned_by("a", &["o", "p"]);
        let patched = texts(&reconcile(&two, &[Absent, Solid], &[]));
        assert!(patched[0].contains(r#""name":"p""#) && !patched[0].contains(r#""name":"o""#), "{patched:?}");
    }

    #[test]
    fn foreground_waits_and_orphan_lets_go() {
        let deleting = |finalizer: &str| {
            item("o", json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [finalizer]}))
        };
        let dependent = owned_by("a", &["o"]);
        assert_eq!(reconcile(&deleting(FOREGROUND), &[], std::slice::from_ref(&dependent)), []);
        let done = texts(&reconcile(&deleting(FOREGROUND), &[], &[]));
        assert_eq!(done, [r#"patch configmaps x/o {"metadata":{"finalizers":null}}"#]);
        let orphaned = texts(&reconcile(&deleting(ORPHAN), &[], &[dependent]));
        assert_eq!(
            orphaned,
            [
                r#"patch configmaps x/a {"metadata":{"ownerReferences":null}}"#,
                r#"patch configmaps x/o {"metadata":{"finalizers":null}}"#,
            ]
        );
    }
}
