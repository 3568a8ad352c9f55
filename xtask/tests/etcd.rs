//! etcd with real parts: it comes up with its certificates, once, says by itself when it serves,
//! and keeps its data over a kill.

use std::net::TcpStream;

use anyhow::{Context, Result};
use xtask::{command, down, etcd, instance::Instance, pki::Pki, processes::Daemons, progress::Progress};

#[test]
fn etcd_comes_up_once_and_again_after_a_kill() -> Result<()> {
    if command::find("etcd").is_none() {
        eprintln!("skipped: etcd is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("bed");
    let result = run(&dir);
    down::down(&dir, &Progress::new())?;
    assert!(!dir.exists());
    result
}

fn run(dir: &std::path::Path) -> Result<()> {
    let instance = Instance::open_or_create(dir, false)?;
    let (pki, daemons) = (Pki::new(&instance), Daemons::new(&instance));
    pki.issue_control_plane()?;
    etcd::start(&instance, &pki, &daemons)?;
    let first = daemons.running("etcd").context("etcd runs")?;
    TcpStream::connect(("127.0.0.1", instance.settings.etcd_client_port))?;
    etcd::start(&instance, &pki, &daemons)?;
    assert_eq!(daemons.running("etcd"), Some(first));

    daemons.kill("etcd")?;
    etcd::start(&instance, &pki, &daemons)?;
    assert_ne!(daemons.running("etcd"), Some(first));
    TcpStream::connect(("127.0.0.1", instance.settings.etcd_client_port))?;
    Ok(())
}
