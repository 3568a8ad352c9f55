//! Probes and hooks.

use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, Lifecycle, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::validation::{ErrorList, Path, format};

use super::{NOT_NEGATIVE, others};

const ONE_HANDLER: &str = "may not specify more than 1 handler type";

/// `must_succeed_once`: one success decides.
pub(super) fn probe(probe: &Probe, must_succeed_once: bool, path: &Path<'_>, errors: &mut ErrorList) {
    let fields = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    match fields.iter().find(|(_, is_set)| *is_set).map(|(field, _)| *field) {
        Some("exec") => exec(probe.exec.as_ref(), &path.child("exec"), errors),
        Some("httpGet") => http_get(probe.http_get.as_ref(), &path.child("httpGet"), errors),
        Some("tcpSocket") => {
            if let Some(action) = &probe.tcp_socket {
                number_or_name(&action.port, &path.child("tcpSocket").child("port"), errors);
            }
        }
        Some(_) => {
            if let Some(action) = &probe.grpc {
                for problem in format::port(i64::from(action.port)) {
                    errors.invalid(&path.child("grpc").child("port"), action.port, problem);
                }
            }
        }
        None => {}
    }
    others(&fields, path, ONE_HANDLER, errors);
    if fields.iter().all(|(_, is_set)| !is_set) {
        errors.required(path, "must specify a handler type");
    }
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if let Some(value) = value.filter(|value| *value < 0) {
            errors.invalid(&path.child(field), value, NOT_NEGATIVE);
        }
    }
    let path_grace = path.child("terminationGracePeriodSeconds");
    if let Some(seconds) = probe.termination_grace_period_seconds {
        if seconds <= 0 {
            errors.invalid(&path_grace, seconds, "must be greater than 0");
        }
        if !must_succeed_once {
            errors.invalid(&path_grace, seconds, "must not be set for readinessProbes");
        }
    }
    if must_succeed_once && let Some(count) = probe.success_threshold.filter(|count| *count != 1) {
        errors.invalid(&path.child("successThreshold"), count, "must be 1");
    }
}

fn exec(action: Option<&ExecAction>, path: &Path<'_>, errors: &mut ErrorList) {
    let command = action.and_then(|action| action.command.as_deref()).unwrap_or_default();
    if command.is_empty() {
        errors.required(&path.child("command"), "");
    }
}

fn http_get(action: Option<&HTTPGetAction>, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(action) = action else { return };
    if action.path.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("path"), "");
    }
    number_or_name(&action.port, &path.child("port"), errors);
    let schemes = ["HTTP", "HTTPS"];
    let scheme = action.scheme.as_deref().unwrap_or_default();
    if !schemes.contains(&scheme) {
        errors.not_supported(&path.child("scheme"), scheme, &schemes);
    }
    let path_headers = path.child("httpHeaders");
    for header in action.http_headers.iter().flatten() {
        errors.invalid_each(&path_headers, &header.name, format::http_header_name(&header.name));
    }
}

pub(super) fn lifecycle(lifecycle: &Lifecycle, grace_seconds: i64, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        let Some(hook) = hook else { continue };
        let path = path.child(field);
        let fields = [
            ("exec", hook.exec.is_some()),
            ("httpGet", hook.http_get.is_some()),
            ("tcpSocket", hook.tcp_socket.is_some()),
            ("sleep", hook.sleep.is_some()),
        ];
        match fields.iter().find(|(_, is_set)| *is_set).map(|(field, _)| *field) {
            None => errors.required(&path, "must specify a handler type"),
            Some("exec") => exec(hook.exec.as_ref(), &path.child("exec"), errors),
            Some("httpGet") => http_get(hook.http_get.as_ref(), &path.child("httpGet"), errors),
            Some("tcpSocket") => {
                if let Some(action) = &hook.tcp_socket {
                    number_or_name(&action.port, &path.child("tcpSocket").child("port"), errors);
                }
            }
            Some(_) => {
                let seconds = hook.sleep.as_ref().map_or(0, |sleep| sleep.seconds);
                if !(0..=grace_seconds).contains(&seconds) {
                    errors.invalid(
                        &path.child("sleep"),
                        seconds,
                        format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"),
                    );
                }
            }
        }
        others(&fields, &path, ONE_HANDLER, errors);
    }
}

/// Checks a port that may be given by its name.
pub fn number_or_name(port: &IntOrString, path: &Path<'_>, errors: &mut ErrorList) {
    match port {
        IntOrString::Int(number) => {
            for problem in format::port(i64::from(*number)) {
                errors.invalid(path, *number, problem);
            }
        }
        IntOrString::String(name) => errors.invalid_each(path, name, format::port_name(name)),
    }
}
