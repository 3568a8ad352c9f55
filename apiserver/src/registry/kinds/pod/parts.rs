//! The parts of a pod that have a subresource: its resources and its ephemeral containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use reeve_api::validation::{ErrorList, Path};

use crate::registry::pod_template::quality_of_service;

const RESIZE: &str = "resize";

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
        if spec.resources.is_some() {
            spec.resources = asked.resources;
        }
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
    if quality_of_service::class(new_spec) != quality_of_service::class(old_spec) {
        let class = pod.status.as_ref().and_then(|status| status.qos_class.clone()).unwrap_or_default();
        errors.invalid(&path, class, "Pod QOS Class may not change as a result of resizing");
    }
    for (field, new, old) in [
        ("containers", new_spec.containers.as_slice(), old_spec.containers.as_slice()),
        (
            "initContainers",
            new_spec.init_containers.as_deref().unwrap_or_default(),
            old_spec.init_containers.as_deref().unwrap_or_default(),
        ),
    ] {
        let path = path.child(field);
        for (index, (new, old)) in new.iter().zip(old).enumerate() {
            let path = path.index(index);
            let (empty_new, empty_old) = (ResourceRequirements::default(), ResourceRequirements::default());
            let new_resources = new.resources.as_ref().unwrap_or(&empty_new);
            let old_resources = old.resources.as_ref().unwrap_or(&empty_old);
            resources(new_resources, old_resources, &path.child("resources"), errors);
            if field == "initContainers"
                && new_resources != old_resources
                && new.restart_policy.as_deref() != Some("Always")
            {
                errors.forbidden(&path.child("resources"), "resources for non-sidecar init containers are immutable");
            }
        }
    }
}

fn resources(new: &ResourceRequirements, old: &ResourceRequirements, path: &Path<'_>, errors: &mut ErrorList) {
    type Amounts = BTreeMap<String, Quantity>;
    let fixed = |amounts: &Option<Amounts>| {
        let mut amounts = amounts.clone().unwrap_or_default();
        amounts.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
        amounts
    };
    if fixed(&new.limits) != fixed(&old.limits)
        || fixed(&new.requests) != fixed(&old.requests)
        || new.claims != old.claims
    {
        errors.forbidden(path, "only cpu and memory resources are mutable");
    }
    let lost = |new: &Option<Amounts>, old: &Option<Amounts>| {
        let kept = |name: &String| new.as_ref().is_some_and(|new| new.contains_key(name));
        old.iter().flatten().any(|(name, _)| !kept(name))
    };
    if lost(&new.limits, &old.limits) {
        errors.forbidden(&path.child("limits"), "resource limits cannot be removed");
    }
    if lost(&new.requests, &old.requests) {
        errors.forbidden(&path.child("requests"), "resource requests cannot be removed");
    }
}

fn ephemeral_containers(pod: &Pod, old: &Pod, errors: &mut ErrorList) {
    let of = |pod: &Pod| {
        let spec = pod.spec.clone().unwrap_or_default();
        spec.ephemeral_containers.unwrap_or_default()
    };
    let path = Path::new("spec");
    let path = path.child("ephemeralContainers");
    let annotations = pod.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key("kubernetes.io/config.mirror")) {
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
