//! The metadata of what no controller here reads: custom kinds, and built-in ones that only the garbage collector and
//! the deletion of namespaces are concerned with.
//!
//! Which resources there are is asked anew when a definition of a custom kind changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::{ClusterResourceScope, Resource};
use parking_lot::RwLock;
use reeve_api::{GroupVersionResource, ObjectKey, ResourceInfo};
use reeve_client::{Change, Client, Next, Scope, Store, reflect_resource};

use crate::garbage;
use crate::manager::{Context, TurnError};
use crate::stores::{AnyStore, BY_OWNER, Listener, Stores};
use crate::view::{Meta, MetaView};

/// What a resource must allow to be followed, and its objects to be deleted.
const VERBS: [&str; 3] = ["list", "watch", "delete"];
/// How long the first copies may take before the controllers run without them: one resource whose objects cannot be
/// read must not stop all.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// When to ask again for a definition that is not served yet.
const SERVED_SOON: Duration = Duration::from_millis(50);

/// A kind that is told apart by its resource, not by its type.
#[derive(Clone, Debug)]
pub struct AnyKind;

impl Resource for AnyKind {
    const API_VERSION: &'static str = "";
    const GROUP: &'static str = "";
    const KIND: &'static str = "";
    const VERSION: &'static str = "";
    const URL_PATH_SEGMENT: &'static str = "";
    type Scope = ClusterResourceScope;
}

/// The metadata of one resource's objects.
#[derive(Clone)]
pub struct Other {
    resource: GroupVersionResource,
    store: Store<MetaView<AnyKind>>,
    /// Whether it is there by a definition: with that it goes, even if the server names it for a moment longer.
    is_defined: bool,
}

#[async_trait::async_trait]
impl AnyStore for Other {
    fn resource(&self) -> GroupVersionResource {
        self.resource.clone()
    }

    fn meta(&self, key: &ObjectKey) -> Option<Meta> {
        self.store.get(key).map(|object| object.metadata.clone())
    }

    fn count(&self, namespace: &str) -> usize {
        self.store.namespace(namespace).len()
    }

    fn dependents(&self, owner_uid: &str) -> Vec<Meta> {
        self.store.indexed(BY_OWNER, owner_uid).iter().map(|object| object.metadata.clone()).collect()
    }

    fn visit(&self, visit: &mut dyn FnMut(&Meta)) {
        self.store.list().iter().for_each(|object| visit(&object.metadata));
    }

    async fn wait_revision(&self, revision: i64) {
        self.store.wait_revision(revision).await;
    }

    async fn wait_deleted(&self, key: &ObjectKey, uid: &str) {
        AnyStore::wait_deleted(&self.store, key, uid).await;
    }

    fn shared(&self) -> Arc<dyn AnyStore> {
        Arc::new(self.clone())
    }
}

impl Other {
    /// Waits until the first copy is whole.
    pub async fn wait_synced(&self) {
        self.store.wait_synced().await;
    }
}

/// The resources that are followed here, by their qualified names.
#[derive(Default)]
pub struct Others(RwLock<BTreeMap<String, Other>>);

impl Others {
    /// All of them, as they are now.
    pub fn all(&self) -> Vec<Other> {
        self.0.read().values().cloned().collect()
    }

    /// One of them.
    pub fn of(&self, resource: &GroupVersionResource) -> Option<Other> {
        self.0.read().get(&resource.qualified()).cloned()
    }

    /// Follows what is served and not yet followed, and lets go what is not served any more. `told` says of a new
    /// resource that its first copy is whole.
    fn follow(&self, client: &Client, stores: &Stores, served: &[ResourceInfo], told: &Told) -> Vec<Other> {
        let mut wanted = wanted(served, |resource| stores.is_held(resource));
        let mut begun = Vec::new();
        let mut all = self.0.write();
        let is_defined = |name: &str| stores.definitions.get(&ObjectKey::cluster(name)).is_some();
        wanted.retain(|name, _| is_defined(name) || !all.get(name).is_some_and(|other| other.is_defined));
        all.retain(|name, _| wanted.contains_key(name));
        for (name, info) in wanted {
            if all.contains_key(&name) {
                continue;
            }
            let (listener, synced) = (told.listener.clone(), told.synced.clone());
            let (resource, kind) = (info.resource.clone(), info.kind.clone());
            let handler = move |change: Change<MetaView<AnyKind>>| match &change {
                Change::Applied { old, new } => {
                    listener.any(&resource, old.as_ref().map(|old| &old.metadata), Some(&new.metadata));
                }
                Change::Deleted { old } => listener.any(&resource, Some(&old.metadata), None),
                Change::Synced => synced(&resource.group, &kind),
            };
            let resource = info.resource.clone();
            let owner = |object: &MetaView<AnyKind>| object.metadata.owners.iter().map(|it| it.uid.clone()).collect();
            let store = reflect_resource(client, &resource, Scope::all(), &[(BY_OWNER, owner)], handler);
            let other = Other { resource, store, is_defined: is_defined(&name) };
            begun.push(other.clone());
            all.insert(name, other);
        }
        begun
    }
}

/// Who is told of changes.
struct Told {
    listener: Arc<dyn Listener>,
    /// With the group and kind of a resource whose copy is whole.
    synced: Arc<Synced>,
}

type Synced = dyn Fn(&str, &str) + Send + Sync;

/// The first version that the server names of each resource whose objects can be followed and deleted. Events are
/// left out, as upstream does: they are many, short-lived, and owned by nobody.
fn wanted(served: &[ResourceInfo], is_held: impl Fn(&GroupVersionResource) -> bool) -> BTreeMap<String, &ResourceInfo> {
    let mut wanted = BTreeMap::new();
    for info in served {
        let allows = VERBS.iter().all(|verb| info.verbs.iter().any(|has| has == verb));
        if allows && info.resource.resource != "events" && !is_held(&info.resource) {
            wanted.entry(info.resource.qualified()).or_insert(info);
        }
    }
    wanted
}

/// Asks which resources there are and follows those. The one turn of its queue.
///
/// # Errors
/// The server does not answer, or not yet for all definitions: the turn comes again.
pub async fn turn(context: Arc<Context>, (): ()) -> Result<Next, TurnError> {
    match refresh(&context).await {
        // A definition is seen here a moment before the server has taken it up.
        Err(TurnError::NotServed(name)) => {
            tracing::debug!(name, "established and not served yet");
            Ok(Next::After(SERVED_SOON))
        }
        result => result.map(|()| Next::Done),
    }
}

/// As [`turn`], and waits until the new copies are whole, which is needed before anything is decided on them.
///
/// # Errors
/// The server does not answer, or not yet for all definitions.
pub async fn refresh(context: &Arc<Context>) -> Result<(), TurnError> {
    let client = context.executor.client();
    let served = client.resources().await?;
    let synced = {
        let context = Arc::downgrade(context);
        move |group: &str, kind: &str| {
            if let Some(context) = context.upgrade() {
                look_at_dependents(&context, group, kind);
            }
        }
    };
    let told = Told { listener: context.listener.clone(), synced: Arc::new(synced) };
    let begun = context.stores.others.follow(client, &context.stores, &served, &told);
    *context.discovery.lock() = served;
    let whole = async {
        for other in &begun {
            other.wait_synced().await;
        }
    };
    if let Some(unserved) = context.stores.definitions.list().iter().find_map(|definition| {
        let name = &*definition.metadata.name;
        let is_served = || context.discovery.lock().iter().any(|info| info.resource.qualified() == name);
        (definition.is_established() && !is_served()).then(|| name.to_owned())
    }) {
        return Err(TurnError::NotServed(unserved));
    }
    if tokio::time::timeout(SYNC_TIMEOUT, whole).await.is_err() {
        let late = begun.iter().filter(|other| !other.store.is_synced()).map(|other| other.resource.qualified());
        tracing::warn!(resources = ?late.collect::<Vec<_>>(), "these are not read yet; their dependents may stay");
    }
    Ok(())
}

/// An owner may have gone before its kind was followed: those that name one of the kind are looked at.
fn look_at_dependents(context: &Context, group: &str, kind: &str) {
    context.stores.each(|store| {
        let resource = store.resource();
        store.visit(&mut |meta| {
            let named = meta.owners.iter().any(|owner| {
                owner.kind == kind && reeve_api::resource::split_api_version(&owner.api_version).0 == group
            });
            if named {
                context.queues.garbage.add(garbage::Key { resource: resource.clone(), key: meta.key() });
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(group: &str, version: &str, resource: &str, verbs: &[&str]) -> ResourceInfo {
        ResourceInfo {
            resource: GroupVersionResource::new(group, version, resource),
            singular: String::new(),
            kind: String::new(),
            namespaced: true,
            short_names: vec![],
            categories: vec![],
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        }
    }

    #[test]
    fn each_resource_that_can_be_collected_is_followed_once() {
        let all = [
            served("", "v1", "pods", &VERBS),
            served("", "v1", "events", &VERBS),
            served("", "v1", "bindings", &["create"]),
            served("autoscaling", "v2", "horizontalpodautoscalers", &VERBS),
            served("autoscaling", "v1", "horizontalpodautoscalers", &VERBS),
            served("example.com", "v1", "sites", &VERBS),
        ];
        let wanted = wanted(&all, |resource| resource.resource == "pods");
        let named: Vec<String> =
            wanted.values().map(|info| format!("{} {}", info.resource, info.resource.version)).collect();
        assert_eq!(named, ["horizontalpodautoscalers.autoscaling v2", "sites.example.com v1"]);
    }
}
