//! What one testbed is: its folder, its names, its addresses. All of it derives from the folder
//! and from `testbed.json` in it, which is written before anything else is made.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The file that marks a folder as a testbed's.
pub const MARKER: &str = "testbed.json";
/// The addresses of Services.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The address of the `kubernetes` Service, the first of the Services' addresses.
pub const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The address of the cluster's DNS.
pub const CLUSTER_DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The addresses of pods; each node gets a /24 of it.
pub const POD_CIDR: &str = "10.244.0.0/16";
/// The domain below which Services have names.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Nodes a testbed can have: what one /24 has room for.
pub const NODES_MAX: usize = 200;

/// The contents of `testbed.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The first three bytes of the nodes' network; absent with only a control plane.
    pub network: Option<[u8; 3]>,
    /// etcd's port for clients, on loopback.
    pub etcd_client_port: u16,
    /// etcd's port for peers, on loopback.
    pub etcd_peer_port: u16,
    /// The API server's port.
    pub api_port: u16,
    /// Folders outside of the testbed's that were made to mount over; `down` removes them.
    #[serde(default)]
    pub made_folders: Vec<PathBuf>,
    /// Whether the host did not forward packets before this testbed.
    #[serde(default)]
    pub enabled_forwarding: bool,
    /// Additional flags of the controller manager (tests shorten its periods).
    #[serde(default)]
    pub controller_manager_flags: Vec<String>,
    /// Additional flags of the kubelets.
    #[serde(default)]
    pub kubelet_flags: Vec<String>,
}

/// A testbed.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its folder, absolute.
    pub dir: PathBuf,
    /// Six hexadecimal digits that name everything outside of the folder.
    pub id: String,
    /// What `testbed.json` says.
    pub settings: Settings,
}

impl Instance {
    /// Opens the testbed in `dir`, or lays out a new one.
    ///
    /// # Errors
    /// The folder holds something else, or cannot be written.
    pub fn open_or_create(dir: &Path, with_nodes: bool) -> Result<Self> {
        if let Some(instance) = Self::open(dir)? {
            if with_nodes && instance.settings.network.is_none() {
                bail!(
                    "the testbed in {} was made with --control-plane-only; take it down first: cargo xtask down --dir {}",
                    dir.display(),
                    dir.display()
                );
            }
            return Ok(instance);
        }
        if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{} is not empty and no testbed's folder; choose another --dir", dir.display());
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let dir = fs::canonicalize(dir)?;
        let id = id_of(&dir);
        // Held until all are chosen, so that they differ.
        let listeners = (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<Vec<_>, _>>()?;
        let ports = listeners.iter().map(|it| Ok(it.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
        let network = if with_nodes { Some(crate::network::free_network(&id)?) } else { None };
        let settings = Settings {
            network,
            etcd_client_port: ports[0],
            etcd_peer_port: ports[1],
            api_port: if with_nodes { 6443 } else { ports[2] },
            made_folders: Vec::new(),
            enabled_forwarding: false,
            controller_manager_flags: Vec::new(),
            kubelet_flags: Vec::new(),
        };
        let instance = Self { dir, id, settings };
        instance.save()?;
        Ok(instance)
    }

    /// Opens the testbed in `dir`; `None` when there is none.
    ///
    /// # Errors
    /// The folder's `testbed.json` cannot be read.
    pub fn open(dir: &Path) -> Result<Option<Self>> {
        let Ok(dir) = fs::canonicalize(dir) else { return Ok(None) };
        let marker = dir.join(MARKER);
        let text = match fs::read(&marker) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", marker.display())),
        };
        let settings = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged; remove the testbed with `cargo xtask down`", marker.display()))?;
        Ok(Some(Self { id: id_of(&dir), dir, settings }))
    }

    /// Writes `testbed.json`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<()> {
        write_private(&self.dir.join(MARKER), &serde_json::to_vec_pretty(&self.settings)?)
    }

    /// A path below the testbed's folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// The log of a process.
    pub fn log(&self, process: &str) -> PathBuf {
        self.path("logs").join(format!("{process}.log"))
    }

    /// The folder of a node.
    pub fn node_dir(&self, node: &str) -> PathBuf {
        self.path("nodes").join(node)
    }

    /// The administrator's kubeconfig.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.path("admin.kubeconfig")
    }

    /// The name of the testbed's cgroup and firewall table.
    pub fn name(&self) -> String {
        format!("reeve-{}", self.id)
    }

    /// The bridge on which the nodes hang.
    pub fn bridge(&self) -> String {
        format!("rv{}", self.id)
    }

    /// The host's end of a node's link.
    pub fn link(&self, index: usize) -> String {
        format!("rv{}n{index}", self.id)
    }

    /// A node's network namespace.
    pub fn network_namespace(&self, node: &str) -> String {
        format!("reeve-{}-{node}", self.id)
    }

    /// The host's address among the nodes; loopback without nodes. The API server listens there.
    pub fn host_address(&self) -> Ipv4Addr {
        self.settings.network.map_or(Ipv4Addr::LOCALHOST, |[a, b, c]| Ipv4Addr::new(a, b, c, 1))
    }

    /// The address of the node with this number (from 1).
    pub fn node_address(&self, index: usize) -> Ipv4Addr {
        let last = u8::try_from(10 + index).unwrap_or(u8::MAX);
        self.settings.network.map_or(Ipv4Addr::LOCALHOST, |[a, b, c]| Ipv4Addr::new(a, b, c, last))
    }

    /// Addresses among the nodes for Services of type LoadBalancer; none without nodes.
    pub fn load_balancer_addresses(&self) -> Option<String> {
        self.settings.network.map(|[a, b, c]| format!("{a}.{b}.{c}.200-{a}.{b}.{c}.249"))
    }

    /// Where clients find the API server.
    pub fn api_url(&self) -> String {
        format!("https://{}:{}", self.host_address(), self.settings.api_port)
    }

    /// The numbers and names of the nodes that were made so far.
    ///
    /// # Errors
    /// The folder of the nodes cannot be read.
    pub fn nodes(&self) -> Result<Vec<(usize, String)>> {
        let entries = match fs::read_dir(self.path("nodes")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let mut nodes = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(index) = name.strip_prefix("node-").and_then(|number| number.parse().ok()) {
                nodes.push((index, name));
            }
        }
        nodes.sort_unstable();
        Ok(nodes)
    }
}

/// The name of the node with this number (from 1).
pub fn node_name(index: usize) -> String {
    format!("node-{index}")
}

/// The testbed's short name, a hash of its folder.
pub fn id_of(dir: &Path) -> String {
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file that only its owner may read, in one step.
///
/// # Errors
/// The file cannot be written.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        std::io::Write::write_all(&mut file, contents)?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_open_finds_the_same_testbed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let first = Instance::open_or_create(&folder.path().join("bed"), false)?;
        let second = Instance::open_or_create(&folder.path().join("bed"), false)?;
        assert_eq!(first.settings, second.settings);
        assert_eq!(first.id, second.id);
        assert_eq!(first.host_address(), Ipv4Addr::LOCALHOST);
        Ok(())
    }

    #[test]
    fn a_folder_with_other_contents_is_refused() -> Result<()> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("thesis.txt"), "years of work")?;
        assert!(Instance::open_or_create(folder.path(), false).is_err());
        assert!(Instance::open(folder.path())?.is_none());
        Ok(())
    }

    #[test]
    fn link_names_fit_the_kernels_limit() {
        let instance = Instance {
            dir: PathBuf::from("/x"),
            id: id_of(Path::new("/x")),
            settings: Settings {
                network: Some([172, 30, 7]),
                etcd_client_port: 1,
                etcd_peer_port: 2,
                api_port: 3,
                made_folders: Vec::new(),
                enabled_forwarding: false,
                controller_manager_flags: Vec::new(),
                kubelet_flags: Vec::new(),
            },
        };
        assert!(instance.link(NODES_MAX).len() <= 15);
        assert_eq!(instance.node_address(1), Ipv4Addr::new(172, 30, 7, 11));
        assert_eq!(instance.node_address(NODES_MAX), Ipv4Addr::new(172, 30, 7, 210));
    }
}
