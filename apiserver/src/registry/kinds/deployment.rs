//! Deployment: replicas of a pod that are replaced step by step.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, RollingUpdateDeployment};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::{generation, workload};
use crate::registry::pod_template::defaults;
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct Deployments;

impl Strategy for Deployments {
    type Object = Deployment;

    fn read(&self, object: &mut Deployment, json: &[u8]) {
        if let Some(spec) = &mut object.spec {
            workload::keep_empty_selector(&mut spec.selector, json);
        }
    }

    fn default(&self, deployment: &mut Deployment) {
        let spec = deployment.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_default();
        if strategy.type_.as_deref().unwrap_or_default().is_empty() {
            strategy.type_ = Some("RollingUpdate".to_owned());
        }
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let quarter = || IntOrString::String("25%".to_owned());
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_surge.get_or_insert_with(quarter);
            rolling.max_unavailable.get_or_insert_with(quarter);
        }
        defaults::pod_template(&mut spec.template);
        deployment.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, deployment: &mut Deployment) {
        deployment.status = Some(DeploymentStatus::default());
        generation::start(&mut deployment.metadata);
    }

    fn validate(&self, deployment: &Deployment) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let empty = DeploymentSpec::default();
        let spec = deployment.spec.as_ref().unwrap_or(&empty);
        workload::not_negative(spec.replicas.map(i64::from), &path.child("replicas"), &mut errors);
        workload::selector_and_template(&spec.selector, &spec.template, "deployment", &path, &mut errors);
        update_strategy(spec, &path.child("strategy"), &mut errors);
        let ready = spec.min_ready_seconds;
        workload::not_negative(ready.map(i64::from), &path.child("minReadySeconds"), &mut errors);
        workload::not_negative(
            spec.revision_history_limit.map(i64::from),
            &path.child("revisionHistoryLimit"),
            &mut errors,
        );
        if let Some(deadline) = spec.progress_deadline_seconds {
            let path = path.child("progressDeadlineSeconds");
            workload::not_negative(Some(i64::from(deadline)), &path, &mut errors);
            if deadline <= ready.unwrap_or_default() {
                errors.invalid(&path, deadline, "must be greater than minReadySeconds");
            }
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, deployment: &mut Deployment, old: &Deployment) {
        deployment.status.clone_from(&old.status);
        // Upstream counts a changed annotation as a change, since rollbacks once travelled in them.
        let changed = deployment.spec != old.spec || deployment.metadata.annotations != old.metadata.annotations;
        generation::follow(&mut deployment.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, deployment: &Deployment, old: &Deployment) -> ErrorList {
        let mut errors = self.validate(deployment);
        let selector = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.selector.clone());
        let new = selector(deployment);
        if new != selector(old) {
            errors.invalid(&Path::new("spec").child("selector"), BadValue::json(&new), "field is immutable");
        }
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, deployment: &mut Deployment, old: &Deployment) {
        deployment.spec.clone_from(&old.spec);
        deployment.metadata.labels.clone_from(&old.metadata.labels);
        generation::keep(&mut deployment.metadata, &old.metadata);
    }

    fn validate_status_update(&self, deployment: &Deployment, old: &Deployment) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &deployment.status else { return errors };
        let counts = [
            ("updatedReplicas", status.updated_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
            ("unavailableReplicas", status.unavailable_replicas),
            ("terminatingReplicas", status.terminating_replicas),
        ];
        workload::not_negative(status.observed_generation, &path.child("observedGeneration"), &mut errors);
        workload::part_counts(status.replicas.unwrap_or_default(), &counts, &path, &mut errors);
        let before = old.status.as_ref().and_then(|status| status.collision_count);
        workload::collisions(status.collision_count, before, &path, &mut errors);
        errors
    }

    fn warnings(&self, deployment: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        let template = |deployment: &Deployment| deployment.spec.as_ref().map(|spec| spec.template.clone());
        workload::template_warnings(&deployment.metadata, template(deployment), old.map(template))
    }

    fn scale(&self, deployment: &Deployment) -> Option<Scale> {
        let spec = deployment.spec.as_ref()?;
        let present = deployment.status.as_ref().and_then(|status| status.replicas);
        Some(workload::scale(&deployment.metadata, spec.replicas, present, &spec.selector))
    }

    fn set_replicas(&self, deployment: &mut Deployment, replicas: i32) {
        deployment.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn update_strategy(spec: &DeploymentSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(strategy) = &spec.strategy else { return };
    let path_rolling = path.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            errors.forbidden(&path_rolling, "may not be specified when strategy `type` is 'Recreate'")
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => errors.required(&path_rolling, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &path_rolling, errors),
        (other, _) => errors.not_supported(&path.child("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(rolling: &RollingUpdateDeployment, path: &Path<'_>, errors: &mut ErrorList) {
    let (path_unavailable, path_surge) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let unavailable = workload::count_or_percent(rolling.max_unavailable.as_ref(), &path_unavailable, errors);
    let surge = workload::count_or_percent(rolling.max_surge.as_ref(), &path_surge, errors);
    let none = |count: Option<(i64, bool)>| count.is_none_or(|(count, _)| count == 0);
    if none(unavailable) && none(surge) {
        let value = rolling.max_unavailable.as_ref().map_or_else(BadValue::null, BadValue::json);
        errors.invalid(&path_unavailable, value, "may not be 0 when `maxSurge` is 0");
    }
    // Checked above; only the bound is new.
    if let (Some(IntOrString::String(text)), Some((percent, true))) = (&rolling.max_unavailable, unavailable)
        && percent > 100
    {
        errors.invalid(&path_unavailable, text, "must not be greater than 100%");
    }
}
