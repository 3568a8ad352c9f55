//! Who is evicted first, and the words for it: upstream's order (`pkg/kubelet/eviction/helpers.go`). Pods that use more
//! than they asked for come first, then those of lower priority, then those that exceed their request by more. Pure.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::Pod;

use super::thresholds::Met;
use crate::pod::{resources, spec};

/// From this priority on a pod is critical, upstream's number.
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// What a pod uses of the resource that runs out.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// All that it uses.
    pub used: i64,
    /// What each container uses, where that is known.
    pub containers: Vec<(String, i64)>,
}

/// Whether a pod is never evicted for pressure.
pub fn is_critical(pod: &Pod) -> bool {
    spec::is_static(pod) || spec::mirrored(pod).is_some() || spec::spec(pod).priority >= Some(CRITICAL_PRIORITY)
}

/// Puts the first to go first; critical pods are none.
pub fn rank(candidates: &mut Vec<Candidate<'_>>, resource: &str) {
    candidates.retain(|it| !is_critical(it.pod));
    candidates.sort_by_cached_key(|it| {
        let request = resources::requests(it.pod).get(resource).copied().unwrap_or(0);
        let priority = spec::spec(it.pod).priority.unwrap_or(0);
        (it.used <= request, priority, Reverse(it.used - request))
    });
}

/// The message of an evicted pod.
pub fn message(met: &Met, candidate: &Candidate<'_>) -> String {
    let resource = met.threshold.signal.resource();
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        quantity(met.least),
        quantity(met.available)
    );
    for (name, used) in &candidate.containers {
        let container = spec::container(candidate.pod, name);
        let requests = container.and_then(|it| it.resources.as_ref()?.requests.as_ref()?.get(resource));
        let request = requests.map_or("0".to_owned(), |it| it.0.clone());
        if *used > crate::quantity::whole(&request).unwrap_or(0) {
            text.push_str(&format!(
                "Container {name} was using {}, request is {request}, has larger consumption of {resource}. ",
                quantity(*used)
            ));
        }
    }
    text
}

/// A number in binary units where it is one of them, as upstream writes quantities.
pub fn quantity(number: i64) -> String {
    match number {
        0 => "0".into(),
        it if it % (1 << 30) == 0 => format!("{}Gi", it >> 30),
        it if it % (1 << 20) == 0 => format!("{}Mi", it >> 20),
        it if it % (1 << 10) == 0 => format!("{}Ki", it >> 10),
        it => it.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::signals::Signal;
    use super::super::thresholds::{Least, Threshold};
    use super::*;

    fn pod(name: &str, request: &str, priority: i32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"memory": request}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn those_above_their_request_go_first_and_critical_ones_never() {
        let pods = [
            (pod("modest", "100Mi", 0), 50 << 20),
            (pod("greedy", "100Mi", 0), 300 << 20),
            (pod("greedier", "10Mi", 0), 300 << 20),
            (pod("dear", "10Mi", 1000), 900 << 20),
            (pod("critical", "0", CRITICAL_PRIORITY), 900 << 20),
        ];
        let mut all: Vec<Candidate<'_>> = pods
            .iter()
            .map(|(pod, used)| Candidate { pod, used: *used, containers: vec![("c".into(), *used)] })
            .collect();
        rank(&mut all, "memory");
        let names: Vec<&str> = all.iter().filter_map(|it| it.pod.metadata.name.as_deref()).collect();
        assert_eq!(names, ["greedier", "greedy", "dear", "modest"]);
        let threshold = Threshold { signal: Signal::Memory, least: Least::Absolute(100 << 20), grace: None };
        let met = Met { threshold, least: 100 << 20, available: 17348 << 10 };
        assert_eq!(
            message(&met, &all[0]),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 17348Ki. Container c was using \
             300Mi, request is 10Mi, has larger consumption of memory. "
        );
    }
}
