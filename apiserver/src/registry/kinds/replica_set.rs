//! ReplicaSet: a number of pods of one template.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::autoscaling::v1::Scale;
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::{generation, workload};
use crate::registry::pod_template::defaults;
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct ReplicaSets;

impl Strategy for ReplicaSets {
    type Object = ReplicaSet;

    fn read(&self, object: &mut ReplicaSet, json: &[u8]) {
        if let Some(spec) = &mut object.spec {
            workload::keep_empty_selector(&mut spec.selector, json);
        }
    }

    fn default(&self, set: &mut ReplicaSet) {
        let spec = set.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        defaults::pod_template(spec.template.get_or_insert_default());
        set.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, set: &mut ReplicaSet) {
        set.status = Some(ReplicaSetStatus::default());
        generation::start(&mut set.metadata);
    }

    fn validate(&self, set: &ReplicaSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let empty = ReplicaSetSpec::default();
        let spec = set.spec.as_ref().unwrap_or(&empty);
        workload::not_negative(spec.replicas.map(i64::from), &path.child("replicas"), &mut errors);
        workload::not_negative(spec.min_ready_seconds.map(i64::from), &path.child("minReadySeconds"), &mut errors);
        let template = spec.template.clone().unwrap_or_default();
        workload::selector_and_template(&spec.selector, &template, "replicaset", &path, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, set: &mut ReplicaSet, old: &ReplicaSet) {
        set.status.clone_from(&old.status);
        let changed = set.spec != old.spec;
        generation::follow(&mut set.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, set: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
        let mut errors = self.validate(set);
        let selector = |set: &ReplicaSet| set.spec.as_ref().map(|spec| spec.selector.clone());
        let new = selector(set);
        if new != selector(old) {
            errors.invalid(&Path::new("spec").child("selector"), BadValue::json(&new), "field is immutable");
        }
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, set: &mut ReplicaSet, old: &ReplicaSet) {
        set.spec.clone_from(&old.spec);
        generation::keep(&mut set.metadata, &old.metadata);
    }

    fn validate_status_update(&self, set: &ReplicaSet, _old: &ReplicaSet) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &set.status else { return errors };
        let counts = [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
            ("terminatingReplicas", status.terminating_replicas),
        ];
        workload::not_negative(status.observed_generation, &path.child("observedGeneration"), &mut errors);
        workload::part_counts(status.replicas, &counts, &path, &mut errors);
        errors
    }

    fn warnings(&self, set: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        let template = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.template.clone());
        workload::template_warnings(&set.metadata, template(set), old.map(template))
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, set: &ReplicaSet) -> Vec<(&'static str, String)> {
        let replicas = set.status.as_ref().map_or(0, |status| status.replicas);
        vec![("status.replicas", replicas.to_string())]
    }

    fn scale(&self, set: &ReplicaSet) -> Option<Scale> {
        let spec = set.spec.as_ref()?;
        let present = set.status.as_ref().map(|status| status.replicas);
        Some(workload::scale(&set.metadata, spec.replicas, present, &spec.selector))
    }

    fn set_replicas(&self, set: &mut ReplicaSet, replicas: i32) {
        set.spec.get_or_insert_default().replicas = Some(replicas);
    }
}
