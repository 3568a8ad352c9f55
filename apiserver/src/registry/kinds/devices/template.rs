//! ResourceClaimTemplate: what claims of pods are made of.

use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use reeve_api::validation::{ErrorList, Path};

use super::{fill, rules, validate_claim};
use crate::registry::strategy::Strategy;

/// The strategy.
pub struct ResourceClaimTemplates;

impl Strategy for ResourceClaimTemplates {
    type Object = ResourceClaimTemplate;

    fn default(&self, template: &mut ResourceClaimTemplate) {
        if let Some(devices) = &mut template.spec.spec.devices {
            fill(devices);
        }
    }

    fn validate(&self, template: &ResourceClaimTemplate) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(devices) = &template.spec.spec.devices {
            validate_claim(devices, &Path::new("spec").child("spec").child("devices"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, template: &ResourceClaimTemplate, old: &ResourceClaimTemplate) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::immutable(&template.spec, &old.spec, &Path::new("spec"), &mut errors);
        errors.extend(self.validate(template));
        errors
    }
}
