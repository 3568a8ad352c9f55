//! Containers of all three sorts.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, ContainerPort, EphemeralContainer, PodSpec, Volume};
use reeve_api::validation::{ErrorList, Path, format};

use super::{Names, environment, mounts, one_of, probes, resources, security};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const NOT_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";
const ONLY_RESTARTED: &str = "may not be set for init containers without restartPolicy=Always";

/// What containers may refer to.
pub(super) struct Known<'a> {
    /// The volumes that are in order.
    pub(super) volumes: BTreeMap<&'a str, &'a Volume>,
    /// The pod's resource claims.
    pub(super) claims: Names<'a>,
}

/// Rules of all containers; `path` is the specification's.
pub(super) fn validate(spec: &PodSpec, known: &Known<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    let path_containers = path.child("containers");
    if spec.containers.is_empty() {
        errors.required(&path_containers, "");
    }
    let mut names = BTreeSet::new();
    for (index, container) in spec.containers.iter().enumerate() {
        regular(container, known, &mut names, spec, &path_containers.index(index), errors);
    }
    host_ports(&spec.containers, &path_containers, errors);
    let path_init = path.child("initContainers");
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        init(container, known, &mut names, spec, (&path_init, index), errors);
    }
    let path_ephemeral = path.child("ephemeralContainers");
    for (index, container) in spec.ephemeral_containers.iter().flatten().enumerate() {
        ephemeral(container, known, &mut names, spec, &path_ephemeral.index(index), errors);
    }
}

fn common(container: &Container, known: &Known<'_>, spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if container.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), &container.name, format::dns1123_label(&container.name));
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(&path.child("image"), "");
    }
    one_of(
        container.termination_message_policy.as_deref(),
        &["File", "FallbackToLogsOnError"],
        &path.child("terminationMessagePolicy"),
        errors,
    );
    ports(container.ports.as_deref().unwrap_or_default(), &path.child("ports"), errors);
    let path_env = path.child("env");
    for (index, entry) in container.env.iter().flatten().enumerate() {
        environment::variable(entry, &path_env.index(index), errors);
    }
    let path_env_from = path.child("envFrom");
    for (index, entry) in container.env_from.iter().flatten().enumerate() {
        environment::all_of(entry, &path_env_from, index, errors);
    }
    mounts::validate(container, known, path, errors);
    one_of(
        container.image_pull_policy.as_deref(),
        &["Always", "IfNotPresent", "Never"],
        &path.child("imagePullPolicy"),
        errors,
    );
    if let Some(entry) = &container.resources {
        resources::validate(entry, Some(&known.claims), &path.child("resources"), errors);
    }
    resize_policies(container, spec, &path.child("resizePolicy"), errors);
    if let Some(context) = &container.security_context {
        let own_users = spec.host_users == Some(false);
        security::container(context, own_users, &path.child("securityContext"), errors);
    }
}

/// Upstream names the list where it finds fault with an entry.
fn resize_policies(container: &Container, spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let never = spec.restart_policy.as_deref() == Some("Never");
    let mut seen = BTreeSet::new();
    for (index, policy) in container.resize_policy.iter().flatten().enumerate() {
        if !seen.insert(&policy.resource_name) {
            errors.duplicate(&path.index(index), &policy.resource_name);
        }
        one_of(Some(&policy.resource_name), &["cpu", "memory"], path, errors);
        one_of(Some(&policy.restart_policy), &["NotRequired", "RestartContainer"], path, errors);
        if never && policy.restart_policy != "NotRequired" {
            let why = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid(path, &policy.restart_policy, why);
        }
    }
}

/// What only pods are held to, not templates: images without blanks around them.
pub(super) fn images(containers: &[Container], path: &Path<'_>, errors: &mut ErrorList) {
    for (index, container) in containers.iter().enumerate() {
        trimmed_image(container.image.as_deref(), &path.index(index), errors);
    }
}

pub(super) fn trimmed_image(image: Option<&str>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(image) = image.filter(|image| image.trim() != *image) {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

/// On the host's network a port of a container is one of the host. In a pod it was filled in; in a template it may be
/// left open.
pub(super) fn ports_of_host(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if spec.host_network != Some(true) {
        return;
    }
    let path = path.child("containers");
    for (index, container) in spec.containers.iter().enumerate() {
        let path = path.index(index);
        let path = path.child("ports");
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let number = port.host_port.unwrap_or_default();
            if number != 0 && number != port.container_port {
                let why = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&path.index(index).child("hostPort"), number, why);
            }
        }
    }
}

fn unique<'a>(name: &'a str, names: &mut BTreeSet<&'a str>, path: &Path<'_>, errors: &mut ErrorList) {
    if !name.is_empty() && !names.insert(name) {
        errors.duplicate(&path.child("name"), name);
    }
}

fn grace_seconds(spec: &PodSpec) -> i64 {
    spec.termination_grace_period_seconds.unwrap_or_default()
}

fn regular<'a>(
    container: &'a Container,
    known: &Known<'_>,
    names: &mut BTreeSet<&'a str>,
    spec: &PodSpec,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    common(container, known, spec, path, errors);
    if !names.insert(&container.name) {
        errors.duplicate(&path.child("name"), &container.name);
    }
    if let Some(lifecycle) = &container.lifecycle {
        probes::lifecycle(lifecycle, grace_seconds(spec), &path.child("lifecycle"), errors);
    }
    all_probes(container, path, errors);
    let policy = container.restart_policy.as_deref();
    if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Always" | "Never" | "OnFailure")) {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    }
    restart_rules(container, path, errors);
}

fn restart_rules(container: &Container, path: &Path<'_>, errors: &mut ErrorList) {
    const RULES_MAX: usize = 20;
    let rules = container.restart_policy_rules.as_deref().unwrap_or_default();
    let path_rules = path.child("restartPolicyRules");
    if !rules.is_empty() && container.restart_policy.is_none() {
        errors.required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(&path_rules, rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path_rules.index(index);
        if !matches!(rule.action.as_str(), "Restart" | "RestartAllContainers") {
            errors.not_supported(&path.child("action"), &rule.action, &["Restart", "RestartAllContainers"]);
        }
        match &rule.exit_codes {
            None => errors.required(&path.child("exitCodes"), "must be specified"),
            Some(codes) if !matches!(codes.operator.as_str(), "In" | "NotIn") => {
                let path = path.child("exitCodes");
                errors.not_supported(&path.child("operator"), &codes.operator, &["In", "NotIn"]);
            }
            Some(_) => {}
        }
    }
}

fn all_probes(container: &Container, path: &Path<'_>, errors: &mut ErrorList) {
    for (field, entry) in [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ] {
        if let Some(entry) = entry {
            probes::probe(entry, field != "readinessProbe", &path.child(field), errors);
        }
    }
}

fn init<'a>(
    container: &'a Container,
    known: &Known<'_>,
    names: &mut BTreeSet<&'a str>,
    spec: &PodSpec,
    (list, index): (&Path<'_>, usize),
    errors: &mut ErrorList,
) {
    let path = &list.index(index);
    common(container, known, spec, path, errors);
    let policy = container.restart_policy.as_deref();
    if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Always" | "Never" | "OnFailure")) {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    }
    unique(&container.name, names, path, errors);
    // They run one by one; upstream names the first of them.
    host_ports(std::slice::from_ref(container), list, errors);
    if policy == Some("Always") {
        if let Some(lifecycle) = &container.lifecycle {
            probes::lifecycle(lifecycle, grace_seconds(spec), &path.child("lifecycle"), errors);
        }
        all_probes(container, path, errors);
        return;
    }
    for (field, is_set) in [
        ("lifecycle", container.lifecycle.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ] {
        if is_set {
            errors.forbidden(&path.child(field), ONLY_RESTARTED);
        }
    }
}

fn ephemeral<'a>(
    container: &'a EphemeralContainer,
    known: &Known<'_>,
    names: &mut BTreeSet<&'a str>,
    spec: &PodSpec,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    common(&as_container(container), known, spec, path, errors);
    trimmed_image(container.image.as_deref(), path, errors);
    unique(&container.name, names, path, errors);
    let target = container.target_container_name.as_deref().unwrap_or_default();
    let mut regular = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    if !target.is_empty() && !regular.any(|other| other.name == target) {
        errors.not_found(&path.child("targetContainerName"), target);
    }
    let resources = container.resources.as_ref();
    let has_resources =
        resources.is_some_and(|own| own.limits.is_some() || own.requests.is_some() || own.claims.is_some());
    for (field, is_set) in [
        ("ports", container.ports.as_ref().is_some_and(|ports| !ports.is_empty())),
        ("resources", has_resources),
        ("resizePolicy", container.resize_policy.as_ref().is_some_and(|policies| !policies.is_empty())),
        ("restartPolicy", container.restart_policy.is_some()),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("lifecycle", container.lifecycle.is_some()),
    ] {
        if is_set {
            errors.forbidden(&path.child(field), NOT_EPHEMERAL);
        }
    }
    let path_mounts = path.child("volumeMounts");
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path_mounts.index(index);
        for (field, below) in [("subPath", &mount.sub_path), ("subPathExpr", &mount.sub_path_expr)] {
            if below.as_deref().is_some_and(|below| !below.is_empty()) {
                errors.forbidden(&path.child(field), NOT_EPHEMERAL);
            }
        }
    }
}

/// The part that an ephemeral container shares with others.
fn as_container(container: &EphemeralContainer) -> Container {
    let own = container.clone();
    Container {
        args: own.args,
        command: own.command,
        env: own.env,
        env_from: own.env_from,
        image: own.image,
        image_pull_policy: own.image_pull_policy,
        name: own.name,
        security_context: own.security_context,
        termination_message_path: own.termination_message_path,
        termination_message_policy: own.termination_message_policy,
        volume_devices: own.volume_devices,
        volume_mounts: own.volume_mounts,
        ..Container::default()
    }
}

/// A port of the host is one container's.
fn host_ports(containers: &[Container], path: &Path<'_>, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path_container = path.index(index);
        let path_ports = path_container.child("ports");
        for (index, port) in container.ports.iter().flatten().enumerate() {
            let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
            let protocol = port.protocol.as_deref().unwrap_or_default();
            let shown = format!("{protocol}/{}/{number}", port.host_ip.as_deref().unwrap_or_default());
            if !seen.insert(shown.clone()) {
                errors.duplicate(&path_ports.index(index).child("hostPort"), shown);
            }
        }
    }
}

fn ports(ports: &[ContainerPort], path: &Path<'_>, errors: &mut ErrorList) {
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
        }
        one_of(port.protocol.as_deref(), &PROTOCOLS, &path.child("protocol"), errors);
    }
}
