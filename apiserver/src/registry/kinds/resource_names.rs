//! The names of resources that quotas and limits count.

use reeve_api::validation::{ErrorList, Path, format};

/// What containers ask for.
const CONTAINER: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
/// Sums over a namespace's pods and claims.
const SUMS: [&str; 8] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "storage",
];
/// Objects that quotas count.
const OBJECTS: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

fn is_standard(name: &str) -> bool {
    CONTAINER.contains(&name) || SUMS.contains(&name) || OBJECTS.contains(&name) || is_huge_page(name)
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-") || name.starts_with("requests.hugepages-")
}

/// Whether quotas know a name without a domain.
pub(super) fn is_standard_for_quota(name: &str) -> bool {
    is_standard(name) && name != "storage"
}

/// Whether amounts are whole numbers.
fn is_counted(name: &str) -> bool {
    OBJECTS.contains(&name) || (name.contains('/') && !name.starts_with("count/") && !name.contains("kubernetes.io/"))
}

/// A resource without domain must be a standard one; false when the name is malformed.
fn known(name: &str, path: &Path<'_>, errors: &mut ErrorList) -> bool {
    let problems = format::qualified_name(name);
    let well_formed = problems.is_empty();
    errors.invalid_each(path, name, problems);
    if well_formed && !name.contains('/') && !is_standard(name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    well_formed
}

/// Checks the name of a resource that a limit range of a type bounds.
pub(super) fn limited(kind: &str, name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let well_formed = known(name, path, errors);
    let of_containers = matches!(kind, "Container" | "Pod");
    if of_containers && well_formed && !name.contains('/') && !CONTAINER.contains(&name) && !is_huge_page(name) {
        errors.invalid(path, name, "must be a standard resource for containers");
    }
}

/// Checks the name of a resource that a quota bounds.
pub(super) fn quota(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let well_formed = known(name, path, errors);
    if well_formed && !name.contains('/') && !is_standard_for_quota(name) {
        errors.invalid(path, name, "must be a standard resource for quota");
    }
}

/// Checks the amount of a resource that a quota bounds.
pub(super) fn quota_amount(
    name: &str,
    amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    let quantity = super::rules::not_negative_amount(amount, path, errors);
    if is_counted(name) && quantity.is_some_and(|quantity| !quantity.is_whole()) {
        errors.invalid(path, amount.0.as_str(), "must be an integer");
    }
}

/// Whether a scope of a quota can hold for a resource.
pub(super) fn scope_applies(scope: &str, name: &str) -> bool {
    let is_pods_sum =
        matches!(name, "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory");
    match scope {
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            name == "pods" || is_pods_sum
        }
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}
