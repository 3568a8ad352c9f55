//! Environment variables.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, FileKeySelector, PodSpec};
use reeve_api::validation::metadata::NameRule;
use reeve_api::validation::{ErrorList, Path, format};

use super::{fields, unreserved_local_path};

pub(super) fn variable(variable: &EnvVar, path: &Path<'_>, errors: &mut ErrorList) {
    if variable.name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.invalid_each(&path.child("name"), &variable.name, format::environment_variable(&variable.name));
    }
    let Some(source) = &variable.value_from else { return };
    let path = path.child("valueFrom");
    let count = [
        source.field_ref.is_some(),
        source.resource_field_ref.is_some(),
        source.config_map_key_ref.is_some(),
        source.secret_key_ref.is_some(),
        source.file_key_ref.is_some(),
    ]
    .into_iter()
    .filter(|is_set| *is_set)
    .count();
    if let Some(field) = &source.field_ref {
        fields::object_field(field, &fields::OF_ENVIRONMENT, &path.child("fieldRef"), errors);
    }
    if let Some(field) = &source.resource_field_ref {
        fields::resource_field(field, false, &path.child("resourceFieldRef"), errors);
    }
    for (field, reference) in [
        ("configMapKeyRef", source.config_map_key_ref.as_ref().map(|reference| (&reference.name, &reference.key))),
        ("secretKeyRef", source.secret_key_ref.as_ref().map(|reference| (&reference.name, &reference.key))),
    ] {
        if let Some((name, key)) = reference {
            key_of_object(name, key, &path.child(field), errors);
        }
    }
    if let Some(file) = &source.file_key_ref {
        key_of_file(file, &path.child("fileKeyRef"), errors);
    }
    if count == 0 {
        errors.invalid(
            &path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !variable.value.as_deref().unwrap_or_default().is_empty() {
        errors.invalid(&path, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid(&path, "", "may not have more than one field specified at a time");
    }
}

fn key_of_object(name: &str, key: &str, path: &Path<'_>, errors: &mut ErrorList) {
    errors.invalid_each(&path.child("name"), name, format::dns1123_subdomain(name));
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.invalid_each(&path.child("key"), key, format::config_map_key(key));
    }
}

fn key_of_file(file: &FileKeySelector, path: &Path<'_>, errors: &mut ErrorList) {
    let (path_volume, path_key, path_file) = (path.child("volumeName"), path.child("key"), path.child("path"));
    if file.volume_name.is_empty() {
        errors.required(&path_volume, "");
    } else {
        errors.invalid_each(&path_volume, &file.volume_name, format::dns1123_label(&file.volume_name));
    }
    if file.path.is_empty() {
        errors.required(&path_file, "");
    } else {
        unreserved_local_path(&file.path, &path_file, errors);
    }
    if file.key.is_empty() {
        errors.required(&path_key, "");
    } else {
        errors.invalid_each(&path_key, &file.key, format::environment_variable(&file.key));
    }
}

/// Rules of the volumes that variables come from: the pod has them, and they are made for it alone.
pub(super) fn volumes_of_files(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let init = spec.init_containers.iter().flatten().map(|own| &own.env);
    let regular = spec.containers.iter().map(|own| &own.env);
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|own| &own.env);
    let lists: [(&str, Vec<&Option<Vec<EnvVar>>>); 3] = [
        ("initContainers", init.collect()),
        ("containers", regular.collect()),
        ("ephemeralContainers", ephemeral.collect()),
    ];
    for (field, environments) in lists {
        let path_list = path.child(field);
        for (index, environment) in environments.into_iter().enumerate() {
            let path_container = path_list.index(index);
            let path_env = path_container.child("env");
            for (index, variable) in environment.iter().flatten().enumerate() {
                let Some(file) = variable.value_from.as_ref().and_then(|source| source.file_key_ref.as_ref()) else {
                    continue;
                };
                let path_variable = path_env.index(index);
                let path_source = path_variable.child("valueFrom");
                let path_file = path_source.child("fileKeyRef");
                let path_volume = path_file.child("volumeName");
                match volumes.iter().find(|volume| volume.name == file.volume_name) {
                    _ if file.volume_name.is_empty() => {}
                    None => errors.not_found(&path_volume, &file.volume_name),
                    Some(volume) if volume.empty_dir.is_none() => {
                        errors.invalid(&path_volume, &file.volume_name, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// `list` is the path of the list, which upstream names when the number of sources is wrong.
pub(super) fn all_of(source: &EnvFromSource, list: &Path<'_>, index: usize, errors: &mut ErrorList) {
    let path = list.index(index);
    if let Some(prefix) = source.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        errors.invalid_each(&path.child("prefix"), prefix, format::environment_variable(prefix));
    }
    let references = [
        ("configMapRef", source.config_map_ref.as_ref().map(|reference| &reference.name)),
        ("secretRef", source.secret_ref.as_ref().map(|reference| &reference.name)),
    ];
    let mut count = 0;
    for (field, name) in references {
        if let Some(name) = name {
            count += 1;
            let path = path.child(field);
            if name.is_empty() {
                errors.required(&path.child("name"), "");
            } else {
                errors.invalid_each(&path.child("name"), name, NameRule::Dns1123Subdomain.problems(name, true));
            }
        }
    }
    match count {
        0 => errors.invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"),
        1 => {}
        _ => errors.invalid(list, "", "may not have more than one field specified at a time"),
    }
}
