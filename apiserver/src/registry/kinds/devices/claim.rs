//! ResourceClaim: a request for devices, and what was given.

use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimStatus};
use reeve_api::validation::{ErrorList, Path};

use super::{driver, fill, rules, validate_claim};
use crate::registry::strategy::{RequestContext, Strategy};

const CONSUMERS_MAX: usize = 256;

/// The strategy.
pub struct ResourceClaims;

impl Strategy for ResourceClaims {
    type Object = ResourceClaim;

    fn default(&self, claim: &mut ResourceClaim) {
        if let Some(devices) = &mut claim.spec.devices {
            fill(devices);
        }
        claim.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, claim: &mut ResourceClaim) {
        // Status must not be set by the user.
        claim.status = Some(ResourceClaimStatus::default());
    }

    fn validate(&self, claim: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        if let Some(devices) = &claim.spec.devices {
            validate_claim(devices, &Path::new("spec").child("devices"), &mut errors);
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, claim: &mut ResourceClaim, old: &ResourceClaim) {
        claim.status.clone_from(&old.status);
    }

    fn validate_update(&self, claim: &ResourceClaim, old: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::immutable(&claim.spec, &old.spec, &Path::new("spec"), &mut errors);
        errors.extend(self.validate(claim));
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, claim: &mut ResourceClaim, old: &ResourceClaim) {
        claim.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, claim: &ResourceClaim, old: &ResourceClaim) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let (none, before) = (ResourceClaimStatus::default(), ResourceClaimStatus::default());
        let status = claim.status.as_ref().unwrap_or(&none);
        let before = old.status.as_ref().unwrap_or(&before);
        let consumers = status.reserved_for.as_deref().unwrap_or_default();
        let path_consumers = path.child("reservedFor");
        if consumers.len() > CONSUMERS_MAX {
            errors.too_many(&path_consumers, consumers.len(), CONSUMERS_MAX);
        }
        for (index, consumer) in consumers.iter().enumerate() {
            let path = path_consumers.index(index);
            for (value, field) in [(&consumer.resource, "resource"), (&consumer.name, "name"), (&consumer.uid, "uid")] {
                if value.is_empty() {
                    errors.required(&path.child(field), "");
                }
            }
            if consumers[..index].iter().any(|other| other.uid == consumer.uid) {
                errors.duplicate(&path.child("uid"), &consumer.uid);
            }
        }
        if !consumers.is_empty() && status.allocation.is_none() {
            errors.forbidden(&path_consumers, "may not be specified when `allocated` is not set");
        }
        for (index, device) in status.devices.iter().flatten().enumerate() {
            let path = path.child("devices");
            let path = path.index(index);
            driver(&device.driver, &path.child("driver"), &mut errors);
        }
        let path = path.child("allocation");
        if let (Some(_), Some(_)) = (&before.allocation, &status.allocation) {
            // What was given is given until nobody uses it.
            rules::immutable(&status.allocation, &before.allocation, &path, &mut errors);
        }
        errors
    }
}
