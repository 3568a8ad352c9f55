//! What a pod asks for and may use, all containers together.
//!
//! Rules from `k8s.io/component-helpers/resource`: containers and sidecars run at once and add up; an init container
//! runs beside the sidecars that came before it, and the pod needs the larger of both.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;

/// Amounts by resource.
pub type Amounts = BTreeMap<String, Quantity>;

/// Requests or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is set aside.
    Requests,
    /// What may be used.
    Limits,
}

/// The amounts of a field; what is no quantity was refused by validation.
pub fn amounts(texts: Option<&BTreeMap<String, Text>>) -> Amounts {
    texts.into_iter().flatten().filter_map(|(name, text)| Some((name.clone(), Quantity::parse(text).ok()?))).collect()
}

/// The amounts of a container.
pub fn of_container(container: &Container, part: Part) -> Amounts {
    let resources = container.resources.as_ref();
    amounts(resources.and_then(|resources| match part {
        Part::Requests => resources.requests.as_ref(),
        Part::Limits => resources.limits.as_ref(),
    }))
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

/// The amounts of a pod.
pub fn of_pod(spec: &PodSpec, part: Part) -> Amounts {
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &of_container(container, part));
    }
    let (mut sidecars, mut starting) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of_container(container, part);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            raise(&mut starting, &beside);
        }
    }
    raise(&mut running, &starting);
    let of_the_pod = spec.resources.as_ref().and_then(|resources| match part {
        Part::Requests => resources.requests.as_ref(),
        Part::Limits => resources.limits.as_ref(),
    });
    running.extend(amounts(of_the_pod));
    if part == Part::Requests || !running.is_empty() {
        let overhead = amounts(spec.overhead.as_ref());
        for (name, amount) in overhead {
            if part == Part::Requests || running.contains_key(&name) {
                add(&mut running, &[(name, amount)].into());
            }
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_add_up_and_init_containers_raise() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "100m"}}}],
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "50m"}}},
                {"name": "i", "resources": {"requests": {"cpu": "1"}}},
            ],
            "overhead": {"cpu": "10m"},
        }))
        .unwrap();
        assert_eq!(of_pod(&spec, Part::Requests)["cpu"].millis(), 1060);
        assert!(of_pod(&spec, Part::Limits).is_empty());
    }
}
