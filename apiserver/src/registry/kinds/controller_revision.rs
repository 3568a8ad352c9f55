//! ControllerRevision: an immutable state of a workload's template.

use k8s_openapi::api::apps::v1::ControllerRevision;
use reeve_api::validation::{BadValue, ErrorList, Path};

use super::workload;
use crate::registry::strategy::Strategy;

/// The strategy.
pub struct ControllerRevisions;

impl Strategy for ControllerRevisions {
    type Object = ControllerRevision;

    fn validate(&self, revision: &ControllerRevision) -> ErrorList {
        let mut errors = ErrorList::new();
        if revision.data.as_ref().is_none_or(|data| data.0.is_null()) {
            errors.required(&Path::new("data"), "data is mandatory");
        }
        workload::not_negative(Some(revision.revision), &Path::new("revision"), &mut errors);
        errors
    }

    fn validate_update(&self, revision: &ControllerRevision, old: &ControllerRevision) -> ErrorList {
        let mut errors = self.validate(revision);
        if revision.data != old.data {
            errors.invalid(&Path::new("data"), BadValue::json(&revision.data), "field is immutable");
        }
        errors
    }
}
