//! Gathers all figures of one moment: which pods there are from the API's copy, which containers from the runtime,
//! what they use from the kernel.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use reeve_client::Store;

use super::cgroup::{self, Cgroups};
use super::rates::Rates;
use super::volumes::VolumeFigures;
use super::{ContainerStats, FileSystem, Interface, PodStats, Snapshot, Usage};
use crate::config::Config;
use crate::pod::spec;
use crate::pressure::usage;
use crate::runtime::convert::{CONTAINER_NAME_LABEL, POD_UID_LABEL, cgroup_parent};
use crate::runtime::{Runtime, RuntimeError};

/// What of it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// CPU and memory.
    Resources,
    /// Networks and file systems as well.
    All,
    /// What is in volumes as well.
    Volumes,
}

/// Gathers figures. Cheap to clone.
#[derive(Clone)]
pub struct Collector {
    runtime: Runtime,
    pods: Store<Pod>,
    config: Arc<Config>,
    cgroups: Cgroups,
    rates: Arc<Mutex<Rates>>,
    volumes: VolumeFigures,
}

/// What the runtime says.
#[derive(Default)]
struct Told {
    containers: HashMap<String, Vec<cri::Container>>,
    sandboxes: HashMap<String, cri::PodSandbox>,
    layers: HashMap<String, (u64, u64)>,
    images: Option<(String, u64)>,
}

impl Collector {
    /// For the pods of this node.
    pub fn new(runtime: Runtime, pods: Store<Pod>, config: Config) -> Self {
        let (cgroups, rates, volumes) = (Cgroups::of_machine(), Arc::default(), VolumeFigures::default());
        Self { runtime, pods, config: Arc::new(config), cgroups, rates, volumes }
    }

    /// The figures of now.
    ///
    /// # Errors
    /// The runtime does not answer.
    pub async fn collect(&self, extent: Extent) -> Result<Snapshot, RuntimeError> {
        let told = self.ask(extent).await?;
        let collector = self.clone();
        // Thousands of small files at 110 pods: the kubelet's one thread goes on meanwhile.
        let reading = tokio::task::spawn_blocking(move || collector.read(&told, extent, Timestamp::now()));
        reading.await.map_err(|_| RuntimeError::Incomplete { call: "Stats", what: "figures" })
    }

    async fn ask(&self, extent: Extent) -> Result<Told, RuntimeError> {
        let (containers, sandboxes) = tokio::try_join!(self.runtime.containers(None), self.runtime.sandboxes(None))?;
        let mut told = Told::default();
        for container in containers {
            if container.state == cri::ContainerState::ContainerRunning as i32
                && let Some(uid) = container.labels.get(POD_UID_LABEL).cloned()
            {
                told.containers.entry(uid).or_default().push(container);
            }
        }
        for sandbox in sandboxes {
            if sandbox.state == cri::PodSandboxState::SandboxReady as i32
                && let Some(uid) = sandbox.labels.get(POD_UID_LABEL).cloned()
            {
                told.sandboxes.insert(uid, sandbox);
            }
        }
        if extent >= Extent::All {
            let (layers, images) = tokio::try_join!(self.runtime.layers(), self.runtime.image_file_system())?;
            (told.layers, told.images) = (layers, images);
        }
        Ok(told)
    }

    fn read(&self, told: &Told, extent: Extent, at: Timestamp) -> Snapshot {
        let machine = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // The node is the machine, as upstream has it, whatever --cgroup-root says. Its memory no cgroup tells on version 2.
        let cpu = self.cgroups.usage("/");
        let usage =
            Usage { cpu: cpu.cpu, cpu_user: cpu.cpu_user, cpu_system: cpu.cpu_system, ..cgroup::machine(&machine) };
        let booted = at.checked_sub(uptime()).unwrap_or(at);
        let mut pods = self.pods.list();
        pods.retain(|pod| !spec::is_terminal(pod));
        let mut volumes =
            if extent == Extent::Volumes { self.volumes.of(&pods, &self.config, at) } else { HashMap::new() };
        let stats_of = |pod: &Arc<Pod>| PodStats {
            volumes: volumes.remove(spec::runtime_uid(pod)).unwrap_or_default(),
            ..self.pod(pod, told, extent, at)
        };
        let pods = pods.iter().map(stats_of).collect();
        let all = extent >= Extent::All;
        let snapshot = Snapshot {
            at,
            node: self.config.node_name.clone(),
            booted,
            cpus: std::thread::available_parallelism().map_or(1, |it| u32::try_from(it.get()).unwrap_or(u32::MAX)),
            memory: memory_total(&machine),
            usage,
            rate: self.rate("/", booted, at, usage),
            network: if all { interfaces("/proc/net/dev") } else { Vec::new() },
            file_system: all.then(|| file_system(&self.config.root_dir)).flatten(),
            images: told.images.as_ref().and_then(|(path, used)| Some((file_system(path)?, *used))),
            processes: all.then(processes).flatten(),
            kubelet: own_usage(),
            pods_total: self.cgroups.usage(&format!("{}/kubepods", self.config.cgroup_root)),
            pods,
        };
        self.forget(&snapshot);
        snapshot
    }

    fn pod(&self, pod: &Pod, told: &Told, extent: Extent, at: Timestamp) -> PodStats {
        let (uid, key) = (spec::uid(pod), spec::key(pod));
        let cgroup = cgroup_parent(pod, &self.config);
        let usage = self.cgroups.usage(&cgroup);
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map_or(at, |time| time.0);
        let log_dir = self.config.pod_log_dir(&key.namespace, &key.name, uid);
        let containers = told.containers.get(uid).map(Vec::as_slice).unwrap_or_default().iter().map(|container| {
            let name = container.labels.get(CONTAINER_NAME_LABEL).cloned().unwrap_or_default();
            let log = log_dir.join(&name);
            let image = container.image.as_ref().map_or("", |it| &*it.image);
            let stats = self.container(name, &container.id, image, container.created_at, &cgroup, at);
            ContainerStats {
                layer: told.layers.get(&container.id).copied(),
                log: if extent >= Extent::All { disk(&log) } else { None },
                ..stats
            }
        });
        let containers = containers.collect();
        let sandbox = told.sandboxes.get(uid).filter(|_| extent >= Extent::All);
        let sandbox = sandbox.map(|it| self.container("POD".into(), &it.id, "", it.created_at, &cgroup, at));
        let network = match &sandbox {
            Some(sandbox) if !spec::host_network(pod) => {
                let process = self.cgroups.process(&sandbox.cgroup);
                process.map(|process| interfaces(&format!("/proc/{process}/net/dev"))).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        PodStats {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: uid.to_owned(),
            started,
            rate: self.rate(&cgroup, started, at, usage),
            cgroup,
            usage,
            network,
            containers,
            sandbox,
            volumes: Vec::new(),
            files: disk(&self.config.pod_dir(uid).join("etc-hosts")).unwrap_or_default(),
        }
    }

    fn container(
        &self,
        name: String,
        id: &str,
        image: &str,
        created_at: i64,
        pod: &str,
        at: Timestamp,
    ) -> ContainerStats {
        let cgroup = format!("{pod}/{id}");
        let started = Timestamp::from_nanosecond(created_at.into()).unwrap_or(at);
        let usage = self.cgroups.usage(&cgroup);
        ContainerStats {
            name,
            id: id.to_owned(),
            image: image.to_owned(),
            started,
            rate: self.rate(&cgroup, started, at, usage),
            cgroup,
            usage,
            layer: None,
            log: None,
        }
    }

    fn rate(&self, cgroup: &str, started: Timestamp, at: Timestamp, usage: Usage) -> Option<u64> {
        self.rates.lock().rate(cgroup, started, at, usage.cpu?)
    }

    fn forget(&self, snapshot: &Snapshot) {
        let alive: std::collections::HashSet<&str> = snapshot
            .pods
            .iter()
            .flat_map(|pod| pod.containers.iter().chain(&pod.sandbox).map(|it| &*it.cgroup).chain([&*pod.cgroup]))
            .collect();
        self.rates.lock().forget_before(snapshot.at, |cgroup| cgroup == "/" || alive.contains(cgroup));
    }
}

fn uptime() -> SignedDuration {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split_whitespace().next().and_then(|it| it.parse().ok()).unwrap_or(0.0);
    SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO)
}

fn memory_total(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes * 1024)
}

/// Bytes and inodes below a path.
fn disk(path: &Path) -> Option<(u64, u64)> {
    let (bytes, inodes) = usage::disk(path).ok()?;
    u64::try_from(bytes).ok().zip(u64::try_from(inodes).ok())
}

/// The file system that a path lies on.
pub(super) fn file_system(path: impl AsRef<Path>) -> Option<FileSystem> {
    let stat = rustix::fs::statvfs(path.as_ref()).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(FileSystem {
        capacity: bytes(stat.f_blocks),
        available: bytes(stat.f_bavail),
        used: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        inodes: stat.f_files,
        inodes_free: stat.f_ffree,
    })
}

/// The interfaces of `/proc/PID/net/dev`, `eth0` first, without the loopback.
fn interfaces(path: &str) -> Vec<Interface> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut found: Vec<Interface> = text.lines().filter_map(interface).filter(|it| it.name != "lo").collect();
    found.sort_by_key(|it| it.name != "eth0");
    found
}

fn interface(line: &str) -> Option<Interface> {
    let (name, figures) = line.split_once(':')?;
    let figures: Vec<u64> = figures.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    let figures: [u64; 16] = figures.try_into().ok()?;
    let four = |from: usize| [figures[from], figures[from + 1], figures[from + 2], figures[from + 3]];
    Some(Interface { name: name.trim().to_owned(), received: four(0), sent: four(8) })
}

fn processes() -> Option<(u64, u64)> {
    let most = std::fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    let present = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some((most, present))
}

/// The kubelet's own process.
pub fn own_usage() -> Usage {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program is in parentheses, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|it| it.parse::<u64>().ok());
    // Hundredths of a second; pages of four kilobytes.
    let cpu = number(11).zip(number(12)).map(|(user, system)| (user + system) * 10_000_000);
    let resident = number(21).map(|pages| pages * 4096);
    Usage {
        cpu,
        cpu_user: number(11).map(|ticks| ticks * 10_000_000),
        cpu_system: number(12).map(|ticks| ticks * 10_000_000),
        memory: resident,
        rss: resident,
        page_faults: number(7),
        major_page_faults: number(9),
        processes: number(17),
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_read_from_the_kernels_table() {
        let line = "  eth0: 1296 16 1 2 0 0 0 0 816 12 3 4 0 0 0 0";
        let read = interface(line).unwrap();
        assert_eq!((read.name.as_str(), read.received, read.sent), ("eth0", [1296, 16, 1, 2], [816, 12, 3, 4]));
        assert_eq!(interface("Inter-|   Receive                  |  Transmit"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        let own = own_usage();
        assert!(own.memory.unwrap() > 1 << 20 && own.processes.unwrap() > 0, "{own:?}");
    }
}
