//! A node for tests: a containerd with its own folders and socket, and the kubelet's program.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::api::Memory;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the distributions put the standard CNI plugins.
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Why such a test cannot run here, if it cannot.
pub fn unavailable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".into());
    }
    ["containerd", "runc", "ctr"]
        .iter()
        .find(|program| find(program).is_none())
        .map(|it| format!("no {it} is installed"))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/bin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|it| it.is_file())
}

/// Waits for an answer; panics with `what` when it does not come.
pub async fn in_time<T>(what: &str, answer: impl Future<Output = T>) -> T {
    let Ok(answer) = tokio::time::timeout(PATIENCE, answer).await else { panic!("waited in vain: {what}") };
    answer
}

/// Waits for a condition; panics with `what` when it does not come.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let comes = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(what, comes).await
}

/// The network that pods get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// None: the runtime is not ready.
    None,
    /// The loopback alone: enough for the runtime to call itself ready, for pods on the host's network.
    Loopback,
    /// A bridge in a network namespace of this containerd's own: pods have addresses and reach each other.
    Bridge,
}

pub struct Node {
    pub folder: tempfile::TempDir,
    pub api: Memory,
    pub port: u16,
    /// The cgroup of this test alone.
    pub cgroup: String,
    authority: String,
    admin: (String, String),
    containerd: Child,
    kubelet: Option<Child>,
    network: Network,
    /// A folder of programs that the kubelet finds before the machine's own.
    pub programs: Option<PathBuf>,
}

impl Node {
    /// A node whose pods use the host's network.
    pub async fn new() -> Self {
        Self::with(Network::Loopback).await
    }

    /// Starts containerd and the API, not the kubelet.
    pub async fn with(network: Network) -> Self {
        remove_stale_namespaces();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let (authority, key) = authority();
        let issue = |name: &str, group: &str| leaf(&authority, &key, name, group);
        let server = issue("server", "");
        let admin = issue("kubernetes-admin", "system:masters");
        let node = issue("system:node:test", "system:nodes");
        let authority_pem = authority.clone();
        for (name, text) in [
            ("ca.crt", &authority_pem),
            ("server.crt", &server.0),
            ("server.key", &server.1),
            ("node.crt", &node.0),
            ("node.key", &node.1),
        ] {
            std::fs::write(root.join(name), text).unwrap();
        }
        let api = Memory::new();
        let identity = Identity::from_pem(&server.0, &server.1);
        let address = api.serve(identity, Certificate::from_pem(&authority_pem)).await;
        let at = |name: &str| root.join(name).display().to_string();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: t\nclusters:\n- name: t\n  cluster:\n    server: https://{address}\n    certificate-authority: {}\nusers:\n- name: t\n  user:\n    client-certificate: {}\n    client-key: {}\ncontexts:\n- name: t\n  context: {{cluster: t, user: t}}\n",
            at("ca.crt"),
            at("node.crt"),
            at("node.key")
        );
        std::fs::write(root.join("kubeconfig"), kubeconfig).unwrap();
        let containerd = start_containerd(root, network);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cgroup = format!("/kubelet-test-{}", uuid::Uuid::new_v4().simple());
        let authority = authority_pem;
        let (kubelet, programs) = (None, None);
        let node = Self { folder, api, port, cgroup, authority, admin, containerd, kubelet, network, programs };
        if network != Network::None {
            node.write_network();
        }
        node.import_images().await;
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write_network(&self) {
        let plugins = match self.network {
            Network::Bridge => json!([{
                "type": "bridge", "bridge": "cni0", "isGateway": true,
                "ipam": {
                    "type": "host-local", "dataDir": self.path("addresses"),
                    "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
                },
            }]),
            Network::None | Network::Loopback => json!([{"type": "loopback"}]),
        };
        let config = json!({"cniVersion": "0.4.0", "name": "test", "plugins": plugins});
        std::fs::write(self.path("cni/.new"), config.to_string()).unwrap();
        std::fs::rename(self.path("cni/.new"), self.path("cni/10-test.conflist")).unwrap();
    }

    pub fn remove_network(&self) {
        std::fs::remove_file(self.path("cni/10-test.conflist")).unwrap();
    }

    /// Ends containerd as a stop of its service does. Containers go on.
    pub fn stop_containerd(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.containerd);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.containerd.wait().unwrap();
    }

    pub fn start_containerd(&mut self) {
        self.containerd = spawn_containerd(self.folder.path(), self.network);
    }

    /// Stops containerd's process from running, or lets it go on.
    pub fn freeze_containerd(&self, frozen: bool) {
        let pid = rustix::process::Pid::from_child(&self.containerd);
        let signal = if frozen { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.path("c.sock")
    }

    pub fn start_kubelet(&mut self) {
        self.start_kubelet_with(&[]);
    }

    /// Starts the kubelet with further flags.
    pub fn start_kubelet_with(&mut self, flags: &[&str]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("kubelet.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubelet"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.programs.clone().into_iter().chain(std::env::split_paths(&path));
        command
            .env("PATH", std::env::join_paths(folders).unwrap())
            .arg(format!("--kubeconfig={}", self.path("kubeconfig").display()))
            .args(["--hostname-override=test", "--node-ip=127.0.0.1", "--cluster-dns=10.96.0.10", "--v=4"])
            // The machine's own disk may be fuller than a node's should be.
            .args(["--eviction-hard=memory.available<1Mi", "--image-gc-high-threshold=100"])
            .arg(format!("--container-runtime-endpoint=unix://{}", self.socket().display()))
            .arg(format!("--root-dir={}", self.path("kubelet").display()))
            .arg(format!("--pod-logs-dir={}", self.path("logs").display()))
            .arg(format!("--cgroup-root={}", self.cgroup))
            .arg(format!("--port={}", self.port))
            .arg(format!("--tls-cert-file={}", self.path("server.crt").display()))
            .arg(format!("--tls-private-key-file={}", self.path("server.key").display()))
            .arg(format!("--client-ca-file={}", self.path("ca.crt").display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.kubelet = Some(command.spawn().unwrap());
    }

    pub fn kubelet_pid(&self) -> u32 {
        self.kubelet.as_ref().unwrap().id()
    }

    /// Kills the kubelet as a crash would.
    pub fn kill_kubelet(&mut self) {
        if let Some(mut kubelet) = self.kubelet.take() {
            kubelet.kill().unwrap();
            kubelet.wait().unwrap();
        }
    }

    pub async fn streams(&self) -> reeve_proto::v1::streams_client::StreamsClient<tonic::transport::Channel> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(Identity::from_pem(&self.admin.0, &self.admin.1))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", self.port)).unwrap();
        reeve_proto::v1::streams_client::StreamsClient::new(endpoint.tls_config(tls).unwrap().connect_lazy())
    }

    pub fn ctr(&self, words: &[&str]) -> String {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "ctr {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    async fn import_images(&self) {
        let workspace = xtask::cargo::Workspace::locate().unwrap();
        let programs = workspace.static_programs().unwrap();
        let (pause, demo) = (programs.join("reeve-pause"), programs.join("reeve-demo"));
        if !pause.is_file() || !demo.is_file() {
            workspace.build_static().unwrap();
        }
        let archive = self.path("images.tar");
        xtask::images::write_archive(&pause, &demo, &archive).unwrap();
        until("containerd listens", async || std::os::unix::net::UnixStream::connect(self.socket()).ok()).await;
        self.ctr(&["images", "import", &archive.display().to_string()]);
    }

    /// What is left of the test's pods in the cgroup file systems.
    pub fn cgroups(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|it| it.is_dir()) {
                    let path = entry.path();
                    let text = path.display().to_string();
                    if text.contains(&self.cgroup) {
                        if entry.file_name().to_string_lossy().starts_with("pod") {
                            found.push(text);
                        }
                        folders.push(path);
                    } else if folder.components().count() < 5 {
                        folders.push(path);
                    }
                }
            }
        }
        found
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut kubelet) = self.kubelet.take() {
            kubelet.kill().ok();
            kubelet.wait().ok();
        }
        if std::thread::panicking() {
            for name in ["containerd.log", "kubelet.log"] {
                let log = std::fs::read_to_string(self.path(name)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                eprintln!("--- {name} ---");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
        // Containers outlive containerd: their shims end with the tasks.
        let address = self.socket().display().to_string();
        let ctr = |words: &[&str]| {
            let output =
                Command::new("ctr").args(["--address", &address, "--namespace", "k8s.io"]).args(words).output();
            output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default()
        };
        for id in ctr(&["tasks", "list", "--quiet"]).lines() {
            ctr(&["tasks", "delete", "--force", id]);
        }
        for id in ctr(&["containers", "list", "--quiet"]).lines() {
            ctr(&["containers", "delete", id]);
        }
        self.containerd.kill().ok();
        self.containerd.wait().ok();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut points: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(4)).collect();
        points.retain(|point| Path::new(point).starts_with(self.folder.path()));
        for point in points.iter().rev() {
            rustix::mount::unmount(*point, rustix::mount::UnmountFlags::DETACH).ok();
        }
        remove_cgroups(Path::new("/sys/fs/cgroup"), self.cgroup.trim_start_matches('/'));
    }
}

/// Removes the network namespaces that killed tests left behind: nobody lives in them, and they are older than any test.
fn remove_stale_namespaces() {
    use std::os::unix::fs::MetadataExt as _;
    const OLD: Duration = Duration::from_secs(600);
    let list = |folder: &str| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut stale: Vec<PathBuf> = list("/run/netns")
        .filter(|it| it.file_name().to_string_lossy().starts_with("cni-"))
        .map(|it| it.path())
        .filter(|path| {
            // The kernel stamps a namespace's file when it makes it.
            let made = std::fs::metadata(path).and_then(|it| it.modified());
            made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD))
        })
        .collect();
    if stale.is_empty() {
        return;
    }
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|it| it.ino());
    let inhabited: std::collections::BTreeSet<u64> =
        list("/proc").filter_map(|it| inode(&it.path().join("ns/net"))).collect();
    stale.retain(|path| inode(path).is_some_and(|it| !inhabited.contains(&it)));
    for path in stale {
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).ok();
        std::fs::remove_file(&path).ok();
    }
}

fn remove_cgroups(mount: &Path, name: &str) {
    let own = std::iter::once(mount.to_owned());
    let hierarchies = own.chain(std::fs::read_dir(mount).into_iter().flatten().flatten().map(|it| it.path()));
    for hierarchy in hierarchies {
        let mut folders = vec![hierarchy.join(name)];
        let mut all = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|it| it.is_dir()) {
                    folders.push(entry.path());
                }
            }
            all.push(folder);
        }
        for folder in all.iter().rev() {
            std::fs::remove_dir(folder).ok();
        }
    }
}

fn start_containerd(root: &Path, network: Network) -> Child {
    let config = format!(
        r#"version = 2
root = "{0}/croot"
state = "{0}/cstate"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{0}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{1}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
conf_dir = "{0}/cni"
bin_dir = "{2}"
"#,
        root.display(),
        xtask::images::PAUSE,
        CNI_FOLDERS.iter().find(|folder| Path::new(folder).join("loopback").exists()).unwrap_or(&CNI_FOLDERS[0])
    );
    std::fs::create_dir(root.join("cni")).unwrap();
    std::fs::write(root.join("containerd.toml"), config).unwrap();
    spawn_containerd(root, network)
}

fn spawn_containerd(root: &Path, network: Network) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(root.join("containerd.log")).unwrap();
    let mut command = match network {
        // The namespace ends with its processes.
        Network::Bridge => {
            let mut command = Command::new("unshare");
            command.args(["--net", "sh", "-c", "ip link set lo up && exec containerd \"$@\"", "containerd"]);
            command
        }
        Network::None | Network::Loopback => Command::new("containerd"),
    };
    command
        .arg("--config")
        .arg(root.join("containerd.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn authority() -> (String, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name = name("test-ca", "");
    (parameters.self_signed(&key).unwrap().pem(), key)
}

fn leaf(authority: &str, authority_key: &KeyPair, common_name: &str, group: &str) -> (String, String) {
    let issuer = Issuer::from_ca_cert_pem(authority, authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = name(common_name, group);
    parameters.subject_alt_names =
        vec![SanType::DnsName("localhost".try_into().unwrap()), SanType::IpAddress([127, 0, 0, 1].into())];
    (parameters.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

fn name(common_name: &str, group: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if !group.is_empty() {
        name.push(DnType::OrganizationName, group);
    }
    name
}
