//! What a pod uses of the quotas of its namespace: the same for all pods of a template, so it is held once.
//!
//! Rules from `pkg/quota/v1/evaluator/core` and `k8s.io/component-helpers/resource`: containers and sidecars run at
//! once and add up; an init container runs beside the sidecars that came before it, and the pod needs the larger.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;

/// Amounts by the names that quotas have for them.
pub type Amounts = BTreeMap<String, Quantity>;

/// What a pod that has not ended uses, and what decides about a quota's scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUsage {
    /// The amounts: `requests.cpu`, `cpu`, `limits.memory` and so on; `pods` is not among them.
    pub amounts: Amounts,
    /// Whether it has a deadline.
    pub terminating: bool,
    /// Whether it asks for nothing at all.
    pub best_effort: bool,
    /// The name of its priority class; empty for none.
    pub priority_class: String,
    /// Whether it asks for being near pods of other namespaces.
    pub crosses_namespaces: bool,
}

// Equal amounts have equal thousandths, so that equal values have equal hashes.
impl Hash for PodUsage {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, amount) in &self.amounts {
            name.hash(state);
            amount.millis().hash(state);
        }
        (self.terminating, self.best_effort, self.crosses_namespaces).hash(state);
        self.priority_class.hash(state);
    }
}

/// The resources of a container, and whether it is a sidecar among the init containers.
pub struct ContainerResources {
    /// What it asks for and may use.
    pub resources: ResourceRequirements,
    /// Whether it keeps running beside those that come after it.
    pub is_sidecar: bool,
}

/// The fields of a pod that its amounts are computed from.
pub struct PodResources<'a> {
    /// The containers.
    pub containers: &'a [ContainerResources],
    /// The init containers, in their order.
    pub init_containers: &'a [ContainerResources],
    /// `spec.resources`, which goes before what containers say.
    pub pod: Option<&'a ResourceRequirements>,
    /// `spec.overhead`.
    pub overhead: Option<&'a BTreeMap<String, Text>>,
}

type Field = fn(&ResourceRequirements) -> Option<&BTreeMap<String, Text>>;

/// The amounts of a field; what is no quantity is not let in by the server.
pub fn amounts(texts: Option<&BTreeMap<String, Text>>) -> Amounts {
    texts.into_iter().flatten().filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text).ok()?))).collect()
}

/// Adds amounts to others.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let present = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *present = present.plus(*amount);
    }
}

fn raise(highest: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let present = highest.entry(name.clone()).or_insert(*amount);
        if *amount > *present {
            *present = *amount;
        }
    }
}

impl PodResources<'_> {
    fn total(&self, field: Field, is_limit: bool) -> Amounts {
        let of = |container: &ContainerResources| amounts(field(&container.resources));
        let mut running = Amounts::new();
        self.containers.iter().for_each(|container| add(&mut running, &of(container)));
        let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
        for container in self.init_containers {
            let own = of(container);
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            if container.is_sidecar {
                add(&mut running, &own);
                sidecars.clone_from(&beside);
            }
            raise(&mut starting, &beside);
        }
        raise(&mut running, &starting);
        running.extend(amounts(self.pod.and_then(field)));
        let mut overhead = amounts(self.overhead);
        // Overhead raises a limit and makes none.
        overhead.retain(|name, _| !is_limit || running.contains_key(name));
        add(&mut running, &overhead);
        running
    }

    /// What quotas count of it.
    pub fn amounts(&self) -> Amounts {
        let mut used = Amounts::new();
        for (name, amount) in self.total(|resources| resources.requests.as_ref(), false) {
            if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-") {
                used.insert(name.clone(), amount);
            }
            used.insert(format!("requests.{name}"), amount);
        }
        for (name, amount) in self.total(|resources| resources.limits.as_ref(), true) {
            used.insert(format!("limits.{name}"), amount);
        }
        used
    }
}

/// Whether a pod asks for being near pods of other namespaces.
pub fn crosses_namespaces(affinity: Option<&Affinity>) -> bool {
    let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
    let apart = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let required = |terms: Option<&Vec<k8s_openapi::api::core::v1::PodAffinityTerm>>| {
        terms.into_iter().flatten().any(|term| {
            term.namespace_selector.is_some() || term.namespaces.as_ref().is_some_and(|names| !names.is_empty())
        })
    };
    let preferred = |terms: Option<&Vec<k8s_openapi::api::core::v1::WeightedPodAffinityTerm>>| {
        terms.into_iter().flatten().any(|term| {
            let term = &term.pod_affinity_term;
            term.namespace_selector.is_some() || term.namespaces.as_ref().is_some_and(|names| !names.is_empty())
        })
    };
    required(near.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref()))
        || preferred(near.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_ref()))
        || required(apart.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref()))
        || preferred(apart.and_then(|one| one.preferred_during_scheduling_ignored_during_execution.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(requests: serde_json::Value, is_sidecar: bool) -> ContainerResources {
        ContainerResources { resources: serde_json::from_value(json!({"requests": requests})).unwrap(), is_sidecar }
    }

    #[test]
    fn sidecars_add_up_and_init_containers_raise() {
        let overhead = serde_json::from_value(json!({"cpu": "10m"})).unwrap();
        let pod = PodResources {
            containers: &[container(json!({"cpu": "100m"}), false)],
            init_containers: &[container(json!({"cpu": "50m"}), true), container(json!({"cpu": "1"}), false)],
            pod: None,
            overhead: Some(&overhead),
        };
        let amounts = pod.amounts();
        assert_eq!((amounts["cpu"].millis(), amounts["requests.cpu"].millis()), (1060, 1060));
        assert!(!amounts.contains_key("limits.cpu"));
    }
}
