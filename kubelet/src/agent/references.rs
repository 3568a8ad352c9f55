//! The ConfigMaps and Secrets that this node's pods use: one watch for each, as long as a pod uses it.
//!
//! A node may read only what its pods name, so there is no watch over all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_client::{Client, Scope, Store, View, reflect};

use super::inbox::{Changed, Inbox, Reference};
use crate::pod::{env, spec};

/// Follows what pods reference. Cheap to clone.
#[derive(Clone)]
pub struct References {
    client: Client,
    inbox: Inbox,
    entries: Arc<Mutex<HashMap<Reference, Entry>>>,
}

struct Entry {
    store: AnyStore,
    users: BTreeSet<String>,
}

#[derive(Clone)]
enum AnyStore {
    ConfigMap(Store<ConfigMap>),
    Secret(Store<Secret>),
}

/// What one pod references, as it is now.
#[derive(Default)]
pub struct Snapshot {
    config_maps: BTreeMap<String, Arc<ConfigMap>>,
    secrets: BTreeMap<String, Arc<Secret>>,
}

impl env::References for Snapshot {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
        self.config_maps.get(name).cloned()
    }

    fn secret(&self, name: &str) -> Option<Arc<Secret>> {
        self.secrets.get(name).cloned()
    }
}

impl References {
    /// Follows nothing yet; changes go into the inbox.
    pub fn new(client: Client, inbox: Inbox) -> Self {
        Self { client, inbox, entries: Arc::default() }
    }

    /// Everything that the pod references, after the first answer of the API server for each.
    pub async fn of(&self, pod: &Pod) -> Snapshot {
        let uid = spec::uid(pod);
        let stores: Vec<(Reference, AnyStore)> = {
            let mut entries = self.entries.lock();
            referenced(pod)
                .into_iter()
                .map(|reference| {
                    let entry = entries
                        .entry(reference.clone())
                        .or_insert_with(|| Entry { store: self.follow(&reference), users: BTreeSet::new() });
                    entry.users.insert(uid.to_owned());
                    (reference, entry.store.clone())
                })
                .collect()
        };
        let mut snapshot = Snapshot::default();
        for (reference, store) in stores {
            match (reference, store) {
                (Reference::ConfigMap(key), AnyStore::ConfigMap(store)) => {
                    store.wait_synced().await;
                    snapshot.config_maps.extend(store.get(&key).map(|map| (key.name, map)));
                }
                (Reference::Secret(key), AnyStore::Secret(store)) => {
                    store.wait_synced().await;
                    snapshot.secrets.extend(store.get(&key).map(|map| (key.name, map)));
                }
                _ => {}
            }
        }
        snapshot
    }

    /// The UIDs of the pods that use it.
    pub fn users(&self, reference: &Reference) -> Vec<String> {
        self.entries.lock().get(reference).map(|entry| entry.users.iter().cloned().collect()).unwrap_or_default()
    }

    /// The pod uses nothing any more; what nobody uses is no longer watched.
    pub fn release(&self, uid: &str) {
        self.entries.lock().retain(|_, entry| {
            entry.users.remove(uid);
            !entry.users.is_empty()
        });
    }

    fn follow(&self, reference: &Reference) -> AnyStore {
        match reference {
            Reference::ConfigMap(key) => AnyStore::ConfigMap(self.reflect_one(key, reference)),
            Reference::Secret(key) => AnyStore::Secret(self.reflect_one(key, reference)),
        }
    }

    fn reflect_one<V: View>(&self, key: &ObjectKey, reference: &Reference) -> Store<V> {
        let scope = Scope::all().namespace(&key.namespace).fields(&format!("metadata.name={}", key.name));
        let (inbox, reference) = (self.inbox.clone(), reference.clone());
        reflect(&self.client, scope, move |_| inbox.put(Changed::Reference(reference.clone())))
    }
}

/// Every ConfigMap and Secret that the pod's volumes, environment and pull secrets name.
fn referenced(pod: &Pod) -> BTreeSet<Reference> {
    let namespace = spec::key(pod).namespace;
    let mut all = BTreeSet::new();
    let mut config_map = |name: &str| all.insert(Reference::ConfigMap(ObjectKey::new(namespace.clone(), name)));
    let pod_spec = spec::spec(pod);
    let mut secrets: Vec<&str> = Vec::new();
    for volume in pod_spec.volumes.iter().flatten() {
        if let Some(source) = &volume.config_map {
            config_map(&source.name);
        }
        secrets.extend(volume.secret.as_ref().and_then(|it| it.secret_name.as_deref()));
        for source in volume.projected.iter().flat_map(|it| it.sources.iter().flatten()) {
            if let Some(source) = &source.config_map {
                config_map(&source.name);
            }
            secrets.extend(source.secret.as_ref().map(|it| it.name.as_str()));
        }
    }
    let ephemeral: Vec<_> = spec::ephemeral_containers(pod).collect();
    for container in spec::all_containers(pod).chain(&ephemeral) {
        for source in container.env_from.iter().flatten() {
            if let Some(source) = &source.config_map_ref {
                config_map(&source.name);
            }
            secrets.extend(source.secret_ref.as_ref().map(|it| it.name.as_str()));
        }
        for source in container.env.iter().flatten().filter_map(|it| it.value_from.as_ref()) {
            if let Some(source) = &source.config_map_key_ref {
                config_map(&source.name);
            }
            secrets.extend(source.secret_key_ref.as_ref().map(|it| it.name.as_str()));
        }
    }
    secrets.extend(pod_spec.image_pull_secrets.iter().flatten().map(|it| it.name.as_str()));
    let secrets = secrets.into_iter().filter(|name| !name.is_empty());
    all.extend(secrets.map(|name| Reference::Secret(ObjectKey::new(namespace.clone(), name))));
    all
}
