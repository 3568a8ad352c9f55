//! What a Service gets and loses when it is made and when it changes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use super::{is_headless, kind, may_have_node_port, needs_cluster_ip, needs_health_check, needs_node_port};

/// Makes `clusterIP` and `clusterIPs` tell the same, whichever of them the user changed.
pub(super) fn same_cluster_ip(spec: &mut ServiceSpec, old: Option<&ServiceSpec>) {
    let single = spec.cluster_ip.clone().unwrap_or_default();
    let first = spec.cluster_ips.iter().flatten().next().cloned().unwrap_or_default();
    if single == first {
        return;
    }
    let single_changed = old.is_none_or(|old| old.cluster_ip.clone().unwrap_or_default() != single);
    let list_changed = old.is_some_and(|old| old.cluster_ips != spec.cluster_ips);
    match (single.is_empty(), first.is_empty()) {
        (false, true) => spec.cluster_ips = Some(vec![single]),
        (true, false) if !single_changed || old.is_none() => spec.cluster_ip = Some(first),
        (true, false) => spec.cluster_ips = None,
        _ if list_changed && !single_changed => spec.cluster_ip = Some(first),
        _ if single_changed && !list_changed && old.is_some() => spec.cluster_ips = Some(vec![single]),
        // Both were given and differ: validation says so.
        _ => {}
    }
}

/// The cluster has one family. A headless Service that selects nothing may have endpoints of both.
pub(super) fn default_families(spec: &mut ServiceSpec) {
    if !needs_cluster_ip(spec) {
        return;
    }
    let is_free = is_headless(spec) && spec.selector.as_ref().is_none_or(|selector| selector.is_empty());
    let mut families = spec.ip_families.take().unwrap_or_default();
    if spec.ip_family_policy.is_none() {
        let both = families.len() > 1 || (is_free && families.is_empty());
        spec.ip_family_policy = Some(if both { "RequireDualStack" } else { "SingleStack" }.to_owned());
    }
    if families.is_empty() {
        families.push("IPv4".to_owned());
    }
    if is_free && spec.ip_family_policy.as_deref() != Some("SingleStack") && families.len() == 1 {
        let other = if families[0] == "IPv4" { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    }
    spec.ip_families = Some(families);
}

/// A change of the type takes away what only the old type had, unless the user set it anew.
pub(super) fn drop_what_the_type_forbids(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(old) && !needs_cluster_ip(spec) {
        if spec.cluster_ip == old.cluster_ip && spec.cluster_ips == old.cluster_ips {
            spec.cluster_ip = None;
            spec.cluster_ips = None;
        }
        if spec.ip_families == old.ip_families {
            spec.ip_families = None;
        }
        if spec.ip_family_policy == old.ip_family_policy {
            spec.ip_family_policy = None;
        }
        if spec.internal_traffic_policy == old.internal_traffic_policy {
            spec.internal_traffic_policy = None;
        }
    }
    if may_have_node_port(old) && !may_have_node_port(spec) {
        let before: BTreeSet<i32> = old.ports.iter().flatten().filter_map(|port| port.node_port).collect();
        for port in spec.ports.iter_mut().flatten() {
            if port.node_port.is_some_and(|number| before.contains(&number)) {
                port.node_port = None;
            }
        }
        if spec.external_traffic_policy == old.external_traffic_policy {
            spec.external_traffic_policy = None;
        }
    }
    if kind(old) == "LoadBalancer" && kind(spec) != "LoadBalancer" {
        if spec.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports {
            spec.allocate_load_balancer_node_ports = None;
        }
        if spec.load_balancer_class == old.load_balancer_class {
            spec.load_balancer_class = None;
        }
    }
    // The port goes with the need for it.
    if needs_health_check(old) && !needs_health_check(spec) && spec.health_check_node_port == old.health_check_node_port
    {
        spec.health_check_node_port = None;
    }
}

/// A client that does not send back what the server had allocated means to keep it.
pub(super) fn keep_what_was_allocated(spec: &mut ServiceSpec, old: &ServiceSpec) {
    if needs_cluster_ip(spec) && needs_cluster_ip(old) {
        let has_single = spec.cluster_ip.as_deref().is_some_and(|address| !address.is_empty());
        let has_list = spec.cluster_ips.as_ref().is_some_and(|list| !list.is_empty());
        if !has_single && !has_list {
            spec.cluster_ip.clone_from(&old.cluster_ip);
            spec.cluster_ips.clone_from(&old.cluster_ips);
        }
        spec.ip_families = spec.ip_families.take().or_else(|| old.ip_families.clone());
        spec.ip_family_policy = spec.ip_family_policy.take().or_else(|| old.ip_family_policy.clone());
    }
    if needs_health_check(spec) && needs_health_check(old) && spec.health_check_node_port.unwrap_or(0) == 0 {
        spec.health_check_node_port = old.health_check_node_port;
    }
    if needs_node_port(spec) && needs_node_port(old) {
        let mut used: BTreeSet<(Option<String>, i32)> =
            spec.ports.iter().flatten().filter_map(|port| Some((port.protocol.clone(), port.node_port?))).collect();
        for port in spec.ports.iter_mut().flatten().filter(|port| port.node_port.is_none()) {
            let same = |before: &&ServicePort| before.protocol == port.protocol && before.port == port.port;
            let before = old.ports.iter().flatten().find(same).and_then(|before| before.node_port);
            if let Some(number) = before
                && used.insert((port.protocol.clone(), number))
            {
                port.node_port = Some(number);
            }
        }
    }
}
