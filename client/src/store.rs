//! A local copy of a selection of objects: one writer, many readers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use reeve_api::{GroupVersionResource, ObjectKey};
use tokio::sync::watch as signal;

use crate::api::Client;
use crate::view::{Scope, View};
use crate::watch::{self, Event};

/// A change of the local copy, told after it happened.
#[derive(Debug)]
pub enum Change<V> {
    /// An object is new or changed.
    Applied {
        /// Its state before, if it was there.
        old: Option<Arc<V>>,
        /// Its state now.
        new: Arc<V>,
    },
    /// An object is gone.
    Deleted {
        /// The last state that was seen.
        old: Arc<V>,
    },
    /// The copy is whole (again).
    Synced,
}

impl<V> Change<V> {
    /// The object, whichever state is known.
    pub fn object(&self) -> Option<&Arc<V>> {
        match self {
            Change::Applied { new, .. } => Some(new),
            Change::Deleted { old } => Some(old),
            Change::Synced => None,
        }
    }
}

/// The values under which an object is found in an index.
pub type IndexFunction<V> = fn(&V) -> Vec<String>;

struct Index<V> {
    name: &'static str,
    function: IndexFunction<V>,
    keys: HashMap<String, BTreeSet<ObjectKey>>,
}

struct Inner<V> {
    objects: BTreeMap<ObjectKey, Arc<V>>,
    indexes: Vec<Index<V>>,
}

impl<V> Inner<V> {
    fn put(&mut self, key: ObjectKey, object: Arc<V>) -> Option<Arc<V>> {
        let old = self.objects.get(&key).cloned();
        for index in &mut self.indexes {
            let values = (index.function)(&object);
            if let Some(old) = &old {
                let before = (index.function)(old);
                if before == values {
                    continue;
                }
                index.remove(&key, &before);
            }
            for value in values {
                index.keys.entry(value).or_default().insert(key.clone());
            }
        }
        self.objects.insert(key, object);
        old
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<V>> {
        let old = self.objects.remove(key)?;
        for index in &mut self.indexes {
            let before = (index.function)(&old);
            index.remove(key, &before);
        }
        Some(old)
    }
}

impl<V> Index<V> {
    fn remove(&mut self, key: &ObjectKey, values: &[String]) {
        for value in values {
            if let Some(keys) = self.keys.get_mut(value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(value);
                }
            }
        }
    }
}

/// The readers' side of a local copy. Cheap to clone. When the last clone is gone the copy is no longer kept.
pub struct Store<V> {
    inner: Arc<RwLock<Inner<V>>>,
    revision: signal::Receiver<Option<i64>>,
}

impl<V> Clone for Store<V> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), revision: self.revision.clone() }
    }
}

impl<V> Store<V> {
    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<V>> {
        self.inner.read().objects.get(key).cloned()
    }

    /// All objects, in order of their keys.
    pub fn list(&self) -> Vec<Arc<V>> {
        self.inner.read().objects.values().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.inner.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inner.read().objects.is_empty()
    }

    /// The objects of a namespace.
    pub fn namespace(&self, namespace: &str) -> Vec<Arc<V>> {
        let inner = self.inner.read();
        inner
            .objects
            .range(ObjectKey::new(namespace, "")..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The objects that an index files under a value. An index that was not declared has none.
    pub fn indexed(&self, index: &str, value: &str) -> Vec<Arc<V>> {
        let inner = self.inner.read();
        let found = inner.indexes.iter().find(|candidate| candidate.name == index);
        debug_assert!(found.is_some(), "index {index} was not declared");
        let Some(keys) = found.and_then(|index| index.keys.get(value)) else {
            return Vec::new();
        };
        keys.iter().filter_map(|key| inner.objects.get(key).cloned()).collect()
    }

    /// The version up to which the copy is true; 0 before the first sync.
    pub fn revision(&self) -> i64 {
        self.revision.borrow().unwrap_or(0)
    }

    /// Whether the first copy is whole.
    pub fn is_synced(&self) -> bool {
        self.revision.borrow().is_some()
    }

    /// Waits until the first copy is whole.
    pub async fn wait_synced(&self) {
        self.wait_revision(0).await;
    }

    /// Waits until the copy is true up to a version. Wait only for versions of objects that the copy selects:
    /// others may be seen only with the next bookmark.
    pub async fn wait_revision(&self, revision: i64) {
        let mut signal = self.revision.clone();
        // The writer ends only with the runtime; then nobody waits.
        if signal.wait_for(|seen| seen.is_some_and(|seen| seen >= revision)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The one writer of a copy.
pub struct Writer<V> {
    inner: Arc<RwLock<Inner<V>>>,
    revision: signal::Sender<Option<i64>>,
    fresh: BTreeMap<ObjectKey, Arc<V>>,
}

/// A store and its writer, for tests that feed a store by hand and for [`reflect_indexed`].
pub fn store<V: View>(indexes: &[(&'static str, IndexFunction<V>)]) -> (Writer<V>, Store<V>) {
    let indexes = indexes.iter().map(|&(name, function)| Index { name, function, keys: HashMap::new() }).collect();
    let inner = Arc::new(RwLock::new(Inner { objects: BTreeMap::new(), indexes }));
    let (sender, receiver) = signal::channel(None);
    let writer = Writer { inner: inner.clone(), revision: sender, fresh: BTreeMap::new() };
    (writer, Store { inner, revision: receiver })
}

impl<V: View> Writer<V> {
    /// Takes one event of the watch and tells the changes that it made.
    pub fn write(&mut self, event: Event<V>, tell: &mut impl FnMut(Change<V>)) {
        match event {
            Event::Init => self.fresh.clear(),
            Event::InitApply(object) => {
                self.fresh.insert(object.key(), Arc::new(object));
            }
            Event::InitDone(revision) => {
                self.replace(tell);
                self.reach(revision);
                tell(Change::Synced);
            }
            Event::Apply(object) => {
                let revision = object.revision();
                let object = Arc::new(object);
                let old = self.inner.write().put(object.key(), object.clone());
                self.reach(revision);
                tell(Change::Applied { old, new: object });
            }
            Event::Delete(object) => {
                let revision = object.revision();
                let old = self.inner.write().remove(&object.key());
                self.reach(revision);
                if let Some(old) = old {
                    tell(Change::Deleted { old });
                }
            }
            Event::Bookmark(revision) => self.reach(revision),
        }
    }

    fn reach(&self, revision: i64) {
        self.revision.send_if_modified(|seen| {
            let newer = seen.is_none_or(|seen| revision > seen);
            if newer {
                *seen = Some(revision);
            }
            newer
        });
    }

    /// Replaces the copy by the fresh one and tells the difference.
    fn replace(&mut self, tell: &mut impl FnMut(Change<V>)) {
        let fresh = std::mem::take(&mut self.fresh);
        let mut changes = Vec::new();
        {
            let mut inner = self.inner.write();
            let gone: Vec<ObjectKey> = inner.objects.keys().filter(|key| !fresh.contains_key(*key)).cloned().collect();
            for key in gone {
                changes.extend(inner.remove(&key).map(|old| Change::Deleted { old }));
            }
            for (key, object) in fresh {
                let old = inner.put(key, object.clone());
                if old.as_ref().is_none_or(|old| old.revision() != object.revision()) {
                    changes.push(Change::Applied { old, new: object });
                }
            }
        }
        changes.into_iter().for_each(tell);
    }
}

/// Follows a selection of a kind and keeps a copy of it. `handler` is told each change, in order, from one
/// task; it must be quick (put keys into a queue). The task ends when the last clone of the store is dropped.
pub fn reflect<V: View>(client: &Client, scope: Scope, handler: impl FnMut(Change<V>) + Send + 'static) -> Store<V> {
    reflect_indexed(client, scope, &[], handler)
}

/// As [`reflect`], with indexes.
pub fn reflect_indexed<V: View>(
    client: &Client,
    scope: Scope,
    indexes: &[(&'static str, IndexFunction<V>)],
    handler: impl FnMut(Change<V>) + Send + 'static,
) -> Store<V> {
    reflect_resource(client, &GroupVersionResource::of::<V::Kind>(), scope, indexes, handler)
}

/// As [`reflect_indexed`], for a resource that is known only while the program runs: of a custom kind, for instance.
pub fn reflect_resource<V: View>(
    client: &Client,
    resource: &GroupVersionResource,
    scope: Scope,
    indexes: &[(&'static str, IndexFunction<V>)],
    mut handler: impl FnMut(Change<V>) + Send + 'static,
) -> Store<V> {
    let (mut writer, store) = store(indexes);
    let (client, resource, readers) = (client.clone(), resource.clone(), writer.revision.clone());
    tokio::spawn(async move {
        let followed = watch::follow(client, resource, scope, move |event| {
            writer.write(event, &mut handler);
            true
        });
        tokio::select! {
            () = followed => {}
            // Nobody reads any more.
            () = readers.closed() => {}
        }
    });
    store
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(namespace: &str, name: &str, revision: i64) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(namespace.into());
        object.metadata.name = Some(name.into());
        object.metadata.resource_version = Some(revision.to_string());
        object
    }

    fn told(writer: &mut Writer<ConfigMap>, event: Event<ConfigMap>) -> Vec<String> {
        let mut out = Vec::new();
        writer.write(event, &mut |change| {
            out.push(match change {
                Change::Applied { old, new } => format!("{}{}", if old.is_some() { "~" } else { "+" }, new.key()),
                Change::Deleted { old } => format!("-{}", old.key()),
                Change::Synced => "synced".into(),
            });
        });
        out
    }

    #[test]
    fn a_new_list_tells_only_the_difference() {
        let (mut writer, store) = store::<ConfigMap>(&[]);
        for event in [Event::Init, Event::InitApply(object("a", "x", 1)), Event::InitApply(object("a", "y", 2))] {
            assert!(told(&mut writer, event).is_empty());
        }
        assert!(!store.is_synced());
        assert_eq!(told(&mut writer, Event::InitDone(2)), ["+a/x", "+a/y", "synced"]);
        told(&mut writer, Event::Init);
        told(&mut writer, Event::InitApply(object("a", "y", 2)));
        told(&mut writer, Event::InitApply(object("b", "z", 7)));
        assert_eq!(store.len(), 2, "readers keep the old copy until the new one is whole");
        assert_eq!(told(&mut writer, Event::InitDone(8)), ["-a/x", "+b/z", "synced"]);
        assert_eq!(store.namespace("b").len(), 1);
        assert_eq!(store.revision(), 8);
    }

    #[test]
    fn indexes_follow_changes() {
        fn by_immutable(object: &ConfigMap) -> Vec<String> {
            object.immutable.map(|value| value.to_string()).into_iter().collect()
        }
        let (mut writer, store) = store::<ConfigMap>(&[("immutable", by_immutable)]);
        let mut changed = object("a", "x", 1);
        changed.immutable = Some(true);
        told(&mut writer, Event::Apply(object("a", "x", 1)));
        assert!(store.indexed("immutable", "true").is_empty());
        told(&mut writer, Event::Apply(changed.clone()));
        assert_eq!(store.indexed("immutable", "true").len(), 1);
        assert_eq!(told(&mut writer, Event::Delete(changed)), ["-a/x"]);
        assert!(store.indexed("immutable", "true").is_empty());
    }

    #[tokio::test]
    async fn a_reader_waits_for_its_own_write() {
        let (mut writer, store) = store::<ConfigMap>(&[]);
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.wait_revision(3).await }
        });
        told(&mut writer, Event::Apply(object("a", "x", 3)));
        waiting.await.unwrap();
    }
}
