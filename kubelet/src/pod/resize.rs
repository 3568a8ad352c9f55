//! Resources that change while a container runs: which containers do not have what their spec says, and whether they
//! have to be started again for it. Pure.
//!
//! What a container was made with stands in its annotation ([`mark`]); what it was given since, the worker remembers. A
//! kubelet that has forgotten gives it again.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, ResourceRequirements};
use serde::Serialize;

use super::observed::{Container, ContainerState, PodObserved};
use super::plan::WorkerState;
use super::{resources, spec};

/// The resources of a container in its pod as one text: request and limit of CPU in millicores, then of memory in bytes.
pub fn mark(pod: &Pod, container: &ContainerSpec) -> String {
    let amounts = resources::amounts_in_pod(pod, container);
    let text = |it: Option<i64>| it.map_or("-".to_owned(), |it| it.to_string());
    let (cpu, memory) = (text(amounts.cpu_limit), text(amounts.memory_limit));
    format!("{}/{cpu}/{}/{memory}", amounts.cpu_request, amounts.memory_request)
}

/// The limits of the pod's own cgroup as one text.
pub fn pod_mark(pod: &Pod) -> String {
    let limits = resources::pod_limits(pod);
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
pub fn way(pod: &Pod, container: &ContainerSpec, running: &Container, given: &BTreeMap<String, String>) -> Option<Way> {
    let (wanted, has) = (mark(pod, container), given.get(&running.id).unwrap_or(&running.resources));
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
pub fn containers_are_due(pod: &Pod, observed: &PodObserved, worker: &WorkerState) -> bool {
    spec::all_containers(pod).any(|container| {
        let latest = observed.latest(&container.name).filter(|it| it.state == ContainerState::Running);
        latest.is_some_and(|it| way(pod, container, it, &worker.resized).is_some())
    })
}

/// Whether the pod's own cgroup is known to have other limits than the spec says.
pub fn pod_is_due(pod: &Pod, worker: &WorkerState) -> bool {
    worker.pod_limits.as_ref().is_some_and(|it| *it != pod_mark(pod))
}

/// Whether the pod, or a running container of it, does not have what the spec says.
pub fn is_due(pod: &Pod, observed: &PodObserved, worker: &WorkerState) -> bool {
    pod_is_due(pod, worker) || containers_are_due(pod, observed, worker)
}

/// The resources that the pod's spec says, as one text that changes with them.
pub fn marks(pod: &Pod) -> String {
    let containers = spec::all_containers(pod).map(|container| mark(pod, container));
    std::iter::once(pod_mark(pod)).chain(containers).collect::<Vec<_>>().join(" ")
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

/// Why the pod, or a container of it, may not have the memory limit that its spec says now; a limit below what is used
/// would end processes. `None` where nobody knows what is used.
pub fn too_small(pod: &Pod, used: Option<i64>, container: Option<(&ContainerSpec, Option<i64>)>) -> Option<String> {
    let below = |limit: Option<i64>, used: Option<i64>| Some((limit?, used?)).filter(|(limit, used)| limit < used);
    let of_pod = below(resources::pod_limits(pod).memory, used)
        .map(|(limit, used)| format!("attempting to set pod memory limit ({limit}) below current usage ({used})"));
    let of_container = container.and_then(|(container, used)| {
        let (limit, used) = below(resources::amounts_in_pod(pod, container).memory_limit, used)?;
        let name = &container.name;
        Some(format!("attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"))
    });
    let why: Vec<String> = of_pod.into_iter().chain(of_container).collect();
    match why.as_slice() {
        [] => None,
        [one] => Some(format!("cannot decrease memory limits: {one}")),
        many => Some(format!("cannot decrease memory limits: [{}]", many.join(", "))),
    }
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
        let whole = Pod::default();
        let mark = |container: &ContainerSpec| mark(&whole, container);
        assert_eq!(mark(&made), "500/500/67108864/67108864");
        assert_eq!(mark(&ContainerSpec::default()), "0/-/0/-");
        let running = Container { id: "id".into(), resources: mark(&made), ..Container::default() };
        let of = |wanted: ContainerSpec, given: &[(&str, String)]| {
            let given = given.iter().map(|(id, mark)| ((*id).to_owned(), mark.clone())).collect();
            way(&whole, &wanted, &running, &given)
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
        assert_eq!(way(&whole, &container("1", "1Gi"), &unknown, &BTreeMap::new()), None);
    }

    #[test]
    fn what_the_pod_is_given_as_a_whole_reaches_containers_without_limits() {
        let pod = |memory: &str| -> Pod {
            serde_json::from_value(json!({"spec": {
                "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": memory}},
                "containers": [
                    {"name": "free", "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]},
                    {"name": "own", "resources": {"limits": {"memory": "16Mi"}}},
                ],
            }}))
            .unwrap()
        };
        let (small, large) = (pod("64Mi"), pod("128Mi"));
        assert_eq!((pod_mark(&small).as_str(), pod_mark(&large).as_str()), ("512/-/67108864", "512/-/134217728"));
        let ways: Vec<Option<Way>> = (0..2)
            .map(|index| {
                let resources = mark(&small, &spec::containers(&small)[index]);
                let running = Container { resources, ..Container::default() };
                way(&large, &spec::containers(&large)[index], &running, &BTreeMap::new())
            })
            .collect();
        assert_eq!(ways, [Some(Way::Restart), None]);
        let mut worker = WorkerState::default();
        assert!(!pod_is_due(&large, &worker), "nobody looked");
        worker.pod_limits = Some(pod_mark(&small));
        assert!(pod_is_due(&large, &worker) && !pod_is_due(&small, &worker));
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
        let told = |memory: &str| {
            let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [container("1", memory)]}})).unwrap();
            too_small(&pod, Some(3 << 20), Some((&spec::containers(&pod)[0], Some(2 << 20))))
        };
        let of_pod = "attempting to set pod memory limit (1048576) below current usage (3145728)";
        let own = r#"attempting to set container "c" memory limit (1048576) below current usage (2097152)"#;
        assert_eq!(told("1Mi").unwrap(), format!("cannot decrease memory limits: [{of_pod}, {own}]"));
        let of_pod = "attempting to set pod memory limit (2097152) below current usage (3145728)";
        assert_eq!(told("2Mi").unwrap(), format!("cannot decrease memory limits: {of_pod}"));
        assert_eq!(told("4Mi"), None);
    }
}
