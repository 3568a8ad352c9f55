//! `autoscaling/v1`: CPU only. What else an autoscaler holds travels in annotations.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::{v1, v2};
use reeve_api::{GroupVersionKind, StatusError};
use serde::{Serialize, de::DeserializeOwned};

use crate::registry::{Conversion, FieldValidation, decode, encode};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Serves stored autoscalers as `autoscaling/v1`.
#[derive(Debug)]
pub struct FirstVersion;

impl Conversion for FirstVersion {
    fn to_stored(&self, served: &[u8]) -> Result<Vec<u8>, StatusError> {
        let kind = GroupVersionKind::from_object("autoscaling/v1", "HorizontalPodAutoscaler");
        let (object, _) = decode::decode::<v1::HorizontalPodAutoscaler>(served, FieldValidation::Ignore, &kind)?;
        encode::canonical(&to_second(object)).map_err(StatusError::internal)
    }

    fn to_served(&self, stored: &[u8]) -> Result<Vec<u8>, StatusError> {
        let object = serde_json::from_slice(stored).map_err(StatusError::internal)?;
        // This version's types write all that they hold.
        serde_json::to_vec(&to_first(object)?).map_err(StatusError::internal)
    }
}

fn is_cpu_share(metric: &v2::MetricSpec) -> Option<i32> {
    let resource = metric.resource.as_ref().filter(|resource| resource.name == "cpu")?;
    resource.target.average_utilization
}

fn to_second(mut object: v1::HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
    let annotations = &mut object.metadata.annotations;
    let mut metrics: Vec<v2::MetricSpec> = taken(annotations, METRICS).unwrap_or_default();
    let behavior = taken(annotations, BEHAVIOR);
    let current_metrics: Option<Vec<v2::MetricStatus>> = taken(annotations, CURRENT_METRICS);
    let conditions = taken(annotations, CONDITIONS);
    let spec = object.spec;
    if let Some(percent) = spec.target_cpu_utilization_percentage {
        metrics.push(v2::MetricSpec {
            type_: "Resource".to_owned(),
            resource: Some(v2::ResourceMetricSource {
                name: "cpu".to_owned(),
                target: v2::MetricTarget {
                    type_: "Utilization".to_owned(),
                    average_utilization: Some(percent),
                    ..v2::MetricTarget::default()
                },
            }),
            ..v2::MetricSpec::default()
        });
    }
    let status = object.status.unwrap_or_default();
    let mut current = current_metrics.unwrap_or_default();
    if let Some(percent) = status.current_cpu_utilization_percentage {
        current.push(v2::MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(v2::ResourceMetricStatus {
                name: "cpu".to_owned(),
                current: v2::MetricValueStatus { average_utilization: Some(percent), ..Default::default() },
            }),
            ..v2::MetricStatus::default()
        });
    }
    let target = spec.scale_target_ref;
    v2::HorizontalPodAutoscaler {
        metadata: object.metadata,
        spec: v2::HorizontalPodAutoscalerSpec {
            behavior,
            max_replicas: spec.max_replicas,
            metrics: (!metrics.is_empty()).then_some(metrics),
            min_replicas: spec.min_replicas,
            scale_target_ref: v2::CrossVersionObjectReference {
                api_version: target.api_version,
                kind: target.kind,
                name: target.name,
            },
        },
        status: Some(v2::HorizontalPodAutoscalerStatus {
            conditions,
            current_metrics: (!current.is_empty()).then_some(current),
            current_replicas: Some(status.current_replicas).filter(|count| *count != 0),
            desired_replicas: status.desired_replicas,
            last_scale_time: status.last_scale_time,
            observed_generation: status.observed_generation,
        }),
    }
}

fn to_first(mut object: v2::HorizontalPodAutoscaler) -> Result<v1::HorizontalPodAutoscaler, StatusError> {
    let spec = object.spec;
    let status = object.status.unwrap_or_default();
    let annotations = &mut object.metadata.annotations;
    let mut percent = None;
    let mut others = Vec::new();
    for metric in spec.metrics.into_iter().flatten() {
        match is_cpu_share(&metric) {
            Some(own) if percent.is_none() => percent = Some(own),
            _ => others.push(metric),
        }
    }
    put(annotations, METRICS, Some(others).filter(|others| !others.is_empty()))?;
    put(annotations, BEHAVIOR, spec.behavior)?;
    let of_cpu = |status: &v2::MetricStatus| {
        status.resource.as_ref().filter(|resource| resource.name == "cpu")?.current.average_utilization
    };
    let current = status.current_metrics.iter().flatten().find_map(of_cpu);
    put(annotations, CURRENT_METRICS, status.current_metrics.filter(|metrics| !metrics.is_empty()))?;
    put(annotations, CONDITIONS, status.conditions.filter(|conditions| !conditions.is_empty()))?;
    let target = spec.scale_target_ref;
    Ok(v1::HorizontalPodAutoscaler {
        metadata: object.metadata,
        spec: v1::HorizontalPodAutoscalerSpec {
            max_replicas: spec.max_replicas,
            min_replicas: spec.min_replicas,
            scale_target_ref: v1::CrossVersionObjectReference {
                api_version: target.api_version,
                kind: target.kind,
                name: target.name,
            },
            target_cpu_utilization_percentage: percent,
        },
        status: Some(v1::HorizontalPodAutoscalerStatus {
            current_cpu_utilization_percentage: current,
            current_replicas: status.current_replicas.unwrap_or_default(),
            desired_replicas: status.desired_replicas,
            last_scale_time: status.last_scale_time,
            observed_generation: status.observed_generation,
        }),
    })
}

/// Takes a value out of an annotation; one that cannot be read is dropped with it, as upstream does.
fn taken<T: DeserializeOwned>(annotations: &mut Option<BTreeMap<String, String>>, key: &str) -> Option<T> {
    let text = annotations.as_mut()?.remove(key)?;
    if annotations.as_ref().is_some_and(BTreeMap::is_empty) {
        *annotations = None;
    }
    serde_json::from_str(&text).ok()
}

fn put<T: Serialize>(
    annotations: &mut Option<BTreeMap<String, String>>,
    key: &str,
    value: Option<T>,
) -> Result<(), StatusError> {
    if let Some(value) = value {
        let text = serde_json::to_string(&value).map_err(StatusError::internal)?;
        annotations.get_or_insert_default().insert(key.to_owned(), text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_cannot_say_survives_it() {
        let stored = serde_json::json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {
                "maxReplicas": 5, "scaleTargetRef": {"kind": "D", "name": "d"},
                "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}},
                ],
            },
        });
        let served = FirstVersion.to_served(stored.to_string().as_bytes()).expect("converts");
        let served_object: v1::HorizontalPodAutoscaler = serde_json::from_slice(&served).expect("reads");
        assert_eq!(served_object.spec.target_cpu_utilization_percentage, Some(50));
        let back: v2::HorizontalPodAutoscaler =
            serde_json::from_slice(&FirstVersion.to_stored(&served).expect("converts")).expect("reads");
        let spec = back.spec;
        assert_eq!(spec.metrics.map(|metrics| metrics.len()), Some(2));
        assert!(spec.behavior.is_some());
        assert_eq!(back.metadata.annotations, None);
    }
}
