//! Pods, narrow.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reeve_api::ObjectKey;
use reeve_client::View;
use serde::Deserialize;

use super::intern::{Interned, intern};
use super::meta::Meta;
use super::pod_usage::{ContainerResources, PodResources, PodUsage, crosses_namespaces};

/// A container port with a name, for Services that target it by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// The port's name.
    pub name: String,
    /// The port's number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// The pod's `Ready` condition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Whether the condition is `True`.
    pub ready: bool,
    /// Since when it is as it is.
    pub since: Option<Timestamp>,
}

/// The phase of a pod's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have been started.
    #[default]
    Pending,
    /// At least one container runs, starts or restarts.
    Running,
    /// All containers have ended well and will not be restarted.
    Succeeded,
    /// All containers have ended, at least one of them badly.
    Failed,
    /// The node does not say.
    Unknown,
}

/// What controllers read of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "wire::Pod")]
pub struct PodView {
    /// The metadata.
    pub metadata: Meta,
    /// `controller.kubernetes.io/pod-deletion-cost`: pods with a lower cost go first.
    pub deletion_cost: i32,
    /// Whether the proxies send nothing new to it ([`reeve_api::handover`]).
    pub endpoints_dropped: bool,
    /// The node; empty before the pod is bound.
    pub node: Interned<String>,
    /// `spec.hostname`.
    pub hostname: Option<Box<str>>,
    /// `spec.subdomain`.
    pub subdomain: Option<Interned<String>>,
    /// The container ports that have names.
    pub ports: Interned<Vec<NamedPort>>,
    /// The tolerations of `NoExecute` taints.
    pub tolerations: Interned<Vec<TolerationView>>,
    /// The phase.
    pub phase: Phase,
    /// The `Ready` condition.
    pub readiness: Readiness,
    /// The addresses, at most one a family.
    pub addresses: Box<[Box<str>]>,
    /// The largest restart count of its containers.
    pub restarts: i32,
    /// What it uses of quotas.
    pub usage: Interned<PodUsage>,
}

/// A toleration, with the parts that eviction reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TolerationView {
    /// The taint's key; empty for all keys (with `exists`).
    pub key: String,
    /// Whether any value will do.
    pub exists: bool,
    /// The taint's value.
    pub value: String,
    /// For how long the taint is tolerated; absent for ever.
    pub seconds: Option<i64>,
}

impl PodView {
    /// Whether the pod counts among the replicas of its controller: it has not ended and is not being deleted.
    pub fn is_active(&self) -> bool {
        !self.has_ended() && !self.metadata.is_deleting()
    }

    /// Whether its containers have ended for good.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// When the pod is available: ready for so many seconds. `None` while it is not ready.
    pub fn available_at(&self, min_ready_seconds: i32) -> Option<Timestamp> {
        if !self.readiness.ready {
            return None;
        }
        let since = self.readiness.since.unwrap_or(Timestamp::UNIX_EPOCH);
        Some(since.saturating_add(jiff::SignedDuration::from_secs(min_ready_seconds.into())).unwrap_or(since))
    }

    /// Index: the uid of the controller, or the namespace of a pod that has none.
    pub fn index_controller(pod: &PodView) -> Vec<String> {
        match pod.metadata.controller() {
            Some(owner) => vec![owner.uid.clone()],
            None => vec![orphans_of(&pod.metadata.namespace)],
        }
    }

    /// Index: the node.
    pub fn index_node(pod: &PodView) -> Vec<String> {
        if pod.node.is_empty() { vec![] } else { vec![pod.node.to_string()] }
    }
}

/// The value under which the pods of a namespace without a controller are filed.
pub fn orphans_of(namespace: &str) -> String {
    format!("{namespace}/")
}

impl View for PodView {
    type Kind = Pod;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.creationTimestamp",
        "metadata.deletionTimestamp",
        "metadata.labels",
        "metadata.annotations",
        "metadata.ownerReferences",
        "metadata.finalizers",
        "spec.nodeName",
        "spec.hostname",
        "spec.subdomain",
        "spec.tolerations",
        "spec.activeDeadlineSeconds",
        "spec.priorityClassName",
        "spec.affinity",
        "spec.overhead",
        "spec.resources",
        "spec.containers.resources",
        "spec.initContainers.resources",
        "spec.containers.ports",
        "spec.initContainers.ports",
        "spec.initContainers.restartPolicy",
        "status.phase",
        "status.qosClass",
        "status.conditions",
        "status.podIP",
        "status.podIPs",
        "status.containerStatuses.restartCount",
    ];

    fn key(&self) -> ObjectKey {
        self.metadata.key()
    }

    fn revision(&self) -> i64 {
        self.metadata.revision
    }
}

/// The decoded form, of which only the view is kept.
mod wire {
    use std::collections::BTreeMap;

    use super::{Deserialize, Time, Toleration};
    use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements};
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    #[derive(Deserialize)]
    pub struct Pod {
        pub metadata: ObjectMeta,
        #[serde(default)]
        pub spec: Spec,
        #[serde(default)]
        pub status: Status,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub struct Spec {
        pub node_name: Option<String>,
        pub hostname: Option<String>,
        pub subdomain: Option<String>,
        pub tolerations: Option<Vec<Toleration>>,
        pub active_deadline_seconds: Option<i64>,
        pub priority_class_name: Option<String>,
        pub affinity: Option<Affinity>,
        pub overhead: Option<BTreeMap<String, Quantity>>,
        pub resources: Option<ResourceRequirements>,
        pub containers: Vec<Container>,
        pub init_containers: Option<Vec<Container>>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub struct Container {
        pub ports: Option<Vec<Port>>,
        pub restart_policy: Option<String>,
        pub resources: Option<ResourceRequirements>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub struct Port {
        pub name: Option<String>,
        pub container_port: i32,
        pub protocol: Option<String>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub struct Status {
        pub phase: Option<String>,
        pub qos_class: Option<String>,
        pub conditions: Option<Vec<Condition>>,
        #[serde(rename = "podIP")]
        pub pod_ip: Option<String>,
        #[serde(rename = "podIPs")]
        pub pod_ips: Option<Vec<PodIp>>,
        pub container_statuses: Option<Vec<ContainerStatus>>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub struct Condition {
        #[serde(rename = "type")]
        pub type_: String,
        pub status: String,
        pub last_transition_time: Option<Time>,
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    pub struct PodIp {
        pub ip: String,
    }

    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    pub struct ContainerStatus {
        pub restart_count: i32,
    }

    /// The annotation with a pod's deletion cost.
    pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

    pub fn deletion_cost(annotations: Option<&BTreeMap<String, String>>) -> i32 {
        annotations.and_then(|all| all.get(DELETION_COST)?.parse().ok()).unwrap_or(0)
    }
}

fn usage(spec: &mut wire::Spec, qos_class: Option<&str>) -> PodUsage {
    let resources = |container: &mut wire::Container| ContainerResources {
        resources: container.resources.take().unwrap_or_default(),
        is_sidecar: container.restart_policy.as_deref() == Some("Always"),
    };
    let containers: Vec<_> = spec.containers.iter_mut().map(resources).collect();
    let init_containers: Vec<_> = spec.init_containers.iter_mut().flatten().map(resources).collect();
    let resources = PodResources {
        containers: &containers,
        init_containers: &init_containers,
        pod: spec.resources.as_ref(),
        overhead: spec.overhead.as_ref(),
    };
    PodUsage {
        amounts: resources.amounts(),
        terminating: spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0),
        best_effort: qos_class == Some("BestEffort"),
        priority_class: spec.priority_class_name.take().unwrap_or_default(),
        crosses_namespaces: crosses_namespaces(spec.affinity.as_ref()),
    }
}

impl From<wire::Pod> for PodView {
    fn from(pod: wire::Pod) -> Self {
        let (mut spec, status) = (pod.spec, pod.status);
        let usage = intern(usage(&mut spec, status.qos_class.as_deref()));
        let deletion_cost = wire::deletion_cost(pod.metadata.annotations.as_ref());
        let endpoints_dropped = reeve_api::handover::is_dropped(&pod.metadata);
        let sidecars = spec
            .init_containers
            .unwrap_or_default()
            .into_iter()
            .filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.into_iter().chain(sidecars).flat_map(|c| c.ports.unwrap_or_default());
        let ports = ports.filter_map(|port| {
            Some(NamedPort {
                name: port.name.filter(|name| !name.is_empty())?,
                port: port.container_port,
                protocol: port.protocol.unwrap_or_else(|| "TCP".to_owned()),
            })
        });
        let tolerations = spec.tolerations.unwrap_or_default().into_iter();
        let tolerations = tolerations
            .filter(|toleration| matches!(toleration.effect.as_deref(), None | Some("" | "NoExecute")))
            .map(|toleration| TolerationView {
                key: toleration.key.unwrap_or_default(),
                exists: toleration.operator.as_deref() == Some("Exists"),
                value: toleration.value.unwrap_or_default(),
                seconds: toleration.toleration_seconds,
            });
        let ready = status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Ready");
        let readiness = ready.map_or_else(Readiness::default, |condition| Readiness {
            ready: condition.status == "True",
            since: condition.last_transition_time.map(|time| time.0),
        });
        let mut addresses: Vec<Box<str>> =
            status.pod_ips.unwrap_or_default().into_iter().map(|address| address.ip.into()).collect();
        if addresses.is_empty() {
            addresses.extend(status.pod_ip.filter(|ip| !ip.is_empty()).map(Into::into));
        }
        let restarts = status.container_statuses.unwrap_or_default().iter().map(|status| status.restart_count).max();
        PodView {
            deletion_cost,
            endpoints_dropped,
            node: intern(spec.node_name.unwrap_or_default()),
            hostname: spec.hostname.filter(|name| !name.is_empty()).map(Into::into),
            subdomain: spec.subdomain.filter(|name| !name.is_empty()).map(intern),
            ports: intern(ports.collect()),
            tolerations: intern(tolerations.collect()),
            phase: match status.phase.as_deref() {
                Some("Running") => Phase::Running,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                Some("Unknown") => Phase::Unknown,
                _ => Phase::Pending,
            },
            readiness,
            addresses: addresses.into(),
            restarts: restarts.unwrap_or(0),
            usage,
            metadata: Meta::from(pod.metadata),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_view_is_read_from_what_the_server_sends() {
        let pod: PodView = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "resourceVersion": "7",
                "labels": {"app": "web"},
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-3"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r",
                    "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"nodeName": "n1",
                "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"},
                    {"key": "b", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
                "containers": [{"ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]}],
                "initContainers": [{"ports": [{"containerPort": 9, "name": "no"}]},
                    {"restartPolicy": "Always", "ports": [{"containerPort": 53, "name": "dns", "protocol": "UDP"}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                "containerStatuses": [{"restartCount": 2}, {"restartCount": 5}]}
        }))
        .unwrap();
        assert_eq!(pod.key(), ObjectKey::new("shop", "web-1"));
        assert_eq!((pod.revision(), pod.deletion_cost, pod.restarts), (7, -3, 5));
        assert_eq!(pod.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [80, 53]);
        assert_eq!(pod.tolerations.len(), 1);
        assert_eq!(&*pod.addresses[0], "10.0.0.1");
        assert!(pod.is_active() && pod.readiness.ready);
        assert_eq!(PodView::index_controller(&pod), ["r"]);
        let since = pod.readiness.since.unwrap();
        assert_eq!(pod.available_at(5), Some(since + jiff::SignedDuration::from_secs(5)));
    }

    #[test]
    fn a_pod_costs_little_memory() {
        assert!(size_of::<PodView>() <= 296, "{}", size_of::<PodView>());
    }
}
