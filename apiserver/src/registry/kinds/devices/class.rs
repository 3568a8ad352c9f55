//! DeviceClass: devices that an administrator put together.

use k8s_openapi::api::resource::v1::DeviceClass;
use reeve_api::validation::{ErrorList, Path};

use super::{CONFIGURATIONS_MAX, at_most, validate_configuration, validate_selectors};
use crate::registry::kinds::generation;
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct DeviceClasses;

impl Strategy for DeviceClasses {
    type Object = DeviceClass;

    fn prepare_for_create(&self, _context: &RequestContext, class: &mut DeviceClass) {
        generation::start(&mut class.metadata);
    }

    fn prepare_for_update(&self, _context: &RequestContext, class: &mut DeviceClass, old: &DeviceClass) {
        let changed = class.spec != old.spec;
        generation::follow(&mut class.metadata, &old.metadata, changed);
    }

    fn validate(&self, class: &DeviceClass) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        validate_selectors(class.spec.selectors.as_deref(), &path.child("selectors"), &mut errors);
        let configurations = class.spec.config.as_deref().unwrap_or_default();
        let path = path.child("config");
        if at_most(configurations.len(), CONFIGURATIONS_MAX, &path, &mut errors) {
            for (index, configuration) in configurations.iter().enumerate() {
                validate_configuration(configuration.opaque.as_ref(), &path.index(index), &mut errors);
            }
        }
        errors
    }
}
