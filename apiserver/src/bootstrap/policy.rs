//! The roles and bindings of the cluster's parts: made when they are absent, and given back what they lack.
//!
//! Rules from `pkg/registry/rbac/rest` and `component-helpers/auth/rbac/reconciliation`: what an administrator added
//! stays, what he took away comes back, and objects whose annotation says so are left alone.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use k8s_openapi::{Metadata, Resource};
use reeve_api::{ObjectMeta, StatusError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{create, server, target};
use crate::authorization::bootstrap_policy::{AUTOUPDATE, Policy};
use crate::handlers::{Handlers, WriteOptions};

/// How many objects are made at a time: etcd writes them to disk together.
const PARALLEL: usize = 64;

/// An object that is kept complete.
trait Kept: Resource + Metadata<Ty = ObjectMeta> + Serialize + DeserializeOwned + Clone + Sync {
    /// Adds what `wanted` has and this lacks; tells whether there was something.
    fn complete(&mut self, wanted: &Self) -> bool;
}

fn add_rules(own: &mut Option<Vec<PolicyRule>>, wanted: Option<&Vec<PolicyRule>>) -> bool {
    add(own, wanted, |own, rule| own == rule)
}

fn add_subjects(own: &mut Option<Vec<Subject>>, wanted: Option<&Vec<Subject>>) -> bool {
    add(own, wanted, |own, subject| {
        own.kind == subject.kind && own.name == subject.name && own.namespace == subject.namespace
    })
}

fn add<T: Clone>(own: &mut Option<Vec<T>>, wanted: Option<&Vec<T>>, same: impl Fn(&T, &T) -> bool) -> bool {
    let missing: Vec<T> = wanted
        .into_iter()
        .flatten()
        .filter(|wanted| !own.iter().flatten().any(|own| same(own, wanted)))
        .cloned()
        .collect();
    if missing.is_empty() {
        return false;
    }
    own.get_or_insert_default().extend(missing);
    true
}

impl Kept for ClusterRole {
    fn complete(&mut self, wanted: &Self) -> bool {
        let mut changed = false;
        if self.aggregation_rule != wanted.aggregation_rule {
            self.aggregation_rule.clone_from(&wanted.aggregation_rule);
            changed = true;
        }
        add_rules(&mut self.rules, wanted.rules.as_ref()) || changed
    }
}

impl Kept for Role {
    fn complete(&mut self, wanted: &Self) -> bool {
        add_rules(&mut self.rules, wanted.rules.as_ref())
    }
}

impl Kept for ClusterRoleBinding {
    fn complete(&mut self, wanted: &Self) -> bool {
        add_subjects(&mut self.subjects, wanted.subjects.as_ref())
    }
}

impl Kept for RoleBinding {
    fn complete(&mut self, wanted: &Self) -> bool {
        add_subjects(&mut self.subjects, wanted.subjects.as_ref())
    }
}

/// Makes and completes all of them.
pub(super) async fn reconcile(handlers: &Handlers) -> Result<(), StatusError> {
    let policy = Policy::of_cluster();
    each(handlers, &policy.cluster_roles).await?;
    each(handlers, &policy.cluster_role_bindings).await?;
    each(handlers, &policy.roles).await?;
    each(handlers, &policy.role_bindings).await
}

async fn each<K: Kept>(handlers: &Handlers, objects: &[K]) -> Result<(), StatusError> {
    // Made before they are awaited: a closure of borrowed objects would tie the whole to one thread.
    let pending: Vec<_> = objects.iter().map(|wanted| one(handlers, wanted)).collect();
    futures::stream::iter(pending).buffer_unordered(PARALLEL).try_collect().await
}

async fn one<K: Kept>(handlers: &Handlers, wanted: &K) -> Result<(), StatusError> {
    let metadata = wanted.metadata();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    let target = target::<K>(namespace, name);
    let Some(present) = handlers.cached(&target) else {
        return create(handlers, namespace, wanted).await.map(drop);
    };
    let mut present: K = serde_json::from_slice(&present).map_err(StatusError::internal)?;
    let annotations = present.metadata().annotations.as_ref();
    if annotations.and_then(|all| all.get(AUTOUPDATE)).is_some_and(|value| value == "false") {
        return Ok(());
    }
    if !present.complete(wanted) {
        return Ok(());
    }
    let body = serde_json::to_vec(&present).map_err(StatusError::internal)?;
    handlers.update(&server(), &target, body.into(), &WriteOptions::default()).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_away_comes_back_and_what_was_added_stays() {
        let wanted = Policy::of_upstream().cluster_roles.into_iter().find(|role| role.rules.is_some()).unwrap();
        let mut present = wanted.clone();
        assert!(!present.complete(&wanted));
        let own = PolicyRule { verbs: vec!["dance".into()], ..PolicyRule::default() };
        present.rules = Some(vec![own.clone()]);
        assert!(present.complete(&wanted));
        let rules = present.rules.unwrap();
        assert_eq!(rules.first(), Some(&own));
        assert_eq!(rules.len(), 1 + wanted.rules.unwrap().len());
    }
}
