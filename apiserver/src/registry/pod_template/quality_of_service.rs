//! The quality-of-service class of a pod (`pkg/apis/core/v1/helper/qos`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` when every container limits what it requests of CPU and memory, `BestEffort` when none
/// asks for any, `Burstable` otherwise. What the pod says of itself as a whole comes before its containers' words.
pub fn class(spec: &PodSpec) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut guaranteed = true;
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let said: Vec<Option<&ResourceRequirements>> = match spec.resources.as_ref().filter(|whole| names_any(whole)) {
        Some(whole) => vec![Some(whole)],
        None => containers.map(|container| container.resources.as_ref()).collect(),
    };
    for resources in said {
        add(resources.and_then(|resources| resources.requests.as_ref()), &mut requests);
        let limited = add(resources.and_then(|resources| resources.limits.as_ref()), &mut limits);
        guaranteed &= limited == COUNTED.len();
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed
        && requests.len() == limits.len()
        && requests.iter().all(|(name, amount)| limits.get(name) == Some(amount))
    {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn names_any(resources: &ResourceRequirements) -> bool {
    [&resources.requests, &resources.limits].into_iter().flatten().any(|amounts| !amounts.is_empty())
}

/// Adds a container's amounts; says how many of the counted resources it names.
fn add(amounts: Option<&BTreeMap<String, Text>>, sums: &mut BTreeMap<&'static str, Quantity>) -> usize {
    let mut named = 0;
    for name in COUNTED {
        let amount = amounts.and_then(|amounts| amounts.get(name)).and_then(|text| Quantity::parse(text).ok());
        if let Some(amount) = amount.filter(|amount| *amount > Quantity::ZERO) {
            let sum = sums.entry(name).or_insert(Quantity::ZERO);
            *sum = sum.plus(amount);
            named += 1;
        }
    }
    named
}
