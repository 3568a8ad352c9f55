//! The verbs, generic over kinds: both edges call these and nothing else.
//!
//! Each verb is one function that reads like the second half of the request chain: find the row, authorize,
//! decode, admit, default, validate, store, answer.

mod admission;
mod apply;
mod create;
mod decoding;
mod definitions;
mod delete;
mod eviction;
mod measures;
mod owners;
mod ownership;
mod patch;
mod pods;
mod proxied;
mod read;
mod registrations;
mod reviews;
mod service_addresses;
mod service_claims;
mod subresources;
mod token_request;
mod update;
mod watch;
mod webhooks;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use jiff::Timestamp;
use reeve_api::quantity::QuantityError;
use reeve_api::validation::ErrorList;
use reeve_api::{GroupVersionResource, Reason, StatusError, json};

use crate::admission::Cached;
use crate::allocation::{CLAIMS_PREFIX, PortRange, ServiceRange};
use crate::authentication::Authenticator;
use crate::authentication::keys::Keys;
use crate::authentication::service_account::{self, ServiceAccountTokens};
use crate::authorization::{self, Attributes, Authorizer, Mode};
use crate::registry::{AnyObject, FieldValidation, Kind, Registry, RequestContext, Row, Subresource};
use crate::request::{Target, User, Verb};
use crate::storage::cache::{Cache, Extract, NoFields, Resource, ResourceConfig};
use crate::storage::{Hint, SharedStore, StoreError, Stored};

pub use definitions::{Served, server};
pub use measures::Meters;
pub use read::{Listed, Listing};
pub use service_addresses::DEFAULT_RANGE;
pub use watch::{WatchItem, WatchStream};

/// Which objects a list or watch wants, as the client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// A label selector.
    pub labels: String,
    /// A field selector.
    pub fields: String,
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Which objects.
    pub selection: Selection,
    /// Empty, `0` or a version.
    pub resource_version: String,
    /// Empty, `Exact` or `NotOlderThan`.
    pub resource_version_match: String,
    /// At most so many; 0 for all.
    pub limit: i64,
    /// Where a limited list goes on.
    pub continue_token: String,
}

/// What to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Which objects.
    pub selection: Selection,
    /// Empty, `0` or a version.
    pub resource_version: String,
    /// Only with initial events: `NotOlderThan`.
    pub resource_version_match: String,
    /// Whether the present objects come first and are closed by a bookmark.
    pub send_initial_events: Option<bool>,
    /// Whether bookmarks may be sent.
    pub allow_bookmarks: bool,
    /// 0 leaves it to the server.
    pub timeout_seconds: i64,
}

/// How to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do all but store.
    pub dry_run: bool,
    /// Who writes, for field ownership.
    pub field_manager: String,
    /// `Strict`, `Warn`, `Ignore` or empty.
    pub field_validation: String,
    /// What a body in YAML named twice, in the words of its reader.
    pub repeated: Vec<String>,
}

/// How to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Absent for the object's own default.
    pub grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground`, `Orphan` or empty.
    pub propagation_policy: String,
    /// Only the object with this uid, when set.
    pub uid: String,
    /// Only this version, when set.
    pub resource_version: String,
    /// Do all but delete.
    pub dry_run: bool,
}

/// The form of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch.
    Strategic,
    /// Server-side apply.
    Apply {
        /// Take fields from other managers.
        force: bool,
    },
}

/// An object as it is answered.
#[derive(Clone, Debug)]
pub struct ObjectAnswer {
    /// Canonical JSON with its resource version.
    pub bytes: Bytes,
    /// 0 for objects that are not stored.
    pub revision: i64,
    /// For the user to read.
    pub warnings: Vec<String>,
    /// Whether a PUT created it.
    pub created: bool,
}

impl ObjectAnswer {
    fn stored(row: &Row, stored: &Stored, warnings: Vec<String>) -> Result<Self, StatusError> {
        let bytes = json::splice_resource_version(&stored.value, stored.revision);
        Ok(Self { bytes: served(row, bytes)?, revision: stored.revision, warnings, created: false })
    }

    fn unstored(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), revision: 0, warnings: vec![], created: false }
    }
}

/// What a delete did.
#[derive(Clone, Debug)]
pub struct DeleteAnswer {
    /// The object's last state, or a `Status`.
    pub object: ObjectAnswer,
    /// False when it stays until its grace period or finalizers are done.
    pub gone: bool,
}

/// The parameters that come from the command line.
#[derive(Clone)]
pub struct HandlerOptions {
    /// The addresses of Services.
    pub service_range: ServiceRange,
    /// The node ports of Services.
    pub node_ports: PortRange,
    /// How long Events are kept.
    pub event_ttl: Duration,
    /// Who is believed, and who may do what.
    pub access: AccessOptions,
}

/// The parameters of authentication and authorization.
#[derive(Clone)]
pub struct AccessOptions {
    /// Who decides, in order.
    pub modes: Vec<Mode>,
    /// Whether requests without any proof are let in as nobody.
    pub anonymous: bool,
    /// Whether bootstrap tokens are believed.
    pub bootstrap_tokens: bool,
    /// The keys of service account tokens.
    pub keys: Arc<Keys>,
    /// Who issues them.
    pub issuer: String,
    /// The names of this server in tokens; the first is the one by default.
    pub audiences: Vec<String>,
}

/// The verbs and what they work on.
pub struct Handlers {
    /// What is served besides the built-in kinds comes and goes.
    served: ArcSwap<Served>,
    store: SharedStore,
    /// Of built-in kinds. By storage prefix: rows that are views of one stored resource share it.
    resources: HashMap<Cow<'static, str>, Resource>,
    /// The claims of Services.
    claims: Resource,
    options: HandlerOptions,
    authorizer: Arc<dyn Authorizer>,
    policy: authorization::rbac::Sources,
    cached: Cached,
    authenticator: Authenticator,
    clock: fn() -> Timestamp,
    /// Where kubelets can be asked what is used.
    meters: OnceLock<measures::Meters>,
}

/// What a request is about.
struct Found {
    row: Arc<Row>,
    subresource: Option<Subresource>,
}

impl Found {
    fn parts(&self) -> (&Arc<Row>, Option<&Subresource>) {
        (&self.row, self.subresource.as_ref())
    }
}

/// Reads the selectable fields of a kind's objects.
struct KindFields(Arc<dyn Kind>);

impl Extract for KindFields {
    fn fields(&self, value: &[u8]) -> Vec<(Cow<'static, str>, String)> {
        if self.0.field_names().is_empty() {
            return Vec::new();
        }
        match self.0.decode_stored(value) {
            Ok(object) => object.fields(),
            Err(error) => {
                tracing::error!(kind = ?self.0, %error, "a stored object cannot be read; field selectors miss it");
                Vec::new()
            }
        }
    }
}

impl Handlers {
    /// Handlers over a store. Registers every row with the cache, which must be started after.
    pub fn new(
        registry: Arc<Registry>,
        store: SharedStore,
        cache: &Cache,
        options: HandlerOptions,
        clock: fn() -> Timestamp,
    ) -> Self {
        let mut resources = HashMap::new();
        for row in registry.rows().iter().filter(|row| row.review.is_none() && !row.is_measured()) {
            resources.entry(row.storage_prefix.clone()).or_insert_with(|| {
                let gvk = row.kind.group_version_kind();
                cache.register(ResourceConfig {
                    resource: row.info.resource.clone(),
                    api_version: gvk.api_version(),
                    kind: gvk.kind,
                    prefix: row.storage_prefix.clone().into_owned(),
                    extract: Arc::new(KindFields(row.kind.clone())),
                })
            });
        }
        let claims = cache.register(ResourceConfig {
            resource: GroupVersionResource::new("", "v1", "claims"),
            api_version: "v1".to_owned(),
            kind: "Claim".to_owned(),
            prefix: CLAIMS_PREFIX.to_owned(),
            extract: Arc::new(NoFields),
        });
        let source = |prefix: &str| resources[prefix].clone();
        let policy = authorization::rbac::Sources {
            roles: source("/registry/roles/"),
            cluster_roles: source("/registry/clusterroles/"),
            role_bindings: source("/registry/rolebindings/"),
            cluster_role_bindings: source("/registry/clusterrolebindings/"),
        };
        let sources = authorization::Sources {
            policy: policy.clone(),
            pods: source("/registry/pods/"),
            volumes: resources.get("/registry/persistentvolumes/").cloned(),
            attachments: resources.get("/registry/volumeattachments/").cloned(),
        };
        let authorizer = Arc::new(authorization::chain(&options.access.modes, &sources));
        let bound = service_account::Sources {
            accounts: source("/registry/serviceaccounts/"),
            pods: source("/registry/pods/"),
            secrets: source("/registry/secrets/"),
            nodes: source("/registry/minions/"),
        };
        let access = &options.access;
        let tokens =
            ServiceAccountTokens::new(access.keys.clone(), access.issuer.clone(), access.audiences.clone(), bound);
        let authenticator = Authenticator::new(tokens, access.bootstrap_tokens, access.anonymous);
        let cached = Cached::new(resources.clone());
        let served = ArcSwap::from_pointee(Served::new(registry));
        Self {
            served,
            store,
            resources,
            claims,
            options,
            authorizer,
            policy,
            cached,
            authenticator,
            clock,
            meters: OnceLock::new(),
        }
    }

    /// Ends all watches, and those that are asked for from now on: the server shuts down.
    pub fn end_watches(&self) {
        for resource in self.resources.values() {
            resource.end_watches();
        }
        self.served.load().end_watches();
    }

    /// Who may do what.
    pub fn authorizer(&self) -> &dyn Authorizer {
        &*self.authorizer
    }

    /// Who is believed.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// The cached objects behind a row.
    fn resource(&self, row: &Row) -> Result<Resource, StatusError> {
        if let Some(resource) = self.resources.get(&row.storage_prefix) {
            return Ok(resource.clone());
        }
        // A custom kind may have gone in the meantime.
        self.served.load().resource(&row.storage_prefix).ok_or_else(unknown_resource)
    }

    fn stored(&self, prefix: &str) -> &Resource {
        // Every built-in row was registered by `new`.
        &self.resources[prefix]
    }

    /// An object as the cache has it now.
    pub fn cached(&self, target: &Target) -> Option<Bytes> {
        let registry = self.registry();
        let row = registry.get(&target.resource)?;
        let namespace = if row.info.namespaced { target.namespace.as_str() } else { "" };
        self.resource(row).ok()?.snapshot().get(namespace, &target.name).map(|entry| entry.object().clone())
    }

    /// All resources.
    pub fn registry(&self) -> Arc<Registry> {
        self.served.load().registry.clone()
    }

    /// The clock, for answers that go on after the request.
    pub fn clock(&self) -> fn() -> Timestamp {
        self.clock
    }

    /// The time at which a request is decided.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The row of a target, after authorization: a stranger must not learn what exists.
    fn row(&self, user: &User, verb: Verb, target: &Target) -> Result<Found, StatusError> {
        self.row_selecting(user, verb, target, "")
    }

    /// The row of a target of which a field selector leaves a part.
    fn row_selecting(&self, user: &User, verb: Verb, target: &Target, fields: &str) -> Result<Found, StatusError> {
        authorization::check(self.authorizer(), &Attributes::of_target(user, verb, target, fields))?;
        let row = self.served.load().registry.get(&target.resource).cloned().ok_or_else(unknown_resource)?;
        let subresource = match target.subresource.as_str() {
            "" => None,
            name => Some(row.subresource(name).ok_or_else(unknown_resource)?),
        };
        let served = match subresource {
            None => row.info.verbs.iter().any(|served| served == verb.as_str()),
            Some(subresource) => subresource.verbs.contains(&verb.as_str()),
        };
        let needs_name = matches!(verb, Verb::Update | Verb::Patch | Verb::Delete);
        if !served || (needs_name && target.name.is_empty()) {
            return Err(method_not_allowed());
        }
        if row.info.namespaced {
            let is_across = target.name.is_empty() && matches!(verb, Verb::List | Verb::Watch);
            if target.namespace.is_empty() && !is_across {
                // Upstream has no such method of a built-in collection, and no such path at all of others.
                let is_known = target.name.is_empty() && row.kind.custom().is_none();
                return Err(if is_known { method_not_allowed() } else { unknown_resource() });
            }
        } else if !target.namespace.is_empty() && target.resource.resource != "namespaces" {
            return Err(unknown_resource());
        }
        let subresource = subresource.cloned();
        Ok(Found { row, subresource })
    }

    fn context(&self, user: &User) -> RequestContext {
        RequestContext { user: user.clone(), now: self.now() }
    }

    /// What the cache believes of an object. It may be behind: the store checks it.
    fn hint(&self, row: &Row, target: &Target) -> Hint {
        let namespace = if row.info.namespaced { target.namespace.as_str() } else { "" };
        self.resource(row).map_or(Hint::Unknown, |resource| resource.hint(namespace, &target.name))
    }
}

fn method_not_allowed() -> StatusError {
    StatusError {
        details: Some(Box::default()),
        ..StatusError::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
    }
}

fn unknown_resource() -> StatusError {
    StatusError {
        details: Some(Box::default()),
        ..StatusError::new(Reason::NotFound, "the server could not find the requested resource")
    }
}

/// The form that clients of the row see.
fn served(row: &Row, bytes: Bytes) -> Result<Bytes, StatusError> {
    match &row.conversion {
        None => Ok(bytes),
        Some(conversion) => conversion.to_served(&bytes).map(Bytes::from),
    }
}

fn field_validation(options: &WriteOptions) -> Result<FieldValidation, StatusError> {
    FieldValidation::parse(&options.field_validation).ok_or_else(|| {
        StatusError::invalid(
            "",
            "",
            "",
            vec![reeve_api::status::StatusCause {
                reason: Some("FieldValueNotSupported".into()),
                message: Some(format!(
                    "Unsupported value: {:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                    options.field_validation
                )),
                field: Some("fieldValidation".into()),
            }],
        )
    })
}

/// The error of an object that breaks rules of its kind; nothing when it breaks none.
fn check(row: &Row, name: &str, errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() {
        return Ok(());
    }
    let gvk = row.info.kind();
    // Upstream reads amounts while it decodes: one that is none makes the request a bad one.
    if let Some(error) = errors.iter().find(|error| QuantityError::is_text(&error.detail)) {
        let (kind, version) = (&gvk.kind, &gvk.version);
        return Err(StatusError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {}",
            error.detail
        )));
    }
    Err(StatusError::invalid(&gvk.group, &gvk.kind, name, errors.into_causes()))
}

fn encode(object: &dyn AnyObject) -> Result<Bytes, StatusError> {
    object.encode().map(Bytes::from).map_err(StatusError::internal)
}

/// An object as it lies in the store. It was valid when it was written.
fn decode_stored(row: &Row, value: &[u8]) -> Result<Box<dyn AnyObject>, StatusError> {
    row.kind.decode_stored(value).map_err(|error| {
        StatusError::internal(format_args!("a stored object of {} cannot be read: {error}", row.info.resource))
    })
}

/// The store's answer for a client.
fn store_error(error: StoreError) -> StatusError {
    StatusError::from(error)
}
