//! Lease: who leads, or that a node lives.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use reeve_api::validation::{ErrorList, Path};

use crate::registry::strategy::{RequestContext, Strategy};

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

    /// What belongs to coordinated elections is for clusters that hold them.
    fn prepare_for_create(&self, _context: &RequestContext, lease: &mut Lease) {
        if let Some(spec) = &mut lease.spec {
            spec.strategy = None;
            spec.preferred_holder = None;
        }
    }

    fn prepare_for_update(&self, _context: &RequestContext, lease: &mut Lease, old: &Lease) {
        let had = |get: fn(&LeaseSpec) -> bool| old.spec.as_ref().is_some_and(get);
        if let Some(spec) = &mut lease.spec {
            spec.strategy = spec.strategy.take().filter(|_| had(|old| old.strategy.is_some()));
            spec.preferred_holder = spec.preferred_holder.take().filter(|_| had(|old| old.preferred_holder.is_some()));
        }
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
