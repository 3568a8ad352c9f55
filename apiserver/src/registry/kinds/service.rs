//! Service: one address for many pods. Allocation of addresses and ports is the handlers' work.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec, ServiceStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::validation::metadata::{self, NameRule};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::pod_template::validation::number_or_name;
use crate::registry::strategy::{RequestContext, Strategy};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const AFFINITY_SECONDS: i32 = 10_800;
const AFFINITY_SECONDS_MAX: i32 = 86_400;

/// The strategy.
pub struct Services;

fn kind(spec: &ServiceSpec) -> &str {
    spec.type_.as_deref().unwrap_or("ClusterIP")
}

fn needs_cluster_ip(spec: &ServiceSpec) -> bool {
    kind(spec) != "ExternalName"
}

fn needs_node_port(spec: &ServiceSpec) -> bool {
    kind(spec) == "NodePort" || (kind(spec) == "LoadBalancer" && spec.allocate_load_balancer_node_ports != Some(false))
}

fn may_have_node_port(spec: &ServiceSpec) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
}

impl Strategy for Services {
    type Object = Service;

    fn name_rule(&self) -> NameRule {
        NameRule::ShortName
    }

    fn default(&self, service: &mut Service) {
        let spec = service.spec.get_or_insert_default();
        let fill = |field: &mut Option<String>, value: &str| {
            if field.as_deref().unwrap_or_default().is_empty() {
                *field = Some(value.to_owned());
            }
        };
        fill(&mut spec.type_, "ClusterIP");
        fill(&mut spec.session_affinity, "None");
        if spec.session_affinity.as_deref() == Some("None") {
            spec.session_affinity_config = None;
        } else if spec.session_affinity.as_deref() == Some("ClientIP") {
            let config = spec.session_affinity_config.get_or_insert_default();
            config.client_ip.get_or_insert_default().timeout_seconds.get_or_insert(AFFINITY_SECONDS);
        }
        for port in spec.ports.iter_mut().flatten() {
            fill(&mut port.protocol, "TCP");
            let is_unset = match &port.target_port {
                None | Some(IntOrString::Int(0)) => true,
                Some(IntOrString::String(name)) => name.is_empty(),
                Some(IntOrString::Int(_)) => false,
            };
            if is_unset {
                port.target_port = Some(IntOrString::Int(port.port));
            }
            if port.node_port == Some(0) {
                port.node_port = None;
            }
        }
        if may_have_node_port(spec) {
            fill(&mut spec.external_traffic_policy, "Cluster");
        }
        if needs_cluster_ip(spec) {
            fill(&mut spec.internal_traffic_policy, "Cluster");
        }
        if kind(spec) == "LoadBalancer" {
            spec.allocate_load_balancer_node_ports.get_or_insert(true);
        }
        if spec.publish_not_ready_addresses == Some(false) {
            spec.publish_not_ready_addresses = None;
        }
        service.status.get_or_insert_default().load_balancer.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, service: &mut Service) {
        service.status = Some(ServiceStatus { load_balancer: Some(Default::default()), ..ServiceStatus::default() });
        let spec = service.spec.get_or_insert_default();
        same_cluster_ip(spec, None);
        default_families(spec);
    }

    fn validate(&self, service: &Service) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = ServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&empty);
        let path = Path::new("spec");
        validate_ports(spec, &path, &mut errors);
        match kind(spec) {
            "ExternalName" => {
                let name = spec.external_name.as_deref().unwrap_or_default();
                let name = name.strip_suffix('.').unwrap_or(name);
                if name.is_empty() {
                    errors.required(&path.child("externalName"), "");
                } else {
                    errors.invalid_each(&path.child("externalName"), name, format::dns1123_subdomain(name));
                }
            }
            kind if !TYPES.contains(&kind) => errors.not_supported(&path.child("type"), kind, &TYPES),
            _ => {}
        }
        if let Some(selector) = &spec.selector {
            metadata::labels(selector, &path.child("selector"), &mut errors);
        }
        let affinity = spec.session_affinity.as_deref().unwrap_or_default();
        if affinity.is_empty() {
            errors.required(&path.child("sessionAffinity"), "");
        } else if !["ClientIP", "None"].contains(&affinity) {
            errors.not_supported(&path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
        }
        let seconds =
            spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
        if let Some(seconds) = seconds.filter(|seconds| !(1..=AFFINITY_SECONDS_MAX).contains(seconds)) {
            let config = path.child("sessionAffinityConfig");
            errors.invalid(
                &config.child("clientIP").child("timeoutSeconds"),
                seconds,
                format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"),
            );
        }
        validate_cluster_ips(spec, &path, &mut errors);
        for (field, value) in [
            ("externalTrafficPolicy", &spec.external_traffic_policy),
            ("internalTrafficPolicy", &spec.internal_traffic_policy),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty())
                && !["Cluster", "Local"].contains(&value)
            {
                errors.not_supported(&path.child(field), value, &["Cluster", "Local"]);
            }
        }
        if !may_have_node_port(spec) && spec.external_traffic_policy.is_some() {
            errors.invalid(
                &path.child("externalTrafficPolicy"),
                spec.external_traffic_policy.as_deref(),
                "may only be set for externally-accessible services",
            );
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, service: &mut Service, old: &Service) {
        service.status.clone_from(&old.status);
        let empty = ServiceSpec::default();
        let old = old.spec.as_ref().unwrap_or(&empty);
        let spec = service.spec.get_or_insert_default();
        drop_what_the_type_forbids(spec, old);
        keep_what_was_allocated(spec, old);
        same_cluster_ip(spec, Some(old));
        default_families(spec);
    }

    fn validate_update(&self, service: &Service, old: &Service) -> ErrorList {
        let mut errors = ErrorList::new();
        if let (Some(new), Some(old)) = (&service.spec, &old.spec)
            && needs_cluster_ip(new)
            && needs_cluster_ip(old)
        {
            let path = Path::new("spec");
            let first = |spec: &ServiceSpec| spec.cluster_ips.iter().flatten().next().cloned().unwrap_or_default();
            if !first(old).is_empty() && first(new) != first(old) {
                errors.invalid(
                    &path.child("clusterIPs").index(0),
                    BadValue::json(&new.cluster_ips),
                    "may not change once set",
                );
            }
        }
        errors.extend(self.validate(service));
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, service: &mut Service, old: &Service) {
        service.spec.clone_from(&old.spec);
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn fields(&self, service: &Service) -> Vec<(&'static str, String)> {
        let spec = service.spec.as_ref();
        let cluster_ip = spec.and_then(|spec| spec.cluster_ip.clone());
        let kind = spec.and_then(|spec| spec.type_.clone());
        vec![("spec.clusterIP", cluster_ip.unwrap_or_default()), ("spec.type", kind.unwrap_or_default())]
    }
}

/// Makes `clusterIP` and `clusterIPs` tell the same, whichever of them the user changed.
fn same_cluster_ip(spec: &mut ServiceSpec, old: Option<&ServiceSpec>) {
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

/// The cluster has one family.
fn default_families(spec: &mut ServiceSpec) {
    if !needs_cluster_ip(spec) {
        return;
    }
    spec.ip_family_policy.get_or_insert_with(|| "SingleStack".to_owned());
    if spec.ip_families.as_ref().is_none_or(Vec::is_empty) {
        spec.ip_families = Some(vec!["IPv4".to_owned()]);
    }
}

/// A change of the type takes away what only the old type had, unless the user set it anew.
fn drop_what_the_type_forbids(spec: &mut ServiceSpec, old: &ServiceSpec) {
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
        if spec.health_check_node_port == old.health_check_node_port {
            spec.health_check_node_port = None;
        }
    }
}

/// A client that does not send back what the server had allocated means to keep it.
fn keep_what_was_allocated(spec: &mut ServiceSpec, old: &ServiceSpec) {
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

fn validate_ports(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let ports = spec.ports.as_deref().unwrap_or_default();
    let path_ports = path.child("ports");
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if ports.is_empty() && !headless && needs_cluster_ip(spec) {
        errors.required(&path_ports, "");
    }
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut node_ports = BTreeSet::new();
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
        } else if !PROTOCOLS.contains(&protocol) {
            errors.not_supported(&path.child("protocol"), protocol, &PROTOCOLS);
        }
        if let Some(target) = &port.target_port {
            number_or_name(target, &path.child("targetPort"), errors);
        }
        if let Some(number) = port.node_port {
            if !may_have_node_port(spec) {
                errors.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            } else if !node_ports.insert((protocol, number)) {
                errors.duplicate(&path.child("nodePort"), number);
            }
        }
        if !numbers.insert((protocol, port.port)) {
            let key = ServicePort { port: port.port, protocol: port.protocol.clone(), ..ServicePort::default() };
            errors.duplicate(&path, BadValue::json(&key));
        }
    }
}

fn validate_cluster_ips(spec: &ServiceSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_list = path.child("clusterIPs");
    let list = spec.cluster_ips.as_deref().unwrap_or_default();
    if !needs_cluster_ip(spec) {
        if !list.is_empty() {
            errors.forbidden(&path_list, "may not be set for ExternalName services");
        }
        return;
    }
    let single = spec.cluster_ip.as_deref().unwrap_or_default();
    if let Some(first) = list.first()
        && first != single
    {
        errors.invalid(&path_list, BadValue::json(&list), "first value must match `clusterIP`");
    }
    for (index, address) in list.iter().enumerate() {
        if address == "None" {
            if kind(spec) != "ClusterIP" {
                errors.invalid(
                    &path_list.index(index),
                    address,
                    format!("may not be set to 'None' for {} services", kind(spec)),
                );
            }
        } else {
            errors.invalid_each(&path_list.index(index), address, format::ip(address));
        }
    }
}
