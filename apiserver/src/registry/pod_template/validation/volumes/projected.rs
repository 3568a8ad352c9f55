//! Files that are made from the pod and from other objects.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, DownwardAPIVolumeFile, KeyToPath, PodCertificateProjection, ProjectedVolumeSource,
    ServiceAccountTokenProjection,
};
use reeve_api::validation::{ErrorList, Path};

use super::super::{fields, unreserved_local_path};
use super::{file_mode, key_to_path};

const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;

/// Checks a file with a field of the pod. Upstream names the volume, not the file.
pub(super) fn downward_file(file: &DownwardAPIVolumeFile, path: &Path<'_>, errors: &mut ErrorList) {
    if file.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    unreserved_local_path(&file.path, &path.child("path"), errors);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), other) => {
            fields::object_field(field, &fields::OF_VOLUMES, &path.child("fieldRef"), errors);
            if other.is_some() {
                errors.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
        (None, Some(field)) => fields::resource_field(field, true, &path.child("resourceFieldRef"), errors),
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    file_mode(file.mode, &path.child("mode"), errors);
}

/// The files so far.
struct Files<'a, 'b> {
    paths: BTreeSet<&'a str>,
    volume: &'b Path<'b>,
}

impl<'a> Files<'a, '_> {
    /// Adds a file; `shown` is what the message about a second one shows.
    fn add(&mut self, path: &'a str, shown: &str, errors: &mut ErrorList) {
        if !path.is_empty() && !self.paths.insert(path) {
            errors.invalid(self.volume, shown, "conflicting duplicate paths");
        }
    }
}

pub(super) fn validate(source: &ProjectedVolumeSource, path: &Path<'_>, errors: &mut ErrorList) {
    file_mode(source.default_mode, &path.child("defaultMode"), errors);
    let path_sources = path.child("sources");
    let mut files = Files { paths: BTreeSet::new(), volume: path };
    for (index, entry) in source.sources.iter().flatten().enumerate() {
        let path_source = path_sources.index(index);
        if let Some(secret) = &entry.secret {
            object(&secret.name, secret.items.as_deref(), &mut files, &path_source.child("secret"), errors);
        }
        if let Some(map) = &entry.config_map {
            object(&map.name, map.items.as_deref(), &mut files, &path_source.child("configMap"), errors);
        }
        if let Some(downward) = &entry.downward_api {
            for file in downward.items.iter().flatten() {
                downward_file(file, &path_source.child("downwardAPI"), errors);
                files.add(&file.path, &file.path, errors);
            }
        }
        if let Some(own) = &entry.service_account_token {
            token(own, path, &path_source.child("serviceAccountToken"), errors);
        }
        if let Some(bundle) = &entry.cluster_trust_bundle {
            trust_bundle(bundle, &path_source.child("clusterTrustBundle"), errors);
            files.add(&bundle.path, &bundle.path, errors);
        }
        if let Some(certificate) = &entry.pod_certificate {
            pod_certificate(certificate, &path_source.child("podCertificate"), errors);
        }
        let count = [
            entry.secret.is_some(),
            entry.config_map.is_some(),
            entry.downward_api.is_some(),
            entry.service_account_token.is_some(),
            entry.cluster_trust_bundle.is_some(),
            entry.pod_certificate.is_some(),
        ];
        if count.into_iter().filter(|is_set| *is_set).count() > 1 {
            errors.forbidden(&path_source, "may not specify more than 1 volume type per source");
        }
    }
}

fn object<'a>(
    name: &str,
    items: Option<&'a [KeyToPath]>,
    files: &mut Files<'a, '_>,
    path: &Path<'_>,
    errors: &mut ErrorList,
) {
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let path_items = path.child("items");
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        key_to_path(item, &path_items.index(index), errors);
        files.add(&item.path, name, errors);
    }
}

fn token(token: &ServiceAccountTokenProjection, volume: &Path<'_>, path: &Path<'_>, errors: &mut ErrorList) {
    let seconds = token.expiration_seconds.unwrap_or(TOKEN_SECONDS_MIN);
    let path_seconds = path.child("expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        errors.invalid(&path_seconds, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        errors.invalid(&path_seconds, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if token.path.is_empty() {
        errors.required(&volume.child("path"), "");
    } else {
        unreserved_local_path(&token.path, &volume.child("path"), errors);
    }
}

fn trust_bundle(bundle: &ClusterTrustBundleProjection, path: &Path<'_>, errors: &mut ErrorList) {
    match (&bundle.name, &bundle.signer_name) {
        (Some(_), Some(_)) => errors.invalid(path, "", "only one of name and signerName may be used"),
        (None, None) => errors.required(path, "either name or signerName must be specified"),
        _ => {}
    }
    if bundle.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    unreserved_local_path(&bundle.path, &path.child("path"), errors);
}

fn pod_certificate(certificate: &PodCertificateProjection, path: &Path<'_>, errors: &mut ErrorList) {
    if certificate.signer_name.is_empty() {
        errors.required(&path.child("signerName"), "");
    }
    let kinds = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    if !kinds.contains(&certificate.key_type.as_str()) {
        errors.not_supported(&path.child("keyType"), &certificate.key_type, &kinds);
    }
    let paths = [
        ("credentialBundlePath", &certificate.credential_bundle_path),
        ("keyPath", &certificate.key_path),
        ("certificateChainPath", &certificate.certificate_chain_path),
    ];
    let given = |path: &Option<String>| path.as_deref().is_some_and(|path| !path.is_empty());
    if !paths.iter().any(|(_, path)| given(path)) {
        errors.required(path, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
    }
    for (field, file) in paths {
        if let Some(file) = file.as_deref().filter(|file| !file.is_empty()) {
            unreserved_local_path(file, &path.child(field), errors);
        }
    }
}
