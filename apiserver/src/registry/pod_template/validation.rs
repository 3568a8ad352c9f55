//! Rules for a pod's specification (`pkg/apis/core/validation`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, KeyToPath, Lifecycle, PodSpec, PodTemplateSpec, Probe, ResourceRequirements,
    Toleration, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reeve_api::quantity::Quantity;
use reeve_api::validation::{BadValue, ErrorList, Path, format, metadata};

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Rules of a template; `path` is the template's.
pub fn pod_template(template: &PodTemplateSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let metadata_path = path.child("metadata");
    if let Some(own) = &template.metadata {
        if let Some(labels) = &own.labels {
            metadata::labels(labels, &path.child("labels"), errors);
        }
        if let Some(annotations) = &own.annotations {
            metadata::annotations(annotations, &metadata_path.child("annotations"), errors);
        }
    }
    pod_spec(template.spec.as_ref().unwrap_or(&PodSpec::default()), &path.child("spec"), errors);
}

/// Rules of a specification.
pub fn pod_spec(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let volumes = volumes(spec.volumes.as_deref().unwrap_or_default(), &path.child("volumes"), errors);
    let mut names = BTreeSet::new();
    let path_containers = path.child("containers");
    if spec.containers.is_empty() {
        errors.required(&path_containers, "");
    }
    for (index, entry) in spec.containers.iter().enumerate() {
        container(entry, &volumes, &mut names, spec, false, &path_containers.index(index), errors);
    }
    let path_init = path.child("initContainers");
    for (index, entry) in spec.init_containers.iter().flatten().enumerate() {
        container(entry, &volumes, &mut names, spec, true, &path_init.index(index), errors);
    }
    one_of(spec.restart_policy.as_deref(), &["Always", "OnFailure", "Never"], &path.child("restartPolicy"), errors);
    one_of(
        spec.dns_policy.as_deref(),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        &path.child("dnsPolicy"),
        errors,
    );
    if let Some(labels) = &spec.node_selector {
        metadata::labels(labels, &path.child("nodeSelector"), errors);
    }
    if let Some(name) = spec.service_account_name.as_deref().filter(|name| !name.is_empty()) {
        errors.invalid_each(&path.child("serviceAccountName"), name, format::dns1123_subdomain(name));
    }
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        errors.invalid_each(&path.child("nodeName"), name, format::dns1123_subdomain(name));
    }
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds, format::between(1, i64::from(i32::MAX)));
    }
    for (field, name) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            errors.invalid_each(&path.child(field), name, format::dns1123_label(name));
        }
    }
    let path_tolerations = path.child("tolerations");
    for (index, entry) in spec.tolerations.iter().flatten().enumerate() {
        toleration(entry, &path_tolerations.index(index), errors);
    }
}

fn one_of(value: Option<&str>, supported: &[&str], path: &Path<'_>, errors: &mut ErrorList) {
    match value.unwrap_or_default() {
        "" => errors.required(path, ""),
        value if supported.contains(&value) => {}
        value => errors.not_supported(path, value, supported),
    }
}

/// Checks volumes and returns their names.
fn volumes<'a>(volumes: &'a [Volume], path: &Path<'_>, errors: &mut ErrorList) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        if volume.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            let problems = format::dns1123_label(&volume.name);
            let well_formed = problems.is_empty();
            errors.invalid_each(&path.child("name"), &volume.name, problems);
            if well_formed && !names.insert(volume.name.as_str()) {
                errors.duplicate(&path.child("name"), &volume.name);
            }
        }
        sources(volume, &path, errors);
    }
    names
}

fn sources(volume: &Volume, path: &Path<'_>, errors: &mut ErrorList) {
    let present = [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("secret", volume.secret.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("projected", volume.projected.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
    ];
    for (field, _) in present.into_iter().filter(|(_, is_set)| *is_set).skip(1) {
        errors.forbidden(&path.child(field), "may not specify more than 1 volume type");
    }
    if let Some(source) = &volume.host_path {
        let path = path.child("hostPath");
        if source.path.is_empty() {
            errors.required(&path.child("path"), "");
        } else if source.path.split('/').any(|part| part == "..") {
            errors.invalid(&path.child("path"), &source.path, "must not contain '..'");
        }
        let types =
            ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
        let kind = source.type_.as_deref().unwrap_or_default();
        if !types.contains(&kind) {
            errors.not_supported(&path.child("type"), kind, &types);
        }
    }
    if let Some(source) = &volume.secret
        && source.secret_name.as_deref().unwrap_or_default().is_empty()
    {
        errors.required(&path.child("secret").child("secretName"), "");
    }
    if let Some(source) = &volume.config_map
        && source.name.is_empty()
    {
        errors.required(&path.child("configMap").child("name"), "");
    }
    for (field, items, mode) in [
        (
            "secret",
            volume.secret.as_ref().and_then(|source| source.items.as_deref()),
            volume.secret.as_ref().and_then(|source| source.default_mode),
        ),
        (
            "configMap",
            volume.config_map.as_ref().and_then(|source| source.items.as_deref()),
            volume.config_map.as_ref().and_then(|source| source.default_mode),
        ),
    ] {
        let path = path.child(field);
        file_mode(mode, &path.child("defaultMode"), errors);
        let path_items = path.child("items");
        for (index, item) in items.unwrap_or_default().iter().enumerate() {
            key_to_path(item, &path_items.index(index), errors);
        }
    }
    if let Some(source) = &volume.nfs {
        let path = path.child("nfs");
        if source.server.is_empty() {
            errors.required(&path.child("server"), "");
        }
        if source.path.is_empty() {
            errors.required(&path.child("path"), "");
        } else if !source.path.starts_with('/') {
            errors.invalid(&path.child("path"), &source.path, "must be an absolute path");
        }
    }
    if let Some(source) = &volume.persistent_volume_claim
        && source.claim_name.is_empty()
    {
        errors.required(&path.child("persistentVolumeClaim").child("claimName"), "");
    }
}

fn file_mode(mode: Option<i32>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn key_to_path(item: &KeyToPath, path: &Path<'_>, errors: &mut ErrorList) {
    if item.key.is_empty() {
        errors.required(&path.child("key"), "");
    }
    let path_path = path.child("path");
    if item.path.is_empty() {
        errors.required(&path_path, "");
    } else if item.path.starts_with('/') {
        errors.invalid(&path_path, &item.path, "must be a relative path");
    } else if item.path.split('/').any(|part| part == "..") {
        errors.invalid(&path_path, &item.path, "must not contain '..'");
    } else if item.path.starts_with("..") {
        errors.invalid(&path_path, &item.path, "must not start with '..'");
    }
    file_mode(item.mode, &path.child("mode"), errors);
}

fn lifecycle(lifecycle: &Lifecycle, grace_seconds: i64, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, hook) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
        let Some(hook) = hook else { continue };
        let path = path.child(field);
        let names = ["exec", "httpGet", "tcpSocket", "sleep"];
        let handlers = [hook.exec.is_some(), hook.http_get.is_some(), hook.tcp_socket.is_some(), hook.sleep.is_some()];
        let mut present = names.into_iter().zip(handlers).filter(|(_, is_set)| *is_set);
        if present.next().is_none() {
            errors.required(&path, "must specify a handler type");
        }
        for (field, _) in present {
            errors.forbidden(&path.child(field), "may not specify more than 1 handler type");
        }
        if let Some(seconds) = hook.sleep.as_ref().map(|sleep| sleep.seconds)
            && !(0..=grace_seconds).contains(&seconds)
        {
            errors.invalid(
                &path.child("sleep"),
                seconds,
                format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"),
            );
        }
    }
}

fn container<'a>(
    container: &'a Container,
    volumes: &BTreeSet<&str>,
    names: &mut BTreeSet<&'a str>,
    spec: &PodSpec,
    is_init: bool,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    if container.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), &container.name, format::dns1123_label(&container.name));
        if !names.insert(&container.name) {
            errors.duplicate(&path.child("name"), &container.name);
        }
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        // A template may leave it to the controller; pods and all kinds here need one.
        errors.required(&path.child("image"), "");
    } else if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
    ports(
        container.ports.as_deref().unwrap_or_default(),
        spec.host_network == Some(true),
        &path.child("ports"),
        errors,
    );
    let path_env = path.child("env");
    for (index, entry) in container.env.iter().flatten().enumerate() {
        environment(entry, &path_env.index(index), errors);
    }
    let path_mounts = path.child("volumeMounts");
    let mut mount_paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path_mounts.index(index);
        if mount.name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !volumes.contains(mount.name.as_str()) {
            errors.not_found(&path.child("name"), &mount.name);
        }
        if mount.mount_path.is_empty() {
            errors.required(&path.child("mountPath"), "");
        } else if !mount_paths.insert(&mount.mount_path) {
            errors.invalid(&path.child("mountPath"), &mount.mount_path, "must be unique");
        }
        let propagations = ["Bidirectional", "HostToContainer", "None"];
        if let Some(propagation) = mount.mount_propagation.as_deref().filter(|word| !propagations.contains(word)) {
            errors.not_supported(&path_mounts.child("mountPropagation"), propagation, &propagations);
        }
    }
    if let Some(entry) = &container.lifecycle {
        let grace_seconds = spec.termination_grace_period_seconds.unwrap_or_default();
        lifecycle(entry, grace_seconds, &path.child("lifecycle"), errors);
    }
    let restartable = container.restart_policy.as_deref() == Some("Always");
    for (field, entry) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        if let Some(entry) = entry {
            let path = path.child(field);
            if is_init && !restartable {
                errors.forbidden(&path, "may not be set for init containers without restartPolicy=Always");
                continue;
            }
            probe(entry, field != "readinessProbe", &path, errors);
        }
    }
    one_of(
        container.image_pull_policy.as_deref(),
        &["Always", "IfNotPresent", "Never"],
        &path.child("imagePullPolicy"),
        errors,
    );
    one_of(
        container.termination_message_policy.as_deref(),
        &["File", "FallbackToLogsOnError"],
        &path.child("terminationMessagePolicy"),
        errors,
    );
    if let Some(entry) = &container.resources {
        resources(entry, &path.child("resources"), errors);
    }
}

fn ports(ports: &[ContainerPort], host_network: bool, path: &Path<'_>, errors: &mut ErrorList) {
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let problems = format::port_name(name);
            if problems.is_empty() {
                if !names.insert(name) {
                    errors.duplicate(&path.child("name"), name);
                }
            } else {
                errors.invalid_each(&path.child("name"), name, problems);
            }
        }
        if port.container_port == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            for problem in format::port(i64::from(port.container_port)) {
                errors.invalid(&path.child("containerPort"), port.container_port, problem);
            }
        }
        if let Some(host_port) = port.host_port.filter(|port| *port != 0) {
            for problem in format::port(i64::from(host_port)) {
                errors.invalid(&path.child("hostPort"), host_port, problem);
            }
            if host_network && host_port != port.container_port {
                errors.invalid(
                    &path.child("containerPort"),
                    port.container_port,
                    "must match `hostPort` when `hostNetwork` is true",
                );
            }
        }
        one_of(port.protocol.as_deref(), &PROTOCOLS, &path.child("protocol"), errors);
    }
}

fn environment(variable: &EnvVar, path: &Path<'_>, errors: &mut ErrorList) {
    if variable.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), &variable.name, format::environment_variable(&variable.name));
    }
    let Some(source) = &variable.value_from else { return };
    let path = path.child("valueFrom");
    let value = variable.value.as_deref().unwrap_or_default();
    let count = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ]
    .into_iter()
    .filter(|is_set| *is_set)
    .count();
    match count {
        0 => errors.invalid(
            &path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        _ if !value.is_empty() => errors.invalid(&path, "", "may not be specified when `value` is not empty"),
        1 => {}
        _ => errors.invalid(&path, "", "may not have more than one field specified at a time"),
    }
    for (field, reference) in [
        ("configMapKeyRef", source.config_map_key_ref.as_ref().map(|reference| (&reference.name, &reference.key))),
        ("secretKeyRef", source.secret_key_ref.as_ref().map(|reference| (&reference.name, &reference.key))),
    ] {
        let Some((name, key)) = reference else { continue };
        let path = path.child(field);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if key.is_empty() {
            errors.required(&path.child("key"), "");
        } else {
            errors.invalid_each(&path.child("key"), key, format::config_map_key(key));
        }
    }
}

fn probe(probe: &Probe, must_succeed_once: bool, path: &Path<'_>, errors: &mut ErrorList) {
    let handlers = [probe.exec.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
    if let Some(action) = &probe.exec
        && action.command.as_deref().unwrap_or_default().is_empty()
    {
        errors.required(&path.child("exec").child("command"), "");
    }
    if let Some(action) = &probe.http_get {
        let path = path.child("httpGet");
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
        for (index, header) in action.http_headers.iter().flatten().enumerate() {
            errors.invalid_each(
                &path_headers.index(index).child("name"),
                &header.name,
                format::http_header_name(&header.name),
            );
        }
    }
    if let Some(action) = &probe.tcp_socket {
        number_or_name(&action.port, &path.child("tcpSocket").child("port"), errors);
    }
    if let Some(action) = &probe.grpc {
        for problem in format::port(i64::from(action.port)) {
            errors.invalid(&path.child("grpc").child("port"), action.port, problem);
        }
    }
    let names = ["exec", "httpGet", "tcpSocket", "grpc"];
    let mut present = names.into_iter().zip(handlers).filter(|(_, is_set)| *is_set);
    if present.next().is_none() {
        errors.required(path, "must specify a handler type");
    }
    for (field, _) in present {
        errors.forbidden(&path.child(field), "may not specify more than 1 handler type");
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
    if let Some(seconds) = probe.termination_grace_period_seconds
        && seconds <= 0
    {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
    if must_succeed_once && let Some(count) = probe.success_threshold.filter(|count| *count != 1) {
        errors.invalid(&path.child("successThreshold"), count, "must be 1");
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

fn resources(resources: &ResourceRequirements, path: &Path<'_>, errors: &mut ErrorList) {
    let path_limits = path.child("limits");
    let path_requests = path.child("requests");
    amounts(resources.limits.as_ref(), &path_limits, errors);
    for (name, request) in resources.requests.iter().flatten() {
        amount(name, request, &path_requests.key(name), errors);
        let limit = resources.limits.as_ref().and_then(|limits| limits.get(name));
        if let Some(limit) = limit
            && let (Ok(asked), Ok(most)) = (Quantity::parse(request), Quantity::parse(limit))
            && asked > most
        {
            errors.invalid(
                &path_requests,
                request.0.as_str(),
                format!("must be less than or equal to {name} limit of {most}"),
            );
        }
    }
}

fn amounts(amounts: Option<&BTreeMap<String, Text>>, path: &Path<'_>, errors: &mut ErrorList) {
    for (name, value) in amounts.into_iter().flatten() {
        amount(name, value, &path.key(name), errors);
    }
}

/// Resources of containers that have no domain in their name.
const STANDARD_RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

fn amount(name: &str, value: &Text, path: &Path<'_>, errors: &mut ErrorList) {
    let problems = format::qualified_name(name);
    let well_formed = problems.is_empty();
    errors.invalid_each(path, name, problems);
    if well_formed && !name.contains('/') && !STANDARD_RESOURCES.contains(&name) && !name.starts_with("hugepages-") {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    match Quantity::parse(value) {
        Err(error) => errors.invalid(path, value.0.as_str(), error.to_string()),
        Ok(quantity) if quantity.is_negative() => errors.invalid(path, value.0.as_str(), NOT_NEGATIVE),
        Ok(quantity) if name.contains('/') && !quantity.is_whole() => {
            errors.invalid(path, BadValue::json(value), "must be an integer");
        }
        Ok(_) => {}
    }
}

fn toleration(toleration: &Toleration, path: &Path<'_>, errors: &mut ErrorList) {
    let key = toleration.key.as_deref().unwrap_or_default();
    if !key.is_empty() {
        errors.invalid_each(&path.child("key"), key, format::qualified_name(key));
    }
    let operator = toleration.operator.as_deref().unwrap_or_default();
    if key.is_empty() && operator != "Exists" {
        errors.invalid(
            &path.child("operator"),
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        );
    }
    let effect = toleration.effect.as_deref().unwrap_or_default();
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        errors.invalid(&path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
    }
    let value = toleration.value.as_deref().unwrap_or_default();
    match operator {
        "" | "Equal" => errors.invalid_each(&path.child("operator"), value, format::label_value(value)),
        "Exists" if !value.is_empty() => {
            errors.invalid(&path.child("operator"), value, "value must be empty when `operator` is 'Exists'")
        }
        "Exists" => {}
        other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effect.is_empty() && !effects.contains(&effect) {
        errors.not_supported(&path.child("effect"), effect, &effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: serde_json::Value) -> Vec<String> {
        let mut spec: PodSpec = serde_json::from_value(json).expect("a specification");
        super::super::defaults::pod_spec(&mut spec);
        let mut errors = ErrorList::new();
        pod_spec(&spec, &Path::new("spec"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_pod_is_in_order() {
        let none: [&str; 0] = [];
        assert_eq!(problems(serde_json::json!({"containers": [{"name": "c", "image": "i"}]})), none);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(problems(serde_json::json!({"containers": []})), ["spec.containers: Required value"]);
        assert_eq!(
            problems(serde_json::json!({"containers": [{"name": "c", "image": "i",
                "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]})),
            [r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#]
        );
    }

    #[test]
    fn a_request_stays_below_its_limit() {
        let resources = serde_json::json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
        assert_eq!(
            problems(serde_json::json!({"containers": [{"name": "c", "image": "i", "resources": resources}]})),
            [
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#
            ]
        );
    }

    #[test]
    fn a_probe_has_one_handler() {
        let probe = serde_json::json!({"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}});
        assert_eq!(
            problems(serde_json::json!({"containers": [{"name": "c", "image": "i", "livenessProbe": probe}]})),
            ["spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"]
        );
    }
}
