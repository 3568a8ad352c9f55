//! How the handlers call admission ([`crate::admission`]), and what of it counts in the store.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use reeve_api::{Reason, StatusError};

use super::Handlers;
use crate::admission::pod_limits::Amounts;
use crate::admission::{Request, namespace_lifecycle, quota};
use crate::registry::{AnyObject, Row};
use crate::request::{Target, User, Verb};
use crate::storage::cache::{Resource, Selector, Version, WatchQuery};
use crate::storage::{Hint, Outcome, StoreError, Stored, Write};

const NAMESPACES_PREFIX: &str = "/registry/namespaces/";
const ACCOUNTS_PREFIX: &str = "/registry/serviceaccounts/";
const QUOTAS_PREFIX: &str = "/registry/resourcequotas/";

/// The account that a controller makes in every namespace.
const DEFAULT_ACCOUNT: &str = "default";
/// How long a pod waits for it, as upstream asks ten times: the namespace may be a moment old.
const DEFAULT_ACCOUNT_WITHIN: Duration = Duration::from_secs(1);

/// Returns when a namespace has its default account, or has been without for long enough; admission finds out which.
async fn wait_for_default_account(accounts: &Resource, namespace: &str) -> Result<(), StatusError> {
    let name = Some(DEFAULT_ACCOUNT.to_owned());
    let selector = Selector { namespace: Some(namespace.to_owned()), name, ..Selector::default() };
    let mut made = accounts.watch(WatchQuery { selector, ..WatchQuery::default() }).await?;
    if tokio::time::timeout(DEFAULT_ACCOUNT_WITHIN, made.next()).await.is_err() {
        tracing::debug!(namespace, "the namespace has no default account");
    }
    Ok(())
}

/// What was counted in quotas for an object that is not written yet.
#[derive(Debug, Default)]
pub(super) struct Charged(Vec<(String, Amounts)>);

impl Handlers {
    /// What plug-ins are told of a request.
    pub(super) fn admission<'a>(&'a self, user: &'a User, verb: Verb, row: &'a Row, target: &'a Target) -> Request<'a> {
        Request { user, verb, row, target, authorizer: self.authorizer(), policy: &self.policy, cached: &self.cached }
    }

    /// What must be there before something is created: its namespace, and a pod's account. The cache may be behind
    /// what somebody made a moment ago.
    pub(super) async fn admit_place(
        &self,
        row: &Row,
        target: &Target,
        object: &dyn AnyObject,
    ) -> Result<(), StatusError> {
        let name = object.metadata().name.as_deref().unwrap_or_default();
        namespace_lifecycle::admit_create(self.stored(NAMESPACES_PREFIX), row, target, name).await?;
        let Some(pod) = object.inner().downcast_ref::<Pod>() else { return Ok(()) };
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
        let account = account.filter(|name| !name.is_empty()).unwrap_or(DEFAULT_ACCOUNT);
        let accounts = self.stored(ACCOUNTS_PREFIX);
        if accounts.snapshot().get(&target.namespace, account).is_none() {
            let fresh = accounts.fresh(Version::Consistent).await?;
            if account == DEFAULT_ACCOUNT && fresh.get(&target.namespace, account).is_none() {
                wait_for_default_account(accounts, &target.namespace).await?;
            }
        }
        Ok(())
    }

    /// Counts a new object in the quotas of its namespace. When one has no room, the others get theirs back.
    pub(super) async fn charge(
        &self,
        row: &Row,
        target: &Target,
        object: &dyn AnyObject,
        dry_run: bool,
    ) -> Result<Charged, StatusError> {
        let mut charged = Charged::default();
        let Some(quotas) = self.cached.resource(QUOTAS_PREFIX).filter(|_| row.info.namespaced) else {
            return Ok(charged);
        };
        let mut present = quotas.snapshot().select(Selector::namespace(&target.namespace)).peekable();
        if present.peek().is_none() {
            return Ok(charged);
        }
        let wanted = quota::usage(row, object);
        for entry in present {
            let key = quotas.key(entry.namespace(), entry.name());
            let mut counted = false;
            let result = {
                let counted = &mut counted;
                let mut decide = |present: Option<&Stored>| {
                    *counted = false;
                    let Some(present) = present else { return Ok(Write::keep()) };
                    let quota: ResourceQuota = serde_json::from_slice(&present.value).map_err(StatusError::internal)?;
                    if !quota::counts(&quota, object) {
                        return Ok(Write::keep());
                    }
                    match quota::charge(&quota, object, &wanted) {
                        Ok(None) => Ok(Write::keep()),
                        Ok(Some(_)) if dry_run => Ok(Write::keep()),
                        Ok(Some(quota)) => {
                            *counted = true;
                            Ok(Write::put(stored_form(&quota)?))
                        }
                        Err(refusal) => {
                            let own = object.metadata().name.as_deref().unwrap_or_default();
                            Err(StatusError::forbidden(&row.info.resource, own, refusal.text(entry.name())))
                        }
                    }
                };
                let hint = Hint::Present(entry.stored());
                self.store.update(&key, hint, &mut decide).await
            };
            match result {
                Ok(Outcome::Put { .. }) if counted => charged.0.push((key, wanted.clone())),
                Ok(_) => {}
                Err(error) => {
                    self.refund(charged).await;
                    return Err(super::store_error(error));
                }
            }
        }
        Ok(charged)
    }

    /// Gives back what was counted for an object that was not written after all.
    pub(super) async fn refund(&self, charged: Charged) {
        for (key, amounts) in charged.0 {
            let mut decide = |present: Option<&Stored>| {
                let Some(present) = present else { return Ok(Write::keep()) };
                let quota: ResourceQuota = serde_json::from_slice(&present.value).map_err(StatusError::internal)?;
                Ok(Write::put(stored_form(&quota::refund(&quota, &amounts))?))
            };
            let result: Result<Outcome, StoreError> = self.store.update(&key, Hint::Unknown, &mut decide).await;
            if let Err(error) = result {
                tracing::warn!(key, %error, "a quota counts an object that was not created until it is recounted");
            }
        }
    }
}

fn stored_form(quota: &ResourceQuota) -> Result<Bytes, StatusError> {
    serde_json::to_vec(quota).map(Bytes::from).map_err(StatusError::internal)
}

/// Each namespace carries its own name as a label, so that selectors can name it.
pub(super) fn label_namespace(row: &Row, object: &mut dyn AnyObject) {
    if row.info.resource.group.is_empty() && row.info.resource.resource == "namespaces" {
        let metadata = object.metadata_mut();
        if let Some(name) = metadata.name.clone() {
            metadata.labels.get_or_insert_with(BTreeMap::new).insert("kubernetes.io/metadata.name".to_owned(), name);
        }
    }
}

/// The text of an error that says what kind of body was expected.
pub(super) fn wrong_body(message: String) -> StatusError {
    StatusError::new(Reason::BadRequest, message)
}
