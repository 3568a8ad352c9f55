//! Lease: who leads, or that a node lives.

use k8s_openapi::api::coordination::v1::Lease;
use reeve_api::validation::{ErrorList, Path};

use crate::registry::strategy::Strategy;

/// The strategy.
pub struct Leases;

impl Strategy for Leases {
    type Object = Lease;

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn default(&self, lease: &mut Lease) {
        lease.spec.get_or_insert_default();
    }

    fn validate(&self, lease: &Lease) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &lease.spec else { return errors };
        let path = Path::new("spec");
        if let Some(seconds) = spec.lease_duration_seconds
            && seconds <= 0
        {
            errors.invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0");
        }
        if let Some(count) = spec.lease_transitions
            && count < 0
        {
            errors.invalid(&path.child("leaseTransitions"), count, "must be greater than or equal to 0");
        }
        errors
    }
}
