//! Rules for a pod's status.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

/// Conditions that need no domain.
const OWN_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// Compares the status of a pod with what it was.
pub(super) fn validate(pod: &Pod, old: &Pod) -> ErrorList {
    let mut errors = ErrorList::new();
    let (empty, empty_old) = (PodStatus::default(), PodStatus::default());
    let status = pod.status.as_ref().unwrap_or(&empty);
    let before = old.status.as_ref().unwrap_or(&empty_old);
    let path_metadata = Path::new("metadata");
    let path_conditions = path_metadata.child("conditions");
    for (index, condition) in status.conditions.iter().flatten().enumerate() {
        if !OWN_CONDITIONS.contains(&condition.type_.as_str()) {
            let problems = format::qualified_name(&condition.type_);
            errors.invalid_each(&path_conditions.index(index).child("Type"), &condition.type_, problems);
        }
    }
    let path = Path::new("status");
    let nominated = status.nominated_node_name.as_deref().unwrap_or_default();
    if !nominated.is_empty() && Some(nominated) != before.nominated_node_name.as_deref() {
        let problems = format::dns1123_subdomain(nominated);
        errors.invalid_each(&path.child("nominatedNodeName"), nominated, problems);
    }
    transitions(pod, status, before, &path, &mut errors);
    let pods: Vec<&str> = status.pod_ips.iter().flatten().map(|address| address.ip.as_str()).collect();
    addresses(&pods, &path.child("podIPs"), &mut errors);
    let hosts: Vec<&str> = status.host_ips.iter().flatten().map(|address| address.ip.as_str()).collect();
    let path_hosts = path.child("hostIPs");
    if let Some(first) = hosts.first()
        && status.host_ip.as_deref().unwrap_or_default() != *first
    {
        errors.invalid(&path_hosts.index(0).child("ip"), *first, "must be equal to `hostIP`");
    }
    addresses(&hosts, &path_hosts, &mut errors);
    errors
}

/// What ended for good does not run again.
fn transitions(pod: &Pod, new: &PodStatus, old: &PodStatus, path: &Path<'_>, errors: &mut ErrorList) {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always");
    let is_sidecar = |name: &str| {
        let mut init = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        init.any(|container| container.name == name && container.restart_policy.as_deref() == Some("Always"))
    };
    for (field, new, old, policy, init) in [
        ("containerStatuses", &new.container_statuses, &old.container_statuses, policy, false),
        ("initContainerStatuses", &new.init_container_statuses, &old.init_container_statuses, policy, true),
        (
            "ephemeralContainerStatuses",
            &new.ephemeral_container_statuses,
            &old.ephemeral_container_statuses,
            "Never",
            false,
        ),
    ] {
        if policy == "Always" {
            continue;
        }
        let path = path.child(field);
        for (index, before) in old.iter().flatten().enumerate() {
            let Some(end) = before.state.as_ref().and_then(|state| state.terminated.as_ref()) else { continue };
            if (end.exit_code != 0 && policy == "OnFailure") || (init && is_sidecar(&before.name)) {
                continue;
            }
            let runs = |own: &&ContainerStatus| {
                own.name == before.name && own.state.as_ref().is_none_or(|state| state.terminated.is_none())
            };
            for _ in new.iter().flatten().filter(runs) {
                let why = "may not be transitioned to non-terminated state";
                errors.forbidden(&path.index(index).child("state"), why);
            }
        }
    }
}

fn addresses(list: &[&str], path: &Path<'_>, errors: &mut ErrorList) {
    for (index, address) in list.iter().enumerate() {
        errors.invalid_each(&path.index(index), address, format::ip(address));
    }
    if list.len() < 2 {
        return;
    }
    let shown = |address: &str| serde_json::json!({"IP": address});
    let mut seen = BTreeSet::new();
    for (index, address) in list.iter().enumerate() {
        if !seen.insert(address) {
            errors.duplicate(&path.index(index), BadValue::json(&shown(address)));
        }
    }
    let parsed: Vec<IpAddr> = list.iter().filter_map(|address| address.parse().ok()).collect();
    let both = parsed.iter().any(IpAddr::is_ipv4) && parsed.iter().any(IpAddr::is_ipv6);
    if !both || list.len() > 2 {
        let all: Vec<_> = list.iter().map(|address| shown(address)).collect();
        errors.invalid(path, BadValue::json(&all), "may specify no more than one IP for each IP family");
    }
}
