//! What the node, its pods and their containers use. Nothing is gathered while nobody asks.
//!
//! - [`cgroup`]: the kernel's figures of one cgroup, on version 1 and 2.
//! - [`rates`]: a rate needs two samples; the last ones are kept.
//! - [`collect`]: all figures of one moment.
//! - [`volumes`]: what volumes hold.
//! - [`summary`], [`text`]: how they are told, as `/stats/summary` and as Prometheus' text.
//! - [`probes`]: what probes came to.

pub mod cgroup;
pub mod collect;
pub mod probes;
pub mod rates;
pub mod summary;
pub mod text;
pub mod volumes;

use jiff::Timestamp;

/// What a cgroup has used; absent where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in nanoseconds.
    pub cpu: Option<u64>,
    /// Of it in programs, in nanoseconds.
    pub cpu_user: Option<u64>,
    /// Of it in the kernel, in nanoseconds.
    pub cpu_system: Option<u64>,
    /// Periods of the CPU limit.
    pub periods: Option<u64>,
    /// Of them those in which the limit held.
    pub throttled_periods: Option<u64>,
    /// How long the limit held, in nanoseconds.
    pub throttled: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Of it file pages that were not used lately.
    pub inactive_file: Option<u64>,
    /// Of it anonymous memory.
    pub rss: Option<u64>,
    /// Of it file pages.
    pub cache: Option<u64>,
    /// Swap in bytes.
    pub swap: Option<u64>,
    /// The memory limit in bytes; absent for none.
    pub memory_limit: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Of them those that needed a disk.
    pub major_page_faults: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

impl Usage {
    /// The memory that cannot be had back under pressure.
    pub fn working_set(&self) -> Option<u64> {
        Some(self.memory?.saturating_sub(self.inactive_file.unwrap_or_default()))
    }
}

/// What a network interface has carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes, packets, errors and drops that came in.
    pub received: [u64; 4],
    /// Bytes, packets, errors and drops that went out.
    pub sent: [u64; 4],
}

/// Room on a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// Its size in bytes.
    pub capacity: u64,
    /// What is left for others than the administrator, in bytes.
    pub available: u64,
    /// What is used, in bytes.
    pub used: u64,
    /// Its inodes.
    pub inodes: u64,
    /// Those that are free.
    pub inodes_free: u64,
}

/// A container's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStats {
    /// Its name in the pod; `POD` is the sandbox.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// The image.
    pub image: String,
    /// Since when.
    pub started: Timestamp,
    /// Its cgroup, from the hierarchy's mount.
    pub cgroup: String,
    /// What it uses.
    pub usage: Usage,
    /// CPU in nanoseconds a second.
    pub rate: Option<u64>,
    /// Bytes and inodes of its writable layer, where they were asked for.
    pub layer: Option<(u64, u64)>,
    /// Bytes and inodes of its logs.
    pub log: Option<(u64, u64)>,
}

/// A pod's figures.
#[derive(Clone, Debug, PartialEq)]
pub struct PodStats {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Since when.
    pub started: Timestamp,
    /// Its cgroup.
    pub cgroup: String,
    /// What it uses.
    pub usage: Usage,
    /// CPU in nanoseconds a second.
    pub rate: Option<u64>,
    /// Its network, without those that share the node's.
    pub network: Vec<Interface>,
    /// Its containers that run, without the sandbox.
    pub containers: Vec<ContainerStats>,
    /// The sandbox.
    pub sandbox: Option<ContainerStats>,
    /// Its volumes, where they were asked for.
    pub volumes: Vec<volumes::VolumeStats>,
    /// Bytes and inodes of the files that the kubelet gives it beside volumes.
    pub files: (u64, u64),
}

/// All figures of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When.
    pub at: Timestamp,
    /// The node's name.
    pub node: String,
    /// Since when the machine runs.
    pub booted: Timestamp,
    /// CPUs of the machine.
    pub cpus: u32,
    /// Memory of the machine in bytes.
    pub memory: u64,
    /// What the node uses.
    pub usage: Usage,
    /// CPU in nanoseconds a second.
    pub rate: Option<u64>,
    /// The node's network.
    pub network: Vec<Interface>,
    /// The kubelet's file system.
    pub file_system: Option<FileSystem>,
    /// The images' file system, and what images use of it.
    pub images: Option<(FileSystem, u64)>,
    /// How many processes there may be, and are.
    pub processes: Option<(u64, u64)>,
    /// The kubelet's own figures.
    pub kubelet: Usage,
    /// All pods' together.
    pub pods_total: Usage,
    /// The pods.
    pub pods: Vec<PodStats>,
}
