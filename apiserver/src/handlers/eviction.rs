//! Eviction: a pod's deletion, if its disruption budget has room (`pkg/registry/core/pod/storage/eviction.go`).

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, DeleteOptions as MetaDeleteOptions, Time};
use reeve_api::selector::LabelSelector;
use reeve_api::status::{StatusCause, StatusDetails};
use reeve_api::{GroupVersionResource, ObjectMeta, Reason, StatusError};
use serde::Deserialize;
use serde_json::json;

use super::update::Part;
use super::{DeleteOptions, Handlers, ObjectAnswer, WriteOptions, decode_stored, encode, store_error};
use crate::registry::kinds::pod::Pods;
use crate::registry::kinds::pod_disruption_budget::PodDisruptionBudgets;
use crate::registry::{AnyObject, Object, Row};
use crate::request::{Target, User};
use crate::storage::cache::{Selector, Version};
use crate::storage::{Stored, Write};

/// Evictions that the budget's controller has not yet seen.
const UNCONFIRMED_MAX: usize = 2000;
const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Eviction {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    delete_options: Option<MetaDeleteOptions>,
}

impl Handlers {
    /// Deletes a pod on behalf of whoever drains its node.
    pub(super) async fn evict(
        &self,
        user: &User,
        row: &Row,
        target: &Target,
        body: &Bytes,
        options: &WriteOptions,
    ) -> Result<ObjectAnswer, StatusError> {
        let eviction: Eviction = serde_json::from_slice(body)
            .map_err(|error| StatusError::bad_request(format!("the body is not an Eviction: {error}")))?;
        if eviction.metadata.name.as_deref().is_some_and(|name| name != target.name) {
            return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
        }
        let asked = eviction.delete_options.unwrap_or_default();
        let preconditions = asked.preconditions.unwrap_or_default();
        let deletion = DeleteOptions {
            grace_period_seconds: asked.grace_period_seconds,
            propagation_policy: asked.propagation_policy.unwrap_or_default(),
            uid: preconditions.uid.unwrap_or_default(),
            resource_version: preconditions.resource_version.unwrap_or_default(),
            dry_run: options.dry_run || asked.dry_run.is_some_and(|run| !run.is_empty()),
        };
        let pods = GroupVersionResource::of::<Pod>();
        let entry = self
            .resource(row)?
            .get(&target.namespace, &target.name, Version::Consistent)
            .await?
            .ok_or_else(|| StatusError::not_found(&pods, &target.name))?;
        let pod: Pod = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
        if !is_free(&pod) {
            self.take_disruption(&pod, target, deletion.dry_run).await?;
        }
        if !deletion.dry_run {
            self.tell_disruption(user, row, target).await?;
        }
        self.delete_row(row, target, &deletion).await?;
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        let mut answer = ObjectAnswer::unstored(serde_json::to_vec(&status).map_err(StatusError::internal)?);
        answer.created = true;
        Ok(answer)
    }

    /// Takes one disruption from the budget that the pod falls under.
    async fn take_disruption(&self, pod: &Pod, target: &Target, dry_run: bool) -> Result<(), StatusError> {
        let resource = GroupVersionResource::of::<PodDisruptionBudget>();
        let registry = self.registry();
        let Some(row) = registry.get(&resource) else { return Ok(()) };
        let row = &row;
        let selector = Selector { namespace: Some(target.namespace.clone()), ..Selector::default() };
        let snapshot = self.resource(row)?.fresh(Version::Consistent).await?;
        let mut covering = Vec::new();
        for entry in snapshot.select(selector) {
            let budget: PodDisruptionBudget = serde_json::from_slice(entry.object()).map_err(StatusError::internal)?;
            if covers(&budget, pod) {
                covering.push(budget);
            }
        }
        let budget = match covering.as_slice() {
            [] => return Ok(()),
            [budget] => budget,
            _ => {
                return Err(StatusError::new(
                    Reason::InternalError,
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        };
        if !is_ready(pod) && may_ignore_unhealthy(budget) {
            return Ok(());
        }
        let name = budget.metadata.name.clone().unwrap_or_default();
        let place =
            Target { resource, namespace: target.namespace.clone(), name: name.clone(), subresource: "status".into() };
        let now = self.now();
        let mut decide = |present: Option<&Stored>| {
            let present = present.ok_or_else(|| StatusError::not_found(&place.resource, &name))?;
            let mut object = decode_stored(row, &present.value)?;
            let budget = object
                .as_any_mut()
                .downcast_mut::<Object<PodDisruptionBudgets>>()
                .ok_or_else(|| StatusError::internal("only budgets count disruptions"))?;
            decrement(&mut budget.value, &target.name, now)?;
            if dry_run { Ok(Write::keep()) } else { Ok(Write::put(encode(object.as_ref())?)) }
        };
        let key = row.storage_key(&place.namespace, &place.name);
        self.store.update(&key, self.hint(row, &place), &mut decide).await.map_err(store_error)?;
        Ok(())
    }

    /// Lets the pod's owner know why it ends.
    async fn tell_disruption(&self, user: &User, row: &Row, target: &Target) -> Result<(), StatusError> {
        let now = self.now();
        let mut make = |present: &Stored, _: &dyn AnyObject| -> Result<Box<dyn AnyObject>, StatusError> {
            let mut object = decode_stored(row, &present.value)?;
            let pod = object
                .as_any_mut()
                .downcast_mut::<Object<Pods>>()
                .ok_or_else(|| StatusError::internal("only pods can be evicted"))?;
            let conditions = pod.value.status.get_or_insert_default().conditions.get_or_insert_default();
            let told = PodCondition {
                type_: "DisruptionTarget".to_owned(),
                status: "True".to_owned(),
                reason: Some("EvictionByEvictionAPI".to_owned()),
                message: Some("Eviction API: evicting".to_owned()),
                last_transition_time: Some(Time(now)),
                ..PodCondition::default()
            };
            match conditions.iter_mut().find(|condition| condition.type_ == told.type_) {
                Some(condition) if condition.status == told.status => {}
                Some(condition) => *condition = told,
                None => conditions.push(told),
            }
            Ok(object)
        };
        self.change(user, row, target, Part::Binding, &WriteOptions::default(), &mut make).await?;
        Ok(())
    }
}

/// A pod whose end disrupts nothing.
fn is_free(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed" | "Pending")) || pod.metadata.deletion_timestamp.is_some()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| {
        LabelSelector::from_object(Some(selector)).is_ok_and(|parsed| parsed.matches_opt(pod.metadata.labels.as_ref()))
    })
}

/// Whether a pod that is not ready may go without being counted.
fn may_ignore_unhealthy(budget: &PodDisruptionBudget) -> bool {
    let policy = budget.spec.as_ref().and_then(|spec| spec.unhealthy_pod_eviction_policy.as_deref());
    if policy == Some("AlwaysAllow") {
        return true;
    }
    let status = budget.status.clone().unwrap_or_default();
    let desired = status.desired_healthy.unwrap_or_default();
    status.current_healthy.unwrap_or_default() >= desired && desired > 0
}

fn refused(why: String, retry_after_seconds: Option<i32>) -> StatusError {
    let cause = StatusCause { reason: Some("DisruptionBudget".to_owned()), message: Some(why), field: None };
    let details = StatusDetails { causes: Some(vec![cause]), retry_after_seconds, ..StatusDetails::default() };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    StatusError { details: Some(Box::new(details)), ..StatusError::new(Reason::TooManyRequests, message) }
}

/// Counts one disruption.
fn decrement(budget: &mut PodDisruptionBudget, pod: &str, now: Timestamp) -> Result<(), StatusError> {
    const RETRY_SECONDS: i32 = 10;
    let name = budget.metadata.name.clone().unwrap_or_default();
    let generation = budget.metadata.generation.unwrap_or_default();
    let status = budget.status.get_or_insert_default();
    if status.observed_generation.unwrap_or_default() < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why, Some(RETRY_SECONDS)));
    }
    let forbidden = |why: &str| {
        let resource = GroupVersionResource::of::<PodDisruptionBudget>();
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified());
        StatusError::new(Reason::Forbidden, message)
    };
    let allowed = status.disruptions_allowed.unwrap_or_default();
    if allowed < 0 {
        return Err(forbidden("pdb disruptions allowed is negative"));
    }
    let unconfirmed = status.disrupted_pods.get_or_insert_default();
    if unconfirmed.len() > UNCONFIRMED_MAX {
        return Err(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"));
    }
    if allowed == 0 {
        return Err(refused(reason(&name, status), None));
    }
    unconfirmed.insert(pod.to_owned(), Time(now));
    status.disruptions_allowed = Some(allowed - 1);
    if allowed == 1 {
        let told = Condition {
            type_: DISRUPTION_ALLOWED.to_owned(),
            status: "False".to_owned(),
            reason: "InsufficientPods".to_owned(),
            message: String::new(),
            observed_generation: status.observed_generation,
            last_transition_time: Time(now),
        };
        let conditions = status.conditions.get_or_insert_default();
        match conditions.iter_mut().find(|condition| condition.type_ == told.type_) {
            Some(condition) => *condition = told,
            None => conditions.push(told),
        }
    }
    Ok(())
}

/// Why no pod may go now.
fn reason(name: &str, status: &PodDisruptionBudgetStatus) -> String {
    let failed = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == DISRUPTION_ALLOWED && condition.status == "False" && condition.reason == "SyncFailed"
    });
    match failed {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            condition.message
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            status.desired_healthy.unwrap_or_default(),
            status.current_healthy.unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i32) -> PodDisruptionBudget {
        let json = json!({
            "metadata": {"name": "b", "generation": 2},
            "status": {"observedGeneration": 2, "disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 2},
        });
        let mut json = json;
        json["apiVersion"] = "policy/v1".into();
        json["kind"] = "PodDisruptionBudget".into();
        serde_json::from_value(json).expect("a budget")
    }

    fn cause(error: &StatusError) -> String {
        let causes = error.details.as_ref().and_then(|details| details.causes.clone()).unwrap_or_default();
        causes[0].message.clone().unwrap_or_default()
    }

    #[test]
    fn a_disruption_is_counted_until_none_is_left() {
        let mut own = budget(1);
        decrement(&mut own, "p", Timestamp::UNIX_EPOCH).expect("room for one");
        let status = own.status.clone().expect("status");
        assert_eq!(status.disruptions_allowed, Some(0));
        assert!(status.disrupted_pods.is_some_and(|pods| pods.contains_key("p")));
        assert_eq!(
            status.conditions.map(|conditions| conditions[0].reason.clone()).as_deref(),
            Some("InsufficientPods")
        );
        let error = decrement(&mut own, "q", Timestamp::UNIX_EPOCH).expect_err("no room");
        assert_eq!(
            (error.reason, cause(&error).as_str()),
            (Reason::TooManyRequests, "The disruption budget b needs 2 healthy pods and has 3 currently",)
        );
    }

    #[test]
    fn a_budget_that_was_not_counted_yet_lets_no_pod_go() {
        let mut own = budget(5);
        own.metadata.generation = Some(3);
        let error = decrement(&mut own, "p", Timestamp::UNIX_EPOCH).expect_err("not yet");
        assert_eq!(cause(&error), "The disruption budget b is still being processed by the server.");
        assert_eq!(error.details.and_then(|details| details.retry_after_seconds), Some(10));
    }

    #[test]
    fn unhealthy_pods_go_when_the_rest_is_well() {
        assert!(may_ignore_unhealthy(&budget(0)));
        let mut own = budget(0);
        own.status.get_or_insert_default().current_healthy = Some(1);
        assert!(!may_ignore_unhealthy(&own));
        own.spec.get_or_insert_default().unhealthy_pod_eviction_policy = Some("AlwaysAllow".into());
        assert!(may_ignore_unhealthy(&own));
    }
}
