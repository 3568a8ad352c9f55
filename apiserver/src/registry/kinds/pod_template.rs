//! PodTemplate: a template of pods as an object of its own.

use k8s_openapi::api::core::v1::PodTemplate;
use reeve_api::validation::{ErrorList, Path};

use super::generation;
use crate::registry::pod_template::{defaults, validation, warnings};
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct PodTemplates;

impl Strategy for PodTemplates {
    type Object = PodTemplate;

    fn default(&self, object: &mut PodTemplate) {
        defaults::pod_template(object.template.get_or_insert_default());
    }

    fn prepare_for_create(&self, _context: &RequestContext, object: &mut PodTemplate) {
        generation::start(&mut object.metadata);
    }

    fn validate(&self, object: &PodTemplate) -> ErrorList {
        let mut errors = ErrorList::new();
        validation::pod_template(&object.template.clone().unwrap_or_default(), &Path::new("template"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, object: &mut PodTemplate, old: &PodTemplate) {
        let changed = object.template != old.template;
        generation::follow(&mut object.metadata, &old.metadata, changed);
    }

    fn warnings(&self, object: &PodTemplate, old: Option<&PodTemplate>) -> Vec<String> {
        match &object.template {
            Some(template) if old.is_none_or(|old| old.template != object.template) => {
                warnings::pod_template(template, &Path::new("template"))
            }
            _ => Vec::new(),
        }
    }
}
