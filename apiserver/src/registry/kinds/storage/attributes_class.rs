//! VolumeAttributesClass: attributes of volumes that may be changed while they are used.

use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use reeve_api::validation::{ErrorList, Path};

use super::{parameters, provisioner};
use crate::registry::kinds::{protection, rules};
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct VolumeAttributesClasses;

impl Strategy for VolumeAttributesClasses {
    type Object = VolumeAttributesClass;

    fn admit_create(&self, _context: &RequestContext, class: &mut VolumeAttributesClass) {
        protection::protect(&mut class.metadata, "kubernetes.io/vac-protection");
    }

    fn validate(&self, class: &VolumeAttributesClass) -> ErrorList {
        let mut errors = ErrorList::new();
        provisioner(&class.driver_name, &Path::new("driverName"), &mut errors);
        let path = Path::new("parameters");
        if class.parameters.as_ref().is_none_or(|parameters| parameters.is_empty()) {
            errors.required(&path, "must contain at least one key/value pair");
        }
        parameters(class.parameters.as_ref(), &path, &mut errors);
        errors
    }

    fn validate_update(&self, class: &VolumeAttributesClass, old: &VolumeAttributesClass) -> ErrorList {
        let mut errors = self.validate(class);
        rules::immutable(&class.driver_name, &old.driver_name, &Path::new("driverName"), &mut errors);
        rules::immutable(&class.parameters, &old.parameters, &Path::new("parameters"), &mut errors);
        errors
    }
}
