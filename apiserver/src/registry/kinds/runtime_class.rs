//! RuntimeClass: which handler of the runtime runs a pod (`pkg/apis/node/validation`).

use k8s_openapi::api::node::v1::RuntimeClass;
use reeve_api::validation::{ErrorList, Path, format, metadata};

use super::rules;
use crate::registry::pod_template::validation;
use crate::registry::strategy::Strategy;

/// The strategy.
pub struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    type Object = RuntimeClass;

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, class: &mut RuntimeClass) {
        rules::canonical(class.overhead.as_mut().and_then(|overhead| overhead.pod_fixed.as_mut()));
    }

    fn validate(&self, class: &RuntimeClass) -> ErrorList {
        let mut errors = ErrorList::new();
        errors.invalid_each(&Path::new("handler"), &class.handler, format::dns1123_label(&class.handler));
        if let Some(overhead) = &class.overhead {
            validation::overhead(overhead.pod_fixed.as_ref(), &Path::new("overhead"), &mut errors);
        }
        if let Some(scheduling) = &class.scheduling {
            let path = Path::new("scheduling");
            if let Some(selector) = &scheduling.node_selector {
                metadata::labels(selector, &path.child("nodeSelector"), &mut errors);
            }
            let path = path.child("tolerations");
            validation::tolerations(scheduling.tolerations.as_deref().unwrap_or_default(), &path, &mut errors);
        }
        errors
    }

    fn validate_update(&self, class: &RuntimeClass, old: &RuntimeClass) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::immutable(&class.handler, &old.handler, &Path::new("handler"), &mut errors);
        errors
    }
}
