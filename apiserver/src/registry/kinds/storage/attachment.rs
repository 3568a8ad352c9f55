//! VolumeAttachment: a volume that is to be attached to a node.

use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentStatus};
use reeve_api::validation::{ErrorList, Path, format};

use super::driver_name;
use crate::registry::kinds::rules;
use crate::registry::strategy::{RequestContext, Strategy};

const ONE_SOURCE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
const ERROR_MAX: usize = 1024;

/// The strategy.
pub struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    type Object = VolumeAttachment;

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, attachment: &mut VolumeAttachment) {
        attachment.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, attachment: &mut VolumeAttachment) {
        attachment.status = Some(VolumeAttachmentStatus::default());
    }

    fn validate(&self, attachment: &VolumeAttachment) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = &attachment.spec;
        if spec.attacher.is_empty() {
            errors.required(&path.child("attacher"), "");
        } else {
            driver_name(&spec.attacher, &path.child("attacher"), &mut errors);
        }
        let path_source = path.child("source");
        let path_name = path_source.child("persistentVolumeName");
        match (&spec.source.inline_volume_spec, spec.source.persistent_volume_name.as_deref()) {
            (None, None) => errors.required(&path_source, ONE_SOURCE),
            (Some(_), Some(name)) => errors.invalid(&path_source, name, ONE_SOURCE),
            (None, Some("")) => errors.required(&path_name, "must be a non empty string"),
            (None, Some(name)) => errors.invalid_each(&path_name, name, format::dns1123_subdomain(name)),
            (Some(_), None) => {}
        }
        let node = &spec.node_name;
        errors.invalid_each(&path.child("nodeName"), node, format::dns1123_subdomain(node));
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, new: &mut VolumeAttachment, old: &VolumeAttachment) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, attachment: &VolumeAttachment, old: &VolumeAttachment) -> ErrorList {
        let mut errors = self.validate(attachment);
        rules::immutable(&attachment.spec, &old.spec, &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, new: &mut VolumeAttachment, old: &VolumeAttachment) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, attachment: &VolumeAttachment, _old: &VolumeAttachment) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(status) = &attachment.status else { return errors };
        let path = Path::new("status");
        for (field, error) in [("attachError", &status.attach_error), ("detachError", &status.detach_error)] {
            let message = error.as_ref().and_then(|error| error.message.as_deref()).unwrap_or_default();
            if message.len() > ERROR_MAX {
                errors.too_long(&path.child(field).child("message"), ERROR_MAX);
            }
        }
        errors
    }
}
