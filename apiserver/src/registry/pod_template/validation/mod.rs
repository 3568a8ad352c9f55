//! Rules for a pod's specification (`pkg/apis/core/validation`).

mod affinity;
mod annotations;
mod containers;
mod environment;
mod fields;
mod mounts;
mod network;
mod probes;
mod resources;
mod scheduling;
mod security;
mod system;
#[cfg(test)]
mod texts;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodTemplateSpec, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use reeve_api::validation::{ErrorList, Path, format, metadata};

pub use probes::number_or_name;

const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// Rules of a template; `path` is the template's.
pub fn pod_template(template: &PodTemplateSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(own) = &template.metadata {
        if let Some(labels) = &own.labels {
            metadata::labels(labels, &path.child("labels"), errors);
        }
        if let Some(annotations) = &own.annotations {
            metadata::annotations(annotations, &path.child("annotations"), errors);
        }
    }
    let path_annotations = path.child("annotations");
    let path = path.child("spec");
    let empty = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&empty);
    if let Some(marks) = template.metadata.as_ref().and_then(|own| own.annotations.as_ref()) {
        annotations::validate(marks, spec, &path_annotations, errors);
    }
    pod_spec(spec, &path, errors);
    if let Some(marks) = template.metadata.as_ref().and_then(|own| own.annotations.as_ref()) {
        annotations::agree(marks, spec, &path, errors);
    }
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        errors.forbidden(&path.child("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Rules of a pod that hold at all times.
pub fn pod(pod: &Pod, errors: &mut ErrorList) {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let (path, path_metadata) = (Path::new("spec"), Path::new("metadata"));
    if let Some(marks) = &pod.metadata.annotations {
        annotations::validate(marks, spec, &path_metadata.child("annotations"), errors);
    }
    pod_spec(spec, &path, errors);
    containers::images(&spec.containers, &path.child("containers"), errors);
    containers::images(spec.init_containers.as_deref().unwrap_or_default(), &path.child("initContainers"), errors);
}

/// What the annotations of a new pod must agree with.
pub fn pod_annotations_agree(pod: &Pod, errors: &mut ErrorList) {
    if let (Some(marks), Some(spec)) = (&pod.metadata.annotations, &pod.spec) {
        annotations::agree(marks, spec, &Path::new("spec"), errors);
    }
}

/// Rules of a specification.
pub fn pod_spec(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let volumes = volumes::validate(spec.volumes.as_deref().unwrap_or_default(), &path.child("volumes"), errors);
    let claims = resources::pod_claims(spec, &path.child("resourceClaims"), errors);
    containers::validate(spec, &containers::Known { volumes, claims }, path, errors);
    environment::volumes_of_files(spec, path, errors);
    resources::of_pod(spec, path, errors);
    containers::ports_of_host(spec, path, errors);
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
    security::pod(spec, path, errors);
    if let Some(affinity) = &spec.affinity {
        affinity::validate(affinity, &path.child("affinity"), errors);
    }
    network::dns(spec, &path.child("dnsConfig"), errors);
    let path_gates = path.child("readinessGates");
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let path = path_gates.index(index);
        let kind = &gate.condition_type;
        errors.invalid_each(&path.child("conditionType"), kind, format::qualified_name(kind));
    }
    scheduling::gates(spec, &path.child("schedulingGates"), errors);
    scheduling::spread(spec, &path.child("topologySpreadConstraints"), errors);
    security::own_users(spec, path, errors);
    names(spec, path, errors);
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
    tolerations(spec.tolerations.as_deref().unwrap_or_default(), &path.child("tolerations"), errors);
    network::host_aliases(spec, &path.child("hostAliases"), errors);
    if let Some(class) = spec.priority_class_name.as_deref().filter(|class| !class.is_empty()) {
        errors.invalid_each(&path.child("priorityClassName"), class, format::dns1123_subdomain(class));
    }
    if let Some(class) = spec.runtime_class_name.as_deref() {
        errors.invalid_each(&path.child("runtimeClassName"), class, format::dns1123_subdomain(class));
    }
    if let Some(policy) = spec.preemption_policy.as_deref() {
        one_of(Some(policy), &["PreemptLowerPriority", "Never"], &path.child("preemptionPolicy"), errors);
    }
    if let Some(overhead) = &spec.overhead {
        self::overhead(Some(overhead), &path.child("overhead"), errors);
    }
    system::validate(spec, path, errors);
}

/// Rules of tolerations.
pub fn tolerations(tolerations: &[Toleration], path: &Path<'_>, errors: &mut ErrorList) {
    for (index, entry) in tolerations.iter().enumerate() {
        scheduling::toleration(entry, &path.index(index), errors);
    }
}

/// Rules of what a runtime takes for itself; upstream takes it for limits.
pub fn overhead(amounts: Option<&BTreeMap<String, Quantity>>, path: &Path<'_>, errors: &mut ErrorList) {
    let limits = ResourceRequirements { limits: amounts.cloned(), ..ResourceRequirements::default() };
    resources::validate(&limits, None, path, errors);
}

fn names(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, name) in [("serviceAccountName", &spec.service_account_name), ("nodeName", &spec.node_name)] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            errors.invalid_each(&path.child(field), name, format::dns1123_subdomain(name));
        }
    }
}

/// Checks that a word is there and one of a list.
fn one_of(value: Option<&str>, supported: &[&str], path: &Path<'_>, errors: &mut ErrorList) {
    match value.unwrap_or_default() {
        "" => errors.required(path, ""),
        value if supported.contains(&value) => {}
        value => errors.not_supported(path, value, supported),
    }
}

/// Of several fields one may be set: complains about those after the first.
fn others(fields: &[(&str, bool)], path: &Path<'_>, too_many: &str, errors: &mut ErrorList) {
    for (field, _) in fields.iter().filter(|(_, is_set)| *is_set).skip(1) {
        errors.forbidden(&path.child(field), too_many);
    }
}

/// A path below some folder.
fn local_path(text: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if text.starts_with('/') {
        errors.invalid(path, text, "must be a relative path");
    }
    no_backsteps(text, path, errors);
}

/// A [`local_path`] that is not one of the system's.
fn unreserved_local_path(text: &str, path: &Path<'_>, errors: &mut ErrorList) {
    local_path(text, path, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path, text, "must not start with '..'");
    }
}

fn no_backsteps(text: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if text.split('/').any(|part| part == "..") {
        errors.invalid(path, text, "must not contain '..'");
    }
}

/// The names of a set of things that were found in order.
type Names<'a> = BTreeSet<&'a str>;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: serde_json::Value) -> Vec<String> {
        let mut spec: PodSpec = serde_json::from_value(json).expect("a specification");
        crate::registry::pod_template::defaults::pod_spec(&mut spec);
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

    fn container(field: &str, value: serde_json::Value) -> Vec<String> {
        let mut container = serde_json::json!({"name": "c", "image": "i"});
        container[field] = value;
        problems(serde_json::json!({"containers": [container]}))
    }

    #[test]
    fn containers_are_held_to_the_rules() {
        let cases = [
            ("env", r#"[{"name": "A=B", "value": "x"}]"#, "env[0].name: Invalid value"),
            (
                "env",
                r#"[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]"#,
                "env[0].valueFrom.fieldRef.fieldPath: Unsupported value",
            ),
            (
                "env",
                r#"[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}]"#,
                "env[0].valueFrom.resourceFieldRef.divisor: Invalid value",
            ),
            ("envFrom", r#"[{}]"#, "envFrom: Invalid value"),
            ("resources", r#"{"requests": {"example.com/gpu": "1"}}"#, "resources.limits: Required value"),
            ("resources", r#"{"limits": {"bogus": "1"}}"#, "resources.limits[bogus]: Invalid value"),
            ("resources", r#"{"claims": [{"name": "x"}]}"#, "resources.claims[0]: Not found"),
            ("securityContext", r#"{"runAsUser": -1}"#, "securityContext.runAsUser: Invalid value"),
            (
                "securityContext",
                r#"{"seccompProfile": {"type": "Localhost"}}"#,
                "securityContext.seccompProfile.localhostProfile: Required value",
            ),
            (
                "securityContext",
                r#"{"privileged": true, "allowPrivilegeEscalation": false}"#,
                "securityContext: Invalid value",
            ),
            ("volumeDevices", r#"[{"name": "x", "devicePath": "/dev/x"}]"#, "volumeDevices[0].name: Not found"),
            (
                "lifecycle",
                r#"{"preStop": {"exec": {"command": []}}}"#,
                "lifecycle.preStop.exec.command: Required value",
            ),
            (
                "readinessProbe",
                r#"{"exec": {"command": ["x"]}, "terminationGracePeriodSeconds": 1}"#,
                "readinessProbe.terminationGracePeriodSeconds: Invalid value",
            ),
        ];
        for (field, value, expected) in cases {
            let found = container(field, serde_json::from_str(value).expect("json"));
            let expected = format!("spec.containers[0].{expected}");
            assert!(found.iter().any(|problem| problem.starts_with(&expected)), "{value}: {found:?}");
        }
    }

    #[test]
    fn pods_are_held_to_the_rules() {
        let cases = [
            (
                "volumes",
                r#"[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]"#,
                "volumes[0].hostPath: Forbidden",
            ),
            (
                "volumes",
                r#"[{"name": "v", "iscsi": {"targetPortal": "p", "iqn": "x", "lun": 300}}]"#,
                "volumes[0].iscsi.lun: Invalid value",
            ),
            (
                "volumes",
                r#"[{"name": "v", "ephemeral": {}}]"#,
                "volumes[0].ephemeral.volumeClaimTemplate: Required value",
            ),
            (
                "volumes",
                r#"[{"name": "v", "projected": {"sources": [{"secret": {"name": "s", "items": [{"key": "a", "path": "p"}, {"key": "b", "path": "p"}]}}]}}]"#,
                "volumes[0].projected: Invalid value",
            ),
            (
                "affinity",
                r#"{"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}"#,
                "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value",
            ),
            (
                "affinity",
                r#"{"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]}}"#,
                "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value",
            ),
            (
                "topologySpreadConstraints",
                r#"[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]"#,
                "topologySpreadConstraints[0].maxSkew: Invalid value",
            ),
            ("dnsPolicy", r#""None""#, "dnsConfig: Required value"),
            ("dnsConfig", r#"{"nameservers": ["x"]}"#, "dnsConfig.nameservers[0]: Invalid value"),
            (
                "securityContext",
                r#"{"sysctls": [{"name": "A", "value": "1"}]}"#,
                "securityContext.sysctls[0].name: Invalid value",
            ),
            ("readinessGates", r#"[{"conditionType": "-"}]"#, "readinessGates[0].conditionType: Invalid value"),
            ("initContainers", r#"[{"name": "c", "image": "i"}]"#, "initContainers[0].name: Duplicate value"),
            (
                "initContainers",
                r#"[{"name": "d", "image": "i", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]"#,
                "initContainers[0].lifecycle: Forbidden",
            ),
            (
                "ephemeralContainers",
                r#"[{"name": "d", "image": "i", "ports": [{"containerPort": 1}]}]"#,
                "ephemeralContainers[0].ports: Forbidden",
            ),
            ("preemptionPolicy", r#""Sometimes""#, "preemptionPolicy: Unsupported value"),
        ];
        for (field, value, expected) in cases {
            let mut spec = serde_json::json!({"containers": [{"name": "c", "image": "i"}]});
            spec[field] = serde_json::from_str(value).expect("json");
            let found = problems(spec);
            let expected = format!("spec.{expected}");
            assert!(found.iter().any(|problem| problem.starts_with(&expected)), "{field}: {found:?}");
        }
    }
}
