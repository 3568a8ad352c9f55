//! The embedded default store: one local etcd member with its own data folder. It takes only
//! clients with a certificate of its own authority, on a loopback port.

use std::{os::unix::fs::DirBuilderExt, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    command,
    instance::Instance,
    pki::Pki,
    processes::{Daemon, Daemons, Readiness},
};

/// Starts etcd and waits until it serves.
///
/// # Errors
/// etcd is missing or does not come up.
pub fn start(instance: &Instance, pki: &Pki, daemons: &Daemons) -> Result<()> {
    let data = instance.path("etcd");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
    daemons.ensure(&daemon(instance, pki, command::find("etcd").context("etcd is not installed")?))
}

/// Where clients find etcd.
pub fn client_url(instance: &Instance) -> String {
    format!("https://127.0.0.1:{}", instance.settings.etcd_client_port)
}

/// The etcd process.
pub fn daemon(instance: &Instance, pki: &Pki, program: PathBuf) -> Daemon {
    let client = client_url(instance);
    let peer = format!("https://127.0.0.1:{}", instance.settings.etcd_peer_port);
    let (server, peer_pair, authority) = (pki.pair("etcd-server"), pki.pair("etcd-peer"), pki.pair("etcd-ca"));
    let authority = authority.certificate.display().to_string();
    let arguments = vec![
        "--name=reeve".to_owned(),
        format!("--data-dir={}", instance.path("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=reeve={peer}"),
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={authority}"),
        format!("--cert-file={}", server.certificate.display()),
        format!("--key-file={}", server.key.display()),
        "--peer-client-cert-auth".to_owned(),
        format!("--peer-trusted-ca-file={authority}"),
        format!("--peer-cert-file={}", peer_pair.certificate.display()),
        format!("--peer-key-file={}", peer_pair.key.display()),
        "--logger=zap".to_owned(),
        "--log-level=warn".to_owned(),
        // Room for large tests; the default is 2 GB.
        format!("--quota-backend-bytes={}", 8u64 << 30),
    ];
    Daemon {
        name: "etcd".to_owned(),
        program,
        arguments,
        environment: Vec::new(),
        enter: Vec::new(),
        group: "control-plane".to_owned(),
        readiness: Readiness::Notify,
    }
}
