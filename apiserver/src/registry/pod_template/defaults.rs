//! Defaults of a pod's specification (`pkg/apis/core/v1/defaults.go`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EphemeralContainer, HTTPGetAction, Lifecycle, LifecycleHandler,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceFieldSelector,
    ResourceRequirements, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;

/// `0644`.
const FILE_MODE: i32 = 0o644;
const TOKEN_SECONDS: i64 = 60 * 60;

pub(in crate::registry) fn fill<T: Into<String>>(field: &mut Option<String>, value: T) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.into());
    }
}

/// Defaults of a template.
pub fn pod_template(template: &mut PodTemplateSpec) {
    template.metadata.get_or_insert_default();
    pod_spec(template.spec.get_or_insert_default());
}

/// Defaults that pods and templates share.
pub fn pod_spec(spec: &mut PodSpec) {
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_with(PodSecurityContext::default);
    spec.termination_grace_period_seconds.get_or_insert(30);
    // The old name of the field follows the new one.
    match (&spec.service_account_name, &spec.service_account) {
        (Some(name), _) if !name.is_empty() => spec.service_account = Some(name.clone()),
        (_, Some(name)) if !name.is_empty() => spec.service_account_name = Some(name.clone()),
        _ => {}
    }
    for flag in [&mut spec.host_network, &mut spec.host_pid, &mut spec.host_ipc] {
        // `false` is not written.
        if *flag == Some(false) {
            *flag = None;
        }
    }
    for entry in spec.volumes.iter_mut().flatten() {
        volume(entry);
    }
    for entry in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        container(entry);
    }
    for entry in spec.ephemeral_containers.iter_mut().flatten() {
        ephemeral_container(entry);
    }
    canonical_map(&mut spec.overhead);
    if let Some(resources) = &mut spec.resources {
        canonical_resources(resources);
    }
}

/// Defaults that only pods have.
pub fn pod_only(spec: &mut PodSpec) {
    spec.enable_service_links.get_or_insert(true);
    let host_network = spec.host_network == Some(true);
    for entry in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        // A limit without a request is the request.
        if let Some(resources) = &mut entry.resources
            && let Some(limits) = &resources.limits
        {
            for (name, limit) in limits {
                resources.requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
            }
        }
        if host_network {
            for port in entry.ports.iter_mut().flatten() {
                if port.host_port.unwrap_or_default() == 0 {
                    port.host_port = Some(port.container_port);
                }
            }
        }
    }
}

fn container(container: &mut Container) {
    let image = container.image.as_deref().unwrap_or_default();
    fill(&mut container.image_pull_policy, pull_policy(image));
    fill(&mut container.termination_message_path, "/dev/termination-log");
    fill(&mut container.termination_message_policy, "File");
    canonical_resources(container.resources.get_or_insert_default());
    for port in container.ports.iter_mut().flatten() {
        fill(&mut port.protocol, "TCP");
    }
    for entry in container.env.iter_mut().flatten() {
        environment(entry);
    }
    for entry in [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe]
        .into_iter()
        .flatten()
    {
        probe(entry);
    }
    if let Some(entry) = &mut container.lifecycle {
        lifecycle(entry);
    }
}

fn ephemeral_container(container: &mut EphemeralContainer) {
    let image = container.image.as_deref().unwrap_or_default();
    fill(&mut container.image_pull_policy, pull_policy(image));
    fill(&mut container.termination_message_path, "/dev/termination-log");
    fill(&mut container.termination_message_policy, "File");
    canonical_resources(container.resources.get_or_insert_default());
    for entry in container.env.iter_mut().flatten() {
        environment(entry);
    }
}

/// Images that may change under their name are pulled each time.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or_default();
    let (name, has_digest) = match name.split_once('@') {
        Some((name, _)) => (name, true),
        None => (name, false),
    };
    match name.rsplit_once(':') {
        Some((_, "latest")) => "Always",
        None if !has_digest => "Always",
        _ => "IfNotPresent",
    }
}

fn environment(variable: &mut EnvVar) {
    if let Some(source) = &mut variable.value_from {
        if let Some(field) = &mut source.field_ref {
            field_reference(field);
        }
        if let Some(field) = &mut source.resource_field_ref {
            resource_reference(field);
        }
    }
}

fn field_reference(field: &mut ObjectFieldSelector) {
    fill(&mut field.api_version, "v1");
}

fn resource_reference(field: &mut ResourceFieldSelector) {
    let divisor = field.divisor.get_or_insert_with(|| Text("0".into()));
    divisor.0 = Quantity::canonical(&divisor.0);
}

fn probe(probe: &mut Probe) {
    for (field, value) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if field.unwrap_or_default() == 0 {
            *field = Some(value);
        }
    }
    if let Some(action) = &mut probe.http_get {
        http_get(action);
    }
    if let Some(action) = &mut probe.grpc {
        action.service.get_or_insert_default();
    }
}

fn http_get(action: &mut HTTPGetAction) {
    fill(&mut action.path, "/");
    fill(&mut action.scheme, "HTTP");
}

fn lifecycle(lifecycle: &mut Lifecycle) {
    let hooks = [&mut lifecycle.post_start, &mut lifecycle.pre_stop];
    for hook in hooks.into_iter().flatten() {
        let LifecycleHandler { http_get: action, .. } = hook;
        if let Some(action) = action {
            http_get(action);
        }
    }
}

/// Whether nothing but the name of a volume is set.
fn has_no_source(volume: &Volume) -> bool {
    *volume == Volume { name: volume.name.clone(), ..Volume::default() }
}

fn volume(volume: &mut Volume) {
    if has_no_source(volume) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(limit) = volume.empty_dir.as_mut().and_then(|source| source.size_limit.as_mut()) {
        limit.0 = Quantity::canonical(&limit.0);
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.host_path {
        source.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
        for item in source.items.iter_mut().flatten() {
            if let Some(field) = &mut item.field_ref {
                field_reference(field);
            }
            if let Some(field) = &mut item.resource_field_ref {
                resource_reference(field);
            }
        }
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(FILE_MODE);
        for entry in source.sources.iter_mut().flatten() {
            projection(entry);
        }
    }
    if let Some(template) = volume.ephemeral.as_mut().and_then(|source| source.volume_claim_template.as_mut()) {
        fill(&mut template.spec.volume_mode, "Filesystem");
    }
    if let Some(source) = &mut volume.image {
        let reference = source.reference.as_deref().unwrap_or_default();
        fill(&mut source.pull_policy, pull_policy(reference));
    }
    if let Some(source) = &mut volume.iscsi {
        fill(&mut source.iscsi_interface, "default");
    }
    if let Some(source) = &mut volume.rbd {
        fill(&mut source.pool, "rbd");
        fill(&mut source.user, "admin");
        fill(&mut source.keyring, "/etc/ceph/keyring");
    }
    if let Some(source) = &mut volume.azure_disk {
        source.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
        source.kind.get_or_insert_with(|| "Shared".to_owned());
        source.fs_type.get_or_insert_with(|| "ext4".to_owned());
        source.read_only.get_or_insert(false);
    }
    if let Some(source) = &mut volume.scale_io {
        fill(&mut source.storage_mode, "ThinProvisioned");
        fill(&mut source.fs_type, "xfs");
    }
}

fn projection(source: &mut VolumeProjection) {
    if let Some(token) = &mut source.service_account_token {
        token.expiration_seconds.get_or_insert(TOKEN_SECONDS);
    }
    if let Some(downward) = &mut source.downward_api {
        for item in downward.items.iter_mut().flatten() {
            if let Some(field) = &mut item.field_ref {
                field_reference(field);
            }
            if let Some(field) = &mut item.resource_field_ref {
                resource_reference(field);
            }
        }
    }
}

pub(in crate::registry) fn canonical_map(amounts: &mut Option<BTreeMap<String, Text>>) {
    for amount in amounts.iter_mut().flat_map(BTreeMap::values_mut) {
        let canonical = Quantity::canonical(&amount.0);
        if canonical != amount.0 {
            amount.0 = canonical;
        }
    }
}

fn canonical_resources(resources: &mut ResourceRequirements) {
    canonical_map(&mut resources.requests);
    canonical_map(&mut resources.limits);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_may_change_are_pulled_always() {
        for (image, policy) in [
            ("busybox", "Always"),
            ("busybox:latest", "Always"),
            ("busybox:1", "IfNotPresent"),
            ("host:5000/busybox", "Always"),
            ("host:5000/busybox:2", "IfNotPresent"),
            ("busybox@sha256:aa", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn defaults_are_stable() {
        let mut spec = PodSpec {
            containers: vec![Container {
                name: "c".into(),
                image: Some("i:1".into()),
                readiness_probe: Some(Probe::default()),
                ..Container::default()
            }],
            volumes: Some(vec![Volume { name: "v".into(), ..Volume::default() }]),
            ..PodSpec::default()
        };
        pod_spec(&mut spec);
        pod_only(&mut spec);
        let first = spec.clone();
        pod_spec(&mut spec);
        pod_only(&mut spec);
        assert_eq!(spec, first);
        assert!(first.volumes.expect("volumes")[0].empty_dir.is_some());
    }
}
