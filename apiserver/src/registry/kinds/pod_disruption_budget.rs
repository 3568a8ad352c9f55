//! PodDisruptionBudget: how many pods may be evicted at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::{generation, workload};
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    type Object = PodDisruptionBudget;

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, budget: &mut PodDisruptionBudget) {
        budget.spec.get_or_insert_default();
        budget.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, budget: &mut PodDisruptionBudget) {
        budget.status = Some(PodDisruptionBudgetStatus::default());
        generation::start(&mut budget.metadata);
    }

    fn validate(&self, budget: &PodDisruptionBudget) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = PodDisruptionBudgetSpec::default();
        specification(budget.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        budget: &mut PodDisruptionBudget,
        old: &PodDisruptionBudget,
    ) {
        budget.status.clone_from(&old.status);
        let changed = budget.spec != old.spec;
        generation::follow(&mut budget.metadata, &old.metadata, changed);
    }

    fn prepare_for_status_update(
        &self,
        _context: &RequestContext,
        budget: &mut PodDisruptionBudget,
        old: &PodDisruptionBudget,
    ) {
        budget.spec.clone_from(&old.spec);
        generation::keep(&mut budget.metadata, &old.metadata);
    }

    fn validate_status_update(&self, budget: &PodDisruptionBudget, _old: &PodDisruptionBudget) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &budget.status else { return errors };
        for (field, count) in [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ] {
            workload::not_negative(count.map(i64::from), &path.child(field), &mut errors);
        }
        errors
    }
}

fn specification(spec: &PodDisruptionBudgetSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        errors.invalid(path, shown(spec), "minAvailable and maxUnavailable cannot be both set");
    }
    workload::share(spec.min_available.as_ref(), &path.child("minAvailable"), errors);
    workload::share(spec.max_unavailable.as_ref(), &path.child("maxUnavailable"), errors);
    if let Some(policy) = spec.unhealthy_pod_eviction_policy.as_deref()
        && !matches!(policy, "AlwaysAllow" | "IfHealthyBudget")
    {
        let path = path.child("unhealthyPodEvictionPolicy");
        errors.not_supported(&path, policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
    if let Some(selector) = &spec.selector {
        workload::object_selector(selector, &path.child("selector"), errors);
    }
}

/// The specification as messages show it: upstream's internal form.
fn shown(spec: &PodDisruptionBudgetSpec) -> BadValue {
    let bound = |value: &Option<IntOrString>| serde_json::json!(value).to_string();
    BadValue::shown(format!(
        "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
        bound(&spec.min_available),
        serde_json::json!(spec.selector),
        bound(&spec.max_unavailable),
        serde_json::json!(spec.unhealthy_pod_eviction_policy),
    ))
}
