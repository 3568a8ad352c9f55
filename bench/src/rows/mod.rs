//! The rows, in the order in which they are measured: each leaves behind what the next one needs, and makes it itself
//! where it is missing.

pub mod dns;
pub mod full_node;
pub mod idle;
pub mod pod_start;
pub mod reads;
pub mod rollout;
pub mod services;
pub mod watch;
pub mod writes;

use std::sync::Arc;

use anyhow::Result;

use crate::meter::Meter;
use crate::options::Options;
use crate::process::Process;
use crate::report::Outcome;
use crate::target::Target;

/// What rows are measured on.
pub struct Bench {
    /// The API server.
    pub target: Arc<Target>,
    /// The control plane's processes, as far as they are known.
    pub processes: Vec<Process>,
    /// etcd, as far as it is known.
    pub store: Option<Process>,
    /// Kubelet and proxy of each node, as far as they are known.
    pub nodes: Vec<[Process; 2]>,
    /// Flags.
    pub options: Options,
}

impl Bench {
    /// Begins to look who uses the processor.
    pub fn meter(&self) -> Meter {
        Meter::start(self.processes.iter().chain(&self.store).cloned())
    }
}

/// A row that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    IdleMemory,
    IdleCpu,
    Create,
    LoadedMemory,
    Get,
    Patch,
    List,
    Watch { watchers: usize, patches: usize },
    Delete,
    Rollout,
    NodeMemory,
    NodeCpu,
    PodStart,
    PodStartMany,
    RuntimeStart,
    RuntimeStartMany,
    FullNode { pods: usize },
    Dns,
    Services,
}

/// Name, work, target, and what to measure.
pub type Definition = (&'static str, &'static str, &'static str, Kind);

/// The rows that need a control plane. Memory at rest comes after the sample of the processor: the start is over then.
pub const ROWS: [Definition; 11] = [
    ("idle-cpu", "idle CPU of each component", "< 1 % of a core each", Kind::IdleCpu),
    ("idle-memory", "idle memory, apiserver + scheduler + controller-manager", "<= 40 MB", Kind::IdleMemory),
    ("create", "pod creates of 4 KB, 32 at a time", ">= 3,000/s", Kind::Create),
    ("loaded-memory", "memory of those three with 10,000 pods (40 MB of JSON)", "<= 150 MB", Kind::LoadedMemory),
    ("get", "get of a pod, 32 at a time", ">= 20,000/s", Kind::Get),
    ("list", "list 10,000 pods (40 MB) over TLS, 2 at a time", ">= 1,000 MB/s", Kind::List),
    ("patch", "pod patches, 32 at a time", ">= 2,500/s", Kind::Patch),
    (
        "watch-200",
        "watch: one pod patched, 200 watchers",
        ">= 120,000 events/s, p99 <= 50 ms",
        Kind::Watch { watchers: 200, patches: 1000 },
    ),
    (
        "watch-1000",
        "watch: one pod patched, 1,000 watchers",
        ">= 150,000 events/s, p99 <= 50 ms",
        Kind::Watch { watchers: 1000, patches: 200 },
    ),
    ("delete", "pod deletes, 32 at a time", ">= 2,500/s", Kind::Delete),
    ("rollout", "Deployment of 1,000 replicas on 100 hollow nodes until available", "<= 1.0 s", Kind::Rollout),
];

/// The rows that need nodes which run pods.
pub const NODE_ROWS: [Definition; 9] = [
    ("node-idle-cpu", "idle CPU of kubelet and proxy with the demo's pods", "< 1 % of a core each", Kind::NodeCpu),
    ("node-memory", "kubelet and proxy with the demo's pods", "<= 20 MB, together <= 30 MB", Kind::NodeMemory),
    ("dns", "a change of an EndpointSlice until the node's DNS answers with it", "<= 10 ms", Kind::Dns),
    ("pod-start", "one pod, image present, create to Ready", "<= 210 ms p50", Kind::PodStart),
    ("pod-start-30", "30 pods at once on one node until Ready", "<= 3.9 s", Kind::PodStartMany),
    ("runtime-start", "the same pod by CRI alone: sandbox, create, start", "the floor", Kind::RuntimeStart),
    ("runtime-start-30", "30 such pods at once by CRI alone", "the floor", Kind::RuntimeStartMany),
    (
        "node-50",
        "kubelet and proxy of a node with 50 pods, idle",
        "together <= 30 MB, < 1 % of a core each",
        Kind::FullNode { pods: 50 },
    ),
    (
        "node-250",
        "kubelet and proxy of a node with 250 pods",
        "all Ready, and so they stay",
        Kind::FullNode { pods: 250 },
    ),
];

/// The row that needs a proxy and no nodes.
pub const SERVICE_ROWS: [Definition; 1] = [(
    "services",
    "an endpoint's change among 10,000 Services with 100,000 endpoints, until the kernel has it",
    "<= 100 ms",
    Kind::Services,
)];

/// Measures one row.
pub async fn measure(bench: &Bench, kind: Kind) -> Result<Outcome> {
    match kind {
        Kind::IdleMemory | Kind::LoadedMemory => {
            if kind == Kind::LoadedMemory {
                writes::ensure_pods(bench).await?;
            }
            idle::memory(&bench.processes)
        }
        Kind::IdleCpu => idle::cpu(&bench.processes).await,
        Kind::NodeMemory => idle::node_memory(&bench.nodes),
        Kind::NodeCpu => idle::node_cpu(&bench.nodes).await,
        Kind::Create => writes::create(bench).await,
        Kind::Patch => writes::patch(bench).await,
        Kind::Delete => writes::delete(bench).await,
        Kind::Get => reads::get(bench).await,
        Kind::List => reads::list(bench).await,
        Kind::Watch { watchers, patches } => watch::fan_out(bench, watchers, patches).await,
        Kind::Rollout => rollout::rollout(bench).await,
        Kind::PodStart => pod_start::one_by_one(bench).await,
        Kind::PodStartMany => pod_start::at_once(bench).await,
        Kind::RuntimeStart => pod_start::runtime_one_by_one(bench).await,
        Kind::RuntimeStartMany => pod_start::runtime_at_once(bench).await,
        Kind::Dns => dns::change(bench).await,
        Kind::Services => services::change(bench).await,
        Kind::FullNode { pods } => full_node::full_node(bench, pods).await,
    }
}
