//! DaemonSet: a pod on every node.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, RollingUpdateDaemonSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::selector::LabelSelector;
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::{generation, workload};
use crate::registry::internal;
use crate::registry::pod_template::{defaults, validation};
use crate::registry::strategy::{RequestContext, Strategy};

/// Counts the changes of the template. Older clients read it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The strategy.
pub struct DaemonSets;

impl Strategy for DaemonSets {
    type Object = DaemonSet;

    fn read(&self, object: &mut DaemonSet, json: &[u8]) {
        if let Some(spec) = &mut object.spec {
            workload::keep_empty_selector(&mut spec.selector, json);
        }
    }

    fn default(&self, set: &mut DaemonSet) {
        let spec = set.spec.get_or_insert_default();
        spec.revision_history_limit.get_or_insert(10);
        let strategy = spec.update_strategy.get_or_insert_default();
        defaults::fill(&mut strategy.type_, "RollingUpdate");
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        defaults::pod_template(&mut spec.template);
        set.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, set: &mut DaemonSet) {
        set.status = Some(DaemonSetStatus::default());
        generation::start(&mut set.metadata);
        let given = template_generation(set);
        set_template_generation(set, given.max(1));
    }

    fn validate(&self, set: &DaemonSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = DaemonSetSpec::default();
        specification(set.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, set: &mut DaemonSet, old: &DaemonSet) {
        set.status.clone_from(&old.status);
        let template = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.template.clone());
        let rolled = i64::from(template(set) != template(old));
        set_template_generation(set, template_generation(old) + rolled);
        let changed = set.spec != old.spec;
        generation::follow(&mut set.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, set: &DaemonSet, old: &DaemonSet) -> ErrorList {
        let mut errors = self.validate(set);
        let selector = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.selector.clone());
        let new = selector(set);
        if new != selector(old) {
            errors.invalid(&Path::new("spec").child("selector"), BadValue::json(&new), "field is immutable");
        }
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, set: &mut DaemonSet, old: &DaemonSet) {
        set.spec.clone_from(&old.spec);
        let kept = template_generation(old);
        set_template_generation(set, kept);
        generation::keep(&mut set.metadata, &old.metadata);
    }

    fn validate_status_update(&self, set: &DaemonSet, old: &DaemonSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &set.status else { return errors };
        let count = |value: i32| Some(i64::from(value));
        for (field, value) in [
            ("currentNumberScheduled", count(status.current_number_scheduled)),
            ("numberMisscheduled", count(status.number_misscheduled)),
            ("desiredNumberScheduled", count(status.desired_number_scheduled)),
            ("numberReady", count(status.number_ready)),
            ("observedGeneration", status.observed_generation),
            ("updatedNumberScheduled", status.updated_number_scheduled.map(i64::from)),
            ("numberAvailable", status.number_available.map(i64::from)),
            ("numberUnavailable", status.number_unavailable.map(i64::from)),
        ] {
            workload::not_negative(value, &path.child(field), &mut errors);
        }
        let before = old.status.as_ref().and_then(|status| status.collision_count);
        workload::collisions(status.collision_count, before, &path, &mut errors);
        errors
    }

    fn warnings(&self, set: &DaemonSet, old: Option<&DaemonSet>) -> Vec<String> {
        let template = |set: &DaemonSet| set.spec.as_ref().map(|spec| spec.template.clone());
        workload::template_warnings(&set.metadata, template(set), old.map(template))
    }
}

fn template_generation(set: &DaemonSet) -> i64 {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|own| own.get(TEMPLATE_GENERATION)).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn set_template_generation(set: &mut DaemonSet, generation: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string());
}

fn specification(spec: &DaemonSetSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_template = path.child("template");
    workload::object_selector(&spec.selector, &path.child("selector"), errors);
    if let Ok(selector) = LabelSelector::from_object(Some(&spec.selector)) {
        let absent = workload::is_absent(&spec.selector);
        workload::matches_template(&selector, absent, &spec.template, &path_template, errors);
    }
    if !workload::is_absent(&spec.selector) && workload::is_empty(&spec.selector) {
        let shown = BadValue::shown("{}".to_owned());
        errors.invalid(&path.child("selector"), shown, "empty selector is invalid for daemonset");
    }
    validation::pod_template(&spec.template, &path_template, errors);
    workload::runs_for_ever(&spec.template, "DaemonSet", &path_template, errors);
    workload::not_negative(spec.min_ready_seconds.map(i64::from), &path.child("minReadySeconds"), errors);
    let path_strategy = path.child("updateStrategy");
    if let Some(strategy) = &spec.update_strategy {
        let path_rolling = path_strategy.child("rollingUpdate");
        match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
            ("OnDelete", _) => {}
            ("RollingUpdate", None) => errors.required(&path_rolling, ""),
            ("RollingUpdate", Some(rolling)) => rolling_update(rolling, &path_rolling, errors),
            _ => {
                let shown = BadValue::json(&internal::form(strategy, "DaemonSetStrategy"));
                errors.not_supported(&path_strategy, shown, &["RollingUpdate", "OnDelete"]);
            }
        }
    }
    let limit = spec.revision_history_limit.map(i64::from);
    workload::not_negative(limit, &path.child("revisionHistoryLimit"), errors);
}

fn rolling_update(rolling: &RollingUpdateDaemonSet, path: &Path<'_>, errors: &mut ErrorList) {
    let (path_unavailable, path_surge) = (path.child("maxUnavailable"), path.child("maxSurge"));
    let unavailable = workload::share(rolling.max_unavailable.as_ref(), &path_unavailable, errors);
    let surge = workload::share(rolling.max_surge.as_ref(), &path_surge, errors);
    let some = |count: Option<i64>| count.is_some_and(|count| count != 0);
    match (some(unavailable), some(surge)) {
        (true, true) => {
            let shown = rolling.max_surge.as_ref().map_or_else(BadValue::null, BadValue::json);
            errors.invalid(&path_surge, shown, "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => errors.required(&path_unavailable, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}
