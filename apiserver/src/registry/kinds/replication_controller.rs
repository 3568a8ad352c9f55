//! ReplicationController: a number of pods of one template, chosen by plain labels.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus};
use reeve_api::meta::LabelSelector as ObjectSelector;
use reeve_api::selector::LabelSelector;
use reeve_api::validation::{ErrorList, Path};

use super::{generation, workload};
use crate::registry::pod_template::{defaults, validation};
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct ReplicationControllers;

impl Strategy for ReplicationControllers {
    type Object = ReplicationController;

    fn default(&self, controller: &mut ReplicationController) {
        let spec = controller.spec.get_or_insert_default();
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            defaults::pod_template(template);
            let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
            // What the template says goes for its owner where that says nothing.
            if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
                for own in [&mut spec.selector, &mut controller.metadata.labels] {
                    if own.as_ref().is_none_or(BTreeMap::is_empty) {
                        *own = Some(labels.clone());
                    }
                }
            }
        }
        controller.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, controller: &mut ReplicationController) {
        controller.status = Some(ReplicationControllerStatus::default());
        generation::start(&mut controller.metadata);
    }

    fn validate(&self, controller: &ReplicationController) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = ReplicationControllerSpec::default();
        let spec = controller.spec.as_ref().unwrap_or(&empty);
        let path = Path::new("spec");
        workload::not_negative(spec.min_ready_seconds.map(i64::from), &path.child("minReadySeconds"), &mut errors);
        if spec.selector.as_ref().is_none_or(BTreeMap::is_empty) {
            errors.required(&path.child("selector"), "");
        }
        workload::not_negative(spec.replicas.map(i64::from), &path.child("replicas"), &mut errors);
        let path_template = path.child("template");
        let Some(template) = &spec.template else {
            errors.required(&path_template, "");
            return errors;
        };
        if let Ok(selector) = LabelSelector::from_object(Some(&as_selector(spec))) {
            workload::matches_template(&selector, false, template, &path_template, &mut errors);
        }
        validation::pod_template(template, &path_template, &mut errors);
        workload::runs_for_ever(template, "ReplicationController", &path_template, &mut errors);
        errors
    }

    fn prepare_for_update(
        &self,
        _context: &RequestContext,
        controller: &mut ReplicationController,
        old: &ReplicationController,
    ) {
        controller.status.clone_from(&old.status);
        let changed = controller.spec != old.spec;
        generation::follow(&mut controller.metadata, &old.metadata, changed);
    }

    fn prepare_for_status_update(
        &self,
        _context: &RequestContext,
        controller: &mut ReplicationController,
        old: &ReplicationController,
    ) {
        controller.spec.clone_from(&old.spec);
        generation::keep(&mut controller.metadata, &old.metadata);
    }

    fn validate_status_update(&self, controller: &ReplicationController, _old: &ReplicationController) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let Some(status) = &controller.status else { return errors };
        let counts = [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ];
        workload::not_negative(status.observed_generation, &path.child("observedGeneration"), &mut errors);
        workload::part_counts(status.replicas, &counts, &path, &mut errors);
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn fields(&self, controller: &ReplicationController) -> Vec<(&'static str, String)> {
        let replicas = controller.status.as_ref().map_or(0, |status| status.replicas);
        vec![("status.replicas", replicas.to_string())]
    }

    fn warnings(&self, controller: &ReplicationController, old: Option<&ReplicationController>) -> Vec<String> {
        let template = |controller: &ReplicationController| controller.spec.as_ref()?.template.clone();
        workload::template_warnings(&controller.metadata, template(controller), old.map(template))
    }

    fn scale(&self, controller: &ReplicationController) -> Option<Scale> {
        let spec = controller.spec.as_ref()?;
        let present = controller.status.as_ref().map(|status| status.replicas);
        Some(workload::scale(&controller.metadata, spec.replicas, present, &as_selector(spec)))
    }

    fn set_replicas(&self, controller: &mut ReplicationController, replicas: i32) {
        controller.spec.get_or_insert_default().replicas = Some(replicas);
    }
}

fn as_selector(spec: &ReplicationControllerSpec) -> ObjectSelector {
    ObjectSelector { match_labels: spec.selector.clone(), match_expressions: None }
}
