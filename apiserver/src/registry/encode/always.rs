//! The fields that upstream writes also when they are empty, by the name of their type.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// What stands for an absent value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Empty {
    Null,
    Zero,
    Text,
    Object(&'static [Field]),
}

/// A field and its empty value.
pub(super) type Field = (&'static str, Empty);

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Empty::Null => serializer.serialize_unit(),
            Empty::Zero => serializer.serialize_i32(0),
            Empty::Text => serializer.serialize_str(""),
            Empty::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, empty) in *fields {
                    map.serialize_entry(name, empty)?;
                }
                map.end()
            }
        }
    }
}

const NOTHING: Empty = Empty::Object(&[]);
const KUBELET_ENDPOINT: Empty = Empty::Object(&[("Port", Empty::Zero)]);
const LOAD_BALANCER: Empty = Empty::Object(&[("loadBalancer", NOTHING)]);

/// The fields of a type, in the order of their names.
pub(super) fn fields(type_name: &str) -> &'static [Field] {
    match type_name {
        "ContainerStatus" => &[("lastState", NOTHING), ("state", NOTHING)],
        "DeploymentCondition" => &[("lastTransitionTime", Empty::Null), ("lastUpdateTime", Empty::Null)],
        "DaemonSetCondition"
        | "HorizontalPodAutoscalerCondition"
        | "ReplicaSetCondition"
        | "ReplicationControllerCondition"
        | "StatefulSetCondition" => &[("lastTransitionTime", Empty::Null)],
        "CustomResourceDefinitionStatus" => &[("conditions", Empty::Null)],
        "Endpoint" => &[("conditions", NOTHING)],
        "EndpointSlice" => &[("endpoints", Empty::Null), ("ports", Empty::Null)],
        "Event" => &[
            ("eventTime", Empty::Null),
            ("firstTimestamp", Empty::Null),
            ("lastTimestamp", Empty::Null),
            ("reportingComponent", Empty::Text),
            ("reportingInstance", Empty::Text),
            ("source", NOTHING),
        ],
        "HorizontalPodAutoscalerStatus" => &[("currentMetrics", Empty::Null)],
        "Ingress" => &[("spec", NOTHING), ("status", LOAD_BALANCER)],
        "IngressStatus" | "ServiceStatus" => &[("loadBalancer", NOTHING)],
        "JobCondition" | "PersistentVolumeClaimCondition" | "PodCondition" => {
            &[("lastProbeTime", Empty::Null), ("lastTransitionTime", Empty::Null)]
        }
        "CSINodeSpec" => &[("drivers", Empty::Null)],
        "NodeSelector" => &[("nodeSelectorTerms", Empty::Null)],
        "PodFailurePolicy" | "SuccessPolicy" => &[("rules", Empty::Null)],
        "PodSpec" => &[("containers", Empty::Null)],
        "PolicyRule" => &[("verbs", Empty::Null)],
        "JobTemplateSpec" => &[("metadata", NOTHING)],
        "LimitRangeSpec" => &[("limits", Empty::Null)],
        "NodeCondition" => &[("lastHeartbeatTime", Empty::Null), ("lastTransitionTime", Empty::Null)],
        "NodeDaemonEndpoints" => &[("kubeletEndpoint", KUBELET_ENDPOINT)],
        "PersistentVolumeClaimSpec" => &[("resources", NOTHING)],
        "PersistentVolumeClaimTemplate" | "PodTemplateSpec" => &[("metadata", NOTHING)],
        "PodDisruptionBudgetStatus" => &[
            ("currentHealthy", Empty::Zero),
            ("desiredHealthy", Empty::Zero),
            ("disruptionsAllowed", Empty::Zero),
            ("expectedPods", Empty::Zero),
        ],
        "ClusterRole" | "Role" => &[("rules", Empty::Null)],
        "CSINodeDriver" => &[("topologyKeys", Empty::Null)],
        "StatefulSetSpec" => &[("serviceName", Empty::Text)],
        "StatefulSetStatus" => &[("availableReplicas", Empty::Zero)],
        _ => &[],
    }
}

/// Whether upstream leaves a text out that the types here always have, when it is empty.
pub(super) fn left_out_when_empty(type_name: &str, field: &str) -> bool {
    matches!(
        (type_name, field),
        (
            "LocalObjectReference"
                | "ConfigMapKeySelector"
                | "SecretKeySelector"
                | "ConfigMapEnvSource"
                | "SecretEnvSource"
                | "ConfigMapProjection"
                | "SecretProjection"
                | "ConfigMapVolumeSource",
            "name"
        )
    )
}
