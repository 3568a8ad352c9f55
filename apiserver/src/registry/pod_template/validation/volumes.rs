//! Volumes of all types.

mod projected;
mod remote;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    EphemeralVolumeSource, HostPathVolumeSource, ImageVolumeSource, KeyToPath, NFSVolumeSource, Volume,
};
use reeve_api::quantity::Quantity;
use reeve_api::validation::{ErrorList, Path, format};

use crate::registry::kinds::persistent_volume_claim;

use super::{no_backsteps, unreserved_local_path};

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Checks volumes; returns those that are in order by their names.
pub(super) fn validate<'a>(
    volumes: &'a [Volume],
    path: &Path<'_>,
    errors: &mut ErrorList,
) -> BTreeMap<&'a str, &'a Volume> {
    let mut names = BTreeSet::new();
    let mut known = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let before = errors.len();
        source(volume, &path, errors);
        let path_name = path.child("name");
        if volume.name.is_empty() {
            errors.required(&path_name, "");
        } else {
            errors.invalid_each(&path_name, &volume.name, format::dns1123_label(&volume.name));
        }
        if names.contains(volume.name.as_str()) {
            errors.duplicate(&path_name, &volume.name);
        }
        if errors.len() == before {
            names.insert(volume.name.as_str());
            known.insert(volume.name.as_str(), volume);
        }
    }
    known
}

fn source(volume: &Volume, path: &Path<'_>, errors: &mut ErrorList) {
    let fields = [
        ("emptyDir", volume.empty_dir.is_some()),
        ("hostPath", volume.host_path.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("secret", volume.secret.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("downwardAPI", volume.downward_api.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("configMap", volume.config_map.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("projected", volume.projected.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("image", volume.image.is_some()),
    ];
    match fields.iter().find(|(_, is_set)| *is_set).map(|(field, _)| *field) {
        None => errors.required(path, "must specify a volume type"),
        Some(field) => one_source(volume, field, path, errors),
    }
    for (field, _) in fields.iter().filter(|(_, is_set)| *is_set).skip(1) {
        // Two of the names are upstream's slips.
        let field = match *field {
            "cephfs" => "cephFS",
            "downwardAPI" => "downwarAPI",
            field => field,
        };
        errors.forbidden(&path.child(field), "may not specify more than 1 volume type");
    }
}

fn one_source(volume: &Volume, field: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let path = path.child(if field == "gcePersistentDisk" { "persistentDisk" } else { field });
    match field {
        "emptyDir" => {
            let limit = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref());
            if limit.is_some_and(|limit| Quantity::parse(limit).is_ok_and(Quantity::is_negative)) {
                errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => volume.host_path.iter().for_each(|source| host_path(source, &path, errors)),
        "nfs" => volume.nfs.iter().for_each(|source| nfs(source, &path, errors)),
        "secret" => {
            let Some(source) = &volume.secret else { return };
            required(&[("secretName", source.secret_name.as_deref())], &path, errors);
            files(source.default_mode, source.items.as_deref(), &path, errors);
        }
        "configMap" => {
            let Some(source) = &volume.config_map else { return };
            required(&[("name", Some(&source.name))], &path, errors);
            files(source.default_mode, source.items.as_deref(), &path, errors);
        }
        "persistentVolumeClaim" => {
            let name = volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.as_str());
            required(&[("claimName", name)], &path, errors);
        }
        "downwardAPI" => {
            let Some(source) = &volume.downward_api else { return };
            file_mode(source.default_mode, &path.child("defaultMode"), errors);
            for item in source.items.iter().flatten() {
                projected::downward_file(item, &path, errors);
            }
        }
        "projected" => volume.projected.iter().for_each(|source| projected::validate(source, &path, errors)),
        "csi" => {
            let Some(source) = &volume.csi else { return };
            let path_driver = path.child("driver");
            if source.driver.is_empty() {
                errors.required(&path_driver, "");
            } else {
                let problems = format::dns1123_subdomain(&source.driver.to_lowercase());
                errors.invalid_each(&path_driver, &source.driver, problems);
            }
            if source.node_publish_secret_ref.as_ref().is_some_and(|secret| secret.name.is_empty()) {
                errors.required(&path.child("nodePublishSecretRef").child("name"), "");
            }
        }
        "ephemeral" => volume.ephemeral.iter().for_each(|source| ephemeral(source, &path, errors)),
        "image" => volume.image.iter().for_each(|source| image(source, &path, errors)),
        _ => remote::validate(volume, field, &path, errors),
    }
}

/// Checks that texts are there.
fn required(fields: &[(&str, Option<&str>)], path: &Path<'_>, errors: &mut ErrorList) {
    for (field, value) in fields {
        if value.unwrap_or_default().is_empty() {
            errors.required(&path.child(field), "");
        }
    }
}

fn host_path(source: &HostPathVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    let path_path = path.child("path");
    if source.path.is_empty() {
        errors.required(&path_path, "");
        return;
    }
    no_backsteps(&source.path, &path_path, errors);
    let kind = source.type_.as_deref().unwrap_or_default();
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, &HOST_PATH_TYPES);
    }
}

fn nfs(source: &NFSVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    required(&[("server", Some(&source.server)), ("path", Some(&source.path))], path, errors);
    if !source.path.starts_with('/') {
        errors.invalid(&path.child("path"), &source.path, "must be an absolute path");
    }
}

fn image(source: &ImageVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    let reference = source.reference.as_deref().unwrap_or_default();
    if reference.is_empty() {
        errors.required(&path.child("reference"), "");
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    super::one_of(source.pull_policy.as_deref(), &policies, &path.child("pullPolicy"), errors);
}

fn ephemeral(source: &EphemeralVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    let path = path.child("volumeClaimTemplate");
    let Some(template) = &source.volume_claim_template else {
        errors.required(&path, "");
        return;
    };
    persistent_volume_claim::validate_spec(&template.spec, &path.child("spec"), errors);
}

fn file_mode(mode: Option<i32>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn files(mode: Option<i32>, items: Option<&[KeyToPath]>, path: &Path<'_>, errors: &mut ErrorList) {
    file_mode(mode, &path.child("defaultMode"), errors);
    let path_items = path.child("items");
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        key_to_path(item, &path_items.index(index), errors);
    }
}

fn key_to_path(item: &KeyToPath, path: &Path<'_>, errors: &mut ErrorList) {
    required(&[("key", Some(&item.key)), ("path", Some(&item.path))], path, errors);
    unreserved_local_path(&item.path, &path.child("path"), errors);
    file_mode(item.mode, &path.child("mode"), errors);
}
