//! Volumes on other machines, by the drivers of old.

use k8s_openapi::api::core::v1::{AzureDiskVolumeSource, FCVolumeSource, ISCSIVolumeSource, Volume};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::required;

const UNIT_MAX: i64 = 255;

/// Rules of the source that is named.
pub(super) fn validate(volume: &Volume, field: &str, path: &Path<'_>, errors: &mut ErrorList) {
    let text = |value: Option<&'_ String>| value.cloned();
    let all = |fields: &[(&str, Option<String>)], errors: &mut ErrorList| {
        for (field, value) in fields {
            required(&[(field, value.as_deref())], path, errors);
        }
    };
    match field {
        "gitRepo" => all(&[("repository", text(volume.git_repo.as_ref().map(|own| &own.repository)))], errors),
        "gcePersistentDisk" => {
            let own = volume.gce_persistent_disk.as_ref();
            all(&[("pdName", text(own.map(|own| &own.pd_name)))], errors);
            partition(own.and_then(|own| own.partition), &path.child("partition"), errors);
        }
        "awsElasticBlockStore" => {
            let own = volume.aws_elastic_block_store.as_ref();
            all(&[("volumeID", text(own.map(|own| &own.volume_id)))], errors);
            partition(own.and_then(|own| own.partition), &path.child("partition"), errors);
        }
        "iscsi" => volume.iscsi.iter().for_each(|own| iscsi(own, path, errors)),
        "glusterfs" => {
            let own = volume.glusterfs.as_ref();
            all(
                &[("endpoints", text(own.map(|own| &own.endpoints))), ("path", text(own.map(|own| &own.path)))],
                errors,
            );
        }
        "rbd" => {
            let own = volume.rbd.as_ref();
            monitors(own.map(|own| own.monitors.as_slice()), path, errors);
            all(&[("image", text(own.map(|own| &own.image)))], errors);
        }
        "cinder" => all(&[("volumeID", text(volume.cinder.as_ref().map(|own| &own.volume_id)))], errors),
        "cephfs" => monitors(volume.cephfs.as_ref().map(|own| own.monitors.as_slice()), path, errors),
        "quobyte" => {
            let own = volume.quobyte.as_ref();
            all(
                &[("registry", text(own.map(|own| &own.registry))), ("volume", text(own.map(|own| &own.volume)))],
                errors,
            );
        }
        "fc" => volume.fc.iter().for_each(|own| fibre_channel(own, path, errors)),
        "flexVolume" => all(&[("driver", text(volume.flex_volume.as_ref().map(|own| &own.driver)))], errors),
        "flocker" => {
            let own = volume.flocker.as_ref();
            let (name, uuid) =
                (own.and_then(|own| own.dataset_name.clone()), own.and_then(|own| own.dataset_uuid.clone()));
            match (name.unwrap_or_default().is_empty(), uuid.unwrap_or_default().is_empty()) {
                (true, true) => errors.required(path, "one of datasetName and datasetUUID is required"),
                (false, false) => {
                    errors.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
                }
                _ => {}
            }
        }
        "azureFile" => {
            let own = volume.azure_file.as_ref();
            all(
                &[
                    ("secretName", text(own.map(|own| &own.secret_name))),
                    ("shareName", text(own.map(|own| &own.share_name))),
                ],
                errors,
            );
        }
        "vsphereVolume" => {
            all(&[("volumePath", text(volume.vsphere_volume.as_ref().map(|own| &own.volume_path)))], errors);
        }
        "photonPersistentDisk" => {
            all(&[("pdID", text(volume.photon_persistent_disk.as_ref().map(|own| &own.pd_id)))], errors);
        }
        "portworxVolume" => {
            all(&[("volumeID", text(volume.portworx_volume.as_ref().map(|own| &own.volume_id)))], errors);
        }
        "azureDisk" => volume.azure_disk.iter().for_each(|own| azure_disk(own, path, errors)),
        "storageos" => {
            let own = volume.storageos.as_ref();
            all(&[("volumeName", own.and_then(|own| own.volume_name.clone()))], errors);
        }
        "scaleIO" => {
            let own = volume.scale_io.as_ref();
            all(
                &[
                    ("gateway", text(own.map(|own| &own.gateway))),
                    ("system", text(own.map(|own| &own.system))),
                    ("volumeName", own.and_then(|own| own.volume_name.clone())),
                ],
                errors,
            );
        }
        _ => {}
    }
}

fn unit(number: Option<i32>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(number) = number.filter(|number| !(0..=UNIT_MAX).contains(&i64::from(*number))) {
        errors.invalid(path, number, format::between(0, UNIT_MAX));
    }
}

/// The message names a range that is not quite the one that is checked, as upstream's does.
fn partition(number: Option<i32>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(number) = number.filter(|number| !(0..=UNIT_MAX).contains(&i64::from(*number))) {
        errors.invalid(path, number, format::between(1, UNIT_MAX));
    }
}

fn monitors(monitors: Option<&[String]>, path: &Path<'_>, errors: &mut ErrorList) {
    if monitors.unwrap_or_default().is_empty() {
        errors.required(&path.child("monitors"), "");
    }
}

fn iscsi(own: &ISCSIVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    required(&[("targetPortal", Some(&own.target_portal)), ("iqn", Some(&own.iqn))], path, errors);
    if !own.iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|prefix| own.iqn.starts_with(prefix)) {
        errors.invalid(&path.child("iqn"), &own.iqn, "must be valid format starting with iqn, eui, or naa");
    }
    unit(Some(own.lun), &path.child("lun"), errors);
    let authenticated = own.chap_auth_discovery == Some(true) || own.chap_auth_session == Some(true);
    if authenticated && own.secret_ref.is_none() {
        errors.required(&path.child("secretRef"), "");
    }
}

fn fibre_channel(own: &FCVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    let targets = own.target_wwns.as_deref().unwrap_or_default();
    let wide = own.wwids.as_deref().unwrap_or_default();
    let path_targets = path.child("targetWWNs");
    if targets.is_empty() && wide.is_empty() {
        errors.required(&path_targets, "must specify either targetWWNs or wwids, but not both");
    }
    if !targets.is_empty() && !wide.is_empty() {
        errors.invalid(
            &path_targets,
            BadValue::json(&targets),
            "targetWWNs and wwids can not be specified simultaneously",
        );
    }
    if !targets.is_empty() {
        match own.lun {
            None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            lun => unit(lun, &path.child("lun"), errors),
        }
    }
}

fn azure_disk(own: &AzureDiskVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    required(&[("diskName", Some(&own.disk_name)), ("diskURI", Some(&own.disk_uri))], path, errors);
    let modes = ["None", "ReadOnly", "ReadWrite"];
    if let Some(mode) = own.caching_mode.as_deref().filter(|mode| !modes.contains(mode)) {
        errors.not_supported(&path.child("cachingMode"), mode, &modes);
    }
    let kinds = ["Dedicated", "Managed", "Shared"];
    let kind = own.kind.as_deref().unwrap_or_default();
    if !kinds.contains(&kind) {
        errors.not_supported(&path.child("kind"), kind, &kinds);
    }
    let (is_managed, is_arm) = (kind == "Managed", own.disk_uri.starts_with("/subscriptions/"));
    if is_managed && !is_arm {
        errors.not_supported(
            &path.child("diskURI"),
            &own.disk_uri,
            &["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"],
        );
    }
    if !is_managed && kinds.contains(&kind) && !own.disk_uri.starts_with("https://") {
        errors.not_supported(
            &path.child("diskURI"),
            &own.disk_uri,
            &["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"],
        );
    }
}
