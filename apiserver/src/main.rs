//! The API server's entry: flags, then [`reeve_apiserver::run`].

use clap::Parser as _;
use reeve_apiserver::options::Options;
use reeve_client::process;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    process::init_logging(&options.logging);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("apiserver").build()?;
    runtime.block_on(async {
        reeve_client::pages::release_at_rest();
        let shutdown = process::shutdown_signal()?;
        reeve_apiserver::run(options, shutdown).await
    })
}
