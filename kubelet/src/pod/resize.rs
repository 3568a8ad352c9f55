//! Resources that change while a container runs: which containers do not have what their spec says, and whether they
//! have to be started again for it. Pure.
//!
//! What a container was made with stands in its annotation ([`mark`]); what it was given since, the worker remembers. A
//! kubelet that has forgotten gives it again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod};

use super::observed::{Container, ContainerState, PodObserved};
use super::{resources, spec};

/// The cgroup values of a container's resources as one text: CPU shares, CPU quota and memory.
pub fn mark(container: &ContainerSpec) -> String {
    let limits = resources::container_limits(container);
    let text = |it: Option<i64>| it.map_or("-".to_owned(), |it| it.to_string());
    format!("{}/{}/{}", limits.cpu_shares, text(limits.cpu_quota), text(limits.memory))
}

/// How a container comes to what its spec says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its cgroup is written.
    InPlace,
    /// It is started again.
    Restart,
}

/// The way for a running container; `None` where it has what it should, or nobody knows what it has.
pub fn way(container: &ContainerSpec, running: &Container, given: &BTreeMap<String, String>) -> Option<Way> {
    let (wanted, has) = (mark(container), given.get(&running.id).unwrap_or(&running.resources));
    if has.is_empty() || *has == wanted {
        return None;
    }
    let parts = |text: &str| -> (String, String) {
        let (cpu, memory) = text.rsplit_once('/').unwrap_or((text, ""));
        (cpu.to_owned(), memory.to_owned())
    };
    let ((cpu, memory), (cpu_before, memory_before)) = (parts(&wanted), parts(has));
    let restarts = |name: &str| {
        let mut policies = container.resize_policy.iter().flatten();
        policies.any(|it| it.resource_name == name && it.restart_policy == "RestartContainer")
    };
    let restart = (cpu != cpu_before && restarts("cpu")) || (memory != memory_before && restarts("memory"));
    Some(if restart { Way::Restart } else { Way::InPlace })
}

/// Whether a running container of the pod does not have what its spec says.
pub fn is_due(pod: &Pod, observed: &PodObserved, given: &BTreeMap<String, String>) -> bool {
    spec::all_containers(pod).any(|container| {
        let latest = observed.latest(&container.name).filter(|it| it.state == ContainerState::Running);
        latest.is_some_and(|it| way(container, it, given).is_some())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(cpu: &str, memory: &str) -> ContainerSpec {
        serde_json::from_value(json!({
            "name": "c", "resources": {"limits": {"cpu": cpu, "memory": memory}},
            "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
        }))
        .unwrap()
    }

    #[test]
    fn memory_restarts_where_the_policy_says_so() {
        let made = container("500m", "64Mi");
        assert_eq!(mark(&made), "512/50000/67108864");
        assert_eq!(mark(&ContainerSpec::default()), "2/-/-");
        let running = Container { id: "id".into(), resources: mark(&made), ..Container::default() };
        let of = |wanted: ContainerSpec, given: &[(&str, String)]| {
            let given = given.iter().map(|(id, mark)| ((*id).to_owned(), mark.clone())).collect();
            way(&wanted, &running, &given)
        };
        assert_eq!(of(container("500m", "64Mi"), &[]), None);
        assert_eq!(of(container("1", "64Mi"), &[]), Some(Way::InPlace));
        assert_eq!(of(container("1", "64Mi"), &[("id", mark(&container("1", "64Mi")))]), None);
        assert_eq!(of(container("500m", "128Mi"), &[]), Some(Way::Restart));
        let unknown = Container { resources: String::new(), ..running.clone() };
        assert_eq!(way(&container("1", "1Gi"), &unknown, &BTreeMap::new()), None);
    }
}
