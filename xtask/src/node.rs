//! A node: a network namespace and a mount namespace with containerd, kubelet and proxy of its
//! own. A small process holds the mount namespace; all others of the node enter it.
//!
//! In the mount namespace, the folders that node programs expect at fixed places (`/run`,
//! `/var/lib/cni`, ...) are the node's own. Mounts of the host still arrive there, but none of the
//! node's leave it: when the last process of a node is gone, so are its mounts.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail};

use crate::{
    command,
    control_plane::component_kubeconfig,
    images,
    instance::{CLUSTER_DNS, CLUSTER_DOMAIN, Instance, POD_CIDR, node_name},
    join, network,
    pki::Pki,
    processes::{Daemon, Daemons, ProcessRecord, Readiness},
};

/// Folders that each node has for itself: the path in the node, and the name below its folder.
/// `/run` is not among them: a node gets a fresh one in memory.
const OWN_FOLDERS: [(&str, &str); 5] = [
    ("/etc/cni/net.d", "cni-net.d"),
    ("/var/lib/cni", "cni-state"),
    ("/var/lib/kubelet", "var-lib-kubelet"),
    ("/var/log/pods", "pod-logs"),
    ("/var/log/containers", "container-logs"),
];
/// containerd's socket, in the node's own `/run`.
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// Where the distributions put the standard CNI plugins.
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// One node of a testbed.
#[derive(Debug, Clone)]
pub struct Node {
    instance: Instance,
    /// Its number, from 1.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its folder.
    pub dir: PathBuf,
}

impl Node {
    /// The node with this number.
    pub fn new(instance: &Instance, index: usize) -> Self {
        let name = node_name(index);
        Self { instance: instance.clone(), index, dir: instance.node_dir(&name), name }
    }

    /// The name of one of the node's processes, as its log and record carry it.
    pub fn process(&self, component: &str) -> String {
        format!("{}-{component}", self.name)
    }

    /// Makes the namespaces and starts containerd with the project's images in it.
    ///
    /// # Errors
    /// A step fails: with what the system said.
    pub fn prepare(&self, pki: &Pki, holder: &Path, archive: &Path, daemons: &Daemons) -> Result<()> {
        network::create_node(&self.instance, self.index)?;
        for (_, own) in OWN_FOLDERS {
            fs::create_dir_all(self.dir.join(own))?;
        }
        fs::create_dir_all(self.dir.join("kubelet"))?;
        fs::create_dir_all(self.manifests())?;
        pki.issue_node_serving(&self.name, self.instance.node_address(self.index))?;
        self.hold_mounts(holder, daemons)?;
        daemons.ensure(&self.containerd(daemons)?)?;
        images::import(&self.command(daemons, "ctr")?, &self.dir, archive, self.snapshotter()?)
    }

    /// Starts kubelet and proxy.
    ///
    /// # Errors
    /// A program cannot be started.
    pub fn start_components(&self, pki: &Pki, programs: &Path, daemons: &Daemons) -> Result<()> {
        daemons.ensure(&self.proxy(programs, daemons)?)?;
        daemons.ensure(&self.kubelet(pki, programs, daemons)?)
    }

    /// Starts the process that holds the mount namespace, and waits until its mounts are made.
    fn hold_mounts(&self, holder: &Path, daemons: &Daemons) -> Result<()> {
        let name = self.process("holder");
        if daemons.running(&name).is_some() {
            return Ok(());
        }
        let resolver = self.dir.join("resolv.conf");
        fs::write(&resolver, upstream_resolver())?;
        let script = self.dir.join("mounts.sh");
        fs::write(&script, mount_script(&self.dir))?;
        let group = crate::cgroup::prepare(&self.instance.name(), &self.group("system"))?;
        let mut start = command::system("setsid");
        start.args(["sh", "-c", "echo 0 >\"$0/cgroup.procs\" && exec \"$@\""]).arg(group.unwrap_or_default());
        start.arg("nsenter").arg(self.enter_network()).args(["unshare", "--mount", "--propagation", "slave", "sh"]);
        start.arg(&script).arg(holder).stdout(Stdio::piped()).stderr(self.log_file(&name)?);
        let mut child = start.spawn().with_context(|| format!("cannot start `{}`", command::line(&start)))?;
        let stdout = child.stdout.take().context("the holder has an output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            child.wait()?;
            let log = self.instance.log(&name);
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("the mounts of {} failed; {} says:\n{said}", self.name, log.display());
        }
        let pid = i32::try_from(child.id())?;
        let record = ProcessRecord::of(pid).with_context(|| format!("the holder of {} has ended", self.name))?;
        let path = self.instance.path("run").join(format!("{name}.json"));
        // It is waited for, so that it does not stay behind as a zombie of a long-lived parent.
        std::thread::spawn(move || child.wait());
        crate::instance::write_private(&path, &serde_json::to_vec(&record)?)
    }

    fn log_file(&self, process: &str) -> Result<fs::File> {
        let path = self.instance.log(process);
        fs::create_dir_all(self.instance.path("logs"))?;
        fs::create_dir_all(self.instance.path("run"))?;
        fs::File::create(&path).with_context(|| format!("cannot open {}", path.display()))
    }

    fn enter_network(&self) -> String {
        format!("--net={}", network::namespace_path(&self.instance, &self.name).display())
    }

    fn group(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }

    /// The words that put a program into the node's namespaces.
    ///
    /// # Errors
    /// Nothing of the node runs.
    pub fn enter(&self, daemons: &Daemons) -> Result<Vec<String>> {
        // Any process of the node is in its mount namespace, should the holder have been killed.
        let anyone = ["holder", "containerd", "kubelet", "proxy"]
            .into_iter()
            .find_map(|component| daemons.running(&self.process(component)))
            .with_context(|| format!("no process of {} runs; `cargo xtask up` starts it", self.name))?;
        Ok(vec!["nsenter".to_owned(), self.enter_network(), format!("--mount=/proc/{}/ns/mnt", anyone.pid)])
    }

    /// A command that runs in the node's namespaces.
    ///
    /// # Errors
    /// Nothing of the node runs.
    pub fn command(&self, daemons: &Daemons, program: &str) -> Result<Vec<String>> {
        let mut words = self.enter(daemons)?;
        words.push(program.to_owned());
        Ok(words)
    }

    /// overlayfs, or plain copies where the testbed's folder lies on an overlay itself.
    fn snapshotter(&self) -> Result<&'static str> {
        const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
        let kind = rustix::fs::statfs(&self.dir).context("cannot ask for the kind of file system")?.f_type;
        Ok(if i128::from(kind) == i128::from(OVERLAYFS_MAGIC) { "native" } else { "overlayfs" })
    }

    fn containerd(&self, daemons: &Daemons) -> Result<Daemon> {
        let plugins = CNI_FOLDERS
            .into_iter()
            .find(|folder| Path::new(folder).join("bridge").exists())
            .context("the standard CNI plugins are not installed (containernetworking-plugins)")?;
        let config = self.dir.join("containerd.toml");
        fs::write(&config, containerd_config(&self.dir, plugins, self.snapshotter()?))?;
        Ok(self.daemon(
            "containerd",
            command::find("containerd").context("containerd is not installed")?,
            vec![format!("--config={}", config.display())],
            Readiness::Notify,
            self.enter(daemons)?,
        ))
    }

    /// The kubeconfig that the kubelet writes when it has joined.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubelet.conf")
    }

    /// The folder of the node's static pods.
    pub fn manifests(&self) -> PathBuf {
        self.dir.join("manifests")
    }

    /// The kubelet's process.
    ///
    /// # Errors
    /// Nothing of the node runs.
    pub fn kubelet(&self, pki: &Pki, programs: &Path, daemons: &Daemons) -> Result<Daemon> {
        let serving = pki.pair(&format!("kubelet-server-{}", self.name));
        let address = self.instance.node_address(self.index);
        let mut arguments = vec![
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--bootstrap-kubeconfig={}", join::bootstrap_kubeconfig(&self.instance).display()),
            format!("--cert-dir={}", self.dir.join("kubelet-pki").display()),
            "--rotate-certificates".to_owned(),
            format!("--hostname-override={}", self.name),
            format!("--node-ip={address}"),
            format!("--address={address}"),
            format!("--container-runtime-endpoint=unix://{CONTAINERD_SOCKET}"),
            format!("--root-dir={}", self.dir.join("kubelet").display()),
            format!("--pod-manifest-path={}", self.manifests().display()),
            // The machine's disk belongs to others too, and images that were made here cannot be pulled again.
            "--eviction-hard=memory.available<100Mi,nodefs.available<1%,imagefs.available<1%".into(),
            "--image-gc-high-threshold=100".into(),
            format!("--cluster-dns={CLUSTER_DNS}"),
            format!("--cluster-domain={CLUSTER_DOMAIN}"),
            format!("--tls-cert-file={}", serving.certificate.display()),
            format!("--tls-private-key-file={}", serving.key.display()),
            format!("--client-ca-file={}", pki.pair("ca").certificate.display()),
            format!("--cgroup-root=/{}/{}", self.instance.name(), self.name),
            format!("--pod-infra-container-image={}", images::PAUSE),
        ];
        arguments.extend(self.instance.settings.kubelet_flags.iter().cloned());
        Ok(self.daemon("kubelet", programs.join("kubelet"), arguments, Readiness::SeenByOthers, self.enter(daemons)?))
    }

    /// The proxy's process.
    ///
    /// # Errors
    /// Nothing of the node runs.
    pub fn proxy(&self, programs: &Path, daemons: &Daemons) -> Result<Daemon> {
        let arguments = vec![
            format!("--kubeconfig={}", component_kubeconfig(&self.instance, "proxy").display()),
            format!("--hostname-override={}", self.name),
            format!("--cluster-cidr={POD_CIDR}"),
            format!("--cluster-dns={CLUSTER_DNS}"),
            format!("--cluster-domain={CLUSTER_DOMAIN}"),
            "--cni-conf-dir=/etc/cni/net.d".to_owned(),
        ];
        Ok(self.daemon("proxy", programs.join("proxy"), arguments, Readiness::SeenByOthers, self.enter(daemons)?))
    }

    fn daemon(
        &self,
        component: &str,
        program: PathBuf,
        arguments: Vec<String>,
        readiness: Readiness,
        enter: Vec<String>,
    ) -> Daemon {
        Daemon {
            name: self.process(component),
            program,
            arguments,
            environment: vec![("NODE_NAME".to_owned(), self.name.clone())],
            enter,
            group: self.group("system"),
            readiness,
        }
    }
}

/// Makes the host's folders that nodes mount over; those that are new are remembered for `down`.
///
/// # Errors
/// A folder cannot be made.
pub fn make_mount_points(instance: &mut Instance) -> Result<()> {
    for (path, _) in OWN_FOLDERS {
        let path = Path::new(path);
        let missing: Vec<PathBuf> =
            path.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        if missing.is_empty() {
            continue;
        }
        // The deepest comes first, which is the order of removal. Written before they are made.
        instance.settings.made_folders.splice(0..0, missing);
        instance.save()?;
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    Ok(())
}

/// The script that makes a node's mounts and then becomes the holder. `$1` is the holder.
fn mount_script(dir: &Path) -> String {
    let mut script = String::from("set -e\nmount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run\n");
    for (path, own) in OWN_FOLDERS {
        script.push_str(&format!("mount --bind '{}' '{path}'\n", dir.join(own).display()));
    }
    // The file may be a link into /run, which is new: then its target must be made first.
    script.push_str(&format!(
        "target=$(readlink -m /etc/resolv.conf)\nmkdir -p \"$(dirname \"$target\")\"\n[ -e \"$target\" ] || : >\"$target\"\n\
         mount --bind '{}' \"$target\"\n",
        dir.join("resolv.conf").display()
    ));
    script.push_str("echo ready\nexec \"$1\" >/dev/null\n");
    script
}

/// The host's name servers without those that only the host itself can reach.
fn upstream_resolver() -> String {
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| reachable_servers(&text))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

fn reachable_servers(text: &str) -> String {
    text.lines()
        .filter(|line| {
            let mut words = line.split_whitespace();
            let server = (words.next() == Some("nameserver")).then(|| words.next()).flatten();
            server.and_then(|it| it.parse::<std::net::IpAddr>().ok()).is_some_and(|it| !it.is_loopback())
        })
        .map(|line| format!("{line}\n"))
        .collect()
}

/// containerd's configuration (version 2, as 1.6 and 1.7 read it).
fn containerd_config(dir: &Path, plugins: &str, snapshotter: &str) -> String {
    let (root, pause) = (dir.join("containerd"), images::PAUSE);
    let root = root.display();
    // `opt` would make a folder in the host's /opt; the snapshotters are for file systems that are
    // not used here.
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_a_node_can_reach_are_kept() {
        let text = "# local\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch lan\n";
        assert_eq!(reachable_servers(text), "nameserver 192.0.2.53\n");
        assert_eq!(reachable_servers("nameserver 127.0.0.1\n"), "");
    }

    #[test]
    fn the_script_ends_in_the_holder() {
        let script = mount_script(Path::new("/bed/nodes/node-1"));
        assert!(script.contains("mount --bind '/bed/nodes/node-1/cni-state' '/var/lib/cni'"));
        assert!(script.ends_with("echo ready\nexec \"$1\" >/dev/null\n"));
    }
}
