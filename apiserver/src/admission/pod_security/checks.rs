//! The checks of the levels: each gives what is wrong and where, in upstream's words.

use k8s_openapi::api::core::v1::{
    ContainerPort, Lifecycle, PodSecurityContext, PodSpec, Probe, SELinuxOptions, SeccompProfile, SecurityContext,
    Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What is wrong, and where.
pub type Violation = (&'static str, String);

/// The minor version of Kubernetes whose checks are asked for.
pub type Minor = u32;

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// The types of SELinux that are allowed, each with the version from which on it is.
const SELINUX_TYPES: [(&str, Minor); 5] =
    [("", 0), ("container_t", 0), ("container_init_t", 0), ("container_kvm_t", 0), ("container_engine_t", 31)];
/// The same of sysctls.
const SYSCTLS: [(&str, Minor); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn is_allowed(name: &str, allowed: &[(&str, Minor)], minor: Minor) -> bool {
    allowed.iter().any(|(own, since)| *own == name && *since <= minor)
}
const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";

/// A container of any sort, as far as the checks look.
struct Any<'a> {
    name: &'a str,
    security: Option<&'a SecurityContext>,
    ports: &'a [ContainerPort],
    /// The hosts that its probes and hooks ask instead of the pod.
    hosts: Vec<&'a str>,
}

fn hosts<'a>(probes: [&'a Option<Probe>; 3], lifecycle: Option<&'a Lifecycle>) -> Vec<&'a str> {
    let probes = probes.into_iter().flatten().flat_map(|probe| {
        let http = probe.http_get.as_ref().and_then(|action| action.host.as_deref());
        [http, probe.tcp_socket.as_ref().and_then(|action| action.host.as_deref())]
    });
    let hooks = lifecycle.into_iter().flat_map(|own| [&own.post_start, &own.pre_stop]).flatten().flat_map(|hook| {
        let http = hook.http_get.as_ref().and_then(|action| action.host.as_deref());
        [http, hook.tcp_socket.as_ref().and_then(|action| action.host.as_deref())]
    });
    probes.chain(hooks).flatten().filter(|host| !host.is_empty()).collect()
}

fn containers(spec: &PodSpec) -> Vec<Any<'_>> {
    let plain = spec.init_containers.iter().flatten().chain(&spec.containers).map(|one| Any {
        name: &one.name,
        security: one.security_context.as_ref(),
        ports: one.ports.as_deref().unwrap_or_default(),
        hosts: hosts([&one.liveness_probe, &one.readiness_probe, &one.startup_probe], one.lifecycle.as_ref()),
    });
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|one| Any {
        name: &one.name,
        security: one.security_context.as_ref(),
        ports: one.ports.as_deref().unwrap_or_default(),
        hosts: hosts([&one.liveness_probe, &one.readiness_probe, &one.startup_probe], one.lifecycle.as_ref()),
    });
    plain.chain(ephemeral).collect()
}

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// `containers "a", "b"`.
fn named(bad: &[&str]) -> String {
    format!("{} {}", plural("container", bad.len()), quoted(bad.iter().copied()))
}

/// The containers of which something holds.
fn which<'a>(all: &'a [Any<'a>], mut bad: impl FnMut(&SecurityContext) -> bool) -> Vec<&'a str> {
    all.iter().filter(|one| one.security.is_some_and(&mut bad)).map(|one| one.name).collect()
}

/// The checks of `baseline` as of a version.
pub fn baseline(minor: Minor, metadata: Option<&ObjectMeta>, spec: &PodSpec) -> Vec<Violation> {
    let all = containers(spec);
    let pod = spec.security_context.as_ref();
    [
        app_armor(metadata, pod, &all),
        capabilities(&all),
        host_namespaces(spec),
        host_paths(spec),
        host_ports(&all),
        other_hosts(&all).filter(|_| minor >= OTHER_HOSTS),
        privileged(&all),
        proc_mount(&all).filter(|_| !has_own_users(minor, spec)),
        selinux(pod, &all, minor),
        seccomp(pod, &all).filter(|_| minor >= SECCOMP_FIELDS),
        sysctls(pod, minor),
        host_process(pod, &all),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The version from which on probes must not ask other hosts.
const OTHER_HOSTS: Minor = 34;
/// The version in which profiles of seccomp became fields.
const SECCOMP_FIELDS: Minor = 19;
/// The version from which on all capabilities must be dropped.
const DROPPED_CAPABILITIES: Minor = 22;
/// The version from which on pods for Windows need not say what only Linux knows.
const WINDOWS: Minor = 25;
/// The version from which on no user may be 0.
const USERS: Minor = 23;
/// The version from which on nothing may gain privileges.
const ESCALATION: Minor = 8;
/// The version from which on more is allowed to pods with users of their own.
const OWN_USERS: Minor = 35;

/// Whether a pod's users are not those of its node.
fn has_own_users(minor: Minor, spec: &PodSpec) -> bool {
    minor >= OWN_USERS && spec.host_users == Some(false)
}

/// The checks of `restricted` as of a version: those of `baseline`, some of them made stricter.
pub fn restricted(minor: Minor, metadata: Option<&ObjectMeta>, spec: &PodSpec) -> Vec<Violation> {
    let all = containers(spec);
    let pod = spec.security_context.as_ref();
    let windows = minor >= WINDOWS && spec.os.as_ref().is_some_and(|os| os.name == "windows");
    let only = |check: Option<Violation>| check.filter(|_| !windows);
    let own_users = has_own_users(minor, spec);
    let drops = minor >= DROPPED_CAPABILITIES;
    [
        app_armor(metadata, pod, &all),
        capabilities(&all).filter(|_| !drops),
        host_namespaces(spec),
        host_ports(&all),
        other_hosts(&all).filter(|_| minor >= OTHER_HOSTS),
        privileged(&all),
        proc_mount(&all).filter(|_| minor < OWN_USERS),
        selinux(pod, &all, minor),
        sysctls(pod, minor),
        host_process(pod, &all),
        only(privilege_escalation(&all)).filter(|_| minor >= ESCALATION),
        only(restricted_capabilities(&all)).filter(|_| drops),
        // From then on it is a check of this level, too, which comes later.
        proc_mount(&all).filter(|_| minor >= OWN_USERS),
        volumes(spec),
        run_as_non_root(pod, &all).filter(|_| !own_users),
        run_as_user(pod, &all).filter(|_| minor >= USERS && !own_users),
        only(restricted_seccomp(pod, &all)).filter(|_| minor >= SECCOMP_FIELDS),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn app_armor(metadata: Option<&ObjectMeta>, pod: Option<&PodSecurityContext>, all: &[Any<'_>]) -> Option<Violation> {
    let mut found = Vec::new();
    let is_bad = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    if let Some(profile) = pod.and_then(|pod| pod.app_armor_profile.as_ref()).filter(|one| is_bad(&one.type_)) {
        found.push(format!("pod must not set AppArmor profile type to {:?}", profile.type_));
    }
    let bad = which(all, |one| one.app_armor_profile.as_ref().is_some_and(|one| is_bad(&one.type_)));
    if !bad.is_empty() {
        found.push(format!("{} must not set AppArmor profile type to \"Unconfined\"", named(&bad)));
    }
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref()).into_iter().flatten();
    for (key, value) in annotations.filter(|(key, _)| key.starts_with(APP_ARMOR_PREFIX)) {
        if !(value.is_empty() || value == "runtime/default" || value.starts_with("localhost/")) {
            found.push(format!("{key}={value:?}"));
        }
    }
    match found.len() {
        0 => None,
        1 => Some(("forbidden AppArmor profile", found.join(", "))),
        _ => Some(("forbidden AppArmor profiles", found.join(", "))),
    }
}

/// The capabilities beyond those allowed that containers add, and which containers do.
fn added<'a>(all: &'a [Any<'a>], allowed: &[&str]) -> Option<(Vec<&'a str>, String)> {
    let mut names: Vec<&str> = Vec::new();
    let bad = which(all, |one| {
        let own = one.capabilities.as_ref().and_then(|own| own.add.as_deref()).unwrap_or_default();
        own.iter().any(|name| !allowed.contains(&name.as_str()))
    });
    for one in all.iter().filter_map(|one| one.security?.capabilities.as_ref()?.add.as_deref()) {
        names.extend(one.iter().map(String::as_str).filter(|name| !allowed.contains(name)));
    }
    names.sort_unstable();
    names.dedup();
    (!bad.is_empty()).then(|| (bad, quoted(names)))
}

fn capabilities(all: &[Any<'_>]) -> Option<Violation> {
    let (bad, names) = added(all, &CAPABILITIES)?;
    Some((
        "non-default capabilities",
        format!("{} must not include {names} in securityContext.capabilities.add", named(&bad)),
    ))
}

fn restricted_capabilities(all: &[Any<'_>]) -> Option<Violation> {
    let keeps: Vec<&str> = all
        .iter()
        .filter(|one| {
            let dropped = one.security.and_then(|one| one.capabilities.as_ref()).and_then(|own| own.drop.as_ref());
            !dropped.is_some_and(|dropped| dropped.iter().any(|name| name == "ALL"))
        })
        .map(|one| one.name)
        .collect();
    let mut texts = Vec::new();
    if !keeps.is_empty() {
        texts.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&keeps)));
    }
    if let Some((bad, names)) = added(all, &["NET_BIND_SERVICE"]) {
        texts.push(format!("{} must not include {names} in securityContext.capabilities.add", named(&bad)));
    }
    (!texts.is_empty()).then(|| ("unrestricted capabilities", texts.join("; ")))
}

fn host_namespaces(spec: &PodSpec) -> Option<Violation> {
    let names = [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)];
    let set: Vec<String> =
        names.iter().filter(|(_, set)| *set == Some(true)).map(|(name, _)| format!("{name}=true")).collect();
    (!set.is_empty()).then(|| ("host namespaces", set.join(", ")))
}

fn host_paths(spec: &PodSpec) -> Option<Violation> {
    let bad: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.host_path.is_some())
        .map(|volume| volume.name.as_str())
        .collect();
    let text = format!("{} {}", plural("volume", bad.len()), quoted(bad.iter().copied()));
    (!bad.is_empty()).then_some(("hostPath volumes", text))
}

fn host_ports(all: &[Any<'_>]) -> Option<Violation> {
    let used = |one: &Any<'_>| -> Vec<i32> {
        one.ports.iter().filter_map(|port| port.host_port).filter(|port| *port != 0).collect()
    };
    let bad: Vec<&str> = all.iter().filter(|one| !used(one).is_empty()).map(|one| one.name).collect();
    let mut ports: Vec<String> = all.iter().flat_map(used).map(|port| port.to_string()).collect();
    ports.sort_unstable();
    ports.dedup();
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let text = format!("{} {verb} {} {}", named(&bad), plural("hostPort", ports.len()), ports.join(", "));
    (!bad.is_empty()).then_some(("hostPort", text))
}

/// Probes and hooks that ask another host than the pod.
fn other_hosts(all: &[Any<'_>]) -> Option<Violation> {
    let mut bad: Vec<&str> = all.iter().filter(|one| !one.hosts.is_empty()).map(|one| one.name).collect();
    bad.sort_unstable();
    bad.dedup();
    let mut asked: Vec<&str> = all.iter().flat_map(|one| one.hosts.iter().copied()).collect();
    asked.sort_unstable();
    asked.dedup();
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let what = plural("probe or lifecycle host", asked.len());
    let text = format!("{} {verb} {what} {}", named(&bad), quoted(asked));
    (!bad.is_empty()).then_some(("probe or lifecycle host", text))
}

fn privileged(all: &[Any<'_>]) -> Option<Violation> {
    let bad = which(all, |one| one.privileged == Some(true));
    (!bad.is_empty()).then(|| ("privileged", format!("{} must not set securityContext.privileged=true", named(&bad))))
}

fn proc_mount(all: &[Any<'_>]) -> Option<Violation> {
    let other = |one: &SecurityContext| one.proc_mount.as_deref().is_some_and(|mount| mount != "Default");
    let bad = which(all, other);
    let kinds = all.iter().filter_map(|one| one.security?.proc_mount.as_deref()).filter(|mount| *mount != "Default");
    let mut kinds: Vec<&str> = kinds.collect();
    kinds.dedup();
    let text = format!("{} must not set securityContext.procMount to {}", named(&bad), quoted(kinds));
    (!bad.is_empty()).then_some(("procMount", text))
}

fn selinux(pod: Option<&PodSecurityContext>, all: &[Any<'_>], minor: Minor) -> Option<Violation> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let is_bad = |options: &SELinuxOptions| {
        !is_allowed(&text(&options.type_), &SELINUX_TYPES, minor)
            || !text(&options.user).is_empty()
            || !text(&options.role).is_empty()
    };
    let of_pod = pod.and_then(|pod| pod.se_linux_options.as_ref()).filter(|options| is_bad(options));
    let bad = which(all, |one| one.se_linux_options.as_ref().is_some_and(is_bad));
    if of_pod.is_none() && bad.is_empty() {
        return None;
    }
    let own = all.iter().filter_map(|one| one.security?.se_linux_options.as_ref()).filter(|options| is_bad(options));
    let options: Vec<&SELinuxOptions> = of_pod.into_iter().chain(own).collect();
    let mut details = Vec::new();
    let types: Vec<String> =
        options.iter().map(|one| text(&one.type_)).filter(|one| !is_allowed(one, &SELINUX_TYPES, minor)).collect();
    if !types.is_empty() {
        let word = plural("type", types.len());
        details.push(format!("{word} {}", quoted(types.iter().map(String::as_str))));
    }
    if options.iter().any(|one| !text(&one.user).is_empty()) {
        details.push("user may not be set".to_owned());
    }
    if options.iter().any(|one| !text(&one.role).is_empty()) {
        details.push("role may not be set".to_owned());
    }
    let who = setters(of_pod.is_some(), &bad);
    Some(("seLinuxOptions", format!("{who} set forbidden securityContext.seLinuxOptions: {}", details.join("; "))))
}

/// `pod and container "a"`.
fn setters(pod: bool, bad: &[&str]) -> String {
    match (pod, bad.is_empty()) {
        (true, true) => "pod".to_owned(),
        (true, false) => format!("pod and {}", named(bad)),
        (false, _) => named(bad),
    }
}

fn is_forbidden(profile: &SeccompProfile) -> bool {
    profile.type_ == "Unconfined"
}

fn seccomp(pod: Option<&PodSecurityContext>, all: &[Any<'_>]) -> Option<Violation> {
    let of_pod = pod.and_then(|pod| pod.seccomp_profile.as_ref()).is_some_and(is_forbidden);
    let bad = which(all, |one| one.seccomp_profile.as_ref().is_some_and(is_forbidden));
    if !of_pod && bad.is_empty() {
        return None;
    }
    let who = setters(of_pod, &bad);
    Some(("seccompProfile", format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\"")))
}

fn restricted_seccomp(pod: Option<&PodSecurityContext>, all: &[Any<'_>]) -> Option<Violation> {
    if let Some(found) = seccomp(pod, all) {
        return Some(found);
    }
    if pod.is_some_and(|pod| pod.seccomp_profile.is_some()) {
        return None;
    }
    let bad: Vec<&str> = all
        .iter()
        .filter(|one| one.security.is_none_or(|one| one.seccomp_profile.is_none()))
        .map(|one| one.name)
        .collect();
    let text = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        named(&bad)
    );
    (!bad.is_empty()).then_some(("seccompProfile", text))
}

fn sysctls(pod: Option<&PodSecurityContext>, minor: Minor) -> Option<Violation> {
    let all = pod.and_then(|pod| pod.sysctls.as_deref()).unwrap_or_default();
    let bad: Vec<&str> =
        all.iter().map(|sysctl| sysctl.name.as_str()).filter(|name| !is_allowed(name, &SYSCTLS, minor)).collect();
    (!bad.is_empty()).then(|| ("forbidden sysctls", bad.join(", ")))
}

fn host_process(pod: Option<&PodSecurityContext>, all: &[Any<'_>]) -> Option<Violation> {
    let of_pod = pod.and_then(|pod| pod.windows_options.as_ref()).is_some_and(|one| one.host_process == Some(true));
    let bad = which(all, |one| one.windows_options.as_ref().is_some_and(|one| one.host_process == Some(true)));
    if !of_pod && bad.is_empty() {
        return None;
    }
    let who = setters(of_pod, &bad);
    Some(("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true")))
}

fn privilege_escalation(all: &[Any<'_>]) -> Option<Violation> {
    let bad: Vec<&str> = all
        .iter()
        .filter(|one| one.security.is_none_or(|one| one.allow_privilege_escalation != Some(false)))
        .map(|one| one.name)
        .collect();
    let text = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad));
    (!bad.is_empty()).then_some(("allowPrivilegeEscalation != false", text))
}

/// The type of a volume that `restricted` does not allow.
fn restricted_type(volume: &Volume) -> Option<&'static str> {
    let types = [
        (volume.host_path.is_some(), "hostPath"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.glusterfs.is_some(), "glusterfs"),
        (volume.rbd.is_some(), "rbd"),
        (volume.flex_volume.is_some(), "flexVolume"),
        (volume.cinder.is_some(), "cinder"),
        (volume.cephfs.is_some(), "cephfs"),
        (volume.flocker.is_some(), "flocker"),
        (volume.fc.is_some(), "fc"),
        (volume.azure_file.is_some(), "azureFile"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.quobyte.is_some(), "quobyte"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.photon_persistent_disk.is_some(), "photonPersistentDisk"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
        (volume.scale_io.is_some(), "scaleIO"),
        (volume.storageos.is_some(), "storageos"),
    ];
    types.into_iter().find(|(set, _)| *set).map(|(_, name)| name)
}

fn volumes(spec: &PodSpec) -> Option<Violation> {
    let bad: Vec<(&str, &str)> = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| Some((volume.name.as_str(), restricted_type(volume)?)))
        .collect();
    let mut types: Vec<&str> = bad.iter().map(|(_, kind)| *kind).collect();
    types.sort_unstable();
    types.dedup();
    let verb = if bad.len() == 1 { "uses" } else { "use" };
    let text = format!(
        "{} {} {verb} restricted volume {} {}",
        plural("volume", bad.len()),
        quoted(bad.iter().map(|(name, _)| *name)),
        plural("type", types.len()),
        quoted(types)
    );
    (!bad.is_empty()).then_some(("restricted volume types", text))
}

fn run_as_non_root(pod: Option<&PodSecurityContext>, all: &[Any<'_>]) -> Option<Violation> {
    let reason = "runAsNonRoot != true";
    let of_pod = pod.and_then(|pod| pod.run_as_non_root);
    let explicit = which(all, |one| one.run_as_non_root == Some(false));
    let pod_is_bad = of_pod == Some(false);
    if pod_is_bad || !explicit.is_empty() {
        let who = setters(pod_is_bad, &explicit);
        return Some((reason, format!("{who} must not set securityContext.runAsNonRoot=false")));
    }
    if of_pod == Some(true) {
        return None;
    }
    let bad: Vec<&str> = all
        .iter()
        .filter(|one| one.security.is_none_or(|one| one.run_as_non_root.is_none()))
        .map(|one| one.name)
        .collect();
    let text = format!("pod or {} must set securityContext.runAsNonRoot=true", named(&bad));
    (!bad.is_empty()).then_some((reason, text))
}

fn run_as_user(pod: Option<&PodSecurityContext>, all: &[Any<'_>]) -> Option<Violation> {
    let of_pod = pod.is_some_and(|pod| pod.run_as_user == Some(0));
    let bad = which(all, |one| one.run_as_user == Some(0));
    if !of_pod && bad.is_empty() {
        return None;
    }
    Some(("runAsUser=0", format!("{} must not set runAsUser=0", setters(of_pod, &bad))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: serde_json::Value) -> PodSpec {
        serde_json::from_value(json).unwrap()
    }

    fn shown(found: Vec<Violation>) -> Vec<String> {
        found.into_iter().map(|(reason, detail)| format!("{reason} ({detail})")).collect()
    }

    #[test]
    fn baseline_in_upstreams_words() {
        let pod = spec(serde_json::json!({
            "hostNetwork": true,
            "volumes": [{"name": "h", "hostPath": {"path": "/"}}],
            "containers": [{"name": "c", "securityContext": {"privileged": true}}],
        }));
        assert_eq!(
            shown(baseline(Minor::MAX, None, &pod)),
            [
                "host namespaces (hostNetwork=true)",
                "hostPath volumes (volume \"h\")",
                "privileged (container \"c\" must not set securityContext.privileged=true)",
            ]
        );
        assert!(baseline(Minor::MAX, None, &spec(serde_json::json!({"containers": [{"name": "c"}]}))).is_empty());
        let elsewhere = spec(serde_json::json!({"containers": [{
            "name": "c",
            "livenessProbe": {"httpGet": {"port": 1, "host": "x"}},
            "lifecycle": {"preStop": {"tcpSocket": {"port": 1, "host": "b"}}},
        }]}));
        assert_eq!(
            shown(baseline(Minor::MAX, None, &elsewhere)),
            ["probe or lifecycle host (container \"c\" uses probe or lifecycle hosts \"b\", \"x\")"]
        );
    }

    #[test]
    fn restricted_in_upstreams_words() {
        let pod = spec(serde_json::json!({"containers": [
            {"name": "c"},
            {"name": "d", "securityContext": {"runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}}},
        ]}));
        assert_eq!(
            shown(restricted(Minor::MAX, None, &pod)),
            [
                "allowPrivilegeEscalation != false (containers \"c\", \"d\" must set \
                 securityContext.allowPrivilegeEscalation=false)",
                "unrestricted capabilities (containers \"c\", \"d\" must set securityContext.capabilities.drop=[\"ALL\"]; \
                 container \"d\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add)",
                "runAsNonRoot != true (pod or containers \"c\", \"d\" must set securityContext.runAsNonRoot=true)",
                "runAsUser=0 (container \"d\" must not set runAsUser=0)",
                "seccompProfile (pod or containers \"c\", \"d\" must set securityContext.seccompProfile.type to \
                 \"RuntimeDefault\" or \"Localhost\")",
            ]
        );
        let good = spec(serde_json::json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
            }}],
        }));
        assert!(restricted(Minor::MAX, None, &good).is_empty());
    }

    #[test]
    fn a_version_has_the_checks_of_its_time() {
        let pod = spec(serde_json::json!({
            "os": {"name": "windows"},
            "securityContext": {
                "seLinuxOptions": {"type": "container_engine_t"},
                "sysctls": [
                    {"name": "net.ipv4.ip_local_reserved_ports"},
                    {"name": "net.ipv4.tcp_fin_timeout"},
                    {"name": "net.ipv4.tcp_wmem"},
                ],
            },
            "containers": [{
                "name": "c",
                "livenessProbe": {"httpGet": {"port": 1, "host": "x"}},
                "securityContext": {"runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}},
            }],
        }));
        let reasons =
            |found: Vec<Violation>| found.into_iter().map(|(reason, _)| reason).collect::<Vec<_>>().join(", ");
        let cases = [
            (7, "non-default capabilities, seLinuxOptions, forbidden sysctls, runAsNonRoot != true"),
            (
                20,
                "non-default capabilities, seLinuxOptions, forbidden sysctls, allowPrivilegeEscalation != false, \
                 runAsNonRoot != true, seccompProfile",
            ),
            (
                24,
                "seLinuxOptions, forbidden sysctls, allowPrivilegeEscalation != false, unrestricted capabilities, \
                 runAsNonRoot != true, runAsUser=0, seccompProfile",
            ),
            (25, "seLinuxOptions, forbidden sysctls, runAsNonRoot != true, runAsUser=0"),
            (31, "forbidden sysctls, runAsNonRoot != true, runAsUser=0"),
            (32, "runAsNonRoot != true, runAsUser=0"),
            (34, "probe or lifecycle host, runAsNonRoot != true, runAsUser=0"),
        ];
        for (minor, expected) in cases {
            assert_eq!(reasons(restricted(minor, None, &pod)), expected, "v1.{minor}");
        }
        assert_eq!(
            sysctls(pod.security_context.as_ref(), 28).unwrap().1,
            "net.ipv4.tcp_fin_timeout, net.ipv4.tcp_wmem"
        );
        assert_eq!(reasons(baseline(33, None, &pod)), "non-default capabilities");
        let own_users = spec(serde_json::json!({
            "hostUsers": false,
            "containers": [{"name": "c", "securityContext": {"procMount": "Unmasked", "runAsUser": 0}}],
        }));
        assert_eq!(reasons(baseline(34, None, &own_users)), "procMount");
        assert_eq!(reasons(baseline(35, None, &own_users)), "");
        assert_eq!(
            reasons(restricted(36, None, &own_users)),
            "allowPrivilegeEscalation != false, unrestricted capabilities, procMount, seccompProfile"
        );
    }
}
