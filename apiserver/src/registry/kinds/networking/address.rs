//! IPAddress: an address of a service range, and what has it.

use std::net::IpAddr;

use k8s_openapi::api::networking::v1::IPAddress;
use reeve_api::validation::metadata::{NameRule, path_segment};
use reeve_api::validation::{ErrorList, Path, format};

use crate::registry::kinds::rules;
use crate::registry::strategy::Strategy;

/// The strategy.
pub struct IpAddresses;

impl Strategy for IpAddresses {
    type Object = IPAddress;

    fn name_rule(&self) -> NameRule {
        // The rule of these names is the kind's own.
        NameRule::PathSegment
    }

    fn validate(&self, address: &IPAddress) -> ErrorList {
        let mut errors = ErrorList::new();
        let metadata = Path::new("metadata");
        let name = address.metadata.name.as_deref().unwrap_or_default();
        let path_name = metadata.child("name");
        match name.parse::<IpAddr>() {
            Err(_) => errors.invalid_each(&path_name, name, format::ip(name)),
            Ok(parsed) if parsed.to_string() != name => {
                errors.invalid(&path_name, name, format!("must be in canonical form (\"{parsed}\")"));
            }
            Ok(_) => {}
        }
        let path = Path::new("spec");
        let path = path.child("parentRef");
        let parent = &address.spec.parent_ref;
        if let Some(group) = parent.group.as_deref().filter(|group| !group.is_empty()) {
            errors.invalid_each(&path.child("group"), group, format::dns1123_subdomain(group));
        }
        rules::reference_name(&parent.resource, "resource is required", &path.child("resource"), &mut errors);
        rules::reference_name(&parent.name, "name is required", &path.child("name"), &mut errors);
        if let Some(namespace) = parent.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            errors.invalid_each(&path.child("namespace"), namespace, path_segment(namespace, false));
        }
        errors
    }

    fn validate_update(&self, address: &IPAddress, old: &IPAddress) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        rules::immutable(&address.spec.parent_ref, &old.spec.parent_ref, &path.child("parentRef"), &mut errors);
        errors
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.parentRef.group", "spec.parentRef.name", "spec.parentRef.namespace", "spec.parentRef.resource"]
    }

    fn fields(&self, address: &IPAddress) -> Vec<(&'static str, String)> {
        let parent = address.spec.parent_ref.clone();
        vec![
            ("spec.parentRef.group", parent.group.unwrap_or_default()),
            ("spec.parentRef.name", parent.name),
            ("spec.parentRef.namespace", parent.namespace.unwrap_or_default()),
            ("spec.parentRef.resource", parent.resource),
        ]
    }
}
