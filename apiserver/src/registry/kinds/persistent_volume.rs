//! PersistentVolume: storage of the cluster.

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, HostPathVolumeSource, PersistentVolume, PersistentVolumeSpec, PersistentVolumeStatus,
    SecretReference,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::{difference, protection, rules};
use crate::registry::strategy::{RequestContext, Strategy};

pub(super) const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub(super) const MODES: [&str; 2] = ["Block", "Filesystem"];
const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
const NO_BACKSTEPS: &str = "must not contain '..'";

/// The strategy.
pub struct PersistentVolumes;

impl Strategy for PersistentVolumes {
    type Object = PersistentVolume;

    fn default(&self, volume: &mut PersistentVolume) {
        let spec = volume.spec.get_or_insert_default();
        rules::canonical(spec.capacity.as_mut());
        fill(&mut spec.persistent_volume_reclaim_policy, "Retain");
        fill(&mut spec.volume_mode, "Filesystem");
        default_source(spec);
        let status = volume.status.get_or_insert_default();
        fill(&mut status.phase, "Pending");
    }

    fn prepare_for_create(&self, context: &RequestContext, volume: &mut PersistentVolume) {
        volume.status = Some(PersistentVolumeStatus {
            phase: Some("Pending".to_owned()),
            last_phase_transition_time: Some(Time(context.now)),
            ..PersistentVolumeStatus::default()
        });
    }

    fn admit_create(&self, _context: &RequestContext, volume: &mut PersistentVolume) {
        protection::protect(&mut volume.metadata, "kubernetes.io/pv-protection");
    }

    fn validate(&self, volume: &PersistentVolume) -> ErrorList {
        let mut errors = ErrorList::new();
        let empty = PersistentVolumeSpec::default();
        validate_spec(volume.spec.as_ref().unwrap_or(&empty), &Path::new("spec"), &mut errors);
        errors
    }

    fn prepare_for_update(&self, _context: &RequestContext, volume: &mut PersistentVolume, old: &PersistentVolume) {
        volume.status.clone_from(&old.status);
    }

    fn validate_update(&self, volume: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
        let mut errors = self.validate(volume);
        let (Some(new), Some(old)) = (&volume.spec, &old.spec) else { return errors };
        let path = Path::new("spec");
        let (before, after) = (source_only(old), source_only(new));
        if before != after {
            let shown = difference::unified(&before, &after);
            let why = format!("spec.persistentvolumesource is immutable after creation\n{shown}");
            errors.forbidden(&path.child("persistentvolumesource"), why);
        }
        rules::immutable(&new.volume_mode, &old.volume_mode, &path.child("volumeMode"), &mut errors);
        if old.node_affinity.is_some() && new.node_affinity != old.node_affinity {
            errors.invalid(&path.child("nodeAffinity"), BadValue::json(&new.node_affinity), "field is immutable");
        }
        errors
    }

    fn prepare_for_status_update(
        &self,
        context: &RequestContext,
        volume: &mut PersistentVolume,
        old: &PersistentVolume,
    ) {
        volume.spec.clone_from(&old.spec);
        let phase = |volume: &PersistentVolume| volume.status.as_ref().and_then(|status| status.phase.clone());
        let changed = phase(volume) != phase(old);
        let before = old.status.as_ref().and_then(|status| status.last_phase_transition_time.clone());
        let status = volume.status.get_or_insert_default();
        if changed && status.last_phase_transition_time == before {
            status.last_phase_transition_time = Some(Time(context.now));
        }
    }

    fn warnings(&self, volume: &PersistentVolume, _old: Option<&PersistentVolume>) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(spec) = &volume.spec else { return warnings };
        if spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
            let text = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                        recommended approach is to use dynamic provisioning.";
            warnings.push(text.to_owned());
        }
        for (is_set, text) in [
            (spec.cephfs.is_some(), "spec.cephfs: deprecated in v1.28, non-functional in v1.31+"),
            (
                spec.photon_persistent_disk.is_some(),
                "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
            ),
            (spec.rbd.is_some(), "spec.rbd: deprecated in v1.28, non-functional in v1.31+"),
            (spec.scale_io.is_some(), "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+"),
            (spec.storageos.is_some(), "spec.storageOS: deprecated in v1.22, non-functional in v1.25+"),
            (spec.glusterfs.is_some(), "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+"),
        ] {
            if is_set {
                warnings.push(text.to_owned());
            }
        }
        warnings
    }
}

fn fill(field: &mut Option<String>, value: &str) {
    if field.as_deref().unwrap_or_default().is_empty() {
        *field = Some(value.to_owned());
    }
}

fn default_source(spec: &mut PersistentVolumeSpec) {
    if let Some(host) = &mut spec.host_path {
        host.type_.get_or_insert_default();
    }
    if let Some(disk) = &mut spec.iscsi {
        fill(&mut disk.iscsi_interface, "default");
    }
    if let Some(disk) = &mut spec.rbd {
        fill(&mut disk.pool, "rbd");
        fill(&mut disk.user, "admin");
        fill(&mut disk.keyring, "/etc/ceph/keyring");
    }
    if let Some(disk) = &mut spec.azure_disk {
        disk.caching_mode.get_or_insert_with(|| "ReadWrite".to_owned());
        disk.kind.get_or_insert_with(|| "Shared".to_owned());
        disk.fs_type.get_or_insert_with(|| "ext4".to_owned());
        disk.read_only.get_or_insert(false);
    }
    if let Some(disk) = &mut spec.scale_io {
        fill(&mut disk.storage_mode, "ThinProvisioned");
        fill(&mut disk.fs_type, "xfs");
    }
}

/// A specification of nothing but the source.
fn source_only(spec: &PersistentVolumeSpec) -> PersistentVolumeSpec {
    PersistentVolumeSpec {
        access_modes: None,
        capacity: None,
        claim_ref: None,
        mount_options: None,
        node_affinity: None,
        persistent_volume_reclaim_policy: None,
        storage_class_name: None,
        volume_attributes_class_name: None,
        volume_mode: None,
        csi: spec.csi.clone().map(|csi| CSIPersistentVolumeSource {
            // A driver's secret for growing may be given later.
            controller_expand_secret_ref: None,
            node_expand_secret_ref: None,
            ..csi
        }),
        ..spec.clone()
    }
}

/// Checks modes of access, which volumes and claims share.
pub(super) fn access_modes(modes: &[String], path: &Path<'_>, errors: &mut ErrorList) {
    for mode in modes {
        rules::one_of(mode, &ACCESS_MODES, path, errors);
    }
    let alone = modes.iter().filter(|mode| *mode == "ReadWriteOncePod").count();
    if alone > 0 && alone < modes.len() {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn validate_spec(spec: &PersistentVolumeSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let path_modes = path.child("accessModes");
    if modes.is_empty() {
        errors.required(&path_modes, "");
    }
    access_modes(modes, &path_modes, errors);
    let path_capacity = path.child("capacity");
    let capacity = spec.capacity.as_ref().filter(|capacity| !capacity.is_empty());
    if capacity.is_none() {
        errors.required(&path_capacity, "");
    }
    if capacity.is_none_or(|capacity| capacity.len() > 1 || !capacity.contains_key("storage")) {
        let shown = capacity.map_or_else(BadValue::null, BadValue::json);
        errors.not_supported(&path_capacity, shown, &["storage"]);
    }
    for (name, amount) in capacity.into_iter().flatten() {
        positive(amount, &path_capacity.key(name), errors);
    }
    if let Some(policy) = spec.persistent_volume_reclaim_policy.as_deref().filter(|policy| !policy.is_empty()) {
        rules::one_of(policy, &POLICIES, &path.child("persistentVolumeReclaimPolicy"), errors);
    }
    validate_sources(spec, path, errors);
    let at_root = spec.host_path.as_ref().is_some_and(|host| host.path.trim_matches('/').is_empty());
    if at_root && spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
        let why = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), why);
    }
    if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
        errors.invalid_each(&path.child("storageClassName"), class, format::dns1123_subdomain(class));
    }
    if let Some(mode) = spec.volume_mode.as_deref() {
        rules::one_of(mode, &MODES, &path.child("volumeMode"), errors);
    }
    if let Some(class) = spec.volume_attributes_class_name.as_deref() {
        let path = path.child("volumeAttributesClassName");
        if class.is_empty() {
            errors.required(&path, "an empty string is disallowed");
        } else {
            errors.invalid_each(&path, class, format::dns1123_subdomain(class));
            if spec.csi.is_none() {
                errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
            }
        }
    }
}

/// Checks that an amount of storage is more than none.
pub(super) fn positive(
    amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    match reeve_api::quantity::Quantity::parse(amount) {
        Err(error) => errors.invalid(path, amount.0.as_str(), error.to_string()),
        Ok(quantity) if quantity.is_negative() || quantity.is_zero() => {
            errors.invalid(path, amount.0.as_str(), "must be greater than zero");
        }
        Ok(_) => {}
    }
}

fn validate_sources(spec: &PersistentVolumeSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let present = [
        ("hostPath", spec.host_path.is_some()),
        ("gcePersistentDisk", spec.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", spec.aws_elastic_block_store.is_some()),
        ("glusterfs", spec.glusterfs.is_some()),
        ("flocker", spec.flocker.is_some()),
        ("nfs", spec.nfs.is_some()),
        ("rbd", spec.rbd.is_some()),
        ("quobyte", spec.quobyte.is_some()),
        ("cephFS", spec.cephfs.is_some()),
        ("iscsi", spec.iscsi.is_some()),
        ("cinder", spec.cinder.is_some()),
        ("fc", spec.fc.is_some()),
        ("flexVolume", spec.flex_volume.is_some()),
        ("azureFile", spec.azure_file.is_some()),
        ("vsphereVolume", spec.vsphere_volume.is_some()),
        ("photonPersistentDisk", spec.photon_persistent_disk.is_some()),
        ("portworxVolume", spec.portworx_volume.is_some()),
        ("azureDisk", spec.azure_disk.is_some()),
        ("scaleIO", spec.scale_io.is_some()),
        ("local", spec.local.is_some()),
        ("storageos", spec.storageos.is_some()),
        ("csi", spec.csi.is_some()),
    ];
    let mut sources = present.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field);
    let Some(first) = sources.next() else {
        errors.required(path, "must specify a volume type");
        return;
    };
    validate_source(first, spec, &path.child(first), errors);
    for other in sources {
        errors.forbidden(&path.child(other), "may not specify more than 1 volume type");
    }
}

fn validate_source(field: &str, spec: &PersistentVolumeSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let mut required = |name: &str, value: &str| {
        if value.is_empty() {
            errors.required(&path.child(name), "");
        }
    };
    match field {
        "hostPath" => {
            if let Some(host) = &spec.host_path {
                host_path(host, path, errors);
            }
        }
        "nfs" => {
            if let Some(nfs) = &spec.nfs {
                required("server", &nfs.server);
                required("path", &nfs.path);
                if !nfs.path.starts_with('/') {
                    errors.invalid(&path.child("path"), &nfs.path, "must be an absolute path");
                }
            }
        }
        "iscsi" => {
            if let Some(disk) = &spec.iscsi {
                required("targetPortal", &disk.target_portal);
                required("iqn", &disk.iqn);
                if !(0..=255).contains(&disk.lun) {
                    errors.invalid(&path.child("lun"), disk.lun, format::between(0, 255));
                }
            }
        }
        "rbd" => {
            if let Some(disk) = &spec.rbd {
                if disk.monitors.is_empty() {
                    errors.required(&path.child("monitors"), "");
                }
                if disk.image.is_empty() {
                    errors.required(&path.child("image"), "");
                }
            }
        }
        "csi" => {
            if let Some(csi) = &spec.csi {
                validate_csi(csi, path, errors);
            }
        }
        "local" => {
            if let Some(local) = &spec.local {
                required("path", &local.path);
                if has_backsteps(&local.path) {
                    errors.invalid(&path.child("path"), &local.path, NO_BACKSTEPS);
                }
                if spec.node_affinity.as_ref().is_none_or(|affinity| affinity.required.is_none()) {
                    let path = Path::new("spec");
                    errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
                }
            }
        }
        "gcePersistentDisk" => required("pdName", spec.gce_persistent_disk.as_ref().map_or("", |disk| &disk.pd_name)),
        "awsElasticBlockStore" => {
            required("volumeID", spec.aws_elastic_block_store.as_ref().map_or("", |disk| &disk.volume_id));
        }
        "cinder" => required("volumeID", spec.cinder.as_ref().map_or("", |disk| &disk.volume_id)),
        "azureDisk" => required("diskName", spec.azure_disk.as_ref().map_or("", |disk| &disk.disk_name)),
        "vsphereVolume" => required("volumePath", spec.vsphere_volume.as_ref().map_or("", |disk| &disk.volume_path)),
        "flexVolume" => required("driver", spec.flex_volume.as_ref().map_or("", |disk| &disk.driver)),
        _ => {}
    }
}

fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

fn host_path(host: &HostPathVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    if host.path.is_empty() {
        errors.required(&path.child("path"), "");
        return;
    }
    if has_backsteps(&host.path) {
        errors.invalid(&path.child("path"), &host.path, NO_BACKSTEPS);
    }
    if let Some(kind) = host.type_.as_deref() {
        rules::one_of(kind, &HOST_PATH_TYPES, &path.child("type"), errors);
    }
}

fn validate_csi(csi: &CSIPersistentVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    super::storage::driver_name(&csi.driver, &path.child("driver"), errors);
    if csi.volume_handle.is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
    for (field, reference) in [
        ("controllerPublishSecretRef", &csi.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &csi.controller_expand_secret_ref),
        ("nodePublishSecretRef", &csi.node_publish_secret_ref),
        ("nodeExpandSecretRef", &csi.node_expand_secret_ref),
        ("nodeStageSecretRef", &csi.node_stage_secret_ref),
    ] {
        if let Some(reference) = reference {
            secret_reference(reference, &path.child(field), errors);
        }
    }
}

fn secret_reference(reference: &SecretReference, path: &Path<'_>, errors: &mut ErrorList) {
    let name = reference.name.as_deref().unwrap_or_default();
    let namespace = reference.namespace.as_deref().unwrap_or_default();
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), name, format::dns1123_subdomain(name));
    }
    if namespace.is_empty() {
        errors.required(&path.child("namespace"), "");
    } else {
        errors.invalid_each(&path.child("namespace"), namespace, format::dns1123_label(namespace));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(spec: serde_json::Value) -> PersistentVolume {
        let spec = serde_json::from_value(spec).unwrap();
        let mut volume = PersistentVolume { spec: Some(spec), ..PersistentVolume::default() };
        PersistentVolumes.default(&mut volume);
        volume
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_volume_has_one_source_and_a_size() {
        assert_eq!(
            texts(&PersistentVolumes.validate(&volume(serde_json::json!({})))),
            [
                "spec.accessModes: Required value",
                "spec.capacity: Required value",
                r#"spec.capacity: Unsupported value: null: supported values: "storage""#,
                "spec: Required value: must specify a volume type",
            ]
        );
        let two = volume(serde_json::json!({
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "../x"}, "nfs": {"server": "s", "path": "/p"},
        }));
        assert_eq!(
            texts(&PersistentVolumes.validate(&two)),
            [
                r#"spec.hostPath.path: Invalid value: "../x": must not contain '..'"#,
                "spec.nfs: Forbidden: may not specify more than 1 volume type",
            ]
        );
    }
}
