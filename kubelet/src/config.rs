//! What the kubelet is told at start, and every period and limit in one place.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::node::allocatable::Amounts;
use crate::pod::backoff::BackoffLimits;

/// The node's settings. The binary's argument parser fills it; libraries have no defaults of their own.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name in the API.
    pub node_name: String,
    /// The address that other nodes reach this one at.
    pub node_ip: IpAddr,
    /// The socket of the container runtime, CRI and containerd's own API.
    pub runtime_endpoint: PathBuf,
    /// Where pods' volumes and files lie (`/var/lib/kubelet`).
    pub root_dir: PathBuf,
    /// Where pods' logs lie (`/var/log/pods`).
    pub pod_logs_dir: PathBuf,
    /// Name servers of pods with DNS policy `ClusterFirst`.
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// The file that the host's DNS settings are taken from.
    pub resolv_conf: PathBuf,
    /// The port of the kubelet's server, reported in the node's status.
    pub port: u16,
    /// How many pods the node takes.
    pub max_pods: u32,
    /// Labels that the node registers with.
    pub node_labels: Vec<(String, String)>,
    /// Taints that the node registers with.
    pub register_with_taints: Vec<k8s_openapi::api::core::v1::Taint>,
    /// The cgroup below which pods' cgroups are made, without a trailing slash; empty for the root.
    pub cgroup_root: String,
    /// Kernel settings beyond the safe ones that pods may make: names, or prefixes that end in `*`.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// What is kept from pods: for the kubelet, for the system, and free.
    pub reserved: [Amounts; 3],
    /// Periods and limits.
    pub tuning: Tuning,
}

/// Periods and limits, upstream's values by default.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Between restarts of a container that ends again and again.
    pub crash: BackoffLimits,
    /// Between tries to pull an image.
    pub image_pull: BackoffLimits,
    /// Between tries of anything else of a pod that failed (volumes, sandbox, configuration, API writes).
    pub retry: BackoffLimits,
    /// How many pods are brought up at the same time.
    pub starts_in_flight: usize,
    /// A turn of the event loop above this is reported.
    pub slow_turn: Duration,
    /// The longest the runtime may take to answer a question before it counts as unhealthy.
    pub runtime_timeout: Duration,
    /// The longest that a file system of another machine may take to be mounted, looked at or unmounted. A pod's end
    /// waits for it, so it is short; a mount that failed is tried again.
    pub mount_timeout: Duration,
    /// Between reports of an unchanged node status.
    pub node_status_report: Duration,
    /// Between renewals of the node's lease.
    pub lease_renew: Duration,
    /// How long the lease lasts.
    pub lease_duration: Duration,
}

impl Tuning {
    /// Upstream's periods; the number of starts in flight from the number of CPUs.
    pub fn new(cpus: usize) -> Self {
        Self {
            crash: BackoffLimits { initial: Duration::from_secs(10), max: Duration::from_secs(300) },
            image_pull: BackoffLimits { initial: Duration::from_secs(10), max: Duration::from_secs(300) },
            retry: BackoffLimits { initial: Duration::from_millis(500), max: Duration::from_secs(60) },
            // A start costs 0.2 CPU-seconds of runtime, CNI plugins and runc, half of it waiting for the kernel:
            // two for each CPU keep the CPUs busy; more only make each start later.
            starts_in_flight: (cpus * 2).max(2),
            slow_turn: Duration::from_millis(50),
            runtime_timeout: Duration::from_secs(10),
            mount_timeout: Duration::from_secs(30),
            node_status_report: Duration::from_secs(300),
            lease_renew: Duration::from_secs(10),
            lease_duration: Duration::from_secs(40),
        }
    }
}

impl Config {
    /// The folder of a pod's files.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    /// The folder of a pod's logs.
    pub fn pod_log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.pod_logs_dir.join(format!("{namespace}_{name}_{uid}"))
    }
}
