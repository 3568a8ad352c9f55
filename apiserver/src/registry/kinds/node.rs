//! Node: a machine that runs pods.

use k8s_openapi::api::core::v1::{DaemonEndpoint, Node, NodeSpec};
use reeve_api::quantity::Quantity;
use reeve_api::validation::{BadValue, ErrorList, Path, format, quote};

use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct Nodes;

impl Strategy for Nodes {
    type Object = Node;

    fn default(&self, node: &mut Node) {
        let spec = node.spec.get_or_insert_default();
        // The old name of the field is the first of the new one.
        match (&spec.pod_cidr, &spec.pod_cidrs) {
            (Some(range), None) if !range.is_empty() => spec.pod_cidrs = Some(vec![range.clone()]),
            (None, Some(ranges)) => spec.pod_cidr = ranges.first().cloned(),
            _ => {}
        }
        let status = node.status.get_or_insert_default();
        for amounts in [&mut status.capacity, &mut status.allocatable].into_iter().flatten() {
            for amount in amounts.values_mut() {
                amount.0 = Quantity::canonical(&amount.0);
            }
        }
        if status.allocatable.is_none() {
            status.allocatable.clone_from(&status.capacity);
        }
        status.node_info.get_or_insert_default();
        let endpoints = status.daemon_endpoints.get_or_insert_default();
        endpoints.kubelet_endpoint.get_or_insert(DaemonEndpoint { port: 0 });
    }

    fn validate(&self, node: &Node) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = NodeSpec::default();
        let spec = node.spec.as_ref().unwrap_or(&empty);
        let path = Path::new("spec");
        let path_metadata = Path::new("metadata");
        let path_taints = path_metadata.child("taints");
        let mut seen = std::collections::BTreeSet::new();
        for (index, taint) in spec.taints.iter().flatten().enumerate() {
            let path = path_taints.index(index);
            errors.invalid_each(&path.child("key"), &taint.key, format::qualified_name(&taint.key));
            let value = taint.value.as_deref().unwrap_or_default();
            errors.invalid_each(&path.child("value"), value, format::label_value(value));
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            if taint.effect.is_empty() {
                errors.required(&path.child("effect"), "");
            } else if !effects.contains(&taint.effect.as_str()) {
                errors.not_supported(&path.child("effect"), &taint.effect, &effects);
            }
            if !seen.insert((&taint.key, &taint.effect)) {
                let shown = format!(
                    "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":null}}: taints must be unique by key and effect \
                     pair",
                    quote(&taint.key),
                    quote(value),
                    quote(&taint.effect)
                );
                errors.duplicate(&path, BadValue::shown(shown));
            }
        }
        let path_ranges = path.child("podCIDRs");
        let ranges = spec.pod_cidrs.as_deref().unwrap_or_default();
        let of_version_6 = ranges.iter().filter(|range| range.contains(':')).count();
        if ranges.len() > 2 || (ranges.len() == 2 && of_version_6 != 1) {
            errors.invalid(
                &path_ranges,
                BadValue::json(&ranges),
                "may specify no more than one CIDR for each IP family",
            );
        }
        for (index, range) in spec.pod_cidrs.iter().flatten().enumerate() {
            if !is_range(range) {
                errors.invalid(
                    &path_ranges.index(index),
                    range,
                    "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                );
            }
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, node: &mut Node, old: &Node) {
        node.status.clone_from(&old.status);
    }

    fn validate_update(&self, node: &Node, old: &Node) -> ErrorList {
        let mut errors = self.validate(node);
        let path = Path::new("spec");
        let (empty_new, empty_old) = (NodeSpec::default(), NodeSpec::default());
        let new = node.spec.as_ref().unwrap_or(&empty_new);
        let old = old.spec.as_ref().unwrap_or(&empty_old);
        let has_ranges = old.pod_cidrs.as_ref().is_some_and(|ranges| !ranges.is_empty());
        if has_ranges && new.pod_cidrs != old.pod_cidrs {
            errors.forbidden(&path.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
        }
        let provider = old.provider_id.as_deref().unwrap_or_default();
        if !provider.is_empty() && new.provider_id != old.provider_id {
            errors.forbidden(
                &path.child("providerID"),
                "node updates may not change providerID except from \"\" to valid",
            );
        }
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, node: &mut Node, old: &Node) {
        node.spec.clone_from(&old.spec);
    }

    fn field_names(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn fields(&self, node: &Node) -> Vec<(&'static str, String)> {
        let closed = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
        vec![("spec.unschedulable", closed.to_string())]
    }
}

fn is_range(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= most)
}
