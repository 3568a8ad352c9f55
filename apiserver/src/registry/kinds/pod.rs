//! Pod: containers that run together on a node.

mod change;
mod parts;
mod placement;
mod status;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodIP, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::validation::{ErrorList, Path};

use crate::registry::pod_template::{defaults, quality_of_service, validation, warnings};
use crate::registry::strategy::{RequestContext, Strategy};

/// The strategy.
pub struct Pods;

impl Strategy for Pods {
    type Object = Pod;

    fn default(&self, pod: &mut Pod) {
        let spec = pod.spec.get_or_insert_default();
        defaults::pod_spec(spec);
        defaults::pod_only(spec);
        // A negative time means at once.
        spec.termination_grace_period_seconds =
            spec.termination_grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
        if let Some(status) = &mut pod.status {
            // The first of the addresses is the address.
            let first = status.pod_ips.iter().flatten().next().map(|address| address.ip.clone());
            match (status.pod_ip.clone().filter(|address| !address.is_empty()), first) {
                (Some(address), first) if first.as_ref() != Some(&address) => {
                    status.pod_ips = Some(vec![PodIP { ip: address }]);
                }
                (None, Some(first)) => status.pod_ip = Some(first),
                _ => {}
            }
        }
    }

    fn prepare_for_create(&self, context: &RequestContext, pod: &mut Pod) {
        pod.metadata.generation = Some(1);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let annotations = pod.metadata.annotations.clone().unwrap_or_default();
        let spec = pod.spec.get_or_insert_default();
        placement::follow_own_labels(spec, &labels);
        placement::follow_annotations(spec, &annotations);
        let mut status = k8s_openapi::api::core::v1::PodStatus {
            phase: Some("Pending".to_owned()),
            qos_class: Some(quality_of_service::class(spec).to_owned()),
            ..Default::default()
        };
        if is_gated(spec) {
            status.conditions = Some(vec![PodCondition {
                type_: "PodScheduled".to_owned(),
                status: "False".to_owned(),
                reason: Some("SchedulingGated".to_owned()),
                message: Some("Scheduling is blocked due to non-empty scheduling gates".to_owned()),
                last_transition_time: Some(Time(context.now)),
                ..PodCondition::default()
            }]);
        }
        pod.status = Some(status);
    }

    fn validate(&self, pod: &Pod) -> ErrorList {
        let mut errors = rules(pod);
        let Some(spec) = &pod.spec else { return errors };
        let path = Path::new("spec");
        if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
            errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
        }
        if is_gated(spec) && spec.node_name.as_deref().is_some_and(|node| !node.is_empty()) {
            errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
        }
        validation::pod_annotations_agree(pod, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, pod: &mut Pod, old: &Pod) {
        pod.status.clone_from(&old.status);
        pod.metadata.generation = next_generation(old, pod.spec != old.spec);
    }

    fn validate_update(&self, pod: &Pod, old: &Pod) -> ErrorList {
        let mut errors = rules(pod);
        change::validate(pod, old, &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _context: &RequestContext, pod: &mut Pod, old: &Pod) {
        pod.spec.clone_from(&old.spec);
        pod.metadata.generation = old.metadata.generation;
        pod.metadata.owner_references.clone_from(&old.metadata.owner_references);
        let class = pod.spec.as_ref().map(|spec| quality_of_service::class(spec).to_owned());
        let before = old.status.as_ref().and_then(|status| status.qos_class.clone());
        pod.status.get_or_insert_default().qos_class = before.or(class);
    }

    fn validate_status_update(&self, pod: &Pod, old: &Pod) -> ErrorList {
        status::validate(pod, old)
    }

    fn prepare_for_subresource_update(&self, subresource: &str, _context: &RequestContext, pod: &mut Pod, old: &Pod) {
        parts::keep_rest(subresource, pod, old);
        pod.metadata.generation = next_generation(old, pod.spec != old.spec);
    }

    fn validate_subresource_update(&self, subresource: &str, pod: &Pod, old: &Pod) -> ErrorList {
        let mut errors = rules(pod);
        parts::validate(subresource, pod, old, &mut errors);
        errors
    }

    fn grace_period_seconds(&self, pod: &Pod, requested: Option<i64>) -> Option<i64> {
        let spec = pod.spec.as_ref();
        let own = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(0);
        let seconds = requested.unwrap_or(own);
        let unscheduled = spec.and_then(|spec| spec.node_name.as_deref()).unwrap_or_default().is_empty();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if unscheduled || matches!(phase, Some("Failed" | "Succeeded")) {
            return Some(0);
        }
        Some(if seconds < 0 { 1 } else { seconds })
    }

    /// People seldom update pods themselves, so only new ones are looked at.
    fn warnings(&self, pod: &Pod, old: Option<&Pod>) -> Vec<String> {
        if old.is_some() { Vec::new() } else { warnings::pod(pod) }
    }

    fn field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }

    fn fields(&self, pod: &Pod) -> Vec<(&'static str, String)> {
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let of_spec =
            |get: fn(&PodSpec) -> &Option<String>| spec.and_then(|spec| get(spec).clone()).unwrap_or_default();
        let of_status = |get: fn(&k8s_openapi::api::core::v1::PodStatus) -> &Option<String>| {
            status.and_then(|status| get(status).clone()).unwrap_or_default()
        };
        let host_network = spec.is_some_and(|spec| spec.host_network == Some(true));
        vec![
            ("spec.nodeName", of_spec(|spec| &spec.node_name)),
            ("spec.restartPolicy", of_spec(|spec| &spec.restart_policy)),
            ("spec.schedulerName", of_spec(|spec| &spec.scheduler_name)),
            ("spec.serviceAccountName", of_spec(|spec| &spec.service_account_name)),
            ("spec.hostNetwork", host_network.to_string()),
            ("status.phase", of_status(|status| &status.phase)),
            ("status.podIP", of_status(|status| &status.pod_ip)),
            ("status.nominatedNodeName", of_status(|status| &status.nominated_node_name)),
        ]
    }
}

/// Rules that hold for pods at all times.
fn rules(pod: &Pod) -> ErrorList {
    let mut errors = ErrorList::new();
    validation::pod(pod, &mut errors);
    errors
}

fn is_gated(spec: &PodSpec) -> bool {
    spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())
}

fn next_generation(old: &Pod, changed: bool) -> Option<i64> {
    let generation = old.metadata.generation.unwrap_or(1);
    Some(if changed { generation + 1 } else { generation })
}
