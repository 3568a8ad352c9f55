//! APIService: who serves a version of a group.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{
    APIService, APIServiceCondition, APIServiceSpec, APIServiceStatus,
};
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{ErrorList, Path, format};

use crate::registry::strategy::{RequestContext, Strategy};

const GROUP_PRIORITY_MAX: i32 = 20_000;
const VERSION_PRIORITY_MAX: i32 = 1000;
const PORT: i32 = 443;
/// The label of registrations that the server makes.
pub const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Made when the server starts.
pub const ON_START: &str = "onstart";
/// Follows the definition of a custom kind.
pub const FOLLOWING: &str = "true";

/// The strategy.
pub struct ApiServices;

/// What a version that the server itself serves is told of.
pub fn available_here(now: Time) -> APIServiceCondition {
    APIServiceCondition {
        type_: "Available".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(now),
        reason: Some("Local".to_owned()),
        message: Some("Local APIServices are always available".to_owned()),
    }
}

impl Strategy for ApiServices {
    type Object = APIService;

    fn name_rule(&self) -> NameRule {
        // The rule of these names is the kind's own.
        NameRule::PathSegment
    }

    fn default(&self, service: &mut APIService) {
        let spec = service.spec.get_or_insert_default();
        if let Some(reference) = &mut spec.service {
            reference.port.get_or_insert(PORT);
        }
        service.status.get_or_insert_default();
    }

    fn prepare_for_create(&self, context: &RequestContext, service: &mut APIService) {
        let local = service.spec.as_ref().is_none_or(|spec| spec.service.is_none());
        service.status = Some(APIServiceStatus { conditions: local.then(|| vec![available_here(Time(context.now))]) });
    }

    fn prepare_for_update(&self, _context: &RequestContext, service: &mut APIService, old: &APIService) {
        service.status.clone_from(&old.status);
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, service: &mut APIService, old: &APIService) {
        service.spec.clone_from(&old.spec);
    }

    fn validate(&self, service: &APIService) -> ErrorList {
        let mut errors = ErrorList::new();
        let none = APIServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&none);
        let group = spec.group.as_deref().unwrap_or_default();
        let version = spec.version.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let required = format!("{version}.{group}");
        if name != required {
            let why = format!("must be `spec.version+\".\"+spec.group`: {required:?}");
            errors.invalid(&Path::new("metadata").child("name"), name, why);
        }
        let path = Path::new("spec");
        if group.is_empty() && version != "v1" {
            let why = "only v1 may have an empty group and it better be legacy kube";
            errors.required(&path.child("group"), why);
        }
        if !group.is_empty() {
            errors.invalid_each(&path.child("group"), group, format::dns1123_subdomain(group));
        }
        errors.invalid_each(&path.child("version"), version, format::dns1035_label(version));
        for (value, most, field) in [
            (spec.group_priority_minimum, GROUP_PRIORITY_MAX, "groupPriorityMinimum"),
            (spec.version_priority, VERSION_PRIORITY_MAX, "versionPriority"),
        ] {
            if value <= 0 || value > most {
                errors.invalid(&path.child(field), value, format!("must be positive and less than {most}"));
            }
        }
        validate_backend(spec, &path, &mut errors);
        errors
    }
}

fn validate_backend(spec: &APIServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let bundle = spec.ca_bundle.as_ref().map_or(0, |bundle| bundle.0.len());
    let insecure = spec.insecure_skip_tls_verify.unwrap_or_default();
    let path_insecure = path.child("insecureSkipTLSVerify");
    let Some(service) = &spec.service else {
        if bundle > 0 {
            let value = format!("{bundle} bytes");
            errors.invalid(&path.child("caBundle"), value, "local APIServices may not have a caBundle");
        }
        if insecure {
            errors.invalid(&path_insecure, insecure, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    };
    let path = path.child("service");
    if service.namespace.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("namespace"), "");
    }
    if service.name.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("name"), "");
    }
    let port = service.port.unwrap_or_default();
    if !(1..=65535).contains(&port) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&path.child("port"), port, why);
    }
    if insecure && bundle > 0 {
        errors.invalid(&path_insecure, insecure, "may not be true if caBundle is present");
    }
}
