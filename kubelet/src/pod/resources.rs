//! Requests and limits of a whole pod, and what they come to as cgroup values. Upstream's sums
//! (`component-helpers/resource`, `pkg/kubelet/cm/helpers_linux.go`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use reeve_api::quantity::Quantity as Amount;

use super::spec;
use crate::quantity;

/// The kernel's smallest CPU share, for what has no request.
pub const MIN_SHARES: i64 = 2;
/// The kernel's largest.
pub const MAX_SHARES: i64 = 262_144;
/// The period of CPU quotas, in microseconds.
pub const QUOTA_PERIOD: i64 = 100_000;
/// The smallest quota that the kernel takes, in microseconds.
pub const MIN_QUOTA: i64 = 1000;
const SHARES_PER_CPU: i64 = 1024;

/// What a cgroup is limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupLimits {
    /// Weight among siblings, by version 1's measure: 1024 for each CPU.
    pub cpu_shares: i64,
    /// Microseconds of CPU time in each [`QUOTA_PERIOD`]; `None` for no limit.
    pub cpu_quota: Option<i64>,
    /// Bytes of memory; `None` for no limit.
    pub memory: Option<i64>,
}

/// Millicores of CPU or bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    fn of(self, container: &Container, limit: bool) -> Option<i64> {
        self.in_resources(container.resources.as_ref(), limit)
    }

    /// What the pod says of itself as a whole.
    fn of_pod(self, pod: &Pod, limit: bool) -> Option<i64> {
        self.in_resources(spec::spec(pod).resources.as_ref(), limit)
    }

    fn in_resources(self, resources: Option<&ResourceRequirements>, limit: bool) -> Option<i64> {
        let resources = resources?;
        let map = if limit { resources.limits.as_ref() } else { resources.requests.as_ref() };
        match self {
            Resource::Cpu => quantity::milli(&map?.get("cpu")?.0),
            Resource::Memory => quantity::whole(&map?.get("memory")?.0),
        }
    }

    /// What a container asks for; a limit stands in for a request that is not there.
    fn requested(self, container: &Container) -> i64 {
        self.of(container, false).or_else(|| self.of(container, true)).unwrap_or(0)
    }

    fn overhead(self, pod: &Pod) -> i64 {
        let overhead = spec::spec(pod).overhead.as_ref();
        match self {
            Resource::Cpu => overhead.and_then(|it| quantity::milli(&it.get("cpu")?.0)),
            Resource::Memory => overhead.and_then(|it| quantity::whole(&it.get("memory")?.0)),
        }
        .unwrap_or(0)
    }
}

/// The most that the pod uses at one time: its app containers with all sidecars, or an init container with the
/// sidecars that started before it.
fn most(pod: &Pod, of: impl Fn(&Container) -> i64) -> i64 {
    most_of(pod, 0, |one, other| one + other, of)
}

/// The same of any amounts that can be added.
fn most_of<T: Copy + Ord>(pod: &Pod, zero: T, plus: impl Fn(T, T) -> T, of: impl Fn(&Container) -> T) -> T {
    let (mut sidecars, mut peak) = (zero, zero);
    for init in spec::init_containers(pod) {
        if spec::is_sidecar(init) {
            sidecars = plus(sidecars, of(init));
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(plus(sidecars, of(init)));
        }
    }
    let apps = spec::containers(pod).iter().map(of).fold(zero, &plus);
    peak.max(plus(apps, sidecars))
}

/// What the pod asks for in all, or is limited to, as its status tells it. A limit holds where the pod as a whole or
/// every one of its containers has one.
pub fn in_all(pod: &Pod, limits: bool) -> BTreeMap<String, Quantity> {
    fn of(resources: Option<&ResourceRequirements>, limits: bool) -> Option<&BTreeMap<String, Quantity>> {
        let resources = resources?;
        if limits { resources.limits.as_ref() } else { resources.requests.as_ref() }
    }
    let parse = |map: Option<&BTreeMap<String, Quantity>>, name: &str| Amount::parse(map?.get(name)?).ok();
    let whole = of(spec::spec(pod).resources.as_ref(), limits);
    let own = |container: &Container, name: &str| parse(of(container.resources.as_ref(), limits), name);
    let maps = spec::all_containers(pod).map(|it| of(it.resources.as_ref(), limits)).chain([whole]).flatten();
    let names: BTreeSet<&String> = maps.flat_map(BTreeMap::keys).collect();
    let total = |name: &String| {
        let bounded = !limits || spec::all_containers(pod).all(|container| own(container, name).is_some());
        let summed = || most_of(pod, Amount::ZERO, Amount::plus, |it| own(it, name).unwrap_or(Amount::ZERO));
        let amount = parse(whole, name).or_else(|| bounded.then(summed))?;
        let overhead = parse(spec::spec(pod).overhead.as_ref(), name).unwrap_or(Amount::ZERO);
        Some((name.clone(), amount.plus(overhead).to_text()))
    };
    names.into_iter().filter_map(total).collect()
}

/// Everything that the pod asks for: millicores of `cpu`, units of all else. What the pod asks for as a whole comes
/// before what its containers do.
pub fn requests(pod: &Pod) -> BTreeMap<String, i64> {
    let amount = |name: &str, text: &str| if name == "cpu" { quantity::milli(text) } else { quantity::whole(text) };
    let of = |container: &Container, name: &str| {
        let wanted = container.resources.as_ref();
        let of_map = |map: Option<&BTreeMap<String, Quantity>>| amount(name, &map?.get(name)?.0);
        of_map(wanted.and_then(|it| it.requests.as_ref()))
            .or_else(|| of_map(wanted.and_then(|it| it.limits.as_ref())))
            .unwrap_or(0)
    };
    let whole = spec::spec(pod).resources.as_ref().and_then(|it| it.requests.as_ref());
    let overhead = spec::spec(pod).overhead.as_ref();
    let wanted = spec::all_containers(pod).filter_map(|it| it.resources.as_ref());
    let maps = wanted.flat_map(|it| [it.requests.as_ref(), it.limits.as_ref()]).chain([whole, overhead]).flatten();
    let names: BTreeSet<&String> = maps.flat_map(BTreeMap::keys).collect();
    let total = |name: &str| {
        let of_pod = whole.and_then(|it| amount(name, &it.get(name)?.0));
        let extra = overhead.and_then(|it| amount(name, &it.get(name)?.0)).unwrap_or(0);
        of_pod.unwrap_or_else(|| most(pod, |container| of(container, name))) + extra
    };
    names.into_iter().map(|name| (name.clone(), total(name))).collect()
}

fn limit(pod: &Pod, resource: Resource) -> Option<i64> {
    if let Some(whole) = resource.of_pod(pod, true).filter(|it| *it > 0) {
        return Some(whole + resource.overhead(pod));
    }
    let of = |container: &Container| resource.of(container, true).filter(|it| *it > 0);
    let all = spec::all_containers(pod).all(|container| of(container).is_some());
    all.then(|| most(pod, |container| of(container).unwrap_or(0)) + resource.overhead(pod))
}

/// The memory limits that containers have, together: what the pod's volumes in memory are bounded by.
pub fn memory_limits(pod: &Pod) -> Option<i64> {
    let total = most(pod, |container| Resource::Memory.of(container, true).unwrap_or(0));
    (total > 0).then(|| total + Resource::Memory.overhead(pod))
}

/// The CPU that the pod asks for, in millicores.
pub fn cpu_request(pod: &Pod) -> i64 {
    let whole = Resource::Cpu.of_pod(pod, false).or_else(|| Resource::Cpu.of_pod(pod, true));
    whole.unwrap_or_else(|| most(pod, |container| Resource::Cpu.requested(container))) + Resource::Cpu.overhead(pod)
}

/// The limits of the pod's own cgroup, above its containers'. A limit holds where the pod as a whole or every one of its
/// containers has one.
pub fn pod_limits(pod: &Pod) -> CgroupLimits {
    CgroupLimits {
        cpu_shares: shares(cpu_request(pod)),
        cpu_quota: limit(pod, Resource::Cpu).map(quota),
        memory: limit(pod, Resource::Memory),
    }
}

/// What a container asks for and is limited to: millicores of CPU and bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerAmounts {
    /// CPU that is asked for; its limit stands in where nothing is.
    pub cpu_request: i64,
    /// The limit of CPU; `None` for none.
    pub cpu_limit: Option<i64>,
    /// Memory that is asked for; its limit stands in where nothing is.
    pub memory_request: i64,
    /// The limit of memory; `None` for none.
    pub memory_limit: Option<i64>,
}

/// A container's amounts.
pub fn container_amounts(container: &Container) -> ContainerAmounts {
    let limit = |resource: Resource| resource.of(container, true).filter(|it| *it > 0);
    ContainerAmounts {
        cpu_request: Resource::Cpu.requested(container),
        cpu_limit: limit(Resource::Cpu),
        memory_request: Resource::Memory.requested(container),
        memory_limit: limit(Resource::Memory),
    }
}

/// A container's amounts in its pod: what limits the pod as a whole limits a container that has no limit of its own.
pub fn amounts_in_pod(pod: &Pod, container: &Container) -> ContainerAmounts {
    let own = container_amounts(container);
    let whole = |resource: Resource| resource.of_pod(pod, true).filter(|it| *it > 0);
    ContainerAmounts {
        cpu_limit: own.cpu_limit.or_else(|| whole(Resource::Cpu)),
        memory_limit: own.memory_limit.or_else(|| whole(Resource::Memory)),
        ..own
    }
}

/// CPU shares for a request in millicores.
pub fn shares(milli: i64) -> i64 {
    (milli * SHARES_PER_CPU / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// A CPU quota for a limit in millicores.
pub fn quota(milli: i64) -> i64 {
    (milli * QUOTA_PERIOD / 1000).max(MIN_QUOTA)
}

/// The shares of the class of burstable pods: what all of them ask for.
pub fn burstable_shares<'a>(pods: impl Iterator<Item = &'a Pod>) -> i64 {
    let burstable = pods.filter(|pod| spec::qos_class(pod) == "Burstable" && !spec::is_terminal(pod));
    shares(burstable.map(cpu_request).sum())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(init: Value, containers: Value) -> Pod {
        serde_json::from_value(json!({"spec": {"initContainers": init, "containers": containers}})).unwrap()
    }

    fn container(requests: Value, limits: Value) -> Value {
        json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn a_pod_is_limited_where_all_its_containers_are() {
        let limited = container(json!({"cpu": "100m"}), json!({"cpu": "500m", "memory": "64Mi"}));
        let half = container(json!({"cpu": "200m"}), json!({"memory": "32Mi"}));
        let both = pod(json!([]), json!([limited, half]));
        let expected = CgroupLimits { cpu_shares: 307, cpu_quota: None, memory: Some(96 << 20) };
        assert_eq!(pod_limits(&both), expected);
        let one = pod(json!([]), json!([limited]));
        assert_eq!(pod_limits(&one), CgroupLimits { cpu_shares: 102, cpu_quota: Some(50_000), memory: Some(64 << 20) });
        let none = pod(json!([]), json!([{"name": "c"}]));
        assert_eq!(pod_limits(&none), CgroupLimits { cpu_shares: 2, cpu_quota: None, memory: None });
        let told = |pod: &Pod| (in_all(pod, false), in_all(pod, true));
        let texts = |pod: &Pod| serde_json::to_value(told(pod)).unwrap();
        assert_eq!(texts(&both), json!([{"cpu": "300m"}, {"memory": "96Mi"}]));
        assert_eq!(texts(&none), json!([{}, {}]));
        let all = [both, one, none];
        assert_eq!(burstable_shares(all.iter()), 409);
    }

    #[test]
    fn what_the_pod_says_as_a_whole_comes_first() {
        let limited = container(json!({"cpu": "100m"}), json!({"memory": "32Mi"}));
        let mut pod = pod(json!([]), json!([limited, {"name": "free"}]));
        let whole = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "64Mi"}});
        pod.spec.as_mut().unwrap().resources = serde_json::from_value(whole).unwrap();
        let expected = CgroupLimits { cpu_shares: 512, cpu_quota: Some(100_000), memory: Some(64 << 20) };
        assert_eq!(pod_limits(&pod), expected);
        let told = |limits: bool| serde_json::to_value(in_all(&pod, limits)).unwrap();
        assert_eq!(told(false), json!({"cpu": "500m"}));
        assert_eq!(told(true), json!({"cpu": "1", "memory": "64Mi"}));
        let of = |index: usize| amounts_in_pod(&pod, &spec::containers(&pod)[index]);
        let amounts = |cpu_request, memory_request, memory| ContainerAmounts {
            cpu_request,
            cpu_limit: Some(1000),
            memory_request,
            memory_limit: Some(memory),
        };
        assert_eq!([of(0), of(1)], [amounts(100, 32 << 20, 32 << 20), amounts(0, 0, 64 << 20)]);
    }

    #[test]
    fn sidecars_count_with_what_runs_beside_them() {
        let asks = |cpu: &str| container(json!({"cpu": cpu}), json!({}));
        let mut sidecar = asks("1");
        sidecar["restartPolicy"] = json!("Always");
        // The init container after the sidecar needs more than the apps do.
        let pod = pod(json!([asks("2"), sidecar, asks("3")]), json!([asks("1"), asks("1")]));
        assert_eq!(cpu_request(&pod), 4000);
    }
}
