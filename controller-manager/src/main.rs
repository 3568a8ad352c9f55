//! The program: flags, leader election, exit codes.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use reeve_client::process::{init_logging, shutdown_signal, unique_identity};
use reeve_client::{LeaderElector, LeaseConfig};
use reeve_controller_manager::manager::Manager;
use reeve_controller_manager::options::Options;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

// One thread is enough: the work is deciding, and waiting for the API server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The errors' texts name their causes already.
            tracing::error!(%error, "the controller manager ends");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let options = Options::parse();
    init_logging(&options.logs);
    reeve_client::pages::release_at_rest();
    let settings = options.settings()?;
    let client = options.kubeconfig.client()?;
    let shutdown = shutdown_signal().context("cannot handle signals")?;
    let manager = Manager::new(client.clone(), settings);
    if !options.leader_elect {
        manager.run(shutdown, CancellationToken::new()).await;
        return Ok(());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read this host's name")?;
    let identity = unique_identity(host.trim());
    let mut lease = LeaseConfig::new("kube-system", "kube-controller-manager", identity);
    lease.lease_duration = options.leader_elect_lease_duration;
    lease.renew_deadline = options.leader_elect_renew_deadline;
    lease.retry_period = options.leader_elect_retry_period;
    let Some(leadership) = LeaderElector::new(client, lease).acquire(&shutdown).await else { return Ok(()) };
    let lost = leadership.lost.clone();
    manager.run(shutdown.clone(), lost.clone()).await;
    if lost.is_cancelled() && !shutdown.is_cancelled() {
        // Nothing of this process may write after another one leads; the supervisor starts it anew.
        anyhow::bail!("leaderelection lost");
    }
    leadership.release().await;
    Ok(())
}
