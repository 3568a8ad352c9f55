//! The parts of a pod that have a subresource: its resources and its ephemeral containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use reeve_api::validation::{ErrorList, Path};

use crate::registry::pod_template::quality_of_service;

const RESIZE: &str = "resize";
/// The annotation of the API's images of static pods.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Puts back everything that the subresource does not change.
pub(super) fn keep_rest(subresource: &str, pod: &mut Pod, old: &Pod) {
    let asked = std::mem::replace(pod, Pod { metadata: pod.metadata.clone(), ..old.clone() });
    pod.metadata.labels.clone_from(&old.metadata.labels);
    pod.metadata.annotations.clone_from(&old.metadata.annotations);
    pod.metadata.owner_references.clone_from(&old.metadata.owner_references);
    pod.metadata.finalizers.clone_from(&old.metadata.finalizers);
    let (Some(spec), Some(asked)) = (&mut pod.spec, asked.spec) else { return };
    if subresource == RESIZE {
        resize(&mut spec.containers, &asked.containers);
        resize(
            spec.init_containers.as_deref_mut().unwrap_or_default(),
            asked.init_containers.as_deref().unwrap_or_default(),
        );
        spec.resources = asked.resources;
    } else {
        spec.ephemeral_containers = asked.ephemeral_containers;
    }
}

fn resize(containers: &mut [Container], asked: &[Container]) {
    for container in containers {
        if let Some(asked) = asked.iter().find(|asked| asked.name == container.name) {
            container.resources.clone_from(&asked.resources);
            container.resize_policy.clone_from(&asked.resize_policy);
        }
    }
}

/// Rules of a change.
pub(super) fn validate(subresource: &str, pod: &Pod, old: &Pod, errors: &mut ErrorList) {
    let (Some(new_spec), Some(old_spec)) = (&pod.spec, &old.spec) else { return };
    let path = Path::new("spec");
    if subresource != RESIZE {
        ephemeral_containers(pod, old, errors);
        return;
    }
    let marks = old.metadata.annotations.as_ref();
    if marks.is_some_and(|marks| marks.contains_key(MIRROR)) {
        errors.forbidden(&Path::new(""), "static pods cannot be resized");
        return;
    }
    if old_spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        errors.forbidden(&Path::new(""), "windows pods cannot be resized");
        return;
    }
    if quality_of_service::class(new_spec) != quality_of_service::class(old_spec) {
        let class = pod.status.as_ref().and_then(|status| status.qos_class.clone()).unwrap_or_default();
        errors.invalid(&path, class, "Pod QOS Class may not change as a result of resizing");
    }
    let statuses = old.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut running = statuses.filter(|own| own.state.as_ref().is_some_and(|state| state.running.is_some()));
    if running.next().is_some_and(|own| own.resources.is_none()) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    of_pod(new_spec, old_spec, &path, errors);
    for (field, new, old) in [
        (
            "initContainers",
            new_spec.init_containers.as_deref().unwrap_or_default(),
            old_spec.init_containers.as_deref().unwrap_or_default(),
        ),
        ("containers", new_spec.containers.as_slice(), old_spec.containers.as_slice()),
    ] {
        let list = path.child(field);
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            let own = list.index(index);
            let path_resources = own.child("resources");
            let (empty_new, empty_old) = (ResourceRequirements::default(), ResourceRequirements::default());
            let new_resources = new.resources.as_ref().unwrap_or(&empty_new);
            let old_resources = old.resources.as_ref().unwrap_or(&empty_old);
            if lost(&new_resources.requests, &old_resources.requests) {
                errors.forbidden(&path_resources.child("requests"), "resource requests cannot be removed");
            }
            if lost(&new_resources.limits, &old_resources.limits) {
                errors.forbidden(&path_resources.child("limits"), "resource limits cannot be removed");
            }
            let others = changes_others(new_resources, old_resources);
            if field == "containers" {
                if others {
                    errors.forbidden(&path, "only cpu and memory resources are mutable");
                }
                continue;
            }
            if others {
                errors.forbidden(&own, "only cpu and memory resources for init or sidecar containers are mutable");
            }
            let mut policies = new.resize_policy.iter().flatten();
            if new != old
                && new.restart_policy.as_deref() != Some("Always")
                && policies.any(|policy| policy.restart_policy == "RestartContainer")
            {
                let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.forbidden(&own, why);
            }
        }
    }
}

/// Rules for what the pod asks for as a whole.
fn of_pod(new: &PodSpec, old: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let own = path.child("resources");
    match (&new.resources, &old.resources) {
        (None, None) => {}
        (None, Some(old)) if old.requests.is_none() && old.limits.is_none() => {}
        (None, Some(_)) => errors.forbidden(&own, "pod-level resources cannot be removed"),
        (Some(new), old) => {
            let old = old.clone().unwrap_or_default();
            if lost(&new.requests, &old.requests) {
                errors.forbidden(&own.child("requests"), "pod-level resource requests cannot be removed");
            }
            if lost(&new.limits, &old.limits) {
                errors.forbidden(&own.child("limits"), "pod-level resource limits cannot be removed");
            }
            if changes_others(new, &old) {
                errors.forbidden(path, "only cpu and memory resources are mutable at pod-level");
            }
        }
    }
}

type Amounts = BTreeMap<String, Quantity>;

/// Whether anything but CPU and memory differs.
fn changes_others(new: &ResourceRequirements, old: &ResourceRequirements) -> bool {
    let fixed = |amounts: &Option<Amounts>| {
        let mut amounts = amounts.clone().unwrap_or_default();
        amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        amounts
    };
    fixed(&new.limits) != fixed(&old.limits) || fixed(&new.requests) != fixed(&old.requests) || new.claims != old.claims
}

/// Whether an amount is named no more.
fn lost(new: &Option<Amounts>, old: &Option<Amounts>) -> bool {
    let kept = |name: &String| new.as_ref().is_some_and(|new| new.contains_key(name));
    old.iter().flatten().any(|(name, _)| !kept(name))
}

fn ephemeral_containers(pod: &Pod, old: &Pod, errors: &mut ErrorList) {
    let of = |pod: &Pod| {
        let spec = pod.spec.clone().unwrap_or_default();
        spec.ephemeral_containers.unwrap_or_default()
    };
    let path = Path::new("spec");
    let path = path.child("ephemeralContainers");
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(MIRROR)) {
        errors.forbidden(&Path::new(""), "static pods do not support ephemeral containers");
    }
    let new = of(pod);
    for container in of(old) {
        match new.iter().find(|other| other.name == container.name) {
            None => errors
                .forbidden(&path, format!("existing ephemeral containers {:?} may not be removed\n", container.name)),
            Some(other) if *other != container => errors
                .forbidden(&path, format!("existing ephemeral containers {:?} may not be changed\n", container.name)),
            Some(_) => {}
        }
    }
}
