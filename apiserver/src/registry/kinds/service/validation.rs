//! The rules of Services (`ValidateService` of `pkg/apis/core/validation`).

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};
use reeve_api::ObjectMeta;
use reeve_api::validation::metadata::labels;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::{is_accessible_from_outside, is_headless, kind, needs_cluster_ip, needs_health_check};
use crate::registry::internal;
use crate::registry::kinds::endpoints::special_address;
use crate::registry::kinds::rules::{self, AddressRange};
use crate::registry::pod_template::validation::number_or_name;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TRAFFIC_POLICIES: [&str; 2] = ["Cluster", "Local"];
const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameNode", "PreferSameZone"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const FAMILY_POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const AFFINITY_SECONDS_MAX: i32 = 86_400;
/// Some load balancers would lead to the kubelet itself.
const KUBELET_PORT: i32 = 10_250;
const NOT_FOR_NAMES: &str = "may not be set for ExternalName services";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

/// Checks a Service.
pub(super) fn spec(spec: &ServiceSpec, metadata: &ObjectMeta, path: &Path<'_>, errors: &mut ErrorList) {
    if spec.ports.as_ref().is_none_or(Vec::is_empty) && !is_headless(spec) && needs_cluster_ip(spec) {
        errors.required(&path.child("ports"), "");
    }
    by_type(spec, path, errors);
    ports(spec, path, errors);
    if let Some(selector) = &spec.selector {
        labels(selector, &path.child("selector"), errors);
    }
    affinity(spec, path, errors);
    addresses(spec, path, errors);
    let path_external = path.child("externalIPs");
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        let path = path_external.index(index);
        errors.invalid_each(&path, address, format::ip(address));
        special_address(address, &path, errors);
    }
    rules::one_of(kind(spec), &TYPES, &path.child("type"), errors);
    repeated_ports(spec, path, errors);
    balancing(spec, metadata, path, errors);
    traffic(spec, path, errors);
}

/// The two annotations about topology say the same.
pub(super) fn topology(metadata: &ObjectMeta, errors: &mut ErrorList) {
    let mark = |key: &str| metadata.annotations.as_ref().and_then(|own| own.get(key));
    if let (Some(mode), Some(hints)) = (mark(TOPOLOGY_MODE), mark(TOPOLOGY_HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        errors.invalid(&Path::new("metadata").child("annotations").key(TOPOLOGY_MODE), mode, why);
    }
}

const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const FIXED: &str = "may not change once set";

/// What a Service keeps while it has addresses.
pub(super) fn change(new: &ServiceSpec, old: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        if !(is_headless(new) && is_headless(old)) {
            kept_addresses(new, old, path, errors);
        }
        if !is_headless(new) && !is_headless(old) {
            kept_families(new, old, path, errors);
        }
    }
    let both_balanced = kind(new) == "LoadBalancer" && kind(old) == "LoadBalancer";
    if both_balanced && new.load_balancer_class != old.load_balancer_class {
        let shown = BadValue::json(&new.load_balancer_class);
        errors.invalid(&path.child("loadBalancerClass"), shown, FIXED);
    }
    if needs_health_check(new)
        && needs_health_check(old)
        && new.health_check_node_port.unwrap_or(0) != old.health_check_node_port.unwrap_or(0)
    {
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
}

fn kept_addresses(new: &ServiceSpec, old: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_list = path.child("clusterIPs");
    let (list, before) =
        (new.cluster_ips.as_deref().unwrap_or_default(), old.cluster_ips.as_deref().unwrap_or_default());
    let shown = || BadValue::json(&list);
    if list.len() == before.len() {
        for (index, _) in list.iter().zip(before).enumerate().filter(|(_, (new, old))| new != old) {
            errors.invalid(&path_list.index(index), shown(), FIXED);
        }
        return;
    }
    if list.is_empty() {
        errors.invalid(&path_list.index(0), shown(), "primary clusterIP can not be unset");
    } else if !before.is_empty() && list[0] != before[0] {
        errors.invalid(&path_list.index(0), shown(), FIXED);
    }
    let is_single = new.ip_family_policy.as_deref() == Some("SingleStack");
    if list.len() == 1 && before.len() > 1 && !is_single {
        let why = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        errors.invalid(&path.child("ipFamilyPolicy"), BadValue::json(&new.ip_family_policy), why);
    }
}

fn kept_families(new: &ServiceSpec, old: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_list = path.child("ipFamilies");
    let (list, before) =
        (new.ip_families.as_deref().unwrap_or_default(), old.ip_families.as_deref().unwrap_or_default());
    if list.len() == before.len() {
        for _ in list.iter().zip(before).filter(|(new, old)| new != old) {
            errors.invalid(&path_list.index(0), BadValue::json(&list), FIXED);
        }
        return;
    }
    if let (Some(first), Some(old)) = (list.first(), before.first())
        && first != old
    {
        errors.invalid(&path_list.index(0), BadValue::json(&new.cluster_ips), FIXED);
    }
    let is_single = new.ip_family_policy.as_deref() == Some("SingleStack");
    if list.len() == 1 && before.len() > 1 && !is_single {
        let why = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        errors.invalid(&path.child("ipFamilyPolicy"), BadValue::json(&new.ip_family_policy), why);
    }
}

fn by_type(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_list = path.child("clusterIPs");
    match kind(spec) {
        "LoadBalancer" => {
            let path_ports = path.child("ports");
            for (index, port) in spec.ports.iter().flatten().enumerate().filter(|(_, port)| port.port == KUBELET_PORT) {
                let why = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
                errors.invalid(&path_ports.index(index), port.port, why);
            }
            if is_headless(spec) {
                let why = "may not be set to 'None' for LoadBalancer services";
                errors.invalid(&path_list.index(0), "None", why);
            }
        }
        "NodePort" if is_headless(spec) => {
            errors.invalid(&path_list.index(0), "None", "may not be set to 'None' for NodePort services");
        }
        "ExternalName" => {
            if spec.cluster_ips.as_ref().is_some_and(|addresses| !addresses.is_empty()) {
                errors.forbidden(&path_list, NOT_FOR_NAMES);
            }
            if spec.ip_families.as_ref().is_some_and(|families| !families.is_empty()) {
                errors.forbidden(&path.child("ipFamilies"), NOT_FOR_NAMES);
            }
            if spec.ip_family_policy.is_some() {
                errors.forbidden(&path.child("ipFamilyPolicy"), NOT_FOR_NAMES);
            }
            let name = spec.external_name.as_deref().unwrap_or_default();
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.required(&path.child("externalName"), "");
            } else {
                errors.invalid_each(&path.child("externalName"), name, format::dns1123_subdomain(name));
            }
        }
        _ => {}
    }
}

fn ports(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let path_ports = path.child("ports");
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path_ports.index(index);
        let name = port.name.as_deref().unwrap_or_default();
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            errors.invalid_each(&path.child("name"), name, format::dns1123_label(name));
            if !names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        for problem in format::port(i64::from(port.port)) {
            errors.invalid(&path.child("port"), port.port, problem);
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if protocol.is_empty() {
            errors.required(&path.child("protocol"), "");
        } else {
            rules::one_of(protocol, &PROTOCOLS, &path.child("protocol"), errors);
        }
        if let Some(target) = &port.target_port {
            number_or_name(target, &path.child("targetPort"), errors);
        }
        if let Some(protocol) = port.app_protocol.as_deref() {
            errors.invalid_each(&path.child("appProtocol"), protocol, format::qualified_name(protocol));
        }
    }
}

fn repeated_ports(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let path_ports = path.child("ports");
    let mut node_ports = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path_ports.index(index);
        let Some(number) = port.node_port.filter(|number| *number != 0) else { continue };
        if kind(spec) == "ClusterIP" {
            errors.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        } else if !node_ports.insert((&port.protocol, number)) {
            errors.duplicate(&path.child("nodePort"), number);
        }
    }
    let mut numbers = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        if !numbers.insert((&port.protocol, port.port)) {
            let key = ServicePort { port: port.port, protocol: port.protocol.clone(), ..ServicePort::default() };
            errors.duplicate(&path_ports.index(index), BadValue::json(&internal::form(&key, "ServicePort")));
        }
    }
}

fn affinity(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let affinity = spec.session_affinity.as_deref().unwrap_or_default();
    let path_affinity = path.child("sessionAffinity");
    if affinity.is_empty() {
        errors.required(&path_affinity, "");
    } else {
        rules::one_of(affinity, &["ClientIP", "None"], &path_affinity, errors);
    }
    let path_config = path.child("sessionAffinityConfig");
    if affinity == "None" && spec.session_affinity_config.is_some() {
        errors.forbidden(&path_config, "must not be set when session affinity is None");
    }
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    if affinity == "ClientIP" && client.is_none() {
        errors.required(&path_config.child("clientIP"), "when session affinity type is ClientIP");
    }
    let seconds = client.and_then(|client| client.timeout_seconds);
    if let Some(seconds) = seconds.filter(|seconds| !(1..=AFFINITY_SECONDS_MAX).contains(seconds)) {
        errors.invalid(
            &path_config.child("clientIP").child("timeoutSeconds"),
            seconds,
            format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"),
        );
    }
}

fn addresses(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if !needs_cluster_ip(spec) {
        return;
    }
    let path_families = path.child("ipFamilies");
    let families = spec.ip_families.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (index, family) in families.iter().enumerate() {
        let path = path_families.index(index);
        rules::one_of(family, &FAMILIES, &path, errors);
        if !seen.insert(family) {
            errors.duplicate(&path, family);
        }
    }
    let path_policy = path.child("ipFamilyPolicy");
    let policy = spec.ip_family_policy.as_deref();
    if let Some(policy) = policy {
        rules::one_of(policy, &FAMILY_POLICIES, &path_policy, errors);
    }
    let is_free = is_headless(spec) && spec.selector.as_ref().is_none_or(|selector| selector.is_empty());
    if policy == Some("RequireDualStack") && !is_free {
        let why = "this cluster is not configured for dual-stack services";
        errors.invalid(&path_policy, "RequireDualStack", why);
    }
    for (index, family) in families.iter().enumerate().filter(|(_, family)| *family == "IPv6" && !is_free) {
        errors.invalid(&path_families.index(index), family, "not configured on this cluster");
    }
    cluster_ips(spec, path, errors);
}

fn cluster_ips(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_list = path.child("clusterIPs");
    let list = spec.cluster_ips.as_deref().unwrap_or_default();
    let single = spec.cluster_ip.as_deref().unwrap_or_default();
    if let Some(first) = list.first()
        && first != single
    {
        errors.invalid(&path_list, BadValue::json(&list), "first value must match `clusterIP`");
    }
    if list.len() > FAMILIES.len() {
        errors.invalid(&path_list, BadValue::json(&list), "may only hold up to 2 values");
    }
    for (index, address) in list.iter().enumerate() {
        match address.as_str() {
            "None" if index > 0 || list.len() > 1 => {
                errors.invalid(&path_list.index(index), address, "'None' must be the first and only value");
            }
            "None" => {}
            address => errors.invalid_each(&path_list.index(index), address, format::ip(address)),
        }
        // Where the family was given with it, that is what is told.
        let family = spec.ip_families.as_ref().and_then(|families| families.get(index));
        if address.parse::<Ipv6Addr>().is_ok() && family.is_none_or(|family| family != "IPv6") {
            errors.invalid(&path_list.index(index), BadValue::json(&list), "IPv6 is not configured on this cluster");
        }
    }
}

/// What belongs to load balancers only.
fn balancing(spec: &ServiceSpec, metadata: &ObjectMeta, path: &Path<'_>, errors: &mut ErrorList) {
    let is_balanced = kind(spec) == "LoadBalancer";
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    let path_ranges = path.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !is_balanced {
        errors.forbidden(&path_ranges, ONLY_BALANCED);
    }
    for (index, range) in ranges.iter().enumerate() {
        AddressRange::check(range.trim(), &path_ranges.index(index), errors);
    }
    let mark = metadata.annotations.as_ref().and_then(|own| own.get(SOURCE_RANGES)).filter(|_| ranges.is_empty());
    if let Some(text) = mark {
        let path_metadata = Path::new("metadata");
        let path_annotations = path_metadata.child("annotations");
        let path = path_annotations.key(SOURCE_RANGES);
        if !is_balanced {
            errors.forbidden(&path, ONLY_BALANCED);
        }
        for range in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
            AddressRange::check(range.trim(), &path, errors);
        }
    }
    let path_ports = path.child("allocateLoadBalancerNodePorts");
    match spec.allocate_load_balancer_node_ports {
        None if is_balanced => errors.required(&path_ports, ""),
        Some(_) if !is_balanced => errors.forbidden(&path_ports, ONLY_BALANCED),
        _ => {}
    }
    if let Some(class) = spec.load_balancer_class.as_deref() {
        let path = path.child("loadBalancerClass");
        if is_balanced {
            errors.invalid_each(&path, class, format::qualified_name(class));
        } else {
            errors.forbidden(&path, ONLY_BALANCED);
        }
    }
}

fn traffic(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_external = path.child("externalTrafficPolicy");
    let external = spec.external_traffic_policy.as_deref().unwrap_or_default();
    match (is_accessible_from_outside(spec), external) {
        (true, "") => errors.required(&path_external, ""),
        (true, policy) => rules::one_of(policy, &TRAFFIC_POLICIES, &path_external, errors),
        (false, "") => {}
        (false, policy) => {
            errors.invalid(&path_external, policy, "may only be set for externally-accessible services");
        }
    }
    let path_check = path.child("healthCheckNodePort");
    let check = spec.health_check_node_port.unwrap_or(0);
    if !needs_health_check(spec) {
        if check != 0 {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&path_check, check, why);
        }
    } else if check != 0 {
        // One that is not given is allocated.
        for problem in format::port(i64::from(check)) {
            errors.invalid(&path_check, check, problem);
        }
    }
    let path_internal = path.child("internalTrafficPolicy");
    match spec.internal_traffic_policy.as_deref() {
        None if needs_cluster_ip(spec) => errors.required(&path_internal, ""),
        None => {}
        Some(policy) => rules::one_of(policy, &TRAFFIC_POLICIES, &path_internal, errors),
    }
    if let Some(distribution) = spec.traffic_distribution.as_deref() {
        rules::one_of(distribution, &DISTRIBUTIONS, &path.child("trafficDistribution"), errors);
    }
}

#[cfg(test)]
mod tests {
    use reeve_api::validation::{ErrorList, Path};

    use super::super::{Services, change};
    use crate::registry::strategy::Strategy;

    fn problems(spec: serde_json::Value) -> Vec<String> {
        let mut service =
            k8s_openapi::api::core::v1::Service { spec: serde_json::from_value(spec).unwrap(), ..Default::default() };
        Services.default(&mut service);
        let spec = service.spec.as_mut().unwrap();
        change::default_families(spec);
        let mut errors = ErrorList::new();
        super::spec(spec, &Default::default(), &Path::new("spec"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_of_load_balancers_come_untranslated_unless_somebody_says_otherwise() {
        let modes = |kind: &str| {
            let mut service: k8s_openapi::api::core::v1::Service = serde_json::from_value(serde_json::json!({
                "spec": {"type": kind},
                "status": {"loadBalancer": {"ingress": [
                    {"ip": "203.0.113.1"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}, {"hostname": "a.example"},
                ]}},
            }))
            .unwrap();
            Services.default(&mut service);
            let ingress = service.status.and_then(|status| status.load_balancer?.ingress).unwrap();
            ingress.into_iter().map(|ingress| ingress.ip_mode.unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(modes("LoadBalancer"), ["VIP", "Proxy", ""]);
        assert_eq!(modes("ClusterIP"), ["", "Proxy", ""]);
    }

    #[test]
    fn what_belongs_to_load_balancers_stays_there() {
        let none: [&str; 0] = [];
        assert_eq!(problems(serde_json::json!({"ports": [{"port": 80}]})), none);
        assert_eq!(
            problems(serde_json::json!({
                "ports": [{"port": 80}], "loadBalancerClass": "a.example/b", "allocateLoadBalancerNodePorts": true,
                "loadBalancerSourceRanges": ["10.0.0.0/8"], "healthCheckNodePort": 5,
            })),
            [
                "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
                "spec.healthCheckNodePort: Invalid value: 5: may only be set when `type` is 'LoadBalancer' and \
                 `externalTrafficPolicy` is 'Local'",
            ]
        );
    }

    #[test]
    fn the_cluster_has_one_family() {
        assert_eq!(
            problems(serde_json::json!({"ports": [{"port": 80}], "ipFamilyPolicy": "RequireDualStack"})),
            [
                r#"spec.ipFamilyPolicy: Invalid value: "RequireDualStack": this cluster is not configured for dual-stack services"#
            ]
        );
        assert_eq!(
            problems(serde_json::json!({"ports": [{"port": 80}], "clusterIP": "fd00::1", "clusterIPs": ["fd00::1"]})),
            [r#"spec.clusterIPs[0]: Invalid value: ["fd00::1"]: IPv6 is not configured on this cluster"#]
        );
        let none: [&str; 0] = [];
        assert_eq!(problems(serde_json::json!({"clusterIP": "None", "clusterIPs": ["None"]})), none);
    }
}
