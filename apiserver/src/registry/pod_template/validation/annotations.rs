//! Annotations of pods that mean something: mirror pods, the cost of deletion, security profiles of old.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, SecurityContext};
use reeve_api::validation::{ErrorList, Path};

use super::local_path;

const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

type Marks = BTreeMap<String, String>;

/// The names and contexts of all containers, and where they are.
fn containers(spec: &PodSpec) -> Vec<(&'static str, usize, &str, Option<&SecurityContext>)> {
    let init = spec.init_containers.iter().flatten().enumerate();
    let ephemeral = spec.ephemeral_containers.iter().flatten().enumerate();
    init.map(|(index, own)| ("initContainers", index, own.name.as_str(), own.security_context.as_ref()))
        .chain(
            spec.containers
                .iter()
                .enumerate()
                .map(|(index, own)| ("containers", index, own.name.as_str(), own.security_context.as_ref())),
        )
        .chain(
            ephemeral
                .map(|(index, own)| ("ephemeralContainers", index, own.name.as_str(), own.security_context.as_ref())),
        )
        .collect()
}

/// Checks the annotations that mean something.
pub(super) fn validate(marks: &Marks, spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(mirrored) = marks.get(MIRROR)
        && spec.node_name.as_deref().unwrap_or_default().is_empty()
    {
        errors.invalid(&path.key(MIRROR), mirrored, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(cost) = marks.get(DELETION_COST) {
        let plain = !cost.starts_with('+') && (cost == "0" || !cost.trim_start_matches('-').starts_with('0'));
        if !plain || cost.parse::<i32>().is_err() {
            errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
    for (key, profile) in marks.iter().filter(|(key, _)| *key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER)) {
        let path = path.child(key);
        match profile.strip_prefix("localhost/") {
            Some(local) => local_path(local, &path, errors),
            None if matches!(profile.as_str(), "runtime/default" | "docker/default" | "unconfined") => {}
            None => errors.invalid(&path, profile, "must be a valid seccomp profile"),
        }
    }
    let known = containers(spec);
    for (key, profile) in marks {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        if !known.iter().any(|(_, _, known, _)| *known == name) {
            errors.invalid(&path.key(key), name, "container not found");
        }
        let is_known = matches!(profile.as_str(), "" | "runtime/default" | "unconfined");
        if !is_known && !profile.starts_with("localhost/") {
            errors.invalid(&path.key(key), profile, format!("invalid AppArmor profile name: {profile:?}"));
        }
    }
}

/// Profiles that are given twice must be the same.
pub(super) fn agree(marks: &Marks, spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let own = spec.security_context.as_ref();
    let pod_seccomp = own.and_then(|own| own.seccomp_profile.as_ref());
    if let (Some(profile), Some(mark)) = (pod_seccomp, marks.get(SECCOMP_POD)) {
        let path = path.child("securityContext");
        let local = profile.localhost_profile.as_deref();
        same("seccomp", mark, &profile.type_, local, &path.child("seccompProfile"), errors);
    }
    let known = containers(spec);
    for (field, index, name, context) in &known {
        let profile = context.and_then(|context| context.seccomp_profile.as_ref());
        let mark = marks.get(&format!("{SECCOMP_CONTAINER}{name}"));
        if let (Some(profile), Some(mark)) = (profile, mark) {
            let list = path.child(field);
            let path = list.index(*index);
            let path = path.child("securityContext");
            let local = profile.localhost_profile.as_deref();
            same("seccomp", mark, &profile.type_, local, &path.child("seccompProfile"), errors);
        }
    }
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return;
    }
    let of_pod = own.and_then(|own| own.app_armor_profile.as_ref());
    for (field, index, name, context) in &known {
        let profile = context.and_then(|context| context.app_armor_profile.as_ref()).or(of_pod);
        let mark = marks.get(&format!("{APP_ARMOR}{name}"));
        if let (Some(profile), Some(mark)) = (profile, mark) {
            let list = path.child(field);
            let path = list.index(*index);
            let path = path.child("securityContext");
            let local = profile.localhost_profile.as_deref();
            same("apparmor", mark, &profile.type_, local, &path.child("appArmorProfile"), errors);
        }
    }
}

fn same(what: &str, mark: &str, kind: &str, local: Option<&str>, path: &Path<'_>, errors: &mut ErrorList) {
    let fits = match kind {
        "Unconfined" => mark == "unconfined",
        "RuntimeDefault" => mark == "runtime/default" || (what == "seccomp" && mark == "docker/default"),
        "Localhost" => mark.starts_with("localhost/"),
        _ => true,
    };
    if !fits {
        errors.forbidden(&path.child("type"), format!("{what} type in annotation and field must match"));
    } else if kind == "Localhost" && mark.strip_prefix("localhost/") != local {
        let why = format!("{what} profile in annotation and field must match");
        errors.forbidden(&path.child("localhostProfile"), why);
    }
}
