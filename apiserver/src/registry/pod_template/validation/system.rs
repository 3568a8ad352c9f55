//! What a pod that names its operating system may not say.

use k8s_openapi::api::core::v1::{PodSpec, SecurityContext};
use reeve_api::validation::{ErrorList, Path};

const NOT_FOR_WINDOWS: &str = "cannot be set for a windows pod";
const NOT_FOR_LINUX: &str = "windows options cannot be set for a linux pod";

/// `path` is the specification's.
pub(super) fn validate(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let Some(system) = spec.os.as_ref().map(|os| os.name.as_str()) else { return };
    let path_system = path.child("os");
    match system {
        "" => errors.required(&path_system.child("name"), "cannot be empty"),
        "linux" => linux(spec, path, errors),
        "windows" => windows(spec, path, errors),
        other => errors.not_supported(&path_system, other, &["linux", "windows"]),
    }
}

/// Calls with the context of each container that has one.
fn each(spec: &PodSpec, path: &Path<'_>, mut see: impl FnMut(&SecurityContext, &Path<'_>)) {
    let init = spec.init_containers.iter().flatten().map(|own| own.security_context.as_ref());
    let regular = spec.containers.iter().map(|own| own.security_context.as_ref());
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|own| own.security_context.as_ref());
    let lists: [(&str, Vec<Option<&SecurityContext>>); 3] = [
        ("initContainers", init.collect()),
        ("containers", regular.collect()),
        ("ephemeralContainers", ephemeral.collect()),
    ];
    for (field, contexts) in lists {
        let list = path.child(field);
        for (index, context) in contexts.into_iter().enumerate() {
            if let Some(context) = context {
                see(context, &list.index(index).child("securityContext"));
            }
        }
    }
}

fn linux(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    if spec.security_context.as_ref().is_some_and(|context| context.windows_options.is_some()) {
        errors.forbidden(&path.child("securityContext").child("windowsOptions"), NOT_FOR_LINUX);
    }
    each(spec, path, |context, path| {
        if context.windows_options.is_some() {
            errors.forbidden(&path.child("windowsOptions"), NOT_FOR_LINUX);
        }
    });
}

fn windows(spec: &PodSpec, path: &Path<'_>, errors: &mut ErrorList) {
    let path_context = path.child("securityContext");
    if let Some(own) = &spec.security_context {
        for (above, field, is_set) in [
            (false, "appArmorProfile", own.app_armor_profile.is_some()),
            (false, "seLinuxOptions", own.se_linux_options.is_some()),
            (true, "hostUsers", spec.host_users.is_some()),
            (true, "hostPID", spec.host_pid == Some(true)),
            (true, "hostIPC", spec.host_ipc == Some(true)),
            (false, "seccompProfile", own.seccomp_profile.is_some()),
            (false, "fsGroup", own.fs_group.is_some()),
            (false, "fsGroupChangePolicy", own.fs_group_change_policy.is_some()),
            (false, "sysctls", own.sysctls.as_ref().is_some_and(|sysctls| !sysctls.is_empty())),
            (true, "shareProcessNamespace", spec.share_process_namespace.is_some()),
            (false, "runAsUser", own.run_as_user.is_some()),
            (false, "runAsGroup", own.run_as_group.is_some()),
            (false, "supplementalGroups", own.supplemental_groups.is_some()),
            (false, "supplementalGroupsPolicy", own.supplemental_groups_policy.is_some()),
            (false, "seLinuxChangePolicy", own.se_linux_change_policy.is_some()),
        ] {
            if is_set {
                let parent = if above { path } else { &path_context };
                errors.forbidden(&parent.child(field), NOT_FOR_WINDOWS);
            }
        }
    }
    each(spec, path, |own, path| {
        for (field, is_set) in [
            ("appArmorProfile", own.app_armor_profile.is_some()),
            ("seLinuxOptions", own.se_linux_options.is_some()),
            ("seccompProfile", own.seccomp_profile.is_some()),
            ("capabilities", own.capabilities.is_some()),
            ("readOnlyRootFilesystem", own.read_only_root_filesystem.is_some()),
            ("privileged", own.privileged.is_some()),
            ("allowPrivilegeEscalation", own.allow_privilege_escalation.is_some()),
            ("procMount", own.proc_mount.is_some()),
            ("runAsUser", own.run_as_user.is_some()),
            ("runAsGroup", own.run_as_group.is_some()),
        ] {
            if is_set {
                errors.forbidden(&path.child(field), NOT_FOR_WINDOWS);
            }
        }
    });
}
