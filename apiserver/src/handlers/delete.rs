//! delete: at once, gracefully, or when finalizers allow.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use jiff::SignedDuration;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::{GroupVersionResource, ObjectKey, ObjectMeta, StatusError};
use serde_json::json;

use super::{
    DeleteAnswer, DeleteOptions, Handlers, ListOptions, ObjectAnswer, decode_stored, encode, service_claims,
    store_error,
};
use crate::admission::{namespace_lifecycle, node_restriction};
use crate::authorization::node::node_of;
use crate::registry::{AnyObject, Row};
use crate::request::{Target, User, Verb};
use crate::storage::{Outcome, Stored, Write, final_state};

/// How many deletions of a collection are in flight.
const COLLECTION_PARALLELISM: usize = 32;

/// Kinds whose immediate deletion answers with the object instead of a Status, as upstream's do.
const RETURNS_OBJECT: [&str; 12] = [
    "pods",
    "services",
    "serviceaccounts",
    "podtemplates",
    "persistentvolumes",
    "persistentvolumeclaims",
    "resourcequotas",
    "csidrivers",
    "csinodes",
    "storageclasses",
    "volumeattachments",
    "volumeattributesclasses",
];

impl Handlers {
    /// Removes an object, or marks it for deletion.
    pub async fn delete(
        &self,
        user: &User,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<DeleteAnswer, StatusError> {
        let found = self.row(user, Verb::Delete, target)?;
        let row = &found.row;
        namespace_lifecycle::admit_delete(row, &target.name)?;
        if let Some(present) = self.cached(target).filter(|_| node_of(user).is_some()) {
            node_restriction::admit_delete(user, &target.resource, decode_stored(row, &present)?.as_ref())?;
        }
        self.judge_deletion(user, row, target, options.dry_run).await?;
        self.delete_row(row, target, options).await
    }

    pub(super) async fn delete_row(
        &self,
        row: &Row,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<DeleteAnswer, StatusError> {
        check_options(options)?;
        let key = row.storage_key(&target.namespace, &target.name);
        let now = self.now();
        let hint = self.hint(row, target);
        let mut dry: Option<(Stored, bool)> = None;
        let mut end = None;
        let (policy, warnings) = default_policy(target, options);
        let result = {
            let (dry, end) = (&mut dry, &mut end);
            let mut decide = |present: Option<&Stored>| {
                let present = present.ok_or_else(|| StatusError::not_found(&target.resource, &target.name))?;
                let mut object = decode_stored(row, &present.value)?;
                check_preconditions(row, target, options, present, object.metadata())?;
                let deletion = plan(object.as_mut(), options, policy, now);
                if options.dry_run {
                    let value = encode(object.as_ref())?;
                    let gone = matches!(deletion, Deletion::Now | Deletion::MarkedThenNow);
                    *dry = Some((Stored { value, revision: present.revision }, gone));
                    return Ok(Write::keep());
                }
                match deletion {
                    Deletion::Now | Deletion::MarkedThenNow => {
                        let state = encode(object.as_ref())?;
                        let write = Write::delete().releasing(service_claims::held(object.as_ref()));
                        let told = deletion == Deletion::MarkedThenNow;
                        let write = if told { write.noting(final_state::note(&key, &state)) } else { write };
                        *end = Some(state);
                        Ok(write)
                    }
                    Deletion::Unchanged => Ok(Write::keep()),
                    Deletion::Marked => Ok(Write::put(encode(object.as_ref())?)),
                }
            };
            self.store.update(&key, hint, &mut decide).await
        };
        if let Some((stored, gone)) = dry {
            if gone && !RETURNS_OBJECT.contains(&target.resource.resource.as_str()) {
                let object = ObjectAnswer { warnings, ..ObjectAnswer::unstored(success(row, target, &stored.value)?) };
                return Ok(DeleteAnswer { object, gone });
            }
            return Ok(DeleteAnswer { object: ObjectAnswer::stored(row, &stored, warnings)?, gone });
        }
        match result.map_err(store_error)? {
            Outcome::Deleted { last, revision } => {
                let object = if RETURNS_OBJECT.contains(&target.resource.resource.as_str()) {
                    let value = end.unwrap_or(last.value);
                    ObjectAnswer::stored(row, &Stored { revision, value }, warnings)?
                } else {
                    ObjectAnswer { warnings, ..ObjectAnswer::unstored(success(row, target, &last.value)?) }
                };
                Ok(DeleteAnswer { object, gone: true })
            }
            Outcome::Put { stored, .. } | Outcome::Kept(Some(stored)) => {
                Ok(DeleteAnswer { object: ObjectAnswer::stored(row, &stored, warnings)?, gone: false })
            }
            Outcome::Kept(None) => Err(StatusError::not_found(&target.resource, &target.name)),
        }
    }

    /// Removes the objects that a list would return; returns their last states and the version of the list.
    pub async fn delete_collection(
        &self,
        user: &User,
        target: &Target,
        list: ListOptions,
        options: &DeleteOptions,
    ) -> Result<(Vec<Bytes>, i64), StatusError> {
        let found = self.row_selecting(user, Verb::DeleteCollection, target, &list.selection.fields)?;
        check_options(options)?;
        self.delete_rows(&found.row, target, list, options).await
    }

    /// The same for the server itself, which may reach across namespaces.
    pub(super) async fn delete_rows(
        &self,
        row: &Arc<Row>,
        target: &Target,
        list: ListOptions,
        options: &DeleteOptions,
    ) -> Result<(Vec<Bytes>, i64), StatusError> {
        let listing = self.list_row(row, target, list).await?;
        let revision = listing.revision;
        let deletions = listing.entries.map(|listed| async move {
            let metadata: Named = serde_json::from_slice(&listed.object()).map_err(StatusError::internal)?;
            let key = ObjectKey::of(&metadata.metadata);
            let one = Target { namespace: key.namespace, name: key.name, ..target.clone() };
            match self.delete_row(row, &one, options).await {
                Ok(_) => Ok(Some(listed.object())),
                // Someone else was quicker: it is gone, as was asked.
                Err(error) if error.reason == reeve_api::Reason::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        });
        let mut deleted = Vec::new();
        let mut results = futures::stream::iter(deletions).buffered(COLLECTION_PARALLELISM);
        while let Some(result) = results.next().await {
            deleted.extend(result?);
        }
        Ok((deleted, revision))
    }
}

/// What becomes of dependents when the request does not say, and what the user should hear about it. Kinds that
/// had dependents before there was a garbage collector leave theirs.
fn default_policy<'a>(target: &Target, options: &'a DeleteOptions) -> (&'a str, Vec<String>) {
    if !options.propagation_policy.is_empty() {
        return (&options.propagation_policy, vec![]);
    }
    match (target.resource.group.as_str(), target.resource.resource.as_str()) {
        ("", "replicationcontrollers") => ("Orphan", vec![]),
        ("batch", "jobs") => ("Orphan", vec![JOB_WARNING.to_owned()]),
        _ => ("", vec![]),
    }
}

const JOB_WARNING: &str = "child pods are preserved by default when jobs are deleted; set \
    propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning";

#[derive(serde::Deserialize)]
struct Named {
    metadata: ObjectMeta,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletion {
    /// Remove it.
    Now,
    /// Keep it, with its new deletion timestamp.
    Marked,
    /// Say that nothing is left to wait for and remove it: watchers see both.
    MarkedThenNow,
    /// It is being deleted already, and no later than asked.
    Unchanged,
}

/// Decides what a deletion does. Rules from `k8s.io/apiserver/pkg/registry/rest/delete.go` and
/// `registry/generic/registry/store.go`.
fn plan(object: &mut dyn AnyObject, options: &DeleteOptions, policy: &str, now: Timestamp) -> Deletion {
    let original = object.metadata().clone();
    let grace = object.grace_period_seconds(options.grace_period_seconds).map(|seconds| seconds.max(0));
    let marked = object.metadata().deletion_timestamp.clone();
    if let Some(Time(marked)) = marked {
        let present = object.metadata().deletion_grace_period_seconds.unwrap_or(0);
        if present > 0 {
            match grace {
                // Only a shorter time changes what was asked before.
                Some(seconds) if seconds > 0 => {
                    if options.grace_period_seconds.is_none() || seconds >= present {
                        return Deletion::Unchanged;
                    }
                    let asked = marked
                        .checked_sub(SignedDuration::from_secs(present))
                        .and_then(|begun| begun.checked_add(SignedDuration::from_secs(seconds)))
                        .unwrap_or(now);
                    let metadata = object.metadata_mut();
                    metadata.deletion_timestamp = Some(Time(asked));
                    metadata.deletion_grace_period_seconds = Some(seconds);
                    return Deletion::Marked;
                }
                _ => {
                    let begun = marked.checked_sub(SignedDuration::from_secs(present)).unwrap_or(now);
                    let metadata = object.metadata_mut();
                    metadata.deletion_timestamp = Some(Time(begun));
                    metadata.deletion_grace_period_seconds = Some(0);
                }
            }
        }
    } else if let Some(seconds) = grace.filter(|&seconds| seconds > 0) {
        let until = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
        let metadata = object.metadata_mut();
        metadata.deletion_timestamp = Some(Time(until));
        metadata.deletion_grace_period_seconds = Some(seconds);
        bump_generation(metadata);
        add_policy_finalizer(object.metadata_mut(), policy);
        object.begin_deletion();
        return Deletion::Marked;
    }
    let before = object.metadata().clone();
    if grace.is_some() && before.deletion_timestamp.is_none() {
        // Kinds that end gracefully say so even when nothing is left to wait for.
        let metadata = object.metadata_mut();
        metadata.deletion_timestamp = Some(Time(now));
        metadata.deletion_grace_period_seconds = Some(0);
        bump_generation(metadata);
    }
    add_policy_finalizer(object.metadata_mut(), policy);
    let held =
        object.metadata().finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty()) || object.is_held();
    if !held {
        let ends_gracefully = grace.is_some() && *object.metadata() != original;
        return if ends_gracefully { Deletion::MarkedThenNow } else { Deletion::Now };
    }
    let first = before.deletion_timestamp.is_none();
    // What the kind itself holds (a namespace) ends when it is empty, not at a time.
    let timed = !object.is_held();
    let metadata = object.metadata_mut();
    if first && metadata.deletion_timestamp.is_none() {
        metadata.deletion_timestamp = Some(Time(now));
        bump_generation(metadata);
    }
    if timed {
        metadata.deletion_grace_period_seconds = Some(0);
    }
    if first {
        object.begin_deletion();
    } else if *object.metadata() == before {
        return Deletion::Unchanged;
    }
    Deletion::Marked
}

fn bump_generation(metadata: &mut ObjectMeta) {
    if let Some(generation) = &mut metadata.generation {
        *generation += 1;
    }
}

/// Foreground deletion and orphaning are done by the garbage collector: a finalizer makes the object wait for it.
fn add_policy_finalizer(metadata: &mut ObjectMeta, policy: &str) {
    const FOREGROUND: &str = "foregroundDeletion";
    const ORPHAN: &str = "orphan";
    let (add, remove) = match policy {
        "Foreground" => (Some(FOREGROUND), Some(ORPHAN)),
        "Orphan" => (Some(ORPHAN), Some(FOREGROUND)),
        "Background" => (None, None),
        _ => return,
    };
    let mut finalizers = metadata.finalizers.take().unwrap_or_default();
    match add {
        Some(add) => {
            finalizers.retain(|finalizer| Some(finalizer.as_str()) != remove);
            if !finalizers.iter().any(|finalizer| finalizer == add) {
                finalizers.push(add.to_owned());
            }
        }
        None => finalizers.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN),
    }
    metadata.finalizers = Some(finalizers).filter(|finalizers| !finalizers.is_empty());
}

fn check_options(options: &DeleteOptions) -> Result<(), StatusError> {
    let mut errors = reeve_api::validation::ErrorList::new();
    if !matches!(options.propagation_policy.as_str(), "" | "Background" | "Foreground" | "Orphan") {
        errors.not_supported(
            &reeve_api::validation::Path::new("propagationPolicy"),
            &options.propagation_policy,
            &["Background", "Foreground", "Orphan"],
        );
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(StatusError::invalid("meta.k8s.io", "DeleteOptions", "", errors.into_causes()))
}

fn check_preconditions(
    row: &Row,
    target: &Target,
    options: &DeleteOptions,
    present: &Stored,
    metadata: &ObjectMeta,
) -> Result<(), StatusError> {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    // Upstream names the kind here, not the resource.
    let kind = row.info.kind();
    let kind = GroupVersionResource::new(&kind.group, &kind.version, &kind.kind);
    if !options.uid.is_empty() && options.uid != uid {
        let why = format!(
            "the UID in the precondition ({}) does not match the UID in record ({uid}). The object might have been \
             deleted and then recreated",
            options.uid
        );
        return Err(StatusError::conflict(&kind, &target.name, why));
    }
    if !options.resource_version.is_empty() && options.resource_version != present.revision.to_string() {
        let why = format!(
            "the ResourceVersion in the precondition ({}) does not match the ResourceVersion in record ({}). The \
             object might have been modified",
            options.resource_version, present.revision
        );
        return Err(StatusError::conflict(&kind, &target.name, why));
    }
    Ok(())
}

/// The Status of a deletion.
fn success(row: &Row, target: &Target, value: &[u8]) -> Result<Vec<u8>, StatusError> {
    let object = decode_stored(row, value)?;
    let mut details = serde_json::Map::new();
    details.insert("name".into(), target.name.clone().into());
    if !target.resource.group.is_empty() {
        details.insert("group".into(), target.resource.group.clone().into());
    }
    details.insert("kind".into(), target.resource.resource.clone().into());
    if let Some(uid) = &object.metadata().uid {
        details.insert("uid".into(), uid.clone().into());
    }
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    });
    serde_json::to_vec(&status).map_err(StatusError::internal)
}
