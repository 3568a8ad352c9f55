//! Finds an object's owners and dependents and performs what is decided.

use std::sync::Arc;

use reeve_api::resource::split_api_version;
use reeve_api::{GroupVersionResource, ObjectKey, ResourceInfo};
use reeve_client::Next;

use super::{FOREGROUND, Item, Key, OwnerState};
use crate::manager::{Context, TurnError};
use crate::view::{Meta, Owner};

/// One turn.
pub async fn turn(context: Arc<Context>, key: Key) -> Result<Next, TurnError> {
    let meta = context.stores.of(&key.resource).and_then(|store| store.meta(&key.key));
    let Some(meta) = meta else { return Ok(Next::Done) };
    let mut dependents = Vec::new();
    context.stores.each(|store| {
        let found = store.dependents(&meta.uid).into_iter();
        dependents.extend(found.map(|meta| Item { resource: store.resource(), meta }));
    });
    let mut owners = Vec::with_capacity(meta.owners.len());
    if !meta.is_deleting() {
        for owner in meta.owners.iter() {
            owners.push(owner_state(&context, &meta, owner).await?);
        }
    }
    context.perform(super::reconcile(&Item { resource: key.resource, meta }, &owners, &dependents)).await
}

fn state(owner: &Meta) -> OwnerState {
    let waits = owner.is_deleting() && owner.finalizers.iter().any(|finalizer| finalizer == FOREGROUND);
    if waits { OwnerState::Waiting } else { OwnerState::Solid }
}

/// Looks into the stores first; what they do not show is asked for, since they may be behind or not hold the kind.
async fn owner_state(context: &Context, meta: &Meta, owner: &Owner) -> Result<OwnerState, TurnError> {
    let Some(info) = resource_of(context, owner).await? else {
        // An owner of a kind that is not served (yet) may exist all the same.
        return Ok(OwnerState::Solid);
    };
    let namespace = if info.namespaced { meta.namespace.as_str() } else { "" };
    let key = ObjectKey::new(namespace, owner.name.as_str());
    let held = context.stores.of(&info.resource).and_then(|store| store.meta(&key));
    if let Some(held) = held.filter(|held| *held.uid == *owner.uid) {
        return Ok(state(&held));
    }
    let found = context.executor.client().dynamic(&info.resource, Some(namespace)).get_opt(&owner.name).await?;
    let found = found.and_then(|found| serde_json::from_value::<Meta>(found["metadata"].clone()).ok());
    Ok(found.filter(|found| *found.uid == *owner.uid).map_or(OwnerState::Absent, |found| state(&found)))
}

async fn resource_of(context: &Context, owner: &Owner) -> Result<Option<ResourceInfo>, TurnError> {
    let (group, version) = split_api_version(&owner.api_version);
    let same = |info: &ResourceInfo| {
        info.kind == owner.kind && info.resource.group == group && info.resource.version == version
    };
    if let Some(info) = context.discovery.lock().iter().find(|info| same(info)) {
        return Ok(Some(info.clone()));
    }
    let all = context.executor.client().resources().await?;
    let found = all.iter().find(|info| same(info)).cloned();
    *context.discovery.lock() = all;
    Ok(found)
}

/// The keys to look at when an object appears, changes or goes. Its dependents' turns find out what it means for them.
pub fn keys(context: &Context, resource: &GroupVersionResource, old: Option<&Meta>, new: Option<&Meta>) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut dependents_of = |uid: &str| {
        context.stores.each(|store| {
            let found = store.dependents(uid).into_iter();
            keys.extend(found.map(|meta| Key { resource: store.resource(), key: meta.key() }));
        });
    };
    match (old, new) {
        (Some(old), None) => {
            dependents_of(&old.uid);
            // An owner that waits for this object may go on.
            let owners = old.owners.iter().filter(|owner| owner.block_owner_deletion);
            for owner in owners {
                let (group, version) = split_api_version(&owner.api_version);
                let known = context.discovery.lock();
                let same = known.iter().find(|info| {
                    info.kind == owner.kind && info.resource.group == group && info.resource.version == version
                });
                let namespace =
                    |info: &ResourceInfo| if info.namespaced { old.namespace.to_string() } else { String::new() };
                keys.extend(same.map(|info| Key {
                    resource: info.resource.clone(),
                    key: ObjectKey::new(namespace(info), owner.name.as_str()),
                }));
            }
        }
        (old, Some(new)) => {
            let own = Key { resource: resource.clone(), key: new.key() };
            let owners_changed = old.is_none_or(|old| old.owners != new.owners);
            if (owners_changed && !new.owners.is_empty()) || (new.is_deleting() && !new.finalizers.is_empty()) {
                keys.push(own);
            }
            let began = new.is_deleting() && old.is_none_or(|old| !old.is_deleting());
            if began && new.finalizers.iter().any(|finalizer| finalizer == FOREGROUND) {
                let uid = new.uid.clone();
                context.stores.each(|store| {
                    let found = store.dependents(&uid).into_iter();
                    keys.extend(found.map(|meta| Key { resource: store.resource(), key: meta.key() }));
                });
            }
        }
        (None, None) => {}
    }
    keys
}
