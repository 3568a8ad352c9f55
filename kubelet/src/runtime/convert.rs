//! A pod's spec becomes CRI's configurations. Pure; labels and annotations carry upstream's names, so that
//! `crictl` shows them and another kubelet could take the pods over.

use std::collections::HashMap;
use std::path::Path;

use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};

use crate::config::Config;
use crate::node::cgroup;
use crate::pod::user::RunAs;
use crate::pod::{resize, resources, spec};

/// The pod's name.
pub const POD_NAME_LABEL: &str = "io.kubernetes.pod.name";
/// The pod's namespace.
pub const POD_NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
/// The pod's UID.
pub const POD_UID_LABEL: &str = "io.kubernetes.pod.uid";
/// The container's name.
pub const CONTAINER_NAME_LABEL: &str = "io.kubernetes.container.name";
/// The hash of the container's definition.
pub const HASH_ANNOTATION: &str = "io.kubernetes.container.hash";
/// How often the container was started again.
pub const RESTART_COUNT_ANNOTATION: &str = "io.kubernetes.container.restartCount";
/// What the container's resources came to when it was made; ours, since not every runtime tells it.
pub const RESOURCES_ANNOTATION: &str = "io.reeve.container.resources";
/// Where the container writes its termination message, inside.
pub const TERMINATION_MESSAGE_PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePath";
/// `File` or `FallbackToLogsOnError`.
pub const TERMINATION_MESSAGE_POLICY_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The same file on the node; ours, upstream finds it through the mounts.
pub const TERMINATION_MESSAGE_FILE_ANNOTATION: &str = "io.reeve.container.terminationMessageFile";

/// A mount of a container, decided by the volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it appears in the container.
    pub container_path: String,
    /// What is mounted.
    pub host_path: String,
    /// Whether it can be written.
    pub read_only: bool,
    /// `None`, `HostToContainer` or `Bidirectional`.
    pub propagation: Option<String>,
}

/// The sandbox of a pod.
pub fn sandbox_config(pod: &Pod, attempt: u32, config: &Config, host_dns: &HostDns) -> cri::PodSandboxConfig {
    let key = spec::key(pod);
    let uid = spec::uid(pod);
    let pod_spec = spec::spec(pod);
    let security = pod_spec.security_context.clone().unwrap_or_default();
    let privileged = spec::all_containers(pod)
        .any(|it| it.security_context.as_ref().is_some_and(|context| context.privileged == Some(true)));
    let port_mappings = spec::all_containers(pod)
        .flat_map(|it| it.ports.iter().flatten())
        .filter(|port| !spec::host_network(pod) && port.host_port.is_some_and(|number| number > 0))
        .map(|port| cri::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => cri::Protocol::Udp as i32,
                Some("SCTP") => cri::Protocol::Sctp as i32,
                _ => cri::Protocol::Tcp as i32,
            },
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect();
    let mut labels: HashMap<String, String> = pod.metadata.labels.iter().flatten().map(clone_pair).collect();
    labels.extend(identity_labels(pod));
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: key.name.clone(),
            uid: uid.to_owned(),
            namespace: key.namespace.clone(),
            attempt,
        }),
        hostname: if spec::host_network(pod) { String::new() } else { kernel_hostname(pod, &config.cluster_domain) },
        log_directory: config.pod_log_dir(&key.namespace, &key.name, uid).display().to_string(),
        dns_config: Some(dns(pod, config, host_dns)),
        port_mappings,
        labels,
        annotations: pod.metadata.annotations.iter().flatten().map(clone_pair).collect(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(pod, config),
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(pod)),
                run_as_user: security.run_as_user.map(|value| cri::Int64Value { value }),
                run_as_group: security.run_as_user.and(security.run_as_group).map(|value| cri::Int64Value { value }),
                supplemental_groups: groups(&security),
                privileged,
                selinux_options: security.se_linux_options.as_ref().map(se_linux),
                seccomp: Some(profile(security.seccomp_profile.as_ref(), true, Path::new(""))),
                ..Default::default()
            }),
            sysctls: security.sysctls.iter().flatten().map(|it| (it.name.clone(), it.value.clone())).collect(),
            ..Default::default()
        }),
        windows: None,
    }
}

/// The host name that a pod has whatever else its spec says.
fn overridden(pod: &Pod) -> Option<&str> {
    spec::spec(pod).hostname_override.as_deref().filter(|it| !it.is_empty())
}

/// The pod's host name: as the spec says, else its name, cut to what the kernel takes.
pub fn hostname(pod: &Pod) -> String {
    if let Some(name) = overridden(pod) {
        return name.to_owned();
    }
    let name = spec::spec(pod).hostname.clone().filter(|it| !it.is_empty()).unwrap_or_else(|| spec::key(pod).name);
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].trim_end_matches(['-', '.']).to_owned()
}

/// The name under the cluster's domain that a pod with a subdomain has, unless its name is overridden.
pub fn domain_name(pod: &Pod, cluster_domain: &str) -> Option<String> {
    if overridden(pod).is_some() {
        return None;
    }
    let subdomain = spec::spec(pod).subdomain.as_deref().filter(|it| !it.is_empty())?;
    let namespace = spec::key(pod).namespace;
    Some(format!("{}.{subdomain}.{namespace}.svc.{cluster_domain}", hostname(pod)))
}

/// What the kernel of the pod calls itself: the host name, or the whole domain name where the spec asks for it.
fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let whole = spec::spec(pod).set_hostname_as_fqdn == Some(true);
    domain_name(pod, cluster_domain).filter(|_| whole).unwrap_or_else(|| hostname(pod))
}

/// Why a pod cannot have the whole domain name as its host name: the kernel's names end at this length.
pub fn domain_name_problem(pod: &Pod, cluster_domain: &str) -> Option<String> {
    const HOSTNAME_MAX: usize = 64;
    let whole = spec::spec(pod).set_hostname_as_fqdn == Some(true);
    let name = domain_name(pod, cluster_domain).filter(|it| whole && it.len() > HOSTNAME_MAX)?;
    Some(format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long \
         ({HOSTNAME_MAX} characters is the max, {} characters requested)",
        name.len()
    ))
}

/// Why a pod cannot have users of its own, where it wants them: the runtimes' interface of today has none.
pub fn users_problem(pod: &Pod, handler: &str) -> Option<String> {
    if spec::spec(pod).host_users != Some(false) {
        return None;
    }
    Some(match handler {
        "" => "can't set `spec.hostUsers: false`, runtime does not support user namespaces".to_owned(),
        handler => format!(
            "can't set `spec.hostUsers: false`, RuntimeClass handler {handler:?} does not support user namespaces"
        ),
    })
}

/// The cgroup of a pod: `ROOT/kubepods[/QOS]/podUID`.
pub fn cgroup_parent(pod: &Pod, config: &Config) -> String {
    cgroup::pod_path(&config.cgroup_root, pod)
}

/// What a container needs beside its spec.
pub struct ContainerInput<'a> {
    /// The attempt number and restart count.
    pub attempt: u32,
    /// The environment, made by `pod::env`.
    pub env: Vec<(String, String)>,
    /// The mounts, made from the volumes.
    pub mounts: Vec<Mount>,
    /// The resolved image.
    pub image: &'a str,
    /// Who its process is.
    pub run_as: RunAs,
    /// The container (by id) whose processes it sees beside its own.
    pub pid_target: Option<&'a str>,
    /// Where the node's own seccomp profiles lie.
    pub seccomp_dir: &'a Path,
    /// The file on the node for the termination message.
    pub termination_file: Option<&'a Path>,
    /// The node's memory in bytes, for the OOM score.
    pub node_memory: i64,
}

/// A container of a pod.
pub fn container_config(pod: &Pod, container: &Container, input: ContainerInput<'_>) -> cri::ContainerConfig {
    let known = input.env.iter().cloned().collect();
    let expand = |words: &Option<Vec<String>>| -> Vec<String> {
        words.iter().flatten().map(|word| crate::pod::env::expand(word, &known)).collect()
    };
    let mut labels: HashMap<String, String> = identity_labels(pod).into_iter().collect();
    labels.insert(CONTAINER_NAME_LABEL.into(), container.name.clone());
    let mut annotations: HashMap<String, String> = [
        (HASH_ANNOTATION.to_owned(), spec::hash(container)),
        (RESOURCES_ANNOTATION.to_owned(), resize::mark(pod, container)),
        (RESTART_COUNT_ANNOTATION.to_owned(), input.attempt.to_string()),
        (
            TERMINATION_MESSAGE_PATH_ANNOTATION.to_owned(),
            container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".into()),
        ),
        (
            TERMINATION_MESSAGE_POLICY_ANNOTATION.to_owned(),
            container.termination_message_policy.clone().unwrap_or_else(|| "File".into()),
        ),
    ]
    .into();
    if let Some(file) = input.termination_file {
        annotations.insert(TERMINATION_MESSAGE_FILE_ANNOTATION.into(), file.display().to_string());
    }
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: container.name.clone(), attempt: input.attempt }),
        image: Some(cri::ImageSpec {
            image: input.image.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: input.env.iter().map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: input.mounts.into_iter().map(mount).collect(),
        labels,
        annotations,
        log_path: format!("{}/{}.log", container.name, input.attempt),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(container_resources(pod, container, input.node_memory)),
            security_context: Some(security(pod, container, &input.run_as, input.pid_target, input.seccomp_dir)),
        }),
        ..Default::default()
    }
}

fn mount(mount: Mount) -> cri::Mount {
    cri::Mount {
        container_path: mount.container_path,
        host_path: mount.host_path,
        readonly: mount.read_only,
        propagation: match mount.propagation.as_deref() {
            Some("HostToContainer") => cri::MountPropagation::PropagationHostToContainer as i32,
            Some("Bidirectional") => cri::MountPropagation::PropagationBidirectional as i32,
            _ => cri::MountPropagation::PropagationPrivate as i32,
        },
        ..Default::default()
    }
}

/// Requests and limits as cgroup values, by upstream's sums.
pub fn container_resources(pod: &Pod, container: &Container, node_memory: i64) -> cri::LinuxContainerResources {
    let amounts = resources::amounts_in_pod(pod, container);
    let oom_score_adj = match spec::qos_class(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => (1000 - 1000 * amounts.memory_request / node_memory.max(1)).clamp(3, 999),
    };
    cri::LinuxContainerResources {
        cpu_shares: resources::shares(amounts.cpu_request),
        cpu_quota: amounts.cpu_limit.map_or(0, resources::quota),
        cpu_period: resources::QUOTA_PERIOD,
        memory_limit_in_bytes: amounts.memory_limit.unwrap_or(0),
        oom_score_adj,
        ..Default::default()
    }
}

fn security(
    pod: &Pod,
    container: &Container,
    run_as: &RunAs,
    pid_target: Option<&str>,
    seccomp_dir: &Path,
) -> cri::LinuxContainerSecurityContext {
    let of_pod = spec::spec(pod).security_context.clone().unwrap_or_default();
    let own: SecurityContext = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let capabilities = own.capabilities.map(|it| cri::Capability {
        add_capabilities: it.add.unwrap_or_default(),
        drop_capabilities: it.drop.unwrap_or_default(),
        ..Default::default()
    });
    let proc_mount_masks = !privileged && own.proc_mount.as_deref() != Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if proc_mount_masks { list.iter().map(|it| (*it).to_owned()).collect() } else { Vec::new() }
    };
    cri::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(match pid_target {
            Some(target) => cri::NamespaceOption {
                pid: cri::NamespaceMode::Target as i32,
                target_id: target.to_owned(),
                ..namespaces(pod)
            },
            None => namespaces(pod),
        }),
        supplemental_groups_policy: match of_pod.supplemental_groups_policy.as_deref() {
            Some("Strict") => cri::SupplementalGroupsPolicy::Strict as i32,
            _ => cri::SupplementalGroupsPolicy::Merge as i32,
        },
        selinux_options: own.se_linux_options.as_ref().or(of_pod.se_linux_options.as_ref()).map(se_linux),
        apparmor: own.app_armor_profile.as_ref().or(of_pod.app_armor_profile.as_ref()).map(app_armor),
        run_as_user: run_as.uid.map(|value| cri::Int64Value { value }),
        run_as_username: run_as.name.clone(),
        run_as_group: run_as.gid.map(|value| cri::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(&of_pod),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED_PATHS),
        readonly_paths: paths(&READONLY_PATHS),
        seccomp: Some(profile(
            own.seccomp_profile.as_ref().or(of_pod.seccomp_profile.as_ref()),
            privileged,
            seccomp_dir,
        )),
        ..Default::default()
    }
}

/// The kernel files that upstream hides from containers.
const MASKED_PATHS: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn groups(security: &PodSecurityContext) -> Vec<i64> {
    security.supplemental_groups.iter().flatten().copied().chain(security.fs_group).collect()
}

/// Upstream's default without a profile is unconfined, unless the node says otherwise.
fn profile(wanted: Option<&SeccompProfile>, unconfined: bool, folder: &Path) -> cri::SecurityProfile {
    let kind = match wanted.map(|it| it.type_.as_str()) {
        _ if unconfined => cri::security_profile::ProfileType::Unconfined,
        Some("RuntimeDefault") => cri::security_profile::ProfileType::RuntimeDefault,
        Some("Localhost") => cri::security_profile::ProfileType::Localhost,
        _ => cri::security_profile::ProfileType::Unconfined,
    };
    let localhost = wanted
        .filter(|_| kind == cri::security_profile::ProfileType::Localhost)
        .and_then(|it| it.localhost_profile.as_ref())
        .map(|path| folder.join(path).display().to_string())
        .unwrap_or_default();
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: localhost }
}

/// The runtime fills in what is not said, and takes none of it where the kernel does not enforce labels.
fn se_linux(wanted: &SELinuxOptions) -> cri::SeLinuxOption {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    cri::SeLinuxOption {
        user: text(&wanted.user),
        role: text(&wanted.role),
        r#type: text(&wanted.type_),
        level: text(&wanted.level),
    }
}

/// Without a profile the runtime takes its own where the kernel enforces any.
fn app_armor(wanted: &AppArmorProfile) -> cri::SecurityProfile {
    use cri::security_profile::ProfileType;
    let (kind, name) = match wanted.type_.as_str() {
        "Localhost" => (ProfileType::Localhost, wanted.localhost_profile.clone().unwrap_or_default()),
        "Unconfined" => (ProfileType::Unconfined, String::new()),
        _ => (ProfileType::RuntimeDefault, String::new()),
    };
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: name }
}

fn namespaces(pod: &Pod) -> cri::NamespaceOption {
    let pod_spec = spec::spec(pod);
    let mode = |host: Option<bool>, otherwise| if host == Some(true) { cri::NamespaceMode::Node } else { otherwise };
    let pid = if pod_spec.share_process_namespace == Some(true) {
        cri::NamespaceMode::Pod
    } else {
        cri::NamespaceMode::Container
    };
    cri::NamespaceOption {
        network: mode(pod_spec.host_network, cri::NamespaceMode::Pod) as i32,
        pid: mode(pod_spec.host_pid, pid) as i32,
        ipc: mode(pod_spec.host_ipc, cri::NamespaceMode::Pod) as i32,
        ..Default::default()
    }
}

fn identity_labels(pod: &Pod) -> [(String, String); 3] {
    let key = spec::key(pod);
    [
        (POD_NAME_LABEL.into(), key.name),
        (POD_NAMESPACE_LABEL.into(), key.namespace),
        (POD_UID_LABEL.into(), spec::uid(pod).into()),
    ]
}

fn clone_pair((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

/// The host's resolver settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDns {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The words of the last `search` line.
    pub searches: Vec<String>,
    /// `options` words.
    pub options: Vec<String>,
}

impl HostDns {
    /// Reads the text of a `resolv.conf`.
    pub fn parse(text: &str) -> Self {
        let mut dns = HostDns::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let Some(first) = words.next() else { continue };
            let rest = words.map(str::to_owned);
            match first {
                "nameserver" => dns.servers.extend(rest.take(1)),
                "search" | "domain" => dns.searches = rest.collect(),
                "options" => dns.options = rest.collect(),
                _ => {}
            }
        }
        dns
    }
}

/// glibc reads no more than three name servers.
const MAX_SERVERS: usize = 3;
/// Upstream's limit of search paths.
const MAX_SEARCHES: usize = 32;

/// The resolver settings of a pod by its DNS policy.
pub fn dns(pod: &Pod, config: &Config, host: &HostDns) -> cri::DnsConfig {
    let pod_spec = spec::spec(pod);
    let namespace = spec::key(pod).namespace;
    let policy = pod_spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => !spec::host_network(pod),
        _ => false,
    } && !config.cluster_dns.is_empty();
    let mut dns = if cluster {
        let domain = &config.cluster_domain;
        let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        searches.extend(host.searches.iter().cloned());
        cri::DnsConfig {
            servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
            searches,
            options: vec!["ndots:5".into()],
        }
    } else if policy == "None" {
        cri::DnsConfig::default()
    } else {
        cri::DnsConfig { servers: host.servers.clone(), searches: host.searches.clone(), options: host.options.clone() }
    };
    if let Some(extra) = &pod_spec.dns_config {
        dns.servers.extend(extra.nameservers.iter().flatten().cloned());
        dns.searches.extend(extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|it| it.split(':').next() != Some(name.as_str()));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    dedupe(&mut dns.servers);
    dedupe(&mut dns.searches);
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    dns
}

fn dedupe(words: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_that_overrides_is_taken_as_it_is() {
        let pod = |more: serde_json::Value| -> Pod {
            let mut spec = json!({"containers": [], "hostname": "web", "subdomain": "sub", "setHostnameAsFQDN": true});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": spec})).unwrap()
        };
        assert_eq!(kernel_hostname(&pod(json!({})), "c.local"), "web.sub.n.svc.c.local");
        assert_eq!(domain_name_problem(&pod(json!({})), "c.local"), None);
        let long = pod(json!({"hostname": "h".repeat(60)}));
        let told = domain_name_problem(&long, "c.local").unwrap();
        assert!(
            told.ends_with("hh.sub.n.svc.c.local is too long (64 characters is the max, 78 characters requested)"),
            "{told}"
        );
        let other = pod(json!({"hostnameOverride": "other.example.com"}));
        assert_eq!(kernel_hostname(&other, "c.local"), "other.example.com");
        assert_eq!((hostname(&other).as_str(), domain_name(&other, "c.local")), ("other.example.com", None));
    }

    #[test]
    fn a_containers_labels_come_before_its_pods() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "securityContext": {"seLinuxOptions": {"level": "s0:c1,c2"}},
            "containers": [
                {"name": "own", "securityContext": {"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "r"}}},
                {"name": "other"},
            ],
        }}))
        .unwrap();
        let of = |index: usize| {
            let context = security(&pod, &spec::containers(&pod)[index], &RunAs::default(), None, Path::new(""));
            let it = context.selinux_options.unwrap();
            [it.user, it.role, it.r#type, it.level]
        };
        assert_eq!(of(0), ["u", "r", "spc_t", ""]);
        assert_eq!(of(1), ["", "", "", "s0:c1,c2"]);
    }
}
