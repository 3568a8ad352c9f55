//! Brings a testbed up. What depends on nothing starts at once, side by side; what waits, waits
//! for an event. What runs already is left alone, so that a second `up` only repairs.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::{Profile, Workspace},
    cgroup, control_plane, demo, etcd, images,
    instance::{Instance, NODES_MAX, node_name},
    join, network,
    node::{self, Node},
    packages,
    pki::Pki,
    processes::{Daemons, KILLED_WITHIN},
    progress::Progress,
    rctl::Rctl,
};

/// How long the nodes' side waits for the control plane; longer than its own limits.
const CONTROL_PLANE_WITHIN: Duration = Duration::from_secs(150);

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The testbed's folder.
    pub dir: PathBuf,
    /// How many nodes; 0 for a control plane alone.
    pub nodes: usize,
    /// Whether to apply the demo and show it.
    pub demo: bool,
    /// Additional flags of the controller manager.
    pub controller_manager_flags: Vec<String>,
    /// Additional flags of the kubelets.
    pub kubelet_flags: Vec<String>,
    /// How the programs are built.
    pub profile: Profile,
    /// Whether to build them first, or to take them as they are.
    pub build: bool,
}

/// A testbed that is up.
pub struct Testbed {
    /// What it is.
    pub instance: Instance,
    /// Its processes.
    pub daemons: Daemons,
    /// Its certificates.
    pub pki: Pki,
    /// Where its programs are.
    pub programs: PathBuf,
    /// The demo's program, for use as a client outside of pods.
    pub demo: PathBuf,
    /// `rctl` for it.
    pub rctl: Rctl,
}

/// Installs, builds, starts and shows.
///
/// # Errors
/// The step that failed, why, and where its log is.
pub fn up(options: &Options, progress: &Progress) -> Result<Testbed> {
    check(options)?;
    let mut workspace = Workspace::locate()?;
    workspace.profile = options.profile;
    progress.step("packages of the distribution", || packages::ensure(options.nodes > 0))?;
    if options.build {
        progress.step("packages for the build", packages::ensure_for_build)?;
        progress.step("build", || workspace.build(&[]))?;
    }
    let testbed = start(options, &workspace, progress)?;
    if options.demo && options.nodes > 0 {
        progress.step("demo: a Deployment and its Services", || demo::apply(&workspace, &testbed.rctl))?;
        let shown = progress.step("demo: ask it on every way in", || {
            demo::show(&testbed.instance, &testbed.demo, &testbed.rctl, &testbed.daemons)
        })?;
        for demo::Shown { way, answer } in shown {
            progress.line(&format!("       {way}: {answer}"));
        }
    }
    Ok(testbed)
}

fn check(options: &Options) -> Result<()> {
    if options.nodes > NODES_MAX {
        bail!("--nodes {}: one machine carries at most {NODES_MAX}", options.nodes);
    }
    if options.nodes == 0 {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("nodes need network and mount namespaces: run as root, or with --control-plane-only");
    }
    // Each node has a /run of its own, in which the testbed's folder would not be.
    if options.dir.starts_with("/run") || options.dir.starts_with("/var/run") {
        bail!("--dir {} lies below /run, which nodes do not share; choose another", options.dir.display());
    }
    Ok(())
}

/// Starts what does not run, from programs that are built.
///
/// # Errors
/// The step that failed, why, and where its log is.
pub fn start(options: &Options, workspace: &Workspace, progress: &Progress) -> Result<Testbed> {
    let mut instance = Instance::open_or_create(&options.dir, options.nodes > 0)?;
    if !options.controller_manager_flags.is_empty() {
        instance.settings.controller_manager_flags.clone_from(&options.controller_manager_flags);
        instance.save()?;
    }
    if !options.kubelet_flags.is_empty() {
        instance.settings.kubelet_flags.clone_from(&options.kubelet_flags);
        instance.save()?;
    }
    if options.nodes > 0 {
        progress.step("network of the nodes", || {
            node::make_mount_points(&mut instance)?;
            network::create_bridge(&mut instance)
        })?;
    }
    let pki = Pki::new(&instance);
    progress.step("certificates and kubeconfigs", || {
        pki.issue_control_plane()?;
        control_plane::write_kubeconfigs(&instance, &pki)
    })?;
    let programs = workspace.programs();
    let static_programs = workspace.static_programs()?;
    let testbed = Testbed {
        daemons: Daemons::new(&instance),
        rctl: Rctl::new(&instance, &programs),
        demo: static_programs.join("reeve-demo"),
        pki,
        programs,
        instance,
    };
    let archive = testbed.instance.path("images/reeve.tar");
    if options.nodes > 0 {
        progress
            .step("images", || images::write_archive(&static_programs.join("reeve-pause"), &testbed.demo, &archive))?;
    }
    testbed.start_all(options.nodes, &static_programs.join("reeve-pause"), &archive, progress)?;
    let names: Vec<String> = (1..=options.nodes).map(node_name).collect();
    if !names.is_empty() {
        progress.step("nodes are Ready", || testbed.rctl.wait_nodes_ready(&names, &testbed.daemons))?;
    }
    Ok(testbed)
}

impl Testbed {
    /// Opens a testbed that is up already.
    ///
    /// # Errors
    /// There is none in this folder.
    pub fn open(dir: &Path, workspace: &Workspace) -> Result<Self> {
        let instance = Instance::open(dir)?.with_context(|| format!("no testbed in {}", dir.display()))?;
        let programs = workspace.programs();
        Ok(Self {
            daemons: Daemons::new(&instance),
            pki: Pki::new(&instance),
            demo: workspace.static_programs()?.join("reeve-demo"),
            rctl: Rctl::new(&instance, &programs),
            programs,
            instance,
        })
    }

    /// Starts the control plane and the nodes side by side.
    fn start_all(&self, nodes: usize, holder: &Path, archive: &Path, progress: &Progress) -> Result<()> {
        let serving = AtomicBool::new(false);
        let first_error = Mutex::new(None);
        // The first error wins: the others only follow from it.
        let keep = |result: Result<()>| {
            if let Err(error) = result {
                self.daemons.fail(format!("{error:#}"));
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| keep(self.start_control_plane(nodes, &serving, progress)));
            for index in 1..=nodes {
                let (keep, serving) = (&keep, &serving);
                scope.spawn(move || {
                    keep(self.start_node(index, holder, archive, serving, progress));
                });
            }
        });
        match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => self.daemons.check(),
        }
    }

    fn start_control_plane(&self, nodes: usize, serving: &AtomicBool, progress: &Progress) -> Result<()> {
        progress.step("etcd", || etcd::start(&self.instance, &self.pki, &self.daemons))?;
        progress.step("apiserver", || {
            control_plane::start_apiserver(&self.instance, &self.pki, &self.programs, &self.daemons)
        })?;
        serving.store(true, Ordering::SeqCst);
        self.daemons.wake();
        progress.step("scheduler and controller-manager", || {
            control_plane::start_workers(&self.instance, &self.pki, &self.programs, &self.daemons)
        })?;
        // Kubelets that ask before they may ask again at once.
        let joined = |index| Node::new(&self.instance, index).kubeconfig().exists();
        if (1..=nodes).all(joined) {
            return Ok(());
        }
        progress.step("bootstrap token for the nodes", || join::offer(&self.instance, &self.rctl))
    }

    fn start_node(
        &self,
        index: usize,
        holder: &Path,
        archive: &Path,
        serving: &AtomicBool,
        progress: &Progress,
    ) -> Result<()> {
        let node = Node::new(&self.instance, index);
        progress.step(&format!("{}: namespaces, containerd, images", node.name), || {
            node.prepare(&self.pki, holder, archive, &self.daemons)
        })?;
        self.daemons.wait_until("the API server", CONTROL_PLANE_WITHIN, || serving.load(Ordering::SeqCst))?;
        progress.step(&format!("{}: kubelet and proxy", node.name), || {
            node.start_components(&self.pki, &self.programs, &self.daemons)
        })
    }

    /// The nodes that were made.
    ///
    /// # Errors
    /// The testbed's folder cannot be read.
    pub fn nodes(&self) -> Result<Vec<Node>> {
        Ok(self.instance.nodes()?.into_iter().map(|(index, _)| Node::new(&self.instance, index)).collect())
    }

    /// Kills a process as the kernel would when memory runs out, and waits until it is gone.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub fn kill(&self, process: &str) -> Result<()> {
        self.daemons.kill(process)
    }

    /// Ends a node as a power cut would: its programs, its containers, its mounts.
    ///
    /// # Errors
    /// A process does not end.
    pub fn kill_node(&self, name: &str) -> Result<()> {
        for component in ["holder", "containerd", "kubelet", "proxy"] {
            self.daemons.expect_end(&format!("{name}-{component}"));
        }
        let marker = format!("{}/{name}", self.instance.name());
        cgroup::end(&marker, KILLED_WITHIN)
    }

    /// Starts a process of the control plane or of a node again, if it does not run.
    ///
    /// # Errors
    /// There is no such process, or it does not come up.
    pub fn ensure(&self, process: &str) -> Result<()> {
        let (instance, pki, programs) = (&self.instance, &self.pki, &self.programs);
        match process {
            "etcd" => return etcd::start(instance, pki, &self.daemons),
            "apiserver" => return control_plane::start_apiserver(instance, pki, programs, &self.daemons),
            "scheduler" | "controller-manager" => {
                return control_plane::start_workers(instance, pki, programs, &self.daemons);
            }
            _ => {}
        }
        let nodes = self.nodes()?;
        let node = nodes.iter().find(|node| process.starts_with(&format!("{}-", node.name)));
        node.with_context(|| format!("there is no process {process:?}"))?.start_components(pki, programs, &self.daemons)
    }

    /// Starts a node again after [`Testbed::kill_node`].
    ///
    /// # Errors
    /// A part of it does not come up.
    pub fn start_killed_node(&self, node: &Node) -> Result<()> {
        let archive = self.instance.path("images/reeve.tar");
        let holder = self.demo.with_file_name("reeve-pause");
        node.prepare(&self.pki, &holder, &archive, &self.daemons)?;
        node.start_components(&self.pki, &self.programs, &self.daemons)
    }

    /// The addresses of the nodes.
    ///
    /// # Errors
    /// The testbed's folder cannot be read.
    pub fn node_addresses(&self) -> Result<Vec<Ipv4Addr>> {
        Ok(self.instance.nodes()?.into_iter().map(|(index, _)| self.instance.node_address(index)).collect())
    }
}
