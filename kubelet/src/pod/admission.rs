//! Whether the node takes a pod that was bound to it: upstream's checks, with its reasons and messages
//! (`pkg/kubelet/lifecycle`, `pkg/kubelet/sysctl`). A pod that is refused has failed.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint, Toleration};

use super::{resources, spec};
use crate::pressure::rank::is_critical;
use crate::pressure::thresholds::Pressure;

/// What of the node decides.
#[derive(Clone, Copy, Debug)]
pub struct NodeTerms<'a> {
    /// The node's name.
    pub name: &'a str,
    /// The node's labels; `None` as long as the API has not told them, which passes what asks for them.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// The node's taints.
    pub taints: &'a [Taint],
    /// What pods may ask for together: millicores of `cpu`, units of all else, `pods` among them.
    pub allocatable: &'a BTreeMap<String, i64>,
    /// Kernel settings beyond the safe ones that pods may make: names, or prefixes that end in `*`.
    pub allowed_sysctls: &'a [String],
    /// Whether the kernel enforces AppArmor profiles.
    pub app_armor: bool,
    /// What the node is short of.
    pub pressure: &'a BTreeSet<Pressure>,
}

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason of the pod's status and of the event.
    pub reason: String,
    /// The event's message.
    pub message: String,
}

fn refuse<T>(reason: &str, message: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection { reason: reason.to_owned(), message: message.into() })
}

fn predicate<T>(name: &str, why: &str) -> Result<T, Rejection> {
    refuse(name, format!("Predicate {name} failed: {why}"))
}

/// Judges a pod beside those that the node has taken and that have not ended.
///
/// # Errors
/// The first reason against it.
pub fn admit(pod: &Pod, others: &[&Pod], node: NodeTerms<'_>) -> Result<(), Rejection> {
    pressed(pod, node.pressure)?;
    operating_system(pod)?;
    sysctls(pod, node.allowed_sysctls)?;
    fits(pod, others, node.allocatable)?;
    if let Some(labels) = node.labels
        && !affine(pod, node.name, labels)
    {
        return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector");
    }
    let wanted = spec::spec(pod).node_name.as_deref().unwrap_or_default();
    if wanted != node.name {
        return predicate("NodeName", "node(s) didn't match the requested node name");
    }
    let taken: Vec<HostPort<'_>> = others.iter().flat_map(|other| host_ports(other)).collect();
    if host_ports(pod).any(|port| taken.iter().any(|other| port.clashes(other))) {
        return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports");
    }
    let tolerations = spec::spec(pod).tolerations.as_deref().unwrap_or_default();
    let untolerated = |taint: &&Taint| !tolerations.iter().any(|it| tolerates(it, taint));
    if !spec::is_static(pod) && node.taints.iter().filter(|it| it.effect == "NoExecute").any(|it| untolerated(&it)) {
        return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate");
    }
    if !node.app_armor && asks_for_app_armor(pod) {
        return refuse("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host");
    }
    Ok(())
}

/// A node under pressure takes critical pods; one that is short of memory alone also those that say what they need, or
/// that say that they bear it.
fn pressed(pod: &Pod, pressure: &BTreeSet<Pressure>) -> Result<(), Rejection> {
    if pressure.is_empty() || is_critical(pod) {
        return Ok(());
    }
    if pressure.iter().all(|it| *it == Pressure::Memory) {
        let taint =
            Taint { key: "node.kubernetes.io/memory-pressure".into(), effect: "NoSchedule".into(), ..Taint::default() };
        let tolerations = spec::spec(pod).tolerations.as_deref().unwrap_or_default();
        if spec::qos_class(pod) != "BestEffort" || tolerations.iter().any(|it| tolerates(it, &taint)) {
            return Ok(());
        }
    }
    let names: Vec<&str> = pressure.iter().map(|it| it.name()).collect();
    refuse("Evicted", format!("The node had condition: [{}]. ", names.join(" ")))
}

fn operating_system(pod: &Pod) -> Result<(), Rejection> {
    let pod_spec = spec::spec(pod);
    let selected = pod_spec.node_selector.as_ref().and_then(|it| it.get("kubernetes.io/os"));
    if selected.is_some_and(|it| it != "linux") {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return refuse("PodOSSelectorNodeLabelDoesNotMatch", message);
    }
    if pod_spec.os.as_ref().is_some_and(|it| it.name != "linux") {
        return refuse("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
    }
    Ok(())
}

/// Kernel settings that concern a pod's own namespaces alone.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod, allowed: &[String]) -> Result<(), Rejection> {
    let pod_spec = spec::spec(pod);
    for sysctl in pod_spec.security_context.iter().flat_map(|it| it.sysctls.iter().flatten()) {
        let name = sysctl.name.replace('/', ".");
        let listed = SAFE_SYSCTLS.contains(&name.as_str())
            || allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *pattern,
            });
        let of_ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|it| name.starts_with(it));
        let why = if name.starts_with("net.") && spec::host_network(pod) {
            "not allowed with host net enabled"
        } else if of_ipc && pod_spec.host_ipc == Some(true) {
            "not allowed with host ipc enabled"
        } else if !listed {
            "not allowlisted"
        } else {
            continue;
        };
        return refuse("SysctlForbidden", format!("forbidden sysctl: \"{}\" {why}", sysctl.name));
    }
    Ok(())
}

/// Whether the node has what the pod asks for, beside the others.
///
/// # Errors
/// The first resource that it lacks.
pub fn fits(pod: &Pod, others: &[&Pod], allocatable: &BTreeMap<String, i64>) -> Result<(), Rejection> {
    let mut used: BTreeMap<String, i64> = BTreeMap::new();
    for other in others {
        for (name, amount) in resources::requests(other) {
            *used.entry(name).or_default() += amount;
        }
    }
    used.insert("pods".into(), i64::try_from(others.len()).unwrap_or(i64::MAX));
    let mut wanted = resources::requests(pod);
    wanted.insert("pods".into(), 1);
    for (name, requested) in wanted {
        // What the node does not count is somebody else's to hand out.
        let Some(&capacity) = allocatable.get(&name).filter(|_| requested > 0) else { continue };
        let used = used.get(&name).copied().unwrap_or(0);
        if used + requested > capacity {
            let message = format!(
                "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
            );
            return refuse(&format!("OutOf{name}"), message);
        }
    }
    Ok(())
}

/// What of CPU and memory the pod asks for beyond all that the node has, in upstream's words.
pub fn exceeds(pod: &Pod, allocatable: &BTreeMap<String, i64>) -> Option<String> {
    let wanted = resources::requests(pod);
    ["memory", "cpu"].into_iter().find_map(|name| {
        let (requested, capacity) = (wanted.get(name)?, allocatable.get(name)?);
        let told = format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}");
        (requested > capacity).then_some(told)
    })
}

fn affine(pod: &Pod, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let pod_spec = spec::spec(pod);
    if pod_spec.node_selector.iter().flatten().any(|(key, value)| labels.get(key) != Some(value)) {
        return false;
    }
    let affinity = pod_spec.affinity.as_ref().and_then(|it| it.node_affinity.as_ref());
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|it| it.node_selector_terms.iter().any(|term| term_admits(term, node, labels)))
}

fn term_admits(term: &NodeSelectorTerm, node: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let of_field =
        |it: &NodeSelectorRequirement| requirement_admits(it, Some(node).filter(|_| it.key == "metadata.name"));
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|it| requirement_admits(it, labels.get(&it.key).map(String::as_str)))
        && fields.iter().all(of_field)
}

fn requirement_admits(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|it| it == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    let numbers = || Some((text(&taint.value).parse::<i64>().ok()?, text(&toleration.value).parse::<i64>().ok()?));
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        Some("Gt") => numbers().is_some_and(|(taint, bound)| taint > bound),
        Some("Lt") => numbers().is_some_and(|(taint, bound)| taint < bound),
        None | Some("" | "Equal") => text(&toleration.value) == text(&taint.value),
        Some(_) => false,
    }
}

/// A port of the node that a pod takes.
struct HostPort<'a> {
    ip: &'a str,
    protocol: &'a str,
    number: i32,
}

impl HostPort<'_> {
    fn clashes(&self, other: &HostPort<'_>) -> bool {
        let every = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
        self.number == other.number
            && self.protocol == other.protocol
            && (self.ip == other.ip || every(self.ip) || every(other.ip))
    }
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = HostPort<'_>> {
    let sidecars = spec::init_containers(pod).iter().filter(|it| spec::is_sidecar(it));
    sidecars.chain(spec::containers(pod)).flat_map(|it| it.ports.iter().flatten()).filter_map(|port| {
        let number = port.host_port.filter(|it| *it > 0)?;
        Some(HostPort {
            ip: port.host_ip.as_deref().unwrap_or_default(),
            protocol: port.protocol.as_deref().unwrap_or("TCP"),
            number,
        })
    })
}

fn asks_for_app_armor(pod: &Pod) -> bool {
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|it| it.app_armor_profile.as_ref());
    let mut all = spec::all_containers(pod)
        .map(|it| it.security_context.as_ref().and_then(|it| it.app_armor_profile.as_ref()).or(of_pod));
    all.any(|profile| profile.is_some_and(|it| it.type_ != "Unconfined"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let mut whole = json!({"nodeName": "n", "containers": [{"name": "c"}]});
        for (key, value) in spec.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": whole})).unwrap()
    }

    fn judged(spec: Value, others: &[Value]) -> String {
        let labels = [("disk", "ssd"), ("size", "5")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let allocatable =
            [("cpu", 2000), ("memory", 1 << 30), ("pods", 2)].map(|(key, it)| (key.to_owned(), it)).into();
        let taints = [json!({"key": "out", "effect": "NoExecute"}), json!({"key": "new", "effect": "NoSchedule"})];
        let node = NodeTerms {
            name: "n",
            labels: Some(&labels),
            taints: &taints.map(|it| serde_json::from_value(it).unwrap()),
            allocatable: &allocatable,
            allowed_sysctls: &["kernel.msg*".to_owned()],
            app_armor: false,
            pressure: &BTreeSet::new(),
        };
        let mut spec = spec;
        if spec.get("tolerations").is_none() {
            spec["tolerations"] = json!([{"key": "out", "operator": "Exists"}]);
        }
        let others: Vec<Pod> = others.iter().cloned().map(pod).collect();
        match admit(&pod(spec), &others.iter().collect::<Vec<_>>(), node) {
            Ok(()) => "taken".into(),
            Err(Rejection { reason, message }) => format!("{reason}: {message}"),
        }
    }

    fn asks(cpu: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "example.com/gpu": "1"}}}]})
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        assert_eq!(judged(asks("1"), &[asks("1")]), "taken");
        assert_eq!(
            judged(asks("1001m"), &[asks("1")]),
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 1001, used: 1000, capacity: 2000"
        );
        assert_eq!(
            judged(json!({}), &[json!({}), json!({})]),
            "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2"
        );
    }

    #[test]
    fn labels_ports_taints_and_systems_are_looked_at() {
        let affinity = |operator: &str, values: &[&str]| {
            let term = json!({"matchExpressions": [{"key": "size", "operator": operator, "values": values}]});
            let required = json!({"nodeSelectorTerms": [term]});
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}})
        };
        let unlike = "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        assert_eq!(judged(json!({"nodeSelector": {"disk": "ssd"}}), &[]), "taken");
        assert_eq!(judged(json!({"nodeSelector": {"disk": "hdd"}}), &[]), unlike);
        assert_eq!(judged(affinity("Gt", &["4"]), &[]), "taken");
        assert_eq!(judged(affinity("NotIn", &["5"]), &[]), unlike);

        let port = |ip: &str| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": ip}]}]});
        assert_eq!(judged(port("127.0.0.1"), &[port("127.0.0.2")]), "taken");
        assert!(judged(port(""), &[port("127.0.0.2")]).starts_with("NodePorts: "));

        assert!(judged(json!({"tolerations": []}), &[]).starts_with("TaintToleration: "));
        assert!(judged(json!({"os": {"name": "windows"}}), &[]).starts_with("PodOSNotSupported: "));
        assert!(judged(json!({"nodeName": "other"}), &[]).starts_with("NodeName: "));
        let profile = json!({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}});
        assert!(judged(profile, &[]).starts_with("AppArmor: "));
    }

    #[test]
    fn a_node_under_pressure_takes_little() {
        let judged = |spec: Value, pressure: &[Pressure]| pressed(&pod(spec), &pressure.iter().copied().collect());
        let refused = |words: &str| refuse("Evicted", format!("The node had condition: [{words}]. "));
        assert_eq!(judged(json!({}), &[]), Ok(()));
        assert_eq!(judged(json!({}), &[Pressure::Memory]), refused("MemoryPressure"));
        assert_eq!(judged(asks("1"), &[Pressure::Memory]), Ok(()));
        assert_eq!(judged(asks("1"), &[Pressure::Memory, Pressure::Disk]), refused("MemoryPressure DiskPressure"));
        assert_eq!(judged(json!({"priority": 2_000_000_000}), &[Pressure::Disk]), Ok(()));
    }

    #[test]
    fn only_settings_of_the_pods_own_are_made() {
        let sets = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        assert_eq!(judged(sets("net.ipv4.tcp_syncookies"), &[]), "taken");
        assert_eq!(judged(sets("kernel.msgmax"), &[]), "taken");
        assert_eq!(
            judged(sets("vm.swappiness"), &[]),
            "SysctlForbidden: forbidden sysctl: \"vm.swappiness\" not allowlisted"
        );
        let mut on_host = sets("net.ipv4.tcp_syncookies");
        on_host["hostNetwork"] = json!(true);
        assert_eq!(
            judged(on_host, &[]),
            "SysctlForbidden: forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"
        );
    }
}
