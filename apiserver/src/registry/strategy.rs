//! What is particular to a kind: its strategy.
//!
//! The generic handlers do everything that all kinds share (metadata, versions, conflicts, patches,
//! finalizers) and ask the strategy for the rest. A strategy is pure: it sees the objects and the
//! request, nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use reeve_api::ObjectMeta;
use reeve_api::validation::{ErrorList, metadata::NameRule};
use serde::{Serialize, de::DeserializeOwned};

/// Who asks, as authentication found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// For instance `system:kube-scheduler`.
    pub name: String,
    /// Empty when the authenticator has none.
    pub uid: String,
    /// For instance `system:masters`.
    pub groups: Vec<String>,
    /// What else the authenticator told.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Whether the user belongs to a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// What a strategy may know of the request.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Who asks.
    pub user: UserInfo,
    /// The time at which the request is decided.
    pub now: Timestamp,
}

/// The rules of one kind. Methods without a rule of their kind keep their default.
pub trait Strategy: Send + Sync + 'static {
    /// The kind.
    type Object: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Send
        + Sync
        + 'static;

    /// What names look like.
    fn name_rule(&self) -> NameRule {
        NameRule::Dns1123Subdomain
    }

    /// Whether an update without a resource version is taken.
    fn allows_unconditional_update(&self) -> bool {
        true
    }

    /// Whether a PUT of an absent object creates it.
    fn allows_create_on_update(&self) -> bool {
        false
    }

    /// Sees the text of an object beside what was made of it, for what the type cannot tell.
    fn read(&self, object: &mut Self::Object, json: &[u8]) {
        let _unused = (object, json);
    }

    /// Fills in what the user left out. Runs on every decoded object, before patches are validated, and
    /// must give the same result when it runs again.
    fn default(&self, object: &mut Self::Object) {
        let _unused = object;
    }

    /// Before a create: drops what only the system may set (status), sets the first generation.
    fn prepare_for_create(&self, context: &RequestContext, object: &mut Self::Object) {
        let _unused = (context, object);
    }

    /// What upstream's always-on admission does to a new object, after [`Self::prepare_for_create`].
    fn admit_create(&self, context: &RequestContext, object: &mut Self::Object) {
        let _unused = (context, object);
    }

    /// Rules of the kind; metadata is checked before.
    fn validate(&self, object: &Self::Object) -> ErrorList {
        let _unused = object;
        ErrorList::new()
    }

    /// Before an update: puts back what this verb may not change (status), bumps the generation when
    /// the desired state changed.
    fn prepare_for_update(&self, context: &RequestContext, object: &mut Self::Object, old: &Self::Object) {
        let _unused = (context, object, old);
    }

    /// Rules for a change; metadata is checked before. By default those of a new object.
    fn validate_update(&self, object: &Self::Object, old: &Self::Object) -> ErrorList {
        let _unused = old;
        self.validate(object)
    }

    /// Before an update of the status: puts everything else back.
    fn prepare_for_status_update(&self, context: &RequestContext, object: &mut Self::Object, old: &Self::Object) {
        let _unused = (context, object, old);
    }

    /// Rules for a change of the status.
    fn validate_status_update(&self, object: &Self::Object, old: &Self::Object) -> ErrorList {
        let _unused = (object, old);
        ErrorList::new()
    }

    /// Before an update through another subresource that has the kind's own shape (`finalize`): puts
    /// back what that subresource may not change.
    fn prepare_for_subresource_update(
        &self,
        subresource: &str,
        context: &RequestContext,
        object: &mut Self::Object,
        old: &Self::Object,
    ) {
        let _unused = (subresource, context, object, old);
    }

    /// Rules for a change through such a subresource. By default those of any change.
    fn validate_subresource_update(&self, subresource: &str, object: &Self::Object, old: &Self::Object) -> ErrorList {
        let _unused = subresource;
        self.validate_update(object, old)
    }

    /// The seconds that a deletion leaves the object to end gracefully; `None` for kinds that end at
    /// once. `requested` are the delete options' `gracePeriodSeconds`.
    fn grace_period_seconds(&self, object: &Self::Object, requested: Option<i64>) -> Option<i64> {
        let _unused = (object, requested);
        None
    }

    /// Runs once when the deletion timestamp is set.
    fn begin_deletion(&self, object: &mut Self::Object) {
        let _unused = object;
    }

    /// Whether the kind itself still holds a deleted object (a namespace's `spec.finalizers`), beside
    /// metadata's finalizers.
    fn is_held(&self, object: &Self::Object) -> bool {
        let _unused = object;
        false
    }

    /// The fields that field selectors may name, beside `metadata.name` and `metadata.namespace`.
    /// Every object gives the same names in the same order.
    fn fields(&self, object: &Self::Object) -> Vec<(&'static str, String)> {
        let _unused = object;
        Vec::new()
    }

    /// The names of [`Self::fields`].
    fn field_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// Hints for the user about a request that succeeds (`Warning` headers). `old` is there on updates.
    fn warnings(&self, object: &Self::Object, old: Option<&Self::Object>) -> Vec<String> {
        let _unused = (object, old);
        Vec::new()
    }

    /// The object as a `Scale`, for kinds that have that subresource.
    fn scale(&self, object: &Self::Object) -> Option<Scale> {
        let _unused = object;
        None
    }

    /// Sets the replicas that a `Scale` asks for.
    fn set_replicas(&self, object: &mut Self::Object, replicas: i32) {
        let _unused = (object, replicas);
    }
}
