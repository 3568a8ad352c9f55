//! Whether a registered backend can be used. Conditions and texts from
//! `k8s.io/kube-aggregator/pkg/controllers/status/remote`.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIServiceCondition, ServiceReference};

/// What was found of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    available: bool,
    reason: &'static str,
    message: String,
}

impl Finding {
    /// Nothing is wrong.
    pub fn passed() -> Self {
        Self { available: true, reason: "Passed", message: "all checks passed".to_owned() }
    }

    fn not(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }

    /// `True` or `False`.
    pub fn status(&self) -> &'static str {
        if self.available { "True" } else { "False" }
    }

    /// Whether a condition says just this.
    pub fn is_told_by(&self, known: &APIServiceCondition) -> bool {
        known.status == self.status()
            && known.reason.as_deref() == Some(self.reason)
            && known.message.as_deref() == Some(self.message.as_str())
    }

    /// As a condition.
    pub fn condition(&self, since: Time) -> APIServiceCondition {
        APIServiceCondition {
            type_: "Available".to_owned(),
            status: self.status().to_owned(),
            last_transition_time: Some(since),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message.clone()),
        }
    }
}

fn place(reference: &ServiceReference) -> String {
    let (name, namespace) = (reference.name.as_deref(), reference.namespace.as_deref());
    format!("service/{} in {:?}", name.unwrap_or_default(), namespace.unwrap_or_default())
}

/// What is wrong with the service, if anything.
pub(super) fn service(reference: &ServiceReference, service: Option<&Service>) -> Option<Finding> {
    let place = place(reference);
    let Some(service) = service else {
        return Some(Finding::not("ServiceNotFound", format!("{place} is not present")));
    };
    let port = reference.port.unwrap_or(443);
    let mut ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    if !ports.any(|known| known.port == port) {
        return Some(Finding::not("ServicePortError", format!("{place} is not listening on port {port}")));
    }
    None
}

/// The service has nobody behind it.
pub(super) fn no_endpoints(reference: &ServiceReference, service: Option<&Service>) -> Finding {
    let mut ports = service.iter().flat_map(|service| &service.spec).flat_map(|spec| spec.ports.iter().flatten());
    let port = ports.find(|known| Some(known.port) == reference.port.or(Some(443)));
    let name = port.and_then(|port| port.name.clone()).unwrap_or_default();
    let message = format!("endpoints for {} have no addresses with port name {name:?}", place(reference));
    Finding::not("MissingEndpoints", message)
}

/// The backend does not answer as it should.
pub(super) fn failed(url: &str, why: &str) -> Finding {
    let message = format!("failing or missing response from {url}: {why}");
    Finding::not("FailedDiscoveryCheck", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_upstream() {
        let reference =
            ServiceReference { name: Some("metrics".into()), namespace: Some("kube-system".into()), port: Some(443) };
        let absent = service(&reference, None).unwrap();
        assert_eq!(absent.message, "service/metrics in \"kube-system\" is not present");
        let with_port = |port: i32| -> Service {
            serde_json::from_value(serde_json::json!({"spec": {"ports": [{"name": "https", "port": port}]}})).unwrap()
        };
        let other = service(&reference, Some(&with_port(80))).unwrap();
        assert_eq!(other.reason, "ServicePortError");
        assert_eq!(service(&reference, Some(&with_port(443))), None);
        let nobody = no_endpoints(&reference, Some(&with_port(443)));
        assert!(nobody.message.ends_with("have no addresses with port name \"https\""), "{}", nobody.message);
        let told = nobody.condition(Time(jiff::Timestamp::UNIX_EPOCH));
        assert!(nobody.is_told_by(&told));
        assert!(!Finding::passed().is_told_by(&told));
    }
}
