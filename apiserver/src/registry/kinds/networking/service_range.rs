//! ServiceCIDR: a range that Services take their addresses from.

use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRStatus};
use reeve_api::validation::{BadValue, ErrorList, Path};

use crate::registry::internal;
use crate::registry::kinds::rules::{self, AddressRange};
use crate::registry::strategy::{RequestContext, Strategy};

/// One of each version.
const RANGES_MAX: usize = 2;

const ONE_OF_EACH: &str = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";

/// The strategy.
pub struct ServiceRanges;

impl Strategy for ServiceRanges {
    type Object = ServiceCIDR;

    fn default(&self, range: &mut ServiceCIDR) {
        range.spec.get_or_insert_default();
        range.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, range: &mut ServiceCIDR) {
        range.status = Some(ServiceCIDRStatus::default());
    }

    fn validate(&self, range: &ServiceCIDR) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let path = path.child("cidrs");
        let texts = range.spec.as_ref().and_then(|spec| spec.cidrs.as_deref()).unwrap_or_default();
        if texts.is_empty() {
            errors.required(&path, "at least one CIDR required");
            return errors;
        }
        let refuse = |why: &str, errors: &mut ErrorList| {
            let shown = range.spec.as_ref().map(|spec| BadValue::json(&internal::form(spec, "ServiceCIDRSpec")));
            errors.invalid(&path, shown.unwrap_or_else(BadValue::null), why);
        };
        if texts.len() > RANGES_MAX {
            refuse("may only hold up to 2 values", &mut errors);
            return errors;
        }
        if let [first, second] = texts {
            let versions = [first, second].map(|text| AddressRange::parse(text).map(|range| range.is_ipv4()));
            if !matches!(versions, [Some(first), Some(second)] if first != second) {
                refuse(ONE_OF_EACH, &mut errors);
                return errors;
            }
        }
        for (index, text) in texts.iter().enumerate() {
            AddressRange::check_canonical(text, &path.index(index), &mut errors);
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, range: &mut ServiceCIDR, old: &ServiceCIDR) {
        range.status.clone_from(&old.status);
    }

    fn validate_update(&self, range: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let path = path.child("cidrs");
        let texts = |range: &ServiceCIDR| range.spec.as_ref().and_then(|spec| spec.cidrs.clone()).unwrap_or_default();
        let (new, before) = (texts(range), texts(old));
        // A range of the other version may be added.
        let extends = before.len() == 1 && new.len() == RANGES_MAX && new[0] == before[0];
        if extends {
            return self.validate(range);
        }
        rules::immutable(&new, &before, &path, &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, range: &mut ServiceCIDR, old: &ServiceCIDR) {
        range.spec.clone_from(&old.spec);
    }
}
