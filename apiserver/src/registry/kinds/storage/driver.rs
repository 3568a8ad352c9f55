//! CSIDriver: what a driver needs and can.

use std::collections::BTreeSet;

use k8s_openapi::api::storage::v1::{CSIDriver, CSIDriverSpec, TokenRequest};
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{ErrorList, Path};

use super::driver_name;
use crate::registry::kinds::rules;
use crate::registry::strategy::{RequestContext, Strategy};

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const UPDATE_SECONDS_MIN: i64 = 10;

/// The strategy.
pub struct CsiDrivers;

impl Strategy for CsiDrivers {
    type Object = CSIDriver;

    fn name_rule(&self) -> NameRule {
        // The rules of drivers' names are the kind's own.
        NameRule::PathSegment
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, driver: &mut CSIDriver) {
        let spec = &mut driver.spec;
        spec.attach_required.get_or_insert(true);
        for flag in [
            &mut spec.pod_info_on_mount,
            &mut spec.storage_capacity,
            &mut spec.requires_republish,
            &mut spec.se_linux_mount,
        ] {
            flag.get_or_insert(false);
        }
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".to_owned());
        if spec.volume_lifecycle_modes.as_ref().is_none_or(Vec::is_empty) {
            spec.volume_lifecycle_modes = Some(vec!["Persistent".to_owned()]);
        }
    }

    fn validate(&self, driver: &CSIDriver) -> ErrorList {
        let mut errors = ErrorList::new();
        let name = driver.metadata.name.as_deref().unwrap_or_default();
        driver_name(name, &Path::new("name"), &mut errors);
        validate_spec(&driver.spec, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, driver: &mut CSIDriver, old: &CSIDriver) {
        // Drivers begin without a generation.
        driver.metadata.generation = match old.metadata.generation {
            before if driver.spec == old.spec => before,
            before => Some(before.unwrap_or(0) + 1),
        };
    }

    fn validate_update(&self, driver: &CSIDriver, old: &CSIDriver) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(&driver.spec, &mut errors);
        let (new, old) = (&driver.spec, &old.spec);
        let path = Path::new("spec");
        rules::immutable(&new.attach_required, &old.attach_required, &path.child("attachedRequired"), &mut errors);
        let path = path.child("volumeLifecycleModes");
        rules::immutable(&new.volume_lifecycle_modes, &old.volume_lifecycle_modes, &path, &mut errors);
        errors
    }

    fn warnings(&self, driver: &CSIDriver, _old: Option<&CSIDriver>) -> Vec<String> {
        let asks_for_tokens = driver.spec.token_requests.as_ref().is_some_and(|requests| !requests.is_empty());
        if asks_for_tokens && driver.spec.service_account_token_in_secrets.is_none() {
            let text = "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to \
                        prevent possible logging of tokens in volume attributes";
            return vec![text.to_owned()];
        }
        Vec::new()
    }
}

fn validate_spec(spec: &CSIDriverSpec, errors: &mut ErrorList) {
    let path = Path::new("spec");
    for (field, flag) in [
        ("attachRequired", spec.attach_required),
        ("podInfoOnMount", spec.pod_info_on_mount),
        ("storageCapacity", spec.storage_capacity),
    ] {
        if flag.is_none() {
            errors.required(&path.child(field), "");
        }
    }
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    rules::required_one_of(spec.fs_group_policy.as_deref(), &policies, &path.child("fsGroupPolicy"), errors);
    let requests = spec.token_requests.as_deref().unwrap_or_default();
    token_requests(requests, &path.child("tokenRequests"), errors);
    for mode in spec.volume_lifecycle_modes.iter().flatten() {
        rules::one_of(mode, &["Ephemeral", "Persistent"], &path.child("volumeLifecycleModes"), errors);
    }
    if spec.se_linux_mount.is_none() {
        errors.required(&path.child("seLinuxMount"), "");
    }
    if let Some(seconds) = spec.node_allocatable_update_period_seconds.filter(|seconds| *seconds < UPDATE_SECONDS_MIN) {
        let path = path.child("nodeAllocatableUpdatePeriodSeconds");
        errors.invalid(&path, seconds, format!("must be greater than or equal to {UPDATE_SECONDS_MIN} seconds"));
    }
    if let Some(flag) = spec.service_account_token_in_secrets.filter(|_| requests.is_empty()) {
        let path = path.child("serviceAccountTokenInSecrets");
        errors.invalid(&path, flag, "serviceAccountTokenInSecrets must be nil when tokenRequests is empty");
    }
}

fn token_requests(requests: &[TokenRequest], path: &Path<'_>, errors: &mut ErrorList) {
    let mut audiences = BTreeSet::new();
    for (index, request) in requests.iter().enumerate() {
        let path = path.index(index);
        if !audiences.insert(&request.audience) {
            errors.duplicate(&path.child("audience"), &request.audience);
            continue;
        }
        let path = path.child("expirationSeconds");
        match request.expiration_seconds {
            Some(seconds) if seconds < TOKEN_SECONDS_MIN => {
                errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
            }
            Some(seconds) if seconds > TOKEN_SECONDS_MAX => {
                errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_has_defaults_and_warns_of_tokens() {
        let mut driver = CSIDriver::default();
        driver.metadata.name = Some("d.example.com".to_owned());
        CsiDrivers.default(&mut driver);
        assert!(CsiDrivers.validate(&driver).is_empty());
        assert!(CsiDrivers.warnings(&driver, None).is_empty());
        let request = TokenRequest { audience: "a".to_owned(), expiration_seconds: Some(5) };
        driver.spec.token_requests = Some(vec![request.clone(), request]);
        assert_eq!(CsiDrivers.warnings(&driver, None).len(), 1);
        let texts: Vec<String> = CsiDrivers.validate(&driver).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.tokenRequests[0].expirationSeconds: Invalid value: 5: may not specify a duration less than 10 \
                 minutes",
                r#"spec.tokenRequests[1].audience: Duplicate value: "a""#,
            ]
        );
    }
}
