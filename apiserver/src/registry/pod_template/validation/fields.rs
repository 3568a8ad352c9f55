//! References of a pod to its own fields and resources.

use k8s_openapi::api::core::v1::{ObjectFieldSelector, ResourceFieldSelector};
use reeve_api::quantity::Quantity;
use reeve_api::validation::{ErrorList, Path, format};

/// All fields that can be named at all.
const KNOWN: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
/// The fields of files.
pub(super) const OF_VOLUMES: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// The fields of environment variables.
pub(super) const OF_ENVIRONMENT: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn object_field(field: &ObjectFieldSelector, allowed: &[&str], path: &Path<'_>, errors: &mut ErrorList) {
    if field.api_version.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("apiVersion"), "");
        return;
    }
    let path_field = path.child("fieldPath");
    let name = field.field_path.as_str();
    if name.is_empty() {
        errors.required(&path_field, "");
        return;
    }
    if let Some((map, key)) = subscript(name) {
        let problems = match map {
            "metadata.annotations" => format::qualified_name(&key.to_lowercase()),
            "metadata.labels" => format::qualified_name(key),
            other => {
                errors.invalid(path, other, "does not support subscript");
                return;
            }
        };
        errors.invalid_each(path, key, problems);
        return;
    }
    if !KNOWN.contains(&name) {
        errors.invalid(&path_field, name, format!("error converting fieldPath: field label not supported: {name}"));
    } else if !allowed.contains(&name) {
        errors.not_supported(&path_field, name, allowed);
    }
}

/// The two parts of `map['key']`.
fn subscript(text: &str) -> Option<(&str, &str)> {
    let (map, rest) = text.strip_suffix("']")?.split_once("['")?;
    Some((map, rest))
}

/// `in_volume` says that no container is meant by itself.
pub(super) fn resource_field(field: &ResourceFieldSelector, in_volume: bool, path: &Path<'_>, errors: &mut ErrorList) {
    let name = field.resource.as_str();
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if in_volume && field.container_name.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if name.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&name) && !huge {
        errors.not_supported(&path.child("resource"), name, &RESOURCES);
    }
    if !RESOURCES.contains(&name) && !huge {
        return;
    }
    let Some(divisor) = field.divisor.as_ref() else { return };
    let canonical = Quantity::canonical(&divisor.0);
    let path = path.child("divisor");
    let kind = name.split_once('.').map_or("", |(_, kind)| kind);
    if canonical == "0" {
        return;
    }
    if kind == "cpu" {
        if !matches!(canonical.as_str(), "1m" | "1") {
            errors.invalid(&path, name, "only divisor's values 1m and 1 are supported with the cpu resource");
        }
        return;
    }
    let units = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    if !units.contains(&canonical.as_str()) {
        let kind = match kind {
            "memory" => "memory",
            "ephemeral-storage" => "local ephemeral storage",
            _ => "hugepages",
        };
        let why = format!("only divisor's values {} are supported with the {kind} resource", units.join(", "));
        errors.invalid(&path, name, why);
    }
}
