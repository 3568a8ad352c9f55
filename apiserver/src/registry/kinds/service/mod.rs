//! Service: one address for many pods. Allocation of addresses and ports is the handlers' work.

mod change;
mod validation;

use k8s_openapi::api::core::v1::{Service, ServiceSpec, ServiceStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{ErrorList, Path};

use crate::registry::strategy::{RequestContext, Strategy};

const AFFINITY_SECONDS: i32 = 10_800;

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

/// Whether clients outside of the cluster can reach it.
fn is_accessible_from_outside(spec: &ServiceSpec) -> bool {
    let has_addresses = spec.external_ips.as_ref().is_some_and(|addresses| !addresses.is_empty());
    may_have_node_port(spec) || (kind(spec) == "ClusterIP" && has_addresses)
}

/// Whether load balancers ask each node for endpoints of its own, on a port of their own.
pub(crate) fn needs_health_check(spec: &ServiceSpec) -> bool {
    kind(spec) == "LoadBalancer" && spec.external_traffic_policy.as_deref() == Some("Local")
}

fn is_headless(spec: &ServiceSpec) -> bool {
    let first = spec.cluster_ips.iter().flatten().next().or(spec.cluster_ip.as_ref());
    first.is_some_and(|address| address == "None")
}

impl Strategy for Services {
    type Object = Service;

    fn name_rule(&self) -> NameRule {
        NameRule::ShortName
    }

    fn allows_create_on_update(&self) -> bool {
        true
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
        if is_accessible_from_outside(spec) {
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
        let is_balanced = kind(spec) == "LoadBalancer";
        let balancer = service.status.get_or_insert_default().load_balancer.get_or_insert_default();
        if is_balanced {
            let with_address =
                balancer.ingress.iter_mut().flatten().filter(|ingress| {
                    ingress.ip.as_ref().is_some_and(|ip| !ip.is_empty()) && ingress.ip_mode.is_none()
                });
            with_address.for_each(|ingress| ingress.ip_mode = Some("VIP".to_owned()));
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, service: &mut Service) {
        service.status = Some(ServiceStatus { load_balancer: Some(Default::default()), ..ServiceStatus::default() });
        let spec = service.spec.get_or_insert_default();
        change::same_cluster_ip(spec, None);
        change::default_families(spec);
    }

    fn validate(&self, service: &Service) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = ServiceSpec::default();
        let spec = service.spec.as_ref().unwrap_or(&empty);
        validation::topology(&service.metadata, &mut errors);
        validation::spec(spec, &service.metadata, &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, service: &mut Service, old: &Service) {
        service.status.clone_from(&old.status);
        let empty = ServiceSpec::default();
        let old = old.spec.as_ref().unwrap_or(&empty);
        let spec = service.spec.get_or_insert_default();
        change::drop_what_the_type_forbids(spec, old);
        change::keep_what_was_allocated(spec, old);
        change::same_cluster_ip(spec, Some(old));
        change::default_families(spec);
    }

    fn validate_update(&self, service: &Service, old: &Service) -> ErrorList {
        let mut errors = ErrorList::new();
        if let (Some(new), Some(old)) = (&service.spec, &old.spec) {
            validation::change(new, old, &Path::new("spec"), &mut errors);
        }
        errors.extend(self.validate(service));
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, service: &mut Service, old: &Service) {
        service.spec.clone_from(&old.spec);
    }

    fn warnings(&self, service: &Service, _old: Option<&Service>) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(spec) = &service.spec else { return warnings };
        if spec.external_ips.as_ref().is_some_and(|addresses| !addresses.is_empty()) {
            let text = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
            warnings.push(text.to_owned());
        }
        if is_headless(spec) {
            if spec.load_balancer_ip.as_deref().is_some_and(|address| !address.is_empty()) {
                warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
            }
            if spec.session_affinity.as_deref().is_some_and(|affinity| affinity != "None") {
                warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
            }
        }
        warnings
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
