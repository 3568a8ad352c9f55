//! Resource quotas: what the objects of a namespace use of what they may.
//!
//! Watches ResourceQuotas and what they count; writes their status. The API server's admission counts what is
//! created in the quota's status before it is stored. Here everything is counted anew when something goes or changes,
//! and when a quota is new or limits other things: until its status has been written once, it limits nothing.
//!
//! Rules from `pkg/controller/resourcequota` and `pkg/quota/v1`.

pub mod shell;
pub mod tally;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::ObjectKey;
use reeve_api::quantity::Quantity;

use crate::action::Action;
use crate::object::{resource, to_json};
use crate::view::{PodView, ServiceView, amounts};
pub use usage::{Counted, Source};

/// How long after something was created its quota is counted anew: admission has counted it already, so this only
/// heals what went wrong.
pub const CREATED_DELAY: Duration = Duration::from_secs(10);
/// How long until a quota is counted anew although nothing is known to have changed, as upstream's
/// `--resource-quota-sync-period`.
pub const SYNC_PERIOD: Duration = Duration::from_secs(5 * 60);

/// What a decision is made from: the objects of the quota's namespace.
pub struct Observed<'a> {
    /// The quota.
    pub quota: &'a ResourceQuota,
    /// The pods.
    pub pods: &'a [Arc<PodView>],
    /// The Services.
    pub services: &'a [Arc<ServiceView>],
    /// The claims for volumes.
    pub claims: &'a [Arc<Counted>],
    /// How many objects there are of a resource (`jobs.batch`); `None` when nobody knows.
    pub count: &'a dyn Fn(&str) -> Option<usize>,
}

/// What the quota's status should be, if it is not.
pub fn reconcile(observed: &Observed<'_>) -> Option<Action> {
    let quota = observed.quota;
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
    let status = quota.status.clone().unwrap_or_default();
    let before = amounts(status.used.as_ref());
    let used: BTreeMap<String, Quantity> = hard
        .keys()
        .filter_map(|name| {
            // What nobody can count stays as admission left it.
            let amount = usage::used(observed, name).or_else(|| before.get(name).copied())?;
            Some((name.clone(), amount))
        })
        .collect();
    let same_hard = status.hard.as_ref().is_some_and(|present| amounts(Some(present)) == amounts(Some(&hard)));
    if same_hard && status.used.is_some() && before == used {
        return None;
    }
    let mut object = quota.clone();
    let status = object.status.get_or_insert_default();
    status.hard = Some(hard);
    status.used =
        Some(used.iter().map(|(name, amount)| (name.clone(), amount.to_text())).collect::<BTreeMap<_, Text>>());
    Some(Action::Replace {
        resource: resource::<ResourceQuota>(),
        key: ObjectKey::of(&quota.metadata),
        subresource: "status",
        object: to_json(&object),
    })
}

/// The resources whose objects a quota counts, as `pods`, `jobs.batch`.
pub fn sources(quota: &ResourceQuota) -> impl Iterator<Item = Source> + '_ {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    hard.into_iter().flatten().filter_map(|(name, _)| Source::of(name))
}

/// Whether the limits of a quota have changed, or it is new.
pub fn limits_changed(old: Option<&ResourceQuota>, new: &ResourceQuota) -> bool {
    old.is_none_or(|old| old.spec != new.spec || old.status.is_some() && new.status.is_none())
}
