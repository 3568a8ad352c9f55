//! HorizontalPodAutoscaler: replicas that follow a measure.

mod first_version;
mod rules;

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;
use reeve_api::validation::{ErrorList, Path};

use super::workload;
use crate::registry::pod_template::defaults;
use crate::registry::strategy::{RequestContext, Strategy};

pub use first_version::FirstVersion;

/// The use of CPU that is aimed at by default.
const CPU_PERCENT: i32 = 80;

/// The strategy.
pub struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    type Object = HorizontalPodAutoscaler;

    fn default(&self, autoscaler: &mut HorizontalPodAutoscaler) {
        let spec = &mut autoscaler.spec;
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.as_ref().is_none_or(Vec::is_empty) {
            spec.metrics = Some(vec![MetricSpec {
                type_: "Resource".to_owned(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".to_owned(),
                    target: MetricTarget {
                        type_: "Utilization".to_owned(),
                        average_utilization: Some(CPU_PERCENT),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]);
        }
        for target in spec.metrics.iter_mut().flatten().flat_map(targets) {
            for amount in [&mut target.value, &mut target.average_value].into_iter().flatten() {
                canonical(amount);
            }
        }
        if let Some(behavior) = &mut spec.behavior {
            let up = behavior.scale_up.get_or_insert_default();
            scaling_rules(up, &[("Pods", 4), ("Percent", 100)]);
            up.stabilization_window_seconds.get_or_insert(0);
            scaling_rules(behavior.scale_down.get_or_insert_default(), &[("Percent", 100)]);
        }
        autoscaler.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, autoscaler: &mut HorizontalPodAutoscaler) {
        autoscaler.status = Some(HorizontalPodAutoscalerStatus::default());
    }

    fn validate(&self, autoscaler: &HorizontalPodAutoscaler) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::specification(&autoscaler.spec, &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        autoscaler: &mut HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) {
        autoscaler.status.clone_from(&old.status);
    }

    fn prepare_for_status_update(
        &self,
        _context: &RequestContext,
        autoscaler: &mut HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) {
        autoscaler.spec.clone_from(&old.spec);
    }

    fn validate_status_update(
        &self,
        autoscaler: &HorizontalPodAutoscaler,
        _old: &HorizontalPodAutoscaler,
    ) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &autoscaler.status else { return errors };
        let current = status.current_replicas.map(i64::from);
        workload::not_negative(current, &path.child("currentReplicas"), &mut errors);
        let desired = Some(i64::from(status.desired_replicas));
        workload::not_negative(desired, &path.child("desiredReplicas"), &mut errors);
        errors
    }
}

/// The targets of a metric.
fn targets(metric: &mut MetricSpec) -> impl Iterator<Item = &mut MetricTarget> {
    [
        metric.resource.as_mut().map(|source| &mut source.target),
        metric.container_resource.as_mut().map(|source| &mut source.target),
        metric.pods.as_mut().map(|source| &mut source.target),
        metric.object.as_mut().map(|source| &mut source.target),
        metric.external.as_mut().map(|source| &mut source.target),
    ]
    .into_iter()
    .flatten()
}

fn canonical(amount: &mut Text) {
    amount.0 = Quantity::canonical(&amount.0);
}

/// Rules that are given leave out what they do not say.
fn scaling_rules(rules: &mut HPAScalingRules, policies: &[(&str, i32)]) {
    const PERIOD_SECONDS: i32 = 15;
    defaults::fill(&mut rules.select_policy, "Max");
    rules.policies.get_or_insert_with(|| {
        let policy = |(kind, value): &(&str, i32)| HPAScalingPolicy {
            type_: (*kind).to_owned(),
            value: *value,
            period_seconds: PERIOD_SECONDS,
        };
        policies.iter().map(policy).collect()
    });
    if let Some(tolerance) = &mut rules.tolerance {
        canonical(tolerance);
    }
}
