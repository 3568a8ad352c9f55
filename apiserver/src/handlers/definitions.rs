//! What is served follows the stored definitions: rows come, change and go with them.
//!
//! [`Handlers::sync_definitions`] is level-triggered: it looks at all definitions that the cache has, decides their
//! names, serves what is accepted and removes the objects of what is being deleted. It runs at start and after each
//! change of a definition, whoever wrote it.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use reeve_api::{GroupVersionResource, Reason, StatusError};
use serde_json::json;

use super::{DeleteOptions, Handlers, ListOptions, WriteOptions, store_error};
use crate::registry::custom::{self, storage_prefix};
use crate::registry::kinds::definition::{CLEANUP, names};
use crate::registry::{Registry, Row};
use crate::request::{Target, User};
use crate::storage::cache::{Cache, Resource, ResourceConfig, Selector, Version, Watch, WatchFrom, WatchQuery};

const PREFIX: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

/// A custom resource that is served.
#[derive(Clone)]
struct Custom {
    /// What its stored objects are read with; another text needs another resource of the cache.
    form: String,
    /// What its rows are made of.
    face: String,
    rows: Vec<Arc<Row>>,
    resource: Resource,
}

/// What is served now; replaced as a whole.
pub struct Served {
    /// The built-in kinds.
    builtin: Arc<Registry>,
    /// All kinds.
    pub registry: Arc<Registry>,
    custom: HashMap<String, Custom>,
}

impl Served {
    /// The built-in kinds alone.
    pub fn new(builtin: Arc<Registry>) -> Self {
        Self { registry: builtin.clone(), builtin, custom: HashMap::new() }
    }

    fn with(&self, custom: HashMap<String, Custom>) -> Self {
        let mut all: Vec<&Custom> = custom.values().collect();
        all.sort_by(|one, other| one.resource.config().prefix.cmp(&other.resource.config().prefix));
        let rows: Vec<Arc<Row>> = all.into_iter().flat_map(|custom| custom.rows.iter().cloned()).collect();
        Self { registry: Arc::new(self.builtin.with(&rows)), builtin: self.builtin.clone(), custom }
    }

    /// The cached objects below a prefix.
    pub fn resource(&self, prefix: &str) -> Option<Resource> {
        self.custom.get(prefix).map(|custom| custom.resource.clone())
    }

    /// Ends the watches of custom kinds.
    pub fn end_watches(&self) {
        for custom in self.custom.values() {
            custom.resource.end_watches();
        }
    }
}

/// The server itself, for what it writes of its own accord.
pub fn server() -> User {
    User {
        name: "system:apiserver".to_owned(),
        groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
        ..User::default()
    }
}

fn target(name: &str, subresource: &str) -> Target {
    Target {
        resource: GroupVersionResource::of::<CustomResourceDefinition>(),
        namespace: String::new(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }
}

/// Somebody else was quicker; the change comes as an event.
fn unless_outrun(result: Result<super::ObjectAnswer, StatusError>) -> Result<(), StatusError> {
    match result {
        Err(error) if !matches!(error.reason, Reason::Conflict | Reason::NotFound) => Err(error),
        _ => Ok(()),
    }
}

fn prefix_of(definition: &CustomResourceDefinition) -> String {
    storage_prefix(&definition.spec.group, &definition.spec.names.plural)
}

impl Handlers {
    /// All definitions, the oldest first: who came first has its names.
    fn definitions(&self) -> Vec<CustomResourceDefinition> {
        let mut definitions: Vec<CustomResourceDefinition> = self
            .stored(PREFIX)
            .snapshot()
            .entries()
            .filter_map(|entry| match serde_json::from_slice(entry.object()) {
                Ok(definition) => Some(definition),
                Err(error) => {
                    tracing::error!(name = entry.name(), %error, "a stored definition cannot be read; it is not served");
                    None
                }
            })
            .collect();
        definitions.sort_by_key(|definition| {
            let metadata = &definition.metadata;
            (metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.name.clone())
        });
        definitions
    }

    /// Brings names, rows and deletions in line with the definitions. Returns the resources that must become empty
    /// before their definitions can go.
    ///
    /// # Errors
    /// When the store does not answer; to be tried again.
    pub async fn sync_definitions(&self, cache: &Cache) -> Result<Vec<Resource>, StatusError> {
        let mut definitions = self.definitions();
        let mut decided = Vec::new();
        for index in 0..definitions.len() {
            if definitions[index].metadata.deletion_timestamp.is_some() {
                continue;
            }
            let others: Vec<&CustomResourceDefinition> = definitions.iter().collect();
            let status = names::decide(&definitions[index], &others, self.now());
            if definitions[index].status.as_ref() == Some(&status) {
                continue;
            }
            definitions[index].status = Some(status);
            decided.push(index);
        }
        // What says that it is established is served already.
        self.serve_definitions(&definitions, cache).await?;
        for definition in decided.into_iter().map(|index| &definitions[index]) {
            let name = definition.metadata.name.as_deref().unwrap_or_default();
            let body = serde_json::to_vec(definition).map_err(StatusError::internal)?;
            let options = WriteOptions::default();
            unless_outrun(self.update(&server(), &target(name, "status"), body.into(), &options).await)?;
        }
        self.register_custom_versions().await?;
        let mut waiting = Vec::new();
        for definition in definitions.iter().filter(|one| one.metadata.deletion_timestamp.is_some()) {
            waiting.extend(self.clean_up(definition).await?);
        }
        Ok(waiting)
    }

    /// Makes what is served that of the definitions.
    async fn serve_definitions(
        &self,
        definitions: &[CustomResourceDefinition],
        cache: &Cache,
    ) -> Result<(), StatusError> {
        let before = self.served.load_full();
        let mut custom: HashMap<String, Custom> = HashMap::new();
        for definition in definitions {
            let Some((rows, reader)) = custom::rows(definition) else { continue };
            let prefix = prefix_of(definition);
            let names = definition.status.as_ref().and_then(|status| status.accepted_names.as_ref());
            let terminating = definition.metadata.deletion_timestamp.is_some();
            let form = json!([definition.metadata.uid, definition.spec.versions, definition.spec.scope]).to_string();
            let face = json!([names, terminating]).to_string();
            let known = before.custom.get(&prefix);
            if let Some(known) = known.filter(|known| known.form == form && known.face == face) {
                custom.insert(prefix, known.clone());
                continue;
            }
            let resource = match known.filter(|known| known.form == form) {
                Some(known) => known.resource.clone(),
                None => {
                    let Some(row) = rows.first() else { continue };
                    let kind = row.kind.group_version_kind();
                    if known.is_some() {
                        cache.remove(&prefix).await.map_err(store_error)?;
                    }
                    let config = ResourceConfig {
                        resource: row.info.resource.clone(),
                        api_version: kind.api_version(),
                        kind: kind.kind,
                        prefix: prefix.clone(),
                        extract: Arc::new(reader),
                    };
                    cache.add(config).await.map_err(store_error)?
                }
            };
            tracing::info!(definition = definition.metadata.name, terminating, "custom resource served");
            let rows = rows.into_iter().map(Arc::new).collect();
            custom.insert(prefix, Custom { form, face, rows, resource });
        }
        let gone: Vec<&String> = before.custom.keys().filter(|prefix| !custom.contains_key(*prefix)).collect();
        let same = gone.is_empty()
            && custom.iter().all(|(prefix, custom)| {
                before.custom.get(prefix).is_some_and(|known| known.form == custom.form && known.face == custom.face)
            });
        if same {
            return Ok(());
        }
        self.served.store(Arc::new(before.with(custom)));
        for prefix in gone {
            tracing::info!(prefix, "custom resource no longer served");
            cache.remove(prefix).await.map_err(store_error)?;
        }
        Ok(())
    }

    /// Removes the objects of a definition that is being deleted, and then what holds the definition. Returns the
    /// resource when some of its objects are held by finalizers of their own.
    async fn clean_up(&self, definition: &CustomResourceDefinition) -> Result<Option<Resource>, StatusError> {
        let finalizers = definition.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            return Ok(None);
        }
        let served = self.served.load_full();
        if let Some(custom) = served.custom.get(&prefix_of(definition))
            && let Some(row) = custom.rows.first()
        {
            let all = Target {
                resource: row.info.resource.clone(),
                namespace: String::new(),
                name: String::new(),
                subresource: String::new(),
            };
            self.delete_rows(row, &all, ListOptions::default(), &DeleteOptions::default()).await?;
            if !custom.resource.fresh(Version::Consistent).await?.is_empty() {
                return Ok(Some(custom.resource.clone()));
            }
        }
        let mut done = definition.clone();
        done.metadata.finalizers = Some(finalizers.into_iter().filter(|finalizer| finalizer != CLEANUP).collect());
        let name = done.metadata.name.clone().unwrap_or_default();
        let body = serde_json::to_vec(&done).map_err(StatusError::internal)?;
        unless_outrun(self.update(&server(), &target(&name, ""), body.into(), &WriteOptions::default()).await)?;
        Ok(None)
    }

    /// Follows the objects of a built-in resource from now on: those of a namespace, or all when it is empty.
    ///
    /// # Errors
    /// When the cache is not filled yet.
    pub async fn watch_in(&self, prefix: &str, namespace: &str) -> Result<Watch, StatusError> {
        watch(self.stored(prefix), namespace).await
    }

    /// Follows the definitions until the watch ends.
    ///
    /// # Errors
    /// Why it ended; to be taken up again.
    pub async fn follow_definitions(&self, cache: &Cache) -> Result<(), StatusError> {
        let mut changes = watch(self.stored(PREFIX), "").await?;
        loop {
            let waiting = self.sync_definitions(cache).await?;
            let emptied = async {
                if waiting.is_empty() {
                    return futures::future::pending().await;
                }
                futures::future::select_all(waiting.into_iter().map(|resource| Box::pin(emptied(resource)))).await.0
            };
            tokio::select! {
                batch = changes.next() => match batch {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Err(StatusError::unavailable("the watch of definitions ended", 1)),
                },
                result = emptied => result?,
            }
        }
    }
}

async fn watch(resource: &Resource, namespace: &str) -> Result<Watch, StatusError> {
    let query = WatchQuery {
        selector: Selector::namespace(namespace),
        from: WatchFrom::Now,
        initial_events: None,
        bookmarks: false,
    };
    resource.watch(query).await
}

/// Resolves when a resource has no objects any more.
async fn emptied(resource: Resource) -> Result<(), StatusError> {
    let mut changes = watch(&resource, "").await?;
    while !resource.snapshot().is_empty() {
        match changes.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        }
    }
    Ok(())
}
