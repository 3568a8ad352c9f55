//! Resources that change while a container runs: which containers do not have what their spec says, and whether they
//! have to be started again for it. Pure.
//!
//! What a container was made with stands in its annotation ([`mark`]); what it was given since, the worker remembers. A
//! kubelet that has forgotten gives it again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, ResourceRequirements};
use serde::Serialize;

use super::observed::{Container, ContainerState, PodObserved};
use super::{resources, spec};

/// A container's resources as one text: request and limit of CPU in millicores, then of memory in bytes.
pub fn mark(container: &ContainerSpec) -> String {
    let amounts = resources::container_amounts(container);
    let text = |it: Option<i64>| it.map_or("-".to_owned(), |it| it.to_string());
    let (cpu, memory) = (text(amounts.cpu_limit), text(amounts.memory_limit));
    format!("{}/{cpu}/{}/{memory}", amounts.cpu_request, amounts.memory_request)
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
    let (now, before): (Vec<&str>, Vec<&str>) = (wanted.split('/').collect(), has.split('/').collect());
    // A mark in another form is an earlier kubelet's: what has changed is not known, and nothing restarts for that.
    if now.len() != before.len() {
        return Some(Way::InPlace);
    }
    let restarts = |name: &str| {
        let mut policies = container.resize_policy.iter().flatten();
        policies.any(|it| it.resource_name == name && it.restart_policy == "RestartContainer")
    };
    let restart = (now[..2] != before[..2] && restarts("cpu")) || (now[2..] != before[2..] && restarts("memory"));
    Some(if restart { Way::Restart } else { Way::InPlace })
}

/// Whether a running container of the pod does not have what its spec says.
pub fn is_due(pod: &Pod, observed: &PodObserved, given: &BTreeMap<String, String>) -> bool {
    spec::all_containers(pod).any(|container| {
        let latest = observed.latest(&container.name).filter(|it| it.state == ContainerState::Running);
        latest.is_some_and(|it| way(container, it, given).is_some())
    })
}

/// The resources that the pod's spec says, as one text that changes with them.
pub fn marks(pod: &Pod) -> String {
    spec::all_containers(pod).map(mark).collect::<Vec<_>>().join(" ")
}

/// What an event about a resize tells beyond its beginning.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(rename = "initContainers", skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Allocation<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Allocation<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Allocation<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

/// The message of an event about a resize (`Pod resize started`), in upstream's form: the resources of all containers,
/// the pod's generation, and what went wrong, as JSON.
pub fn message(beginning: &str, pod: &Pod, error: &str) -> String {
    fn allocations(containers: &[ContainerSpec]) -> Vec<Allocation<'_>> {
        let one = |it: &'_ ContainerSpec| it.resources.clone().unwrap_or_default();
        containers.iter().map(|it| Allocation { name: &it.name, resources: one(it) }).collect()
    }
    let told = Told {
        init_containers: allocations(spec::init_containers(pod)),
        containers: allocations(spec::containers(pod)),
        generation: pod.metadata.generation.unwrap_or_default(),
        error,
    };
    serde_json::to_string(&told).map_or_else(|_| beginning.to_owned(), |details| format!("{beginning}: {details}"))
}

/// Why a container may not have the memory limit that its spec says now; a limit below what it uses would end it.
pub fn too_small(container: &ContainerSpec, used: i64) -> Option<String> {
    let limit = resources::container_amounts(container).memory_limit.filter(|limit| *limit < used)?;
    let name = &container.name;
    Some(format!("attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
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
        assert_eq!(mark(&made), "500/500/67108864/67108864");
        assert_eq!(mark(&ContainerSpec::default()), "0/-/0/-");
        let running = Container { id: "id".into(), resources: mark(&made), ..Container::default() };
        let of = |wanted: ContainerSpec, given: &[(&str, String)]| {
            let given = given.iter().map(|(id, mark)| ((*id).to_owned(), mark.clone())).collect();
            way(&wanted, &running, &given)
        };
        assert_eq!(of(container("500m", "64Mi"), &[]), None);
        assert_eq!(of(container("1", "64Mi"), &[]), Some(Way::InPlace));
        assert_eq!(of(container("1", "64Mi"), &[("id", mark(&container("1", "64Mi")))]), None);
        assert_eq!(of(container("500m", "128Mi"), &[]), Some(Way::Restart));
        let mut asks = container("500m", "64Mi");
        asks.resources.as_mut().unwrap().requests = Some([("memory".to_owned(), Quantity("32Mi".to_owned()))].into());
        assert_eq!(of(asks, &[]), Some(Way::Restart));
        // The kernel has no less than this, but the status tells what was asked for.
        let (two, one) = (container("2m", "64Mi"), container("1m", "64Mi"));
        assert_eq!(of(one, &[("id", mark(&two))]), Some(Way::InPlace));
        assert_eq!(of(container("1", "128Mi"), &[("id", "512/50000/67108864".to_owned())]), Some(Way::InPlace));
        let unknown = Container { resources: String::new(), ..running.clone() };
        assert_eq!(way(&container("1", "1Gi"), &unknown, &BTreeMap::new()), None);
    }

    #[test]
    fn events_tell_all_resources() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"generation": 2},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}, {"name": "d"}]},
        }))
        .unwrap();
        let resources = r#"{"name":"c","resources":{"limits":{"cpu":"1"}}},{"name":"d","resources":{}}"#;
        assert_eq!(
            message("Pod resize started", &pod, ""),
            format!(r#"Pod resize started: {{"containers":[{resources}],"generation":2}}"#)
        );
        assert!(message("Pod resize error", &pod, "why").ends_with(r#""generation":2,"error":"why"}"#));
        assert_eq!(
            too_small(&container("1", "1Mi"), 2 << 20).unwrap(),
            r#"attempting to set container "c" memory limit (1048576) below current usage (2097152)"#
        );
        assert_eq!(too_small(&container("1", "4Mi"), 2 << 20), None);
    }
}
