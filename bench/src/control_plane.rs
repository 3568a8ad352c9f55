//! A control plane of its own, with an empty etcd, and how long it takes to start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use reeve_client::{Client, Kubeconfig, Scope, Store, reflect};
use xtask::instance::{CLUSTER_DNS, Instance, POD_CIDR, node_name};
use xtask::network;
use xtask::pki::Pki;
use xtask::processes::{Daemon, Daemons, Readiness};
use xtask::progress::Progress;
use xtask::{control_plane, down, etcd};

use crate::process::Process;

/// The programs of the control plane.
pub const PROGRAMS: [&str; 3] = ["apiserver", "scheduler", "controller-manager"];
const PATIENCE: Duration = Duration::from_secs(30);

/// Starts etcd; the rest follows when it is timed. With a network, nodes can reach the API server.
pub fn prepare(dir: &Path, has_network: bool) -> Result<(Instance, Pki)> {
    let mut instance = Instance::open_or_create(dir, has_network)?;
    if has_network {
        network::create_bridge(&mut instance)?;
    }
    let pki = Pki::new(&instance);
    pki.issue_control_plane()?;
    control_plane::write_kubeconfigs(&instance, &pki)?;
    etcd::start(&instance, &pki, &Daemons::new(&instance))?;
    Ok((instance, pki))
}

/// Starts the control plane and returns how long it took until the API server served and both others led.
pub async fn start(instance: Instance, pki: Pki, programs: PathBuf) -> Result<(Duration, Duration)> {
    let kubeconfig = instance.admin_kubeconfig();
    let begun = Instant::now();
    tokio::task::spawn_blocking(move || {
        let daemons = Daemons::new(&instance);
        control_plane::start_apiserver(&instance, &pki, &programs, &daemons)?;
        control_plane::start_workers(&instance, &pki, &programs, &daemons)
    })
    .await??;
    let client = Client::new(Kubeconfig::load(&kubeconfig)?.connection(None)?)?;
    client.version().await?;
    let serving = begun.elapsed();
    let (changes, mut changed) = tokio::sync::watch::channel(());
    let leases: Store<Lease> = reflect(&client, Scope::all().namespace("kube-system"), move |_| {
        changes.send_replace(());
    });
    let leading = async {
        loop {
            let held = leases
                .list()
                .iter()
                .filter(|lease| lease.spec.as_ref().is_some_and(|spec| spec.holder_identity.is_some()))
                .count();
            if held >= 2 {
                return Ok(begun.elapsed());
            }
            changed.changed().await.context("the watch of leases ended")?;
        }
    };
    let leading: Result<Duration> = tokio::time::timeout(PATIENCE, leading)
        .await
        .with_context(|| format!("scheduler and controller-manager did not lead within {PATIENCE:?}"))?;
    Ok((serving, leading?))
}

/// Starts the API server alone.
pub fn start_apiserver(instance: &Instance, pki: &Pki, programs: &Path) -> Result<()> {
    control_plane::start_apiserver(instance, pki, programs, &Daemons::new(instance))
}

/// Makes the network namespace of a testbed's first node, and says where it is.
pub fn node_network(dir: &Path) -> Result<PathBuf> {
    let instance = Instance::open(dir)?.with_context(|| format!("no testbed in {}", dir.display()))?;
    network::create_node(&instance, 1)?;
    Ok(network::namespace_path(&instance, &node_name(1)))
}

/// Starts a proxy in a network namespace, without anything else of a node.
pub fn start_proxy(dir: &Path, namespace: &Path, programs: &Path) -> Result<Process> {
    let instance = Instance::open(dir)?.with_context(|| format!("no testbed in {}", dir.display()))?;
    let kubeconfig = control_plane::component_kubeconfig(&instance, "proxy");
    let daemon = Daemon {
        name: "proxy".to_owned(),
        program: programs.join("proxy"),
        arguments: vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--hostname-override={}", node_name(1)),
            format!("--cluster-cidr={POD_CIDR}"),
            format!("--cluster-dns={CLUSTER_DNS}"),
            format!("--cni-conf-dir={}", instance.path("cni").display()),
        ],
        environment: Vec::new(),
        enter: vec!["nsenter".to_owned(), format!("--net={}", namespace.display())],
        group: "proxy".to_owned(),
        readiness: Readiness::SeenByOthers,
    };
    let daemons = Daemons::new(&instance);
    daemons.ensure(&daemon)?;
    let record = daemons.running(&daemon.name).context("the proxy has ended")?;
    Ok(Process { name: daemon.name, pid: record.pid })
}

/// The processes of a testbed that run.
#[derive(Debug, Default)]
pub struct Processes {
    /// Those of [`PROGRAMS`].
    pub control_plane: Vec<Process>,
    /// etcd.
    pub store: Option<Process>,
    /// Kubelet and proxy of each node.
    pub nodes: Vec<[Process; 2]>,
}

/// Looks at what runs of a testbed.
pub fn processes(dir: &Path) -> Result<Processes> {
    let instance = Instance::open(dir)?.with_context(|| format!("no testbed in {}", dir.display()))?;
    let daemons = Daemons::new(&instance);
    let running = |name: &str| daemons.running(name).map(|record| Process { name: name.to_owned(), pid: record.pid });
    let nodes = instance
        .nodes()?
        .into_iter()
        .filter_map(|(_, node)| Some([running(&format!("{node}-kubelet"))?, running(&format!("{node}-proxy"))?]));
    Ok(Processes {
        control_plane: PROGRAMS.iter().filter_map(|name| running(name)).collect(),
        store: running("etcd"),
        nodes: nodes.collect(),
    })
}

/// The socket of the container runtime of a testbed's node, as it is reached from outside of the node.
pub fn runtime_socket(dir: &Path, node: &str) -> Result<PathBuf> {
    let instance = Instance::open(dir)?.with_context(|| format!("no testbed in {}", dir.display()))?;
    let record = Daemons::new(&instance).running(&format!("{node}-containerd"));
    let record = record.with_context(|| format!("no container runtime runs for node {node}"))?;
    Ok(PathBuf::from(format!("/proc/{}/root/run/containerd/containerd.sock", record.pid)))
}

/// Ends and removes the control plane.
pub fn remove(dir: &Path) -> Result<()> {
    down::down(dir, &Progress::new())
}
