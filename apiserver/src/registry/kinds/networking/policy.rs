//! NetworkPolicy: which connections pods take and make.

use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::kinds::rules::AddressRange;
use crate::registry::kinds::{generation, rules, workload};
use crate::registry::strategy::{RequestContext, Strategy};

const TYPES: [&str; 2] = ["Ingress", "Egress"];

/// The strategy.
pub struct NetworkPolicies;

impl Strategy for NetworkPolicies {
    type Object = NetworkPolicy;

    fn default(&self, policy: &mut NetworkPolicy) {
        let spec = policy.spec.get_or_insert_default();
        spec.pod_selector.get_or_insert_default();
        let incoming = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        let outgoing = spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
        for port in incoming.chain(outgoing).flatten() {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
        }
        if spec.policy_types.as_ref().is_none_or(Vec::is_empty) {
            let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
            let types = if has_egress { &TYPES[..] } else { &TYPES[..1] };
            spec.policy_types = Some(types.iter().map(|kind| (*kind).to_owned()).collect());
        }
    }

    fn prepare_for_create(&self, _context: &RequestContext, policy: &mut NetworkPolicy) {
        generation::start(&mut policy.metadata);
    }

    fn validate(&self, policy: &NetworkPolicy) -> ErrorList {
        let mut errors = ErrorList::new();
        let Some(spec) = &policy.spec else { return errors };
        let path = Path::new("spec");
        if let Some(selector) = &spec.pod_selector {
            workload::object_selector(selector, &path.child("podSelector"), &mut errors);
        }
        let path_ingress = path.child("ingress");
        for (index, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = path_ingress.index(index);
            ports(rule.ports.as_deref(), &path.child("ports"), &mut errors);
            peers(rule.from.as_deref(), &path.child("from"), &mut errors);
        }
        let path_egress = path.child("egress");
        for (index, rule) in spec.egress.iter().flatten().enumerate() {
            let path = path_egress.index(index);
            ports(rule.ports.as_deref(), &path.child("ports"), &mut errors);
            peers(rule.to.as_deref(), &path.child("to"), &mut errors);
        }
        let path_types = path.child("policyTypes");
        let types = spec.policy_types.as_deref().unwrap_or_default();
        if types.len() > TYPES.len() {
            errors.invalid(&path_types, BadValue::json(&types), "may not specify more than two policyTypes");
            return errors;
        }
        for (index, kind) in types.iter().enumerate() {
            rules::one_of(kind, &TYPES, &path_types.index(index), &mut errors);
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, policy: &mut NetworkPolicy, old: &NetworkPolicy) {
        let changed = policy.spec != old.spec;
        generation::follow(&mut policy.metadata, &old.metadata, changed);
    }
}

fn ports(ports: Option<&[NetworkPolicyPort]>, path: &Path<'_>, errors: &mut ErrorList) {
    for (index, port) in ports.unwrap_or_default().iter().enumerate() {
        validate_port(port, &path.index(index), errors);
    }
}

fn validate_port(port: &NetworkPolicyPort, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(protocol) = port.protocol.as_deref() {
        rules::one_of(protocol, &["TCP", "UDP", "SCTP"], &path.child("protocol"), errors);
    }
    let path_end = path.child("endPort");
    match (&port.port, port.end_port) {
        (Some(IntOrString::Int(number)), end) => {
            for problem in format::port(i64::from(*number)) {
                errors.invalid(&path.child("port"), *number, problem);
            }
            if let Some(end) = end {
                if end < *number {
                    errors.invalid(&path_end, *number, "must be greater than or equal to `port`");
                }
                for problem in format::port(i64::from(end)) {
                    errors.invalid(&path_end, end, problem);
                }
            }
        }
        (Some(IntOrString::String(name)), end) => {
            if let Some(end) = end {
                errors.invalid(&path_end, end, "may not be specified when `port` is non-numeric");
            }
            errors.invalid_each(&path.child("port"), name, format::port_name(name));
        }
        (None, Some(end)) => errors.invalid(&path_end, end, "may not be specified when `port` is not specified"),
        (None, None) => {}
    }
}

fn peers(peers: Option<&[NetworkPolicyPeer]>, path: &Path<'_>, errors: &mut ErrorList) {
    for (index, peer) in peers.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        let mut selects = false;
        for (field, selector) in [("podSelector", &peer.pod_selector), ("namespaceSelector", &peer.namespace_selector)]
        {
            if let Some(selector) = selector {
                selects = true;
                workload::object_selector(selector, &path.child(field), errors);
            }
        }
        if let Some(block) = &peer.ip_block {
            validate_block(block, &path.child("ipBlock"), errors);
        }
        match (&peer.ip_block, selects) {
            (None, false) => errors.required(&path, "must specify a peer"),
            (Some(_), true) => errors.forbidden(&path, "may not specify both ipBlock and another peer"),
            _ => {}
        }
    }
}

fn validate_block(block: &IPBlock, path: &Path<'_>, errors: &mut ErrorList) {
    let path_range = path.child("cidr");
    if block.cidr.is_empty() {
        errors.required(&path_range, "");
        return;
    }
    let Some(range) = AddressRange::check(&block.cidr, &path_range, errors) else { return };
    let path = path.child("except");
    for (index, text) in block.except.iter().flatten().enumerate() {
        let path = path.index(index);
        if let Some(except) = AddressRange::check(text, &path, errors)
            && !range.strictly_contains(&except)
        {
            errors.invalid(&path, text, "must be a strict subset of `cidr`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: serde_json::Value) -> NetworkPolicy {
        let spec = serde_json::from_value(spec).unwrap();
        let mut policy = NetworkPolicy { spec: Some(spec), ..NetworkPolicy::default() };
        NetworkPolicies.default(&mut policy);
        policy
    }

    #[test]
    fn types_follow_the_rules() {
        let types = |spec| policy(spec).spec.unwrap().policy_types.unwrap();
        assert_eq!(types(serde_json::json!({})), ["Ingress"]);
        assert_eq!(types(serde_json::json!({"egress": [{}]})), ["Ingress", "Egress"]);
        assert_eq!(types(serde_json::json!({"policyTypes": ["Egress"]})), ["Egress"]);
    }

    #[test]
    fn a_peer_is_one_thing() {
        let bad = policy(serde_json::json!({"ingress": [{
            "from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/8"]}}],
            "ports": [{"port": 100, "endPort": 1}, {"endPort": 5}],
        }]}));
        let texts: Vec<String> = NetworkPolicies.validate(&bad).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.ingress[0].ports[0].endPort: Invalid value: 100: must be greater than or equal to `port`",
                "spec.ingress[0].ports[1].endPort: Invalid value: 5: may not be specified when `port` is not specified",
                "spec.ingress[0].from[0]: Required value: must specify a peer",
                r#"spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: "11.0.0.0/8": must be a strict subset of `cidr`"#,
                "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
            ]
        );
    }
}
