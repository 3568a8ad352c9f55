//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSpec, SeccompProfile, SecurityContext, WindowsSecurityContextOptions,
};
use reeve_api::validation::{BadValue, ErrorList, Path, format};

use super::local_path;
use crate::registry::internal;

const ID_MAX: i64 = i32::MAX as i64;

fn id(value: Option<i64>, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|value| !(0..=ID_MAX).contains(value)) {
        errors.invalid(path, value, format::between(0, ID_MAX));
    }
}

fn word(value: Option<&str>, supported: &[&str], path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(value) = value.filter(|value| !supported.contains(value)) {
        errors.not_supported(path, value, supported);
    }
}

/// Rules of a pod's context; `path` is the specification's.
pub(super) fn pod(spec: &PodSpec, path_spec: &Path<'_>, errors: &mut ErrorList) {
    let path = path_spec.child("securityContext");
    let Some(context) = &spec.security_context else { return };
    id(context.fs_group, &path.child("fsGroup"), errors);
    id(context.run_as_user, &path.child("runAsUser"), errors);
    id(context.run_as_group, &path.child("runAsGroup"), errors);
    let path_groups = path.child("supplementalGroups");
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        id(Some(*group), &path_groups.index(index), errors);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, why);
    }
    let path_sysctls = path.child("sysctls");
    let mut names = BTreeSet::new();
    for (index, sysctl) in context.sysctls.iter().flatten().enumerate() {
        let path = path_sysctls.index(index);
        let path_name = path.child("name");
        if sysctl.name.is_empty() {
            errors.required(&path_name, "");
        } else if !is_sysctl(&sysctl.name) {
            let why = format!("must have at most 253 characters and match regex {SYSCTL}");
            errors.invalid(&path_name, &sysctl.name, why);
        } else if !names.insert(&sysctl.name) {
            errors.duplicate(&path_name, &sysctl.name);
        }
        if let Some(why) = of_the_host(&sysctl.name, spec) {
            errors.invalid(&path_name, &sysctl.name, why);
        }
    }
    let policies = ["Always", "OnRootMismatch"];
    word(context.fs_group_change_policy.as_deref(), &policies, &path.child("fsGroupChangePolicy"), errors);
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if let Some(options) = &context.windows_options {
        windows(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &path.child("appArmorProfile"), errors);
    }
    let groups = ["Merge", "Strict"];
    word(context.supplemental_groups_policy.as_deref(), &groups, &path.child("supplementalGroupsPolicy"), errors);
    let changes = ["MountOption", "Recursive"];
    word(context.se_linux_change_policy.as_deref(), &changes, &path.child("seLinuxChangePolicy"), errors);
}

/// A pod with users of its own shares no other namespace with the host. Two of the names are upstream's slip.
pub(super) fn own_users(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if spec.host_users != Some(false) {
        return;
    }
    for (field, is_set) in [("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)]
    {
        if is_set == Some(true) {
            errors.forbidden(&path.child(field), "when `pod.Spec.HostUsers` is false");
        }
    }
}

/// Kernel parameters of a namespace that the pod shares with the host.
fn of_the_host(name: &str, spec: &PodSpec) -> Option<&'static str> {
    let name = name.replace('/', ".");
    let is_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|prefix| name.starts_with(prefix));
    if spec.host_network == Some(true) && name.starts_with("net.") {
        Some("may not be specified when 'hostNetwork' is true")
    } else if spec.host_ipc == Some(true) && (is_ipc || name == "kernel.sem") {
        Some("may not be specified when 'hostIPC' is true")
    } else {
        None
    }
}

fn windows(options: &WindowsSecurityContextOptions, path: &Path<'_>, errors: &mut ErrorList) {
    if let Some(name) = &options.gmsa_credential_spec_name {
        errors.invalid_each(&path.child("gmsaCredentialSpecName"), name, format::dns1123_subdomain(name));
    }
    let path_spec = path.child("gmsaCredentialSpec");
    match options.gmsa_credential_spec.as_deref() {
        Some("") => errors.invalid(&path_spec, "", "gmsaCredentialSpec cannot be an empty string"),
        Some(text) if text.len() > CREDENTIAL_BYTES_MAX => {
            errors.invalid(&path_spec, text, "gmsaCredentialSpec size must be under 64 KiB");
        }
        _ => {}
    }
    let path_user = path.child("runAsUserName");
    match options.run_as_user_name.as_deref() {
        Some("") => errors.invalid(&path_user, "", "runAsUserName cannot be an empty string"),
        Some(text) if text.chars().any(|letter| letter.is_ascii_control()) => {
            errors.invalid(&path_user, text, "runAsUserName cannot contain control characters");
        }
        Some(text) if text.matches('\\').count() > 1 => {
            errors.invalid(&path_user, text, "runAsUserName cannot contain more than one backslash");
        }
        _ => {}
    }
}

const CREDENTIAL_BYTES_MAX: usize = 64 * 1024;

const SYSCTL: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let part = |part: &str| {
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| edge(Some(byte)) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

/// Rules of a container's context; `own_users` says that the pod's users are not the host's.
pub(super) fn container(context: &SecurityContext, own_users: bool, path: &Path<'_>, errors: &mut ErrorList) {
    id(context.run_as_user, &path.child("runAsUser"), errors);
    id(context.run_as_group, &path.child("runAsGroup"), errors);
    let path_mount = path.child("procMount");
    word(context.proc_mount.as_deref(), &["Default", "Unmasked"], &path_mount, errors);
    if context.proc_mount.as_deref() == Some("Unmasked") && !own_users {
        errors.invalid(&path_mount, "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    if let Some(profile) = &context.seccomp_profile {
        seccomp(profile, &path.child("seccompProfile"), errors);
    }
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            errors.invalid(
                path,
                BadValue::json(&internal::form(context, "SecurityContext")),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
        if added.into_iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            errors.invalid(
                path,
                BadValue::json(&internal::form(context, "SecurityContext")),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    if let Some(options) = &context.windows_options {
        windows(options, &path.child("windowsOptions"), errors);
    }
    if let Some(profile) = &context.app_armor_profile {
        app_armor(profile, &path.child("appArmorProfile"), errors);
    }
}

fn seccomp(profile: &SeccompProfile, path: &Path<'_>, errors: &mut ErrorList) {
    match profile.type_.as_str() {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        kind => word(Some(kind), &["Localhost", "RuntimeDefault", "Unconfined"], &path.child("type"), errors),
    }
    let path_local = path.child("localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", None) => errors.required(&path_local, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(local)) => local_path(local, &path_local, errors),
        (_, Some(_)) => {
            errors.invalid(
                &path_local,
                BadValue::json(&internal::form(profile, "Profile")),
                "can only be set when seccomp type is Localhost",
            );
        }
        (_, None) => {}
    }
}

fn app_armor(profile: &AppArmorProfile, path: &Path<'_>, errors: &mut ErrorList) {
    let path_local = path.child("localhostProfile");
    let local = profile.localhost_profile.as_deref();
    match (profile.type_.as_str(), local) {
        ("Localhost", None | Some("")) => {
            errors.required(&path_local, "must be set when AppArmor type is Localhost");
        }
        ("Localhost", Some(local)) => {
            if local.trim() != local {
                errors.invalid(&path_local, local, "must not be padded with whitespace");
            }
            if local.len() > PATH_MAX {
                errors.too_long(&path_local, PATH_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(local)) => {
            errors.invalid(&path_local, local, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.required(&path.child("type"), "type is required when appArmorProfile is set"),
        (kind, _) => word(Some(kind), &["Localhost", "RuntimeDefault", "Unconfined"], &path.child("type"), errors),
    }
}

const PATH_MAX: usize = 4095;
