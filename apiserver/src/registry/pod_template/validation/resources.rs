//! What containers and pods ask for and are held to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::{NOT_NEGATIVE, Names};

/// Resources of containers that have no domain in their name.
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// All resources that have no domain in their name.
const STANDARD: [&str; 11] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
];

/// The claims of a pod, checked, by name.
pub(super) fn pod_claims<'a>(spec: &'a PodSpec, path: &Path<'_>, errors: &mut ErrorList) -> Names<'a> {
    let mut names = Names::new();
    for (index, claim) in spec.resource_claims.iter().flatten().enumerate() {
        let path = path.index(index);
        let path_name = path.child("name");
        if claim.name.is_empty() {
            errors.required(&path_name, "");
        } else {
            errors.invalid_each(&path_name, &claim.name, format::dns1123_label(&claim.name));
            if !names.insert(&claim.name) {
                errors.duplicate(&path_name, &claim.name);
            }
        }
        match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(_), Some(_)) => errors.invalid(
                &path,
                BadValue::json(claim),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (None, None) => errors.invalid(
                &path,
                BadValue::json(claim),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            (Some(name), None) => {
                errors.invalid_each(&path.child("resourceClaimName"), name, format::dns1123_subdomain(name));
            }
            (None, Some(name)) => {
                errors.invalid_each(&path.child("resourceClaimTemplateName"), name, format::dns1123_subdomain(name));
            }
        }
    }
    names
}

/// Rules of a container's resources; `claims` are the pod's.
pub(super) fn validate(resources: &ResourceRequirements, claims: &Names<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    let path_limits = path.child("limits");
    let path_requests = path.child("requests");
    amounts(resources.limits.as_ref(), &path_limits, errors);
    let mut has_huge = false;
    let mut has_plain = false;
    for name in resources.limits.iter().chain(&resources.requests).flat_map(|amounts| amounts.keys()) {
        has_huge |= is_huge(name);
        has_plain |= matches!(name.as_str(), "cpu" | "memory");
    }
    for (name, request) in resources.requests.iter().flatten() {
        amount(name, request, &path_requests.key(name), errors);
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
        let fixed = is_huge(name) || name.contains('/');
        match limit {
            None if fixed => errors.required(&path_limits, "Limit must be set for non overcommitable resources"),
            None => {}
            Some(limit) => {
                if let (Ok(asked), Ok(most)) = (Quantity::parse(request), Quantity::parse(limit)) {
                    if fixed && asked != most {
                        let why = format!("must be equal to {name} limit of {most}");
                        errors.invalid(&path_requests, request.0.as_str(), why);
                    } else if asked > most {
                        let why = format!("must be less than or equal to {name} limit of {most}");
                        errors.invalid(&path_requests, request.0.as_str(), why);
                    }
                }
            }
        }
    }
    if has_huge && !has_plain {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
    let path_claims = path.child("claims");
    let own = resources.claims.as_deref().unwrap_or_default();
    for (index, claim) in own.iter().enumerate() {
        let path = path_claims.index(index);
        if claim.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if own[..index].iter().any(|other| other.name == claim.name && other.request == claim.request) {
            errors.duplicate(&path, &claim.name);
        }
        if !claims.contains(claim.name.as_str()) {
            errors.not_found(&path, &claim.name);
        }
    }
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Rules of amounts by resource.
pub(super) fn amounts(amounts: Option<&BTreeMap<String, Text>>, path: &Path<'_>, errors: &mut ErrorList) {
    for (name, value) in amounts.into_iter().flatten() {
        amount(name, value, &path.key(name), errors);
    }
}

fn amount(name: &str, value: &Text, path: &Path<'_>, errors: &mut ErrorList) {
    let problems = format::qualified_name(name);
    let well_formed = problems.is_empty();
    errors.invalid_each(path, name, problems);
    if well_formed && !name.contains('/') && !is_huge(name) {
        if !STANDARD.contains(&name) {
            errors.invalid(path, name, "must be a standard resource type or fully qualified");
        }
        if !OF_CONTAINERS.contains(&name) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    }
    match Quantity::parse(value) {
        Err(error) => errors.invalid(path, value.0.as_str(), error.to_string()),
        Ok(quantity) if quantity.is_negative() => errors.invalid(path, value.0.as_str(), NOT_NEGATIVE),
        Ok(quantity) if (name.contains('/') || is_huge(name)) && !quantity.is_whole() => {
            errors.invalid(path, BadValue::json(value), "must be an integer");
        }
        Ok(_) => {}
    }
}
