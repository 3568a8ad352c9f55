//! The certificates, keys and kubeconfigs of a cluster whose parts run anywhere, as in containers; and for each part a
//! folder with just what it needs.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    instance::write_private,
    kubeconfig,
    pki::{Pki, ServerNames},
};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The folder of the authorities and of everything that they issue.
    #[arg(long)]
    pub dir: PathBuf,
    /// The API server's URL for the components.
    #[arg(long)]
    pub server: String,
    /// The API server's URL for the administrator; the components' by default.
    #[arg(long)]
    pub admin_server: Option<String>,
    /// A name or address of the API server (may be repeated).
    #[arg(long)]
    pub apiserver_name: Vec<String>,
    /// A name or address of etcd (may be repeated).
    #[arg(long)]
    pub etcd_name: Vec<String>,
    /// A node and its address (may be repeated).
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = node)]
    pub node: Vec<(String, Ipv4Addr)>,
    /// Also writes, for each part, a folder with just what it needs: DIR/etcd, DIR/apiserver, ..., DIR/NODE, DIR/admin.
    #[arg(long, value_name = "DIR")]
    pub copies: Option<PathBuf>,
}

fn node(text: &str) -> Result<(String, Ipv4Addr)> {
    let Some((name, address)) = text.split_once('=') else { bail!("want NAME=ADDRESS") };
    Ok((name.to_owned(), address.parse().with_context(|| format!("{address:?} is no address"))?))
}

/// Issues what is missing. Files that exist are kept; copies are brought up to date.
///
/// # Errors
/// A file cannot be read or written, or a name cannot stand in a certificate.
pub fn issue(options: &Options) -> Result<()> {
    let servers = ServerNames { apiserver: options.apiserver_name.clone(), etcd: options.etcd_name.clone() };
    let pki = Pki::in_folder(options.dir.clone(), servers);
    pki.issue_control_plane()?;
    let kubeconfig = |identity: &str, user: &str, server: &str| {
        kubeconfig::write(server, &pki, identity, user, &options.dir.join(format!("{identity}.kubeconfig")))
    };
    kubeconfig("admin", "kubernetes-admin", options.admin_server.as_ref().unwrap_or(&options.server))?;
    for (identity, user) in [
        ("scheduler", "system:kube-scheduler"),
        ("controller-manager", "system:kube-controller-manager"),
        ("proxy", "system:kube-proxy"),
    ] {
        kubeconfig(identity, user, &options.server)?;
    }
    for (node, address) in &options.node {
        pki.issue_node(node, *address)?;
        kubeconfig(&format!("kubelet-{node}"), &format!("system:node:{node}"), &options.server)?;
    }
    let Some(copies) = &options.copies else { return Ok(()) };
    for (part, files) in parts(&options.node) {
        for (from, to) in files {
            copy(&options.dir.join(from), &copies.join(&part).join(to))?;
        }
    }
    Ok(())
}

type Files = Vec<(String, String)>;

/// What each part needs: a file of the folder, and the name under which the part finds it.
fn parts(nodes: &[(String, Ipv4Addr)]) -> Vec<(String, Files)> {
    let same = |names: &[&str]| -> Files { names.iter().map(|it| ((*it).to_owned(), (*it).to_owned())).collect() };
    let renamed = |pairs: &[(String, &str)]| -> Files {
        pairs.iter().map(|(from, to)| (from.clone(), (*to).to_owned())).collect()
    };
    let kubeconfig = |component: &str| renamed(&[(format!("{component}.kubeconfig"), "kubeconfig")]);
    let mut controller_manager = kubeconfig("controller-manager");
    controller_manager.extend(same(&["ca.crt", "ca.key", "sa.key"]));
    let mut parts = vec![
        (
            "etcd".to_owned(),
            same(&["etcd-ca.crt", "etcd-server.crt", "etcd-server.key", "etcd-peer.crt", "etcd-peer.key"]),
        ),
        (
            "apiserver".to_owned(),
            same(&[
                "ca.crt",
                "etcd-ca.crt",
                "apiserver.crt",
                "apiserver.key",
                "apiserver-etcd-client.crt",
                "apiserver-etcd-client.key",
                "apiserver-kubelet-client.crt",
                "apiserver-kubelet-client.key",
                "sa.key",
                "sa.pub",
            ]),
        ),
        ("scheduler".to_owned(), kubeconfig("scheduler")),
        ("controller-manager".to_owned(), controller_manager),
        ("admin".to_owned(), same(&["admin.kubeconfig"])),
    ];
    for (node, _) in nodes {
        let mut files = same(&["ca.crt", "proxy.kubeconfig"]);
        files.extend(renamed(&[
            (format!("kubelet-{node}.kubeconfig"), "kubelet.kubeconfig"),
            (format!("kubelet-server-{node}.crt"), "kubelet-server.crt"),
            (format!("kubelet-server-{node}.key"), "kubelet-server.key"),
        ]));
        parts.push((node.clone(), files));
    }
    parts
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let contents = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == contents) {
        return Ok(());
    }
    write_private(to, &contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_gets_just_what_it_needs_and_a_second_run_changes_nothing() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let options = Options {
            dir: folder.path().join("authority"),
            server: "https://apiserver:6443".to_owned(),
            admin_server: Some("https://127.0.0.1:7443".to_owned()),
            apiserver_name: vec!["apiserver".to_owned(), "192.0.2.3".to_owned()],
            etcd_name: vec!["etcd".to_owned()],
            node: vec![node("node-1=192.0.2.11")?],
            copies: Some(folder.path().join("copies")),
        };
        issue(&options)?;
        let read = |name: &str| fs::read_to_string(folder.path().join("copies").join(name));
        assert!(read("admin/admin.kubeconfig")?.contains("server: https://127.0.0.1:7443"));
        let before = read("node-1/kubelet.kubeconfig")?;
        assert!(before.contains("server: https://apiserver:6443"));
        let names = |part: &str| -> Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(folder.path().join("copies").join(part))? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
            names.sort();
            Ok(names)
        };
        // The authority's key leaves its folder only for the part that signs.
        assert_eq!(names("scheduler")?, ["kubeconfig"]);
        assert_eq!(names("controller-manager")?, ["ca.crt", "ca.key", "kubeconfig", "sa.key"]);
        let node = ["ca.crt", "kubelet-server.crt", "kubelet-server.key", "kubelet.kubeconfig", "proxy.kubeconfig"];
        assert_eq!(names("node-1")?, node);
        issue(&options)?;
        assert_eq!(read("node-1/kubelet.kubeconfig")?, before);
        Ok(())
    }

    #[test]
    fn a_node_is_a_name_and_an_address() {
        assert!(node("node-1").is_err() && node("node-1=there").is_err());
    }
}
