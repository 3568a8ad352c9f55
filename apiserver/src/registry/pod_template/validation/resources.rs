//! What containers and pods ask for and are held to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::{NOT_NEGATIVE, Names};
use crate::registry::internal;

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
        } else if !names.insert(&claim.name) {
            errors.duplicate(&path_name, &claim.name);
        } else {
            errors.invalid_each(&path_name, &claim.name, format::dns1123_label(&claim.name));
        }
        match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(_), Some(_)) => errors.invalid(
                &path,
                BadValue::json(&internal::form(claim, "PodResourceClaim")),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (None, None) => errors.invalid(
                &path,
                BadValue::json(&internal::form(claim, "PodResourceClaim")),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            _ => {}
        }
        for (field, name) in [
            ("resourceClaimName", &claim.resource_claim_name),
            ("resourceClaimTemplateName", &claim.resource_claim_template_name),
        ] {
            if let Some(name) = name {
                errors.invalid_each(&path.child(field), name, format::dns1123_subdomain(name));
            }
        }
    }
    names
}

/// Rules of a container's resources; `claims` are the pod's.
pub(super) fn validate(
    resources: &ResourceRequirements,
    claims: Option<&Names<'_>>,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    requirements(resources, amount, path, errors);
    let path_claims = path.child("claims");
    let own = resources.claims.as_deref().unwrap_or_default();
    for (index, claim) in own.iter().enumerate() {
        let path = path_claims.index(index);
        if claim.name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let request = claim.request.as_deref().unwrap_or_default();
        let before = || own[..index].iter().filter(|other| other.name == claim.name);
        let whole = before().any(|other| other.request.as_deref().unwrap_or_default().is_empty());
        if whole || (request.is_empty() && before().count() > 0) {
            errors.duplicate(&path, &claim.name);
        } else if !request.is_empty() {
            errors.invalid_each(&path.child("request"), request, format::dns1123_label(request));
            if before().any(|other| other.request.as_deref() == Some(request)) {
                errors.duplicate(&path, format!("{}/{request}", claim.name));
            }
        }
        if !claims.is_some_and(|claims| claims.contains(claim.name.as_str())) {
            let known: Vec<&str> = claims.into_iter().flatten().copied().collect();
            let which = if known.is_empty() { " which is empty".to_owned() } else { format!(": {}", known.join(", ")) };
            let why = format!("must be one of the names in pod.spec.resourceClaims{which}");
            errors.not_found_because(&path, &claim.name, why);
        }
    }
}

type AmountRule = fn(&str, &Text, &Path<'_>, &mut ErrorList);

fn requirements(resources: &ResourceRequirements, rule: AmountRule, path: &Path<'_>, errors: &mut ErrorList) {
    let path_limits = path.child("limits");
    let path_requests = path.child("requests");
    for (name, limit) in resources.limits.iter().flatten() {
        rule(name, limit, &path_limits.key(name), errors);
        pages(name, limit, &path_limits.key(name), errors);
    }
    let mut has_huge = false;
    let mut has_plain = false;
    for name in resources.limits.iter().chain(&resources.requests).flat_map(|amounts| amounts.keys()) {
        has_huge |= is_huge(name);
        has_plain |= matches!(name.as_str(), "cpu" | "memory");
    }
    for (name, request) in resources.requests.iter().flatten() {
        rule(name, request, &path_requests.key(name), errors);
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
        let fixed = is_huge(name) || !is_native(name);
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
        pages(name, request, &path_requests.key(name), errors);
    }
    if has_huge && !has_plain {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// Huge pages come whole.
fn pages(name: &str, value: &Text, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(Ok(page)) = name.strip_prefix("hugepages-").map(|size| Quantity::parse(&Text(size.to_owned()))) else {
        return;
    };
    let Ok(amount) = Quantity::parse(value) else { return };
    let (page, whole) = (page.units(), amount.units());
    if page <= 0 || whole <= 0 || whole % page != 0 {
        errors.invalid(path, amount.to_string(), format!("{amount} is not positive integer multiple of {name}"));
    }
}

/// Resources of the pod as a whole; `path` is the specification's.
pub(super) fn of_pod(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(own) = &spec.resources else { return };
    let path = path.child("resources");
    if own.claims.is_some() {
        errors.forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(own, pod_amount, &path, errors);
    let path_requests = path.child("requests");
    for (name, asked) in containers_together(spec) {
        let most = own.requests.as_ref().and_then(|requests| requests.get(&name));
        let most = most.and_then(|most| Quantity::parse(most).ok()).unwrap_or(Quantity::ZERO);
        if asked > most {
            let why = format!("must be greater than or equal to aggregate container requests of {asked}");
            errors.invalid(&path_requests.key(&name), most.to_string(), why);
        }
    }
    let path_containers = path.child("containers");
    for (index, container) in spec.containers.iter().enumerate() {
        for (name, limit) in container.resources.iter().flat_map(|own| own.limits.iter().flatten()) {
            let most = own.limits.as_ref().and_then(|limits| limits.get(name)).map(Quantity::parse);
            let (Some(Ok(most)), Ok(limit)) = (most, Quantity::parse(limit)) else { continue };
            if limit > most {
                let why = format!("must be less than or equal to pod limits of {most}");
                let path = path_containers.index(index);
                errors.invalid(&path.key(name).child("limits"), limit.to_string(), why);
            }
        }
    }
}

/// What the containers of a pod ask for together, of the resources that a pod can ask for.
fn containers_together(spec: &PodSpec) -> BTreeMap<String, Quantity> {
    let mut sum: BTreeMap<String, Quantity> = BTreeMap::new();
    let asked = |container: &k8s_openapi::api::core::v1::Container| {
        container.resources.clone().and_then(|own| own.requests).unwrap_or_default()
    };
    let sidecars = spec.init_containers.iter().flatten().filter(|own| own.restart_policy.as_deref() == Some("Always"));
    for container in spec.containers.iter().chain(sidecars) {
        for (name, amount) in asked(container) {
            if let Ok(amount) = Quantity::parse(&amount) {
                let so_far = sum.entry(name).or_insert(Quantity::ZERO);
                *so_far = so_far.plus(amount);
            }
        }
    }
    let init = spec.init_containers.iter().flatten().filter(|own| own.restart_policy.as_deref() != Some("Always"));
    for container in init {
        for (name, amount) in asked(container) {
            if let Ok(amount) = Quantity::parse(&amount) {
                let so_far = sum.entry(name).or_insert(Quantity::ZERO);
                *so_far = (*so_far).max(amount);
            }
        }
    }
    sum
}

/// Resources without a domain, or of Kubernetes' own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn pod_amount(name: &str, value: &Text, path: &Path<'_>, errors: &mut ErrorList) {
    let before = errors.len();
    resource_name(name, path, errors);
    if errors.len() == before && !matches!(name, "cpu" | "memory") && !is_huge(name) {
        errors.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
    quantity(name, value, path, errors);
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn resource_name(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let problems = format::qualified_name(name);
    let well_formed = problems.is_empty();
    errors.invalid_each(path, name, problems);
    if well_formed && !name.contains('/') && !is_huge(name) && !STANDARD.contains(&name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
}

fn amount(name: &str, value: &Text, path: &Path<'_>, errors: &mut ErrorList) {
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !is_huge(name) && !OF_CONTAINERS.contains(&name) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && name.starts_with("requests.") {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
    quantity(name, value, path, errors);
}

fn quantity(name: &str, value: &Text, path: &Path<'_>, errors: &mut ErrorList) {
    match Quantity::parse(value) {
        Err(error) => errors.invalid(path, value.0.as_str(), error.to_string()),
        Ok(quantity) => {
            if quantity.is_negative() {
                errors.invalid(path, value.0.as_str(), NOT_NEGATIVE);
            }
            if !is_native(name) && !quantity.is_whole() {
                errors.invalid(path, BadValue::json(value), "must be an integer");
            }
        }
    }
}
