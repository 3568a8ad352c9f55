//! The scheduler's program: flags, logs, leader election, and then [`reeve_scheduler::run`].

use anyhow::{Context as _, bail};
use clap::Parser as _;
use reeve_client::process::{init_logging, shutdown_signal, unique_identity};
use reeve_client::{EventRecorder, LeaderElector};
use reeve_scheduler::options::Options;
use reeve_scheduler::run::Following;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    init_logging(&options.logs);
    reeve_client::pages::release_at_rest();
    let shutdown = shutdown_signal().context("cannot listen for signals")?;
    let client = options.connection.client()?;
    let following = Following::start(&client, &options.scheduler_name);
    let recorder = EventRecorder::new(&client, &options.scheduler_name, "");
    if !options.leader_elect {
        following.schedule(&client, &recorder, &shutdown).await;
        return Ok(());
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host's name")?;
    let elector = LeaderElector::new(client.clone(), options.lease(unique_identity(host.trim())));
    let Some(leadership) = elector.acquire(&shutdown).await else { return Ok(()) };
    let stop = shutdown.child_token();
    let lost = leadership.lost.clone();
    tokio::select! {
        () = following.schedule(&client, &recorder, &stop) => {}
        () = lost.cancelled(), if !shutdown.is_cancelled() => bail!("lost the lease: another scheduler may lead"),
    }
    leadership.release().await;
    Ok(())
}
