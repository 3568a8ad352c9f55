//! Volumes and devices in a container.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, VolumeMount};
use reeve_api::validation::{ErrorList, Path};

use super::containers::Known;
use super::{local_path, no_backsteps};

pub(super) fn validate(container: &Container, known: &Known<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    let path_mounts = path.child("volumeMounts");
    let mut paths = BTreeSet::new();
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path_mounts.index(index);
        if mount.name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if !known.volumes.contains_key(mount.name.as_str()) {
            errors.not_found(&path.child("name"), &mount.name);
        }
        let path_path = path.child("mountPath");
        if mount.mount_path.is_empty() {
            errors.required(&path_path, "");
        }
        if !paths.insert(&mount.mount_path) {
            errors.invalid(&path_path, &mount.mount_path, "must be unique");
        }
        if devices.iter().any(|device| device.device_path == mount.mount_path) {
            errors.invalid(&path_path, &mount.mount_path, "must not already exist in volumeDevices");
        }
        // From here on upstream names the list, not the mount.
        let below = mount.sub_path.as_deref().unwrap_or_default();
        if !below.is_empty() {
            local_path(below, &path_mounts.child("subPath"), errors);
        }
        if let Some(expression) = mount.sub_path_expr.as_deref().filter(|expression| !expression.is_empty()) {
            let path = path_mounts.child("subPathExpr");
            if !below.is_empty() {
                errors.invalid(&path, expression, "subPathExpr and subPath are mutually exclusive");
            }
            local_path(expression, &path, errors);
        }
        propagation(container, mount, &path_mounts.child("mountPropagation"), errors);
        recursion(mount, &path_mounts.child("recursiveReadOnly"), errors);
    }
    let path_devices = path.child("volumeDevices");
    let mut device_paths = BTreeSet::new();
    for (index, device) in devices.iter().enumerate() {
        let path = path_devices.index(index);
        let path_name = path.child("name");
        if device.name.is_empty() {
            errors.required(&path_name, "");
        }
        match known.volumes.get(device.name.as_str()) {
            None => errors.not_found(&path_name, &device.name),
            Some(false) => errors.invalid(
                &path_name,
                &device.name,
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            ),
            Some(true) => {}
        }
        let path_path = path.child("devicePath");
        if device.device_path.is_empty() {
            errors.required(&path_path, "");
        }
        if !device_paths.insert(&device.device_path) {
            errors.invalid(&path_path, &device.device_path, "must be unique");
        }
        no_backsteps(&device.device_path, &path_path, errors);
        if paths.contains(&device.device_path) {
            errors.invalid(&path_path, &device.device_path, "must not already exist in volumeMounts");
        }
    }
}

fn propagation(container: &Container, mount: &VolumeMount, path: &Path<'_>, errors: &mut ErrorList) {
    let supported = ["Bidirectional", "HostToContainer", "None"];
    let Some(word) = mount.mount_propagation.as_deref() else { return };
    if !supported.contains(&word) {
        errors.not_supported(path, word, &supported);
    }
    let privileged = container.security_context.as_ref().and_then(|context| context.privileged) == Some(true);
    if word == "Bidirectional" && !privileged {
        errors.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursion(mount: &VolumeMount, path: &Path<'_>, errors: &mut ErrorList) {
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if mount.read_only != Some(true) {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if mount.mount_propagation.as_deref().is_some_and(|word| word != "None") {
                errors.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}
