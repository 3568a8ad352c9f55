//! The verbs, typed by kind.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::Resource;
use parking_lot::Mutex;
use reeve_api::{GroupVersionResource, ResourceInfo};
use reeve_proto::v1;
use reeve_proto::v1::api_client::ApiClient;
use reeve_proto::v1::discovery_client::DiscoveryClient;
use reeve_proto::v1::streams_client::StreamsClient;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::channel::{AuthenticatedChannel, Live};
use crate::config::{ConfigError, ConnectionConfig};
use crate::error::Error;
use crate::kubeconfig::Kubeconfig;
use crate::renewal;
use crate::streams::Streams;
use crate::view::{Scope, View};
use crate::watch::Follower;

/// The largest message that is accepted: an object may have 1.5 MB, a chunk of a list is smaller than this.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A connection to an API server. Cheap to clone; connects with the first call and reconnects by itself.
#[derive(Clone)]
pub struct Client {
    live: Arc<Live>,
    config: Arc<ConnectionConfig>,
}

impl Client {
    /// Prepares a connection. Must be called inside a tokio runtime.
    pub fn new(config: ConnectionConfig) -> Result<Client, ConfigError> {
        Ok(Client { live: Arc::new(Live::new(&config)?), config: Arc::new(config) })
    }

    /// The connection that a kubeconfig describes. When the file or one that it names is replaced, calls go out with
    /// the new credentials, and watches move over without a gap. Must be called inside a tokio runtime.
    pub fn following(kubeconfig: &Path) -> Result<Client, ConfigError> {
        let read = |path: &Path| Kubeconfig::load(path)?.connection(None);
        let config = read(kubeconfig)?;
        let known = Mutex::new(config.inlined()?);
        let client = Client::new(config)?;
        let (live, path) = (Arc::downgrade(&client.live), kubeconfig.to_owned());
        let files = {
            let (files, path) = (client.config.files(), path.clone());
            move || {
                read(&path)
                    .map_or_else(|_| files.clone(), |config| config.files())
                    .into_iter()
                    .chain([path.clone()])
                    .collect()
            }
        };
        let reload = move || {
            let (Some(live), result) = (live.upgrade(), read(&path).and_then(|config| config.inlined())) else {
                return;
            };
            let renewed = result.and_then(|config| {
                let mut known = known.lock();
                if *known == config {
                    return Ok(false);
                }
                live.replace(&config)?;
                *known = config;
                Ok(true)
            });
            match renewed {
                Ok(true) => tracing::info!(kubeconfig = %path.display(), "connecting with the new credentials"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the new credentials are not taken up; the old ones stay"),
            }
        };
        tokio::spawn(renewal::follow(files, reload));
        Ok(client)
    }

    /// Tells from now on when calls go out with other credentials.
    pub(crate) fn replaced(&self) -> tokio::sync::watch::Receiver<()> {
        self.live.replaced()
    }

    /// Where it connects to.
    pub fn config(&self) -> &ConnectionConfig {
        &self.config
    }

    /// A cluster-scoped kind, or a namespaced kind over all namespaces.
    pub fn all<K: Resource>(&self) -> Api<K> {
        self.api(GroupVersionResource::of::<K>(), "")
    }

    /// A kind in a namespace.
    pub fn namespaced<K: Resource>(&self, namespace: &str) -> Api<K> {
        self.api(GroupVersionResource::of::<K>(), namespace)
    }

    /// Any resource, as plain JSON values.
    pub fn dynamic(&self, resource: &GroupVersionResource, namespace: Option<&str>) -> Api<Value> {
        self.api(resource.clone(), namespace.unwrap_or_default())
    }

    fn api<K>(&self, resource: GroupVersionResource, namespace: &str) -> Api<K> {
        Api { client: self.clone(), resource, namespace: namespace.to_owned(), kind: PhantomData }
    }

    /// The generated stub on this connection, for those who need an object's bytes rather than its fields.
    pub fn grpc(&self) -> ApiClient<AuthenticatedChannel> {
        ApiClient::new(self.live.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn channel(&self) -> AuthenticatedChannel {
        self.live.channel()
    }

    pub(crate) fn failed(&self, status: tonic::Status) -> Error {
        Error::from_grpc(status, &self.config.server)
    }

    /// All resources that the server serves, without subresources.
    pub async fn resources(&self) -> Result<Vec<ResourceInfo>, Error> {
        let ask = || async { DiscoveryClient::new(self.live.channel()).resources(v1::ResourcesRequest {}).await };
        let rows = self.again(ask).await?.resources.into_iter().filter(|row| row.subresource.is_empty());
        Ok(rows
            .map(|row| ResourceInfo {
                resource: GroupVersionResource::new(&row.group, &row.version, &row.resource),
                singular: row.singular,
                kind: row.kind,
                namespaced: row.namespaced,
                short_names: row.short_names,
                categories: row.categories,
                verbs: row.verbs,
            })
            .collect())
    }

    /// The server's version.
    pub async fn version(&self) -> Result<v1::VersionResponse, Error> {
        let response = DiscoveryClient::new(self.live.channel()).version(v1::VersionRequest {}).await;
        Ok(response.map_err(|status| self.failed(status))?.into_inner())
    }

    /// Logs, exec, attach, port-forward.
    pub fn streams(&self) -> Streams {
        Streams::new(StreamsClient::new(self.live.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX), self.clone())
    }

    /// Opens one watch, without reconnecting. [`crate::watch`] and [`crate::store`] build on it.
    pub(crate) async fn open_watch(
        &self,
        resource: &GroupVersionResource,
        scope: &Scope,
        fields: &[&str],
        options: &WatchOptions,
    ) -> Result<tonic::Streaming<v1::WatchResponse>, Error> {
        let request = v1::WatchRequest {
            resource: Some(reference(resource, &scope.namespace, "", "")),
            selection: Some(v1::Selection {
                label_selector: scope.label_selector.clone(),
                field_selector: scope.field_selector.clone(),
                field_mask: fields.iter().map(|&field| field.to_owned()).collect(),
            }),
            resource_version: options.resource_version.clone(),
            send_initial_events: options.send_initial_events,
            allow_bookmarks: true,
            timeout_seconds: options.timeout_seconds,
        };
        let response = self.grpc().watch(request).await.map_err(|status| self.failed(status))?;
        Ok(response.into_inner())
    }
}

fn reference(resource: &GroupVersionResource, namespace: &str, name: &str, subresource: &str) -> v1::ResourceRef {
    v1::ResourceRef {
        group: resource.group.clone(),
        version: resource.version.clone(),
        resource: resource.resource.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// `app=web,tier in (a,b)`.
    pub label_selector: String,
    /// `spec.nodeName=n1`.
    pub field_selector: String,
    /// Paths to keep; empty for whole objects.
    pub fields: Vec<String>,
    /// Empty for the newest state, `0` for whatever the server's cache holds.
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub resource_version_match: String,
    /// At most so many objects; 0 for all.
    pub limit: i64,
    /// Where a limited list goes on.
    pub continue_token: String,
}

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// `app=web`.
    pub label_selector: String,
    /// `spec.nodeName=n1`.
    pub field_selector: String,
    /// Changes after this version; empty for any recent state.
    pub resource_version: String,
    /// First the present objects, then a bookmark.
    pub send_initial_events: bool,
    /// Ends the watch; 0 leaves it to the server.
    pub timeout_seconds: i64,
}

/// A list of objects at one version.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectList<K> {
    /// The objects, in order of their keys.
    pub items: Vec<K>,
    /// The version of the list.
    pub resource_version: i64,
    /// Where a limited list goes on; empty at its end.
    pub continue_token: String,
    /// How many are left after a limited list, where the server knows.
    pub remaining_item_count: i64,
}

/// A partial change.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(Value),
    /// Kubernetes' strategic merge patch.
    Strategic(Value),
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Seconds that the object has to end; absent for its own default.
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground`, `Orphan` or empty.
    pub propagation_policy: String,
    /// Delete only the object with this uid.
    pub uid: String,
    /// Delete only this version.
    pub resource_version: String,
    /// Do all but delete.
    pub dry_run: bool,
}

/// What a delete did.
#[derive(Clone, Debug, PartialEq)]
pub struct Deleted {
    /// The object's last state, or a `Status`.
    pub object: Value,
    /// False when the object stays until its grace period or finalizers are done.
    pub gone: bool,
}

/// How to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do all but store.
    pub dry_run: bool,
    /// Who writes, for field ownership.
    pub field_manager: String,
    /// What to do about fields that the kind does not have: `Strict`, `Warn`, `Ignore`; empty for the server's default.
    pub field_validation: String,
}

impl WriteOptions {
    fn message(&self) -> v1::WriteOptions {
        v1::WriteOptions {
            dry_run: self.dry_run,
            field_manager: self.field_manager.clone(),
            field_validation: self.field_validation.clone(),
        }
    }
}

/// What a write stored, and what the server has to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<K> {
    /// The object as it is stored.
    pub object: K,
    /// For the user to read.
    pub warnings: Vec<String>,
}

/// A change that a watch saw.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<K> {
    /// New, or new to the selection.
    Added(K),
    /// Changed.
    Modified(K),
    /// Gone, or no longer in the selection; its last state.
    Deleted(K),
    /// All changes up to this version have been sent.
    Bookmark {
        /// The version.
        revision: i64,
        /// Whether it ends the initial events.
        initial_events_end: bool,
    },
}

/// The verbs of one resource.
pub struct Api<K> {
    client: Client,
    resource: GroupVersionResource,
    namespace: String,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> Api<K> {
    /// The resource.
    pub fn resource(&self) -> &GroupVersionResource {
        &self.resource
    }

    fn reference(&self, name: &str, subresource: &str) -> v1::ResourceRef {
        reference(&self.resource, &self.namespace, name, subresource)
    }

    /// Deletes an object, or marks it for deletion.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Deleted, Error> {
        let request =
            v1::DeleteRequest { resource: Some(self.reference(name, "")), options: Some(delete_options(options)) };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.delete(request).await }).await?;
        Ok(Deleted { object: decode(&response.object)?, gone: response.deleted })
    }

    /// Deletes the objects that a selection names; returns how many.
    pub async fn delete_collection(&self, selection: &ListOptions, options: &DeleteOptions) -> Result<i64, Error> {
        let request = v1::DeleteCollectionRequest {
            resource: Some(self.reference("", "")),
            selection: Some(v1::Selection {
                label_selector: selection.label_selector.clone(),
                field_selector: selection.field_selector.clone(),
                field_mask: vec![],
            }),
            options: Some(delete_options(options)),
        };
        let response =
            self.client.call(request, |mut grpc, request| async move { grpc.delete_collection(request).await }).await?;
        Ok(response.deleted)
    }

    /// Creates an object of a subresource: `pods/NAME/binding`. Returns what the server answers.
    pub async fn create_subresource(&self, name: &str, subresource: &str, object: &Value) -> Result<Value, Error> {
        let request = v1::CreateRequest {
            resource: Some(self.reference(name, subresource)),
            object: encode(object)?.into(),
            options: None,
        };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.create(request).await }).await?;
        decode(&response.object)
    }

    /// Reads a subresource, such as `scale`.
    pub async fn get_subresource(&self, name: &str, subresource: &str) -> Result<Value, Error> {
        let request =
            v1::GetRequest { resource: Some(self.reference(name, subresource)), resource_version: String::new() };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.get(request).await }).await?;
        decode(&response.object)
    }

    /// Patches a subresource, such as `scale`; its object may be of another kind.
    pub async fn patch_subresource(&self, name: &str, subresource: &str, patch: &Patch) -> Result<Value, Error> {
        self.send_patch(name, subresource, patch, false).await
    }

    /// As [`Api::patch_subresource`], with the server's warnings.
    pub async fn patch_subresource_written(
        &self,
        name: &str,
        subresource: &str,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<Written<Value>, Error> {
        self.send_patch_with(name, subresource, patch, options).await
    }

    async fn send_patch<T: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        patch: &Patch,
        dry_run: bool,
    ) -> Result<T, Error> {
        let options = WriteOptions { dry_run, ..WriteOptions::default() };
        Ok(self.send_patch_with(name, subresource, patch, &options).await?.object)
    }

    async fn send_patch_with<T: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<Written<T>, Error> {
        let (kind, body) = match patch {
            Patch::Json(body) => (v1::patch_request::Type::Json, body),
            Patch::Merge(body) => (v1::patch_request::Type::Merge, body),
            Patch::Strategic(body) => (v1::patch_request::Type::Strategic, body),
        };
        let request = v1::PatchRequest {
            resource: Some(self.reference(name, subresource)),
            r#type: kind.into(),
            patch: encode(body)?.into(),
            options: Some(options.message()),
        };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.patch(request).await }).await?;
        Ok(Written { object: decode(&response.object)?, warnings: response.warnings })
    }
}

impl<K: DeserializeOwned> Api<K> {
    /// Reads one object.
    pub async fn get(&self, name: &str) -> Result<K, Error> {
        let request = v1::GetRequest { resource: Some(self.reference(name, "")), resource_version: String::new() };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.get(request).await }).await?;
        decode(&response.object)
    }

    /// Reads one object; `None` when there is none.
    pub async fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists objects.
    pub async fn list(&self, options: &ListOptions) -> Result<ObjectList<K>, Error> {
        let request = v1::ListRequest {
            resource: Some(self.reference("", "")),
            selection: Some(v1::Selection {
                label_selector: options.label_selector.clone(),
                field_selector: options.field_selector.clone(),
                field_mask: options.fields.clone(),
            }),
            resource_version: options.resource_version.clone(),
            resource_version_match: options.resource_version_match.clone(),
            limit: options.limit,
            continue_token: options.continue_token.clone(),
        };
        let mut chunks = self.client.call(request, |mut grpc, request| async move { grpc.list(request).await }).await?;
        let mut list =
            ObjectList { items: vec![], resource_version: 0, continue_token: String::new(), remaining_item_count: 0 };
        while let Some(chunk) = chunks.try_next().await.map_err(|status| self.client.failed(status))? {
            list.resource_version = list.resource_version.max(chunk.resource_version);
            if !chunk.continue_token.is_empty() {
                list.continue_token = chunk.continue_token;
                list.remaining_item_count = chunk.remaining_item_count;
            }
            for object in &chunk.objects {
                list.items.push(decode(object)?);
            }
        }
        Ok(list)
    }

    /// Opens one watch. It ends when the server or the connection ends it; components follow resources with
    /// [`crate::reflect`] and verbs with [`Api::follow`], which do not.
    pub async fn watch(
        &self,
        options: &WatchOptions,
    ) -> Result<impl Stream<Item = Result<WatchEvent<K>, Error>> + use<K>, Error> {
        let scope =
            Scope::all().namespace(&self.namespace).labels(&options.label_selector).fields(&options.field_selector);
        let stream = self.client.open_watch(&self.resource, &scope, &[], options).await?;
        let client = self.client.clone();
        Ok(stream
            .map(move |batch| batch.map_err(|status| client.failed(status)))
            .map_ok(|batch| futures::stream::iter(batch.events.into_iter().map(typed_event)))
            .try_flatten())
    }

    /// A watch of a selection that goes on where it was interrupted.
    pub fn follow(&self, label_selector: &str, field_selector: &str) -> Follower {
        let scope = Scope::all().namespace(&self.namespace).labels(label_selector).fields(field_selector);
        Follower::new(self.client.clone(), self.resource.clone(), scope, &[])
    }

    /// Changes parts of an object.
    pub async fn patch(&self, name: &str, patch: &Patch) -> Result<K, Error> {
        self.send_patch(name, "", patch, false).await
    }

    /// Changes parts of an object's status.
    pub async fn patch_status(&self, name: &str, patch: &Patch) -> Result<K, Error> {
        self.send_patch(name, "status", patch, false).await
    }

    /// Changes parts of an object, with options; returns the server's warnings too.
    pub async fn patch_written(&self, name: &str, patch: &Patch, options: &WriteOptions) -> Result<Written<K>, Error> {
        self.send_patch_with(name, "", patch, options).await
    }

    /// What a patch would make of an object.
    pub async fn patch_dry_run(&self, name: &str, patch: &Patch) -> Result<K, Error> {
        self.send_patch(name, "", patch, true).await
    }
}

impl<K: Serialize + DeserializeOwned> Api<K> {
    /// Stores a new object.
    pub async fn create(&self, object: &K) -> Result<K, Error> {
        self.create_with(object, false).await
    }

    /// As [`Api::create`], or only what it would answer.
    pub async fn create_with(&self, object: &K, dry_run: bool) -> Result<K, Error> {
        let request = v1::CreateRequest {
            resource: Some(self.reference("", "")),
            object: encode(object)?.into(),
            options: Some(v1::WriteOptions { dry_run, ..v1::WriteOptions::default() }),
        };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.create(request).await }).await?;
        decode(&response.object)
    }

    /// Stores a new object, with options; returns the server's warnings too.
    pub async fn create_written(&self, object: &K, options: &WriteOptions) -> Result<Written<K>, Error> {
        let request = v1::CreateRequest {
            resource: Some(self.reference("", "")),
            object: encode(object)?.into(),
            options: Some(options.message()),
        };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.create(request).await }).await?;
        Ok(Written { object: decode(&response.object)?, warnings: response.warnings })
    }

    /// Replaces an object, with options; returns the server's warnings too.
    pub async fn update_written(&self, object: &K, options: &WriteOptions) -> Result<Written<K>, Error> {
        let bytes = encode(object)?;
        let request = v1::UpdateRequest {
            resource: Some(self.reference(&name_of(&bytes)?, "")),
            object: bytes.into(),
            options: Some(options.message()),
        };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.update(request).await }).await?;
        Ok(Written { object: decode(&response.object)?, warnings: response.warnings })
    }

    /// Merges the fields that `options.field_manager` owns into an object (server-side apply). `force` takes fields
    /// over that other managers own.
    pub async fn apply(&self, object: &K, force: bool, options: &WriteOptions) -> Result<Written<K>, Error> {
        let bytes = encode(object)?;
        let request = v1::ApplyRequest {
            resource: Some(self.reference(&name_of(&bytes)?, "")),
            object: bytes.into(),
            force,
            options: Some(options.message()),
        };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.apply(request).await }).await?;
        Ok(Written { object: decode(&response.object)?, warnings: response.warnings })
    }

    /// Replaces an object; with a resource version in it, only that version.
    pub async fn update(&self, object: &K) -> Result<K, Error> {
        self.update_subresource("", object).await
    }

    /// Replaces an object's status.
    pub async fn update_status(&self, object: &K) -> Result<K, Error> {
        self.update_subresource("status", object).await
    }

    /// Replaces a part of an object.
    pub async fn update_subresource(&self, subresource: &str, object: &K) -> Result<K, Error> {
        let bytes = encode(object)?;
        let name = name_of(&bytes)?;
        let request = v1::UpdateRequest {
            resource: Some(self.reference(&name, subresource)),
            object: bytes.into(),
            options: None,
        };
        let response = self.client.call(request, |mut grpc, request| async move { grpc.update(request).await }).await?;
        decode(&response.object)
    }
}

impl<K: View> Api<K> {
    /// The scope of this resource's objects, to follow them.
    pub fn scope(&self) -> Scope {
        Scope::all().namespace(&self.namespace)
    }
}

fn delete_options(options: &DeleteOptions) -> v1::DeleteOptions {
    v1::DeleteOptions {
        grace_period_seconds: options.grace_period_seconds,
        propagation_policy: options.propagation_policy.clone(),
        uid: options.uid.clone(),
        resource_version: options.resource_version.clone(),
        dry_run: options.dry_run,
    }
}

fn typed_event<K: DeserializeOwned>(event: v1::WatchEvent) -> Result<WatchEvent<K>, Error> {
    use v1::watch_event::Type;
    match event.r#type() {
        Type::Added => Ok(WatchEvent::Added(decode(&event.object)?)),
        Type::Modified => Ok(WatchEvent::Modified(decode(&event.object)?)),
        Type::Deleted => Ok(WatchEvent::Deleted(decode(&event.object)?)),
        Type::Bookmark => {
            Ok(WatchEvent::Bookmark { revision: event.resource_version, initial_events_end: event.initial_events_end })
        }
        Type::Error => Err(watch_error(&event.object)),
        Type::Unspecified => Err(Error::Decode { message: "a watch event has no type".into() }),
    }
}

/// The error that an ERROR event carries.
pub(crate) fn watch_error(object: &[u8]) -> Error {
    match serde_json::from_slice(object) {
        Ok(status) => reeve_api::StatusError::from_status(status).into(),
        Err(error) => Error::Decode { message: format!("the status of a watch: {error}") },
    }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Decode { message: error.to_string() })
}

fn encode<T: Serialize>(object: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(|error| Error::Encode(error.to_string()))
}

fn name_of(object: &[u8]) -> Result<String, Error> {
    #[derive(serde::Deserialize)]
    struct Named {
        metadata: Metadata,
    }
    #[derive(serde::Deserialize)]
    struct Metadata {
        name: String,
    }
    let named: Named =
        serde_json::from_slice(object).map_err(|_| Error::Encode("metadata.name is missing".to_owned()))?;
    Ok(named.metadata.name)
}
