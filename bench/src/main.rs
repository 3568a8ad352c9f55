//! Measures the rows of the table of numbers to hold and writes them as Markdown.

mod control_plane;
mod cri;
mod load;
mod objects;
mod options;
mod process;
mod report;
mod rows;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use reeve_client::Kubeconfig;

use crate::options::Options;
use crate::process::Process;
use crate::report::{Circumstances, Outcome, Row};
use crate::rows::{Bench, ROWS};
use crate::target::Target;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_UP: (&str, &str, &str) = ("start-up", "control plane from start to ready, empty etcd", "<= 0.5 s");

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut table = Vec::new();
    let own =
        options.kubeconfig.is_none().then(|| std::env::temp_dir().join(format!("reeve-bench-{}", std::process::id())));
    let measured = match &own {
        None => measure_all(&options, &mut table).await,
        Some(dir) => with_own_control_plane(&options, dir, &mut table).await,
    };
    if let Some(dir) = own {
        tokio::task::spawn_blocking(move || control_plane::remove(&dir)).await??;
    }
    // What was measured before an error is kept.
    write(&options, &table)?;
    measured
}

async fn with_own_control_plane(options: &Options, dir: &Path, table: &mut Vec<Row>) -> Result<()> {
    let programs = match &options.binaries {
        Some(programs) => programs.clone(),
        None => std::env::current_exe()?.parent().map(PathBuf::from).context("this program lies nowhere")?,
    };
    let prepared = dir.to_owned();
    let (instance, pki) = tokio::task::spawn_blocking(move || control_plane::prepare(&prepared)).await??;
    let kubeconfig = instance.admin_kubeconfig();
    let started = control_plane::start(instance, pki, programs).await;
    let outcome = match &started {
        Ok((serving, leading)) => Outcome::measured(
            format!("{:.2} s until all lead", leading.as_secs_f64()),
            format!(
                "serving after {:.2} s; process starts, etcd's first transactions, taking the leases",
                serving.as_secs_f64()
            ),
        ),
        Err(error) => Outcome::NotMeasured(format!("{error:#}")),
    };
    let (name, work, target) = START_UP;
    show(table, Row { name, work, target, outcome });
    let with = Options { kubeconfig: Some(kubeconfig), dir: Some(dir.to_owned()), ..options.clone() };
    measure_all(&with, table).await
}

async fn measure_all(options: &Options, table: &mut Vec<Row>) -> Result<()> {
    let kubeconfig = options.kubeconfig.as_deref().context("no kubeconfig")?;
    let config = Kubeconfig::load(kubeconfig)?.connection(None)?;
    let given = options.process.iter().map(|(name, pid)| Process { name: name.clone(), pid: *pid });
    let mut processes: Vec<Process> = given.collect();
    if let (true, Some(dir)) = (processes.is_empty(), &options.dir) {
        processes = control_plane::processes(dir)?;
    }
    let bench =
        Bench { target: Arc::new(Target::new(config, &options.namespace)?), processes, options: options.clone() };
    for (name, work, target, kind) in ROWS {
        if options.filter.is_empty() || options.filter.iter().any(|word| name.contains(word.as_str())) {
            let outcome =
                rows::measure(&bench, kind).await.unwrap_or_else(|error| Outcome::NotMeasured(format!("{error:#}")));
            show(table, Row { name, work, target, outcome });
        }
    }
    Ok(())
}

/// Keeps a row, and tells it at once: the next ones take their time.
fn show(table: &mut Vec<Row>, row: Row) {
    match &row.outcome {
        Outcome::Measured { figure, limits } => eprintln!("{}: {figure} (target {}; {limits})", row.name, row.target),
        Outcome::NotMeasured(reason) => eprintln!("{}: not measured: {reason}", row.name),
    }
    table.push(row);
}

fn write(options: &Options, table: &[Row]) -> Result<()> {
    let date = options.date.clone().unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y-%m-%d").to_string());
    let command = std::iter::once("cargo xtask bench".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>();
    let circumstances = Circumstances { machine: report::machine(), date, command: command.join(" ") };
    let text = report::markdown(table, &circumstances);
    if let Some(folder) = options.output.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(&options.output, text).with_context(|| format!("cannot write {}", options.output.display()))
}
