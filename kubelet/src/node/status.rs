//! What the node's status says: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::allocatable;
use super::facts::NodeFacts;
use crate::config::Config;
use crate::pressure::thresholds::Pressure;
use crate::runtime::Health;

/// The version that the node reports: the API that it speaks.
pub const KUBELET_VERSION: &str = concat!("v1.36.0-reeve.", env!("CARGO_PKG_VERSION"));

/// What this kubelet does that not every one of the versions beside it does, by the names of upstream's gates.
const DECLARED_FEATURES: [&str; 3] = [
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];

/// A heartbeat in the status counts as a change only after this, since leases carry the node's life.
const HEARTBEAT_SECONDS: i64 = 300;

/// The node's labels: upstream's own, and those of the command line.
pub fn labels(config: &Config) -> BTreeMap<String, String> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let mut labels = BTreeMap::new();
    for prefix in ["beta.kubernetes.io", "kubernetes.io"] {
        labels.insert(format!("{prefix}/arch"), architecture.to_owned());
        labels.insert(format!("{prefix}/os"), "linux".to_owned());
    }
    labels.insert("kubernetes.io/hostname".into(), config.node_name.clone());
    labels.extend(config.node_labels.iter().cloned());
    labels
}

/// What is seen of the node beside what it is.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How the runtime and its network are.
    pub health: Health,
    /// What the node is short of.
    pub pressure: BTreeSet<Pressure>,
    /// The images that are present; `None` where the runtime does not say.
    pub images: Option<Vec<ContainerImage>>,
}

/// The images as the node's status names them: the largest ones, each with a few of its names. Upstream's numbers.
pub fn images(mut present: Vec<(i64, Vec<String>)>) -> Vec<ContainerImage> {
    const MOST_IMAGES: usize = 50;
    const MOST_NAMES: usize = 5;
    present.retain(|(_, names)| !names.is_empty());
    present.sort_by_key(|(size, names)| (std::cmp::Reverse(*size), names.clone()));
    present.truncate(MOST_IMAGES);
    let describe = |(size, mut names): (i64, Vec<String>)| {
        names.truncate(MOST_NAMES);
        ContainerImage { names: Some(names), size_bytes: Some(size) }
    };
    present.into_iter().map(describe).collect()
}

/// The status at `now`. Conditions that others own are kept; heartbeats move at most every five minutes.
pub fn node_status(
    config: &Config,
    facts: &NodeFacts,
    runtime_version: &str,
    seen: &Seen,
    old: Option<&NodeStatus>,
    now: Timestamp,
) -> NodeStatus {
    let health = &seen.health;
    let old = old.cloned().unwrap_or_default();
    let capacity = allocatable::capacity(facts, config.max_pods);
    let left = allocatable::allocatable(&capacity, &config.reserved);
    let problems: Vec<String> =
        [&health.runtime_problem, &health.network_problem].into_iter().flatten().cloned().collect();
    let pressure = |kind: Pressure, well: [&str; 2], ill: [&str; 2]| {
        let pressed = seen.pressure.contains(&kind);
        let (status, [reason, message]) = if pressed { ("True", ill) } else { ("False", well) };
        (kind.name().to_owned(), status, reason.to_owned(), message.to_owned())
    };
    let own = [
        pressure(
            Pressure::Memory,
            ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
            ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
        ),
        pressure(
            Pressure::Disk,
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
        ),
        pressure(
            Pressure::Processes,
            ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
            ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
        ),
        if problems.is_empty() {
            ("Ready".into(), "True", "KubeletReady".into(), "kubelet is posting ready status".into())
        } else {
            ("Ready".into(), "False", "KubeletNotReady".into(), problems.join(", "))
        },
    ];
    NodeStatus {
        declared_features: Some(DECLARED_FEATURES.map(str::to_owned).to_vec()),
        addresses: Some(vec![
            NodeAddress { type_: "InternalIP".into(), address: config.node_ip.to_string() },
            NodeAddress { type_: "Hostname".into(), address: config.node_name.clone() },
        ]),
        allocatable: Some(allocatable::quantities(&left)),
        capacity: Some(allocatable::quantities(&capacity)),
        conditions: Some(conditions(old.conditions.as_deref().unwrap_or_default(), &own, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.port) }),
        }),
        node_info: Some(NodeSystemInfo {
            architecture: facts.architecture.clone(),
            boot_id: facts.boot_id.clone(),
            container_runtime_version: runtime_version.to_owned(),
            kernel_version: facts.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: KUBELET_VERSION.to_owned(),
            machine_id: facts.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: facts.os_image.clone(),
            swap: None,
            system_uuid: facts.system_uuid.clone(),
        }),
        images: seen.images.clone().or(old.images.clone()),
        ..old
    }
}

/// Whether a status says that the node is ready.
pub fn is_ready(status: Option<&NodeStatus>) -> bool {
    let conditions = status.and_then(|it| it.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

fn conditions(old: &[NodeCondition], own: &[(String, &str, String, String)], now: Timestamp) -> Vec<NodeCondition> {
    let mut merged: Vec<NodeCondition> =
        old.iter().filter(|it| !own.iter().any(|mine| mine.0 == it.type_)).cloned().collect();
    // One heartbeat for all: they move together or not at all.
    let fresh = |it: &NodeCondition| {
        it.last_heartbeat_time.as_ref().is_some_and(|time| now.duration_since(time.0).as_secs() < HEARTBEAT_SECONDS)
    };
    let unchanged = own.iter().all(|mine| {
        old.iter().any(|it| {
            it.type_ == mine.0
                && it.status == mine.1
                && it.reason.as_deref() == Some(mine.2.as_str())
                && it.message.as_deref() == Some(mine.3.as_str())
                && fresh(it)
        })
    });
    for (kind, status, reason, message) in own {
        let before = old.iter().find(|it| it.type_ == *kind);
        let heartbeat = before.filter(|_| unchanged).and_then(|it| it.last_heartbeat_time.clone());
        let transition = before.filter(|it| it.status == *status).and_then(|it| it.last_transition_time.clone());
        merged.push(NodeCondition {
            type_: kind.clone(),
            status: (*status).to_owned(),
            reason: Some(reason.clone()),
            message: Some(message.clone()),
            last_heartbeat_time: heartbeat.or(Some(Time(now))),
            last_transition_time: transition.or(Some(Time(now))),
        });
    }
    merged
}
