//! `/stats/summary`: upstream's `stats.k8s.io/v1alpha1` Summary, in JSON.

use serde_json::{Map, Value, json};

use super::volumes::VolumeStats;
use super::{ContainerStats, FileSystem, Interface, PodStats, Snapshot, Usage};

/// All figures, or only CPU and memory.
pub fn summary(snapshot: &Snapshot, only_cpu_and_memory: bool) -> Value {
    let at = snapshot.at.to_string();
    let pods: Vec<Value> = snapshot.pods.iter().map(|it| pod(it, snapshot, &at, only_cpu_and_memory)).collect();
    let system = |name: &str, usage: &Usage| json!({"name": name, "startTime": snapshot.booted, "cpu": cpu(usage, None, &at), "memory": memory(usage, None, &at)});
    let mut node = json!({
        "nodeName": snapshot.node,
        "systemContainers": [system("kubelet", &snapshot.kubelet), system("pods", &snapshot.pods_total)],
        "startTime": snapshot.booted,
        "cpu": cpu(&snapshot.usage, snapshot.rate, &at),
        "memory": memory(&snapshot.usage, Some(snapshot.memory), &at),
        "swap": swap(&snapshot.usage, &at),
    });
    if !only_cpu_and_memory {
        node["network"] = network(&snapshot.network, &at);
        if let Some(system) = &snapshot.file_system {
            node["fs"] = file_system(system, None, &at);
        }
        if let Some((system, used)) = &snapshot.images {
            let all = (*used, system.inodes.saturating_sub(system.inodes_free));
            node["runtime"] = json!({"imageFs": file_system(system, Some(all), &at)});
        }
        if let Some((most, present)) = snapshot.processes {
            node["rlimit"] = json!({"time": at, "maxpid": most, "curproc": present});
        }
    }
    json!({"node": node, "pods": pods})
}

fn pod(pod: &PodStats, snapshot: &Snapshot, at: &str, only_cpu_and_memory: bool) -> Value {
    let containers: Vec<Value> =
        pod.containers.iter().map(|it| container(it, snapshot, at, only_cpu_and_memory)).collect();
    let mut told = json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": pod.started,
        "containers": containers,
        "cpu": cpu(&pod.usage, pod.rate, at),
        "memory": memory(&pod.usage, pod.usage.memory_limit, at),
        "swap": swap(&pod.usage, at),
    });
    if !only_cpu_and_memory {
        if !pod.network.is_empty() {
            told["network"] = network(&pod.network, at);
        }
        let volumes: Vec<Value> = pod.volumes.iter().map(volume).collect();
        if !volumes.is_empty() {
            told["volume"] = volumes.into();
        }
        if let Some(system) = &snapshot.file_system {
            let of_containers = pod.containers.iter().flat_map(|it| [it.layer, it.log]).flatten();
            let of_volumes = pod.volumes.iter().filter(|it| it.ephemeral).map(|it| it.used);
            let all = of_containers.chain(of_volumes).chain([pod.files]);
            let used = all.fold((0, 0), |sum, used| (sum.0 + used.0, sum.1 + used.1));
            told["ephemeral-storage"] = file_system(system, Some(used), at);
        }
        told["process_stats"] = json!({"process_count": pod.usage.processes.unwrap_or(0)});
    }
    told
}

fn container(container: &ContainerStats, snapshot: &Snapshot, at: &str, only_cpu_and_memory: bool) -> Value {
    let mut told = json!({
        "name": container.name,
        "startTime": container.started,
        "cpu": cpu(&container.usage, container.rate, at),
        "memory": memory(&container.usage, container.usage.memory_limit, at),
        "swap": swap(&container.usage, at),
    });
    if !only_cpu_and_memory {
        if let (Some((system, _)), Some(used)) = (&snapshot.images, container.layer) {
            told["rootfs"] = file_system(system, Some(used), at);
        }
        if let (Some(system), Some(used)) = (&snapshot.file_system, container.log) {
            told["logs"] = file_system(system, Some(used), at);
        }
    }
    told
}

/// An object of the fields that are known.
fn known(fields: impl IntoIterator<Item = (&'static str, Option<u64>)>, at: &str) -> Value {
    let mut object = Map::new();
    object.insert("time".into(), at.into());
    object.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
    object.into()
}

fn cpu(usage: &Usage, rate: Option<u64>, at: &str) -> Value {
    known([("usageNanoCores", rate), ("usageCoreNanoSeconds", usage.cpu)], at)
}

fn memory(usage: &Usage, limit: Option<u64>, at: &str) -> Value {
    let working_set = usage.working_set();
    known(
        [
            ("availableBytes", limit.zip(working_set).map(|(limit, used)| limit.saturating_sub(used))),
            ("usageBytes", usage.memory),
            ("workingSetBytes", working_set),
            ("rssBytes", usage.rss),
            ("pageFaults", usage.page_faults),
            ("majorPageFaults", usage.major_page_faults),
        ],
        at,
    )
}

fn swap(usage: &Usage, at: &str) -> Value {
    known([("swapUsageBytes", usage.swap)], at)
}

fn interface(interface: &Interface) -> Map<String, Value> {
    let mut told = Map::new();
    told.insert("name".into(), interface.name.clone().into());
    for (name, value) in [
        ("rxBytes", interface.received[0]),
        ("rxErrors", interface.received[2]),
        ("txBytes", interface.sent[0]),
        ("txErrors", interface.sent[2]),
    ] {
        told.insert(name.into(), value.into());
    }
    told
}

/// The first interface is the default one.
fn network(interfaces: &[Interface], at: &str) -> Value {
    let mut told = interfaces.first().map(interface).unwrap_or_default();
    told.insert("time".into(), at.into());
    told.insert("interfaces".into(), interfaces.iter().map(|it| Value::Object(interface(it))).collect());
    told.into()
}

fn volume(volume: &VolumeStats) -> Value {
    let mut told = file_system(&volume.system, Some(volume.used), &volume.at.to_string());
    told["name"] = volume.name.clone().into();
    told
}

/// A file system and what somebody uses of it, in bytes and inodes; all that is used, if it is nobody in particular.
fn file_system(system: &FileSystem, used: Option<(u64, u64)>, at: &str) -> Value {
    let (bytes, inodes) = used.unwrap_or((system.used, system.inodes.saturating_sub(system.inodes_free)));
    known(
        [
            ("availableBytes", Some(system.available)),
            ("capacityBytes", Some(system.capacity)),
            ("usedBytes", Some(bytes)),
            ("inodesFree", Some(system.inodes_free)),
            ("inodes", Some(system.inodes)),
            ("inodesUsed", Some(inodes)),
        ],
        at,
    )
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::snapshot;
    use super::*;

    #[test]
    fn the_summary_has_upstreams_fields() {
        let told = summary(&snapshot(), false);
        assert_eq!(told["node"]["cpu"]["usageCoreNanoSeconds"], 5_000_000_000_u64);
        assert_eq!(told["node"]["memory"]["availableBytes"], 1_000_000 - 3000);
        let pod = &told["pods"][0];
        assert_eq!(pod["podRef"]["name"], "web");
        assert_eq!(pod["network"]["rxBytes"], 10);
        assert_eq!(pod["containers"][0]["cpu"]["usageNanoCores"], 250_000_000);
        assert_eq!(pod["containers"][0]["memory"]["workingSetBytes"], 700);
        let system = FileSystem { capacity: 1000, available: 400, used: 500, inodes: 100, inodes_free: 90 };
        let mut full = snapshot();
        (full.file_system, full.images) = (Some(system), Some((system, 300)));
        let at = full.at;
        let volume = |name: &str, ephemeral| VolumeStats { name: name.into(), at, system, used: (50, 3), ephemeral };
        full.pods[0].volumes = vec![volume("scratch", true), volume("memory", false)];
        let told = summary(&full, false);
        let (pod, volume) = (&told["pods"][0], &told["pods"][0]["volume"][1]);
        assert_eq!(
            (&volume["name"], &volume["usedBytes"], &volume["capacityBytes"]),
            (&"memory".into(), &50.into(), &1000.into())
        );
        let used = |of: &Value| (of["usedBytes"].as_u64().unwrap(), of["inodesUsed"].as_u64().unwrap());
        assert_eq!(used(&pod["ephemeral-storage"]), (5 + 7 + 50 + 4, 1 + 2 + 3 + 1));
        assert_eq!((used(&pod["containers"][0]["logs"]), used(&pod["containers"][0]["rootfs"])), ((7, 2), (5, 1)));
        assert_eq!((used(&told["node"]["fs"]), used(&told["node"]["runtime"]["imageFs"])), ((500, 10), (300, 10)));
        let short = summary(&snapshot(), true);
        assert!(short["pods"][0].get("network").is_none());
    }
}
