//! The files that the kubelet gives every container: its termination message's and `/etc/hosts`.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Executor, Subject};
use crate::pod::{env, spec};
use crate::runtime::convert::{self, Mount};
use crate::volume;

/// Files that were made, and how they appear in the container.
pub(super) struct ContainerFiles {
    pub termination: PathBuf,
    pub mounts: Vec<Mount>,
}

impl Executor {
    /// The files that the kubelet gives every container: the termination message's and `/etc/hosts`.
    pub(super) fn container_files(
        &self,
        subject: &Subject,
        pod: &Pod,
        container: &Container,
        attempt: u32,
        addresses: &env::Addresses,
    ) -> Result<ContainerFiles, (PathBuf, std::io::Error)> {
        let pod_dir = self.config.pod_dir(&subject.uid);
        let folder = pod_dir.join("containers").join(&container.name);
        volume::create_dir(&folder, 0o750).map_err(|error| (folder.clone(), error))?;
        let termination = folder.join(attempt.to_string());
        std::fs::write(&termination, "").map_err(|error| (termination.clone(), error))?;
        // The process may run as any user.
        volume::set_mode(&termination, 0o666).map_err(|error| (termination.clone(), error))?;
        let inside = container.termination_message_path.clone().filter(|it| !it.is_empty());
        let mount = |container_path: String, host: &PathBuf| Mount {
            container_path,
            host_path: host.display().to_string(),
            read_only: false,
            propagation: None,
        };
        let mut mounts = vec![mount(inside.unwrap_or_else(|| "/dev/termination-log".into()), &termination)];
        let hosts = pod_dir.join("etc-hosts");
        let text = hosts_file(pod, addresses, &self.config.cluster_domain);
        std::fs::write(&hosts, text).map_err(|error| (hosts.clone(), error))?;
        volume::set_mode(&hosts, 0o644).map_err(|error| (hosts.clone(), error))?;
        mounts.push(mount("/etc/hosts".into(), &hosts));
        Ok(ContainerFiles { termination, mounts })
    }
}

fn hosts_file(pod: &Pod, addresses: &env::Addresses, cluster_domain: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if spec::host_network(pod) {
        text.push_str("# Kubernetes-managed hosts file (host network).\n");
        text.push_str(&std::fs::read_to_string("/etc/hosts").unwrap_or_default());
    } else {
        text.push_str("# Kubernetes-managed hosts file.\n");
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n");
        text.push_str("fe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
        let host = convert::hostname(pod);
        for ip in &addresses.pod_ips {
            let line = match convert::domain_name(pod, cluster_domain) {
                Some(domain_name) => format!("{ip}\t{domain_name}\t{host}"),
                None => format!("{ip}\t{host}"),
            };
            text.push_str(&line);
            text.push('\n');
        }
    }
    let aliases = spec::spec(pod).host_aliases.iter().flatten();
    let lines: Vec<String> =
        aliases.map(|it| format!("{}\t{}", it.ip, it.hostnames.clone().unwrap_or_default().join("\t"))).collect();
    if !lines.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
        for line in lines {
            if writeln!(text, "{line}").is_err() {
                break;
            }
        }
    }
    text
}
