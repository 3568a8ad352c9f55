//! Ingress: which Service answers for a host and path.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, Ingress, IngressBackend, IngressServiceBackend, IngressSpec, IngressStatus,
};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use crate::registry::kinds::{generation, rules};
use crate::registry::strategy::{RequestContext, Strategy};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
const PATH_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const PATH_ENDS: [&str; 2] = ["/..", "/."];

/// The strategy.
pub struct Ingresses;

impl Strategy for Ingresses {
    type Object = Ingress;

    fn default(&self, ingress: &mut Ingress) {
        ingress.spec.get_or_insert_default();
        ingress.status.get_or_insert_default().load_balancer.get_or_insert_default();
    }

    fn prepare_for_create(&self, _context: &RequestContext, ingress: &mut Ingress) {
        ingress.status = Some(IngressStatus { load_balancer: Some(Default::default()) });
        generation::start(&mut ingress.metadata);
    }

    fn validate(&self, ingress: &Ingress) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = IngressSpec::default();
        let spec = ingress.spec.as_ref().unwrap_or(&empty);
        validate_spec(spec, &Path::new("spec"), &mut errors);
        if let (Some(annotated), Some(class)) = (class_annotation(ingress), &spec.ingress_class_name)
            && annotated != class
        {
            let path = Path::new("annotations");
            errors.invalid(
                &path.child(CLASS_ANNOTATION),
                annotated,
                "must match `ingressClassName` when both are specified",
            );
        }
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, ingress: &mut Ingress, old: &Ingress) {
        ingress.status.clone_from(&old.status);
        let changed = ingress.spec != old.spec;
        generation::follow(&mut ingress.metadata, &old.metadata, changed);
    }

    fn validate_update(&self, ingress: &Ingress, _old: &Ingress) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = IngressSpec::default();
        validate_spec(ingress.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, ingress: &mut Ingress, old: &Ingress) {
        ingress.spec.clone_from(&old.spec);
    }

    fn validate_status_update(&self, ingress: &Ingress, _old: &Ingress) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let path = path.child("loadBalancer");
        let path = path.child("ingress");
        let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        for (index, point) in balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten().enumerate()
        {
            let path = path.index(index);
            if let Some(address) = point.ip.as_deref().filter(|address| !address.is_empty()) {
                errors.invalid_each(&path.child("ip"), address, format::ip(address));
            }
            if let Some(name) = point.hostname.as_deref().filter(|name| !name.is_empty()) {
                let path = path.child("hostname");
                errors.invalid_each(&path, name, format::dns1123_subdomain(name));
                if format::ip(name).is_empty() {
                    errors.invalid(&path, name, "must be a DNS name, not an IP address");
                }
            }
        }
        errors
    }

    fn warnings(&self, ingress: &Ingress, old: Option<&Ingress>) -> Vec<String> {
        if old.is_none() && class_annotation(ingress).is_some() {
            let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' \
                        instead";
            return vec![text.to_owned()];
        }
        Vec::new()
    }
}

fn class_annotation(ingress: &Ingress) -> Option<&String> {
    ingress.metadata.annotations.as_ref()?.get(CLASS_ANNOTATION)
}

fn validate_spec(spec: &IngressSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.is_empty() && spec.default_backend.is_none() {
        errors.invalid(path, BadValue::null(), "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(default) = &spec.default_backend {
        backend(default, &path.child("defaultBackend"), errors);
    }
    let path_rules = path.child("rules");
    for (index, rule) in rules.iter().enumerate() {
        let path = path_rules.index(index);
        if let Some(name) = rule.host.as_deref().filter(|name| !name.is_empty()) {
            if format::ip(name).is_empty() {
                errors.invalid(&path.child("host"), name, "must be a DNS name, not an IP address");
            }
            host(name, &path.child("host"), errors);
        }
        let Some(http) = &rule.http else { continue };
        let path = path.child("http");
        let path = path.child("paths");
        if http.paths.is_empty() {
            errors.required(&path, "");
        }
        for (index, one) in http.paths.iter().enumerate() {
            http_path(one, &path.index(index), errors);
        }
    }
    let path_tls = path.child("tls");
    for (index, tls) in spec.tls.iter().flatten().enumerate() {
        let path = path_tls.index(index);
        let path_hosts = path.child("hosts");
        for (index, name) in tls.hosts.iter().flatten().enumerate() {
            host(name, &path_hosts.index(index), errors);
        }
        if let Some(name) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) {
            errors.invalid_each(&path.child("secretName"), name, format::dns1123_subdomain(name));
        }
    }
    if let Some(class) = spec.ingress_class_name.as_deref() {
        errors.invalid_each(&path.child("ingressClassName"), class, format::dns1123_subdomain(class));
    }
}

fn host(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let problems =
        if name.contains('*') { format::wildcard_dns1123_subdomain(name) } else { format::dns1123_subdomain(name) };
    errors.invalid_each(path, name, problems);
}

fn http_path(one: &HTTPIngressPath, path: &Path<'_>, errors: &mut ErrorList) {
    let text = one.path.as_deref().unwrap_or_default();
    let path_path = path.child("path");
    match one.path_type.as_str() {
        "" => {
            errors.required(&path.child("pathType"), "pathType must be specified");
            return;
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&path_path, text, "must be an absolute path");
            }
            for sequence in PATH_SEQUENCES.iter().filter(|sequence| text.contains(**sequence)) {
                errors.invalid(&path_path, text, format!("must not contain '{sequence}'"));
            }
            for end in PATH_ENDS.iter().filter(|end| text.ends_with(**end)) {
                errors.invalid(&path_path, text, format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&path_path, text, "must be an absolute path");
            }
        }
        other => errors.not_supported(&path.child("pathType"), other, &PATH_TYPES),
    }
    backend(&one.backend, &path.child("backend"), errors);
}

fn backend(backend: &IngressBackend, path: &Path<'_>, errors: &mut ErrorList) {
    match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both resource and service backends"),
        (Some(resource), None) => rules::typed_reference(
            resource.api_group.as_deref(),
            &resource.kind,
            &resource.name,
            &path.child("resource"),
            errors,
        ),
        (None, Some(service)) => service_backend(service, path, errors),
        (None, None) => errors.invalid(path, "", "resource or service backend is required"),
    }
}

fn service_backend(service: &IngressServiceBackend, path: &Path<'_>, errors: &mut ErrorList) {
    let path_service = path.child("service");
    let path_name = path_service.child("name");
    if service.name.is_empty() {
        errors.required(&path_name, "");
    } else {
        errors.invalid_each(&path_name, &service.name, format::dns1123_label(&service.name));
    }
    let path_port = path_service.child("port");
    let name = service.port.as_ref().and_then(|port| port.name.as_deref()).filter(|name| !name.is_empty());
    let number = service.port.as_ref().and_then(|port| port.number).filter(|number| *number != 0);
    match (name, number) {
        (Some(_), Some(_)) => errors.invalid(path, "", "cannot set both port name & port number"),
        (Some(name), None) => errors.invalid_each(&path_port.child("name"), name, format::port_name(name)),
        (None, Some(number)) => {
            for problem in format::port(i64::from(number)) {
                errors.invalid(&path_port.child("number"), number, problem);
            }
        }
        (None, None) => errors.required(path, "port name or number is required"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(spec: serde_json::Value) -> Vec<String> {
        let spec = serde_json::from_value(spec).unwrap();
        let ingress = Ingress { spec: Some(spec), ..Ingress::default() };
        Ingresses.validate(&ingress).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_ingress_leads_somewhere() {
        assert_eq!(
            problems(serde_json::json!({})),
            ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
        );
        let none: [&str; 0] = [];
        assert_eq!(
            problems(serde_json::json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}})),
            none
        );
        assert_eq!(
            problems(serde_json::json!({"defaultBackend": {}})),
            [r#"spec.defaultBackend: Invalid value: "": resource or service backend is required"#]
        );
    }

    #[test]
    fn hosts_and_paths_are_checked() {
        let backend = serde_json::json!({"service": {"name": "s", "port": {"name": "http"}}});
        let rules = serde_json::json!([
            {"host": "1.2.3.4", "http": {"paths": [{"path": "/a//b", "pathType": "Exact", "backend": backend}]}},
            {"host": "*.example.com", "http": {"paths": [{"path": "/", "pathType": "Odd", "backend": backend}]}},
        ]);
        assert_eq!(
            problems(serde_json::json!({"rules": rules})),
            [
                r#"spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#,
                r#"spec.rules[0].http.paths[0].path: Invalid value: "/a//b": must not contain '//'"#,
                r#"spec.rules[1].http.paths[0].pathType: Unsupported value: "Odd": supported values: "Exact", "ImplementationSpecific", "Prefix""#,
            ]
        );
    }
}
