//! Volumes and devices in a container.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, VolumeMount};
use reeve_api::validation::{ErrorList, Path};

use super::containers::Known;
use super::local_path;

pub(super) fn validate(container: &Container, known: &Known<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    mounts(container, known, &path.child("volumeMounts"), errors);
    devices(container, known, &path.child("volumeDevices"), errors);
}

fn mounts(container: &Container, known: &Known<'_>, path_mounts: &Path<'_>, errors: &mut ErrorList) {
    let mut paths = BTreeSet::new();
    let devices = container.volume_devices.as_deref().unwrap_or_default();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = path_mounts.index(index);
        let path_name = path.child("name");
        if mount.name.is_empty() {
            errors.required(&path_name, "");
        }
        let volume = known.volumes.get(mount.name.as_str());
        if volume.is_none() {
            errors.not_found(&path_name, &mount.name);
        }
        let path_path = path.child("mountPath");
        if mount.mount_path.is_empty() {
            errors.required(&path_path, "");
        }
        if !paths.insert(&mount.mount_path) {
            errors.invalid(&path_path, &mount.mount_path, "must be unique");
        }
        if devices.iter().any(|device| device.name == mount.name) {
            errors.invalid(&path_name, &mount.name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.device_path == mount.mount_path) {
            errors.invalid(&path_path, &mount.mount_path, "must not already exist as a path in volumeDevices");
        }
        let below = mount.sub_path.as_deref().unwrap_or_default();
        let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
        // From here on upstream mostly names the list, not the mount.
        if !below.is_empty() {
            local_path(below, &path_mounts.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !below.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&path.child("subPathExpr"), expression, why);
            }
            local_path(expression, &path_mounts.child("subPathExpr"), errors);
        }
        propagation(container, mount, &path_mounts.child("mountPropagation"), errors);
        recursion(mount, &path_mounts.child("recursiveReadOnly"), errors);
    }
}

fn devices(container: &Container, known: &Known<'_>, path_devices: &Path<'_>, errors: &mut ErrorList) {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in container.volume_devices.iter().flatten().enumerate() {
        let path = path_devices.index(index);
        let (path_name, path_path) = (path.child("name"), path.child("devicePath"));
        if device.name.is_empty() {
            errors.required(&path_name, "");
        } else if !names.insert(&device.name) {
            errors.invalid(&path_name, &device.name, "must be unique");
        }
        match known.volumes.get(device.name.as_str()) {
            None => errors.not_found(&path_name, &device.name),
            Some(volume) if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&path_name, &device.name, why);
            }
            Some(_) => {}
        }
        let text = &device.device_path;
        if text.is_empty() {
            errors.required(&path_path, "");
        }
        if paths.contains(text) {
            errors.invalid(&path_path, text, "must be unique");
        }
        if text.split('/').any(|part| part == "..") {
            errors.invalid(&path_path, text, "can not contain backsteps ('..')");
        } else {
            paths.insert(text);
        }
        if mounts.iter().any(|mount| mount.name == device.name) {
            errors.invalid(&path_name, &device.name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.mount_path == *text) {
            errors.invalid(&path_path, text, "must not already exist as a path in volumeMounts");
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
