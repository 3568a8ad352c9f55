//! Hints about pods that are accepted but may not do what is meant (`pkg/api/pod/warnings.go`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, ContainerPort, EnvVar, Pod, PodSpec, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::ObjectMeta;
use reeve_api::quantity::Quantity;
use reeve_api::validation::{Path, format};

/// Labels of nodes that have a newer name; an empty one says that there is none.
const OLD_NODE_LABELS: [(&str, &str, &str); 8] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
    ("failure-domain.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];

const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_CONTAINER_PREFIX: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Hints about a new pod.
pub fn pod(pod: &Pod) -> Vec<String> {
    let mut found = Vec::new();
    let problems = pod.metadata.name.as_deref().map(format::dns1123_label).unwrap_or_default();
    if !problems.is_empty() {
        found.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label \
             is recommended: [{}]",
            problems.join(" ")
        ));
    }
    let empty = PodSpec::default();
    specification(pod.spec.as_ref().unwrap_or(&empty), &pod.metadata, None, &mut found);
    found
}

/// Hints about a template; `path` is the template's.
pub fn pod_template(template: &PodTemplateSpec, path: &Path<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let (empty, metadata) = (PodSpec::default(), template.metadata.clone().unwrap_or_default());
    specification(template.spec.as_ref().unwrap_or(&empty), &metadata, Some(path), &mut found);
    found
}

fn specification(spec: &PodSpec, metadata: &ObjectMeta, root: Option<&Path<'_>>, found: &mut Vec<String>) {
    let (own_spec, own_metadata) = (Path::new("spec"), Path::new("metadata"));
    let path = root.map_or(own_spec, |root| root.child("spec"));
    let path_metadata = root.map_or(own_metadata, |root| root.child("metadata"));
    old_annotations(metadata, spec, &path_metadata.child("annotations"), found);
    for key in spec.node_selector.iter().flatten().map(|(key, _)| key) {
        old_node_label(key, &path.child("nodeSelector").key(key), found);
    }
    affinity_labels(spec, &path, found);
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let list = path.child("topologySpreadConstraints");
        let path = list.index(index);
        old_node_label(&constraint.topology_key, &path.child("topologyKey"), found);
        if constraint.label_selector.is_none() {
            found.push(format!("{}: a null labelSelector results in matching no pod", path.child("labelSelector")));
        }
    }
    let mut addresses = BTreeSet::new();
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if !addresses.insert(&alias.ip) {
            found.push(format!("{}: duplicate ip {:?}", path.child("hostAliases").index(index).child("ip"), alias.ip));
        }
    }
    pull_secrets(spec, &path, found);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        old_volume(volume, &path.child("volumes").index(index), found);
    }
    if spec.overhead.is_some() {
        fractional(spec.overhead.as_ref(), &path.child("overhead"), found);
    }
    for (field, containers) in
        [("initContainers", spec.init_containers.as_deref().unwrap_or_default()), ("containers", &spec.containers)]
    {
        let list = path.child(field);
        for (index, entry) in containers.iter().enumerate() {
            container(entry, &list.index(index), found);
        }
    }
    conflicting_ports(spec, &path, found);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        found.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
}

fn old_annotations(metadata: &ObjectMeta, spec: &PodSpec, path: &Path<'_>, found: &mut Vec<String>) {
    let Some(annotations) = &metadata.annotations else { return };
    if annotations.contains_key("seccomp.security.alpha.kubernetes.io/pod") {
        found.push(format!(
            "{}: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            path.key("seccomp.security.alpha.kubernetes.io/pod")
        ));
    }
    let names = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| &container.name);
    for name in names {
        let seccomp = format!("{SECCOMP_CONTAINER_PREFIX}{name}");
        if annotations.contains_key(&seccomp) {
            found.push(format!(
                "{}: non-functional in v1.27+; use the \"seccompProfile\" field instead",
                path.key(&seccomp)
            ));
        }
        let app_armor = format!("{APP_ARMOR_PREFIX}{name}");
        if annotations.contains_key(&app_armor) {
            found.push(format!(
                "{}: deprecated since v1.30; use the \"appArmorProfile\" field instead",
                path.key(&app_armor)
            ));
        }
    }
}

fn old_node_label(key: &str, path: &Path<'_>, found: &mut Vec<String>) {
    if let Some((_, since, new)) = OLD_NODE_LABELS.iter().find(|(old, _, _)| *old == key) {
        found.push(format!("{path}: deprecated since {since}; use {new:?} instead"));
    }
}

fn affinity_labels(spec: &PodSpec, path: &Path<'_>, found: &mut Vec<String>) {
    let Some(node) = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()) else { return };
    let path_affinity = path.child("affinity");
    let path = path_affinity.child("nodeAffinity");
    let required = path.child("requiredDuringSchedulingIgnoredDuringExecution");
    let terms = node.required_during_scheduling_ignored_during_execution.iter();
    for (index, term) in terms.flat_map(|required| &required.node_selector_terms).enumerate() {
        let list = required.child("nodeSelectorTerms");
        let path = list.index(index);
        for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
            old_node_label(&requirement.key, &path.child("matchExpressions").index(index).child("key"), found);
        }
    }
    let preferred = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = node.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in terms.enumerate() {
        let path = preferred.index(index);
        let path = path.child("preference");
        for (index, requirement) in term.preference.match_expressions.iter().flatten().enumerate() {
            old_node_label(&requirement.key, &path.child("matchExpressions").index(index).child("key"), found);
        }
    }
}

fn pull_secrets(spec: &PodSpec, path: &Path<'_>, found: &mut Vec<String>) {
    let list = path.child("imagePullSecrets");
    let mut names = BTreeSet::new();
    let mut empty = Vec::new();
    for (index, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let path = list.index(index);
        if secret.name.is_empty() {
            empty.push(format!("{}: invalid empty name {:?}", path.child("name"), secret.name));
        } else if !names.insert(&secret.name) {
            found.push(format!("{}: duplicate name {:?}", path.child("name"), secret.name));
        }
    }
    found.append(&mut empty);
}

fn old_volume(volume: &Volume, path: &Path<'_>, found: &mut Vec<String>) {
    for (field, is_set, since) in [
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some(), "v1.11, non-functional in v1.16+"),
        ("gitRepo", volume.git_repo.is_some(), "v1.11, and disabled by default in v1.33+"),
        ("scaleIO", volume.scale_io.is_some(), "v1.16, non-functional in v1.22+"),
        ("flocker", volume.flocker.is_some(), "v1.22, non-functional in v1.25+"),
        ("storageOS", volume.storageos.is_some(), "v1.22, non-functional in v1.25+"),
        ("quobyte", volume.quobyte.is_some(), "v1.22, non-functional in v1.25+"),
        ("glusterfs", volume.glusterfs.is_some(), "v1.25, non-functional in v1.26+"),
        ("cephfs", volume.cephfs.is_some(), "v1.28, non-functional in v1.31+"),
        ("rbd", volume.rbd.is_some(), "v1.28, non-functional in v1.31+"),
    ] {
        if is_set {
            found.push(format!("{}: deprecated in {since}", path.child(field)));
        }
    }
    let template = volume.ephemeral.as_ref().and_then(|ephemeral| ephemeral.volume_claim_template.as_ref());
    let requests = template.and_then(|template| template.spec.resources.as_ref()?.requests.as_ref());
    if let Some(storage) = requests.and_then(|requests| requests.get("storage")).filter(|amount| !is_whole(amount)) {
        let claim = path.child("ephemeral");
        let claim = claim.child("volumeClaimTemplate");
        found.push(format!(
            "{}: fractional byte value {:?} is invalid, must be an integer",
            claim.child("spec").child("resources").child("requests").key("storage"),
            storage.0
        ));
    }
}

fn is_whole(amount: &Text) -> bool {
    Quantity::parse(amount).map_or(true, Quantity::is_whole)
}

fn fractional(amounts: Option<&BTreeMap<String, Text>>, path: &Path<'_>, found: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        if let Some(amount) = amounts.and_then(|amounts| amounts.get(name)).filter(|amount| !is_whole(amount)) {
            found.push(format!(
                "{}: fractional byte value {:?} is invalid, must be an integer",
                path.key(name),
                amount.0
            ));
        }
    }
}

fn container(container: &Container, path: &Path<'_>, found: &mut Vec<String>) {
    if let Some(resources) = &container.resources {
        let path = path.child("resources");
        fractional(resources.requests.as_ref(), &path.child("requests"), found);
        fractional(resources.limits.as_ref(), &path.child("limits"), found);
    }
    repeated_environment(container.env.as_deref().unwrap_or_default(), &path.child("env"), found);
    repeated_ports(container.ports.as_deref().unwrap_or_default(), &path.child("ports"), found);
}

fn repeated_environment(variables: &[EnvVar], path: &Path<'_>, found: &mut Vec<String>) {
    let mut seen: BTreeMap<&str, &EnvVar> = BTreeMap::new();
    for (index, variable) in variables.iter().enumerate() {
        if let Some(before) = seen.insert(&variable.name, variable) {
            // A value that extends the one before does not hide it.
            let extends = variable.value.as_deref().is_some_and(|value| value.contains(&format!("$({})", before.name)));
            if !extends {
                found.push(format!(
                    "{}: hides previous definition of {:?}, which may be dropped when using apply",
                    path.index(index),
                    variable.name
                ));
            }
        }
    }
}

fn repeated_ports(ports: &[ContainerPort], path: &Path<'_>, found: &mut Vec<String>) {
    for (index, port) in ports.iter().enumerate() {
        let same = |other: &&ContainerPort| {
            let fits = |own: Option<&String>, other: Option<&String>| own == other;
            let address = |port: &ContainerPort| port.host_ip.clone().unwrap_or_default();
            other.container_port == port.container_port
                && fits(other.protocol.as_ref(), port.protocol.as_ref())
                && other.host_port.unwrap_or_default() == port.host_port.unwrap_or_default()
                && address(other) == address(port)
        };
        if let Some(first) = ports[..index].iter().position(|other| same(&other)) {
            found.push(format!("{}: duplicate port definition with {}", path.index(index), path.index(first)));
        }
    }
}

/// Containers share the pod's network: a number can be listened on once.
fn conflicting_ports(spec: &PodSpec, path: &Path<'_>, found: &mut Vec<String>) {
    let list = path.child("containers");
    let mut seen: Vec<(usize, usize, &ContainerPort)> = Vec::new();
    for (index, container) in spec.containers.iter().enumerate() {
        for (number, port) in container.ports.iter().flatten().enumerate() {
            let first = seen.iter().find(|(other, _, earlier)| {
                *other != index && earlier.container_port == port.container_port && earlier.protocol == port.protocol
            });
            if let Some((other, other_number, _)) = first {
                let earlier = list.index(*other);
                let here = list.index(index);
                found.push(format!(
                    "{}: duplicate port definition with {}",
                    here.child("ports").index(number),
                    earlier.child("ports").index(*other_number)
                ));
            }
            seen.push((index, number, port));
        }
    }
}
