//! Measures the rows of the table of numbers to hold and writes them as Markdown.

mod control_plane;
mod cri;
mod load;
mod meter;
mod objects;
mod options;
mod process;
mod report;
mod rows;
mod rule_events;
mod target;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use reeve_client::Kubeconfig;
use xtask::cargo::Profile;
use xtask::progress::Progress;

use crate::options::Options;
use crate::process::Process;
use crate::report::{Circumstances, Outcome, Row};
use crate::rows::{Bench, Definition, NODE_ROWS, ROWS, SERVICE_ROWS};
use crate::target::Target;

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START_UP: (&str, &str, &str) = ("start-up", "control plane from start to ready, empty etcd", "<= 0.5 s");
const NEWCOMER: (&str, &str, &str) =
    ("newcomer", "three-node cluster, built and images present, until the demo answers", "<= 5 s");

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut table = Vec::new();
    let measured = match &options.kubeconfig {
        Some(_) => measure_all(&options, ROWS.iter().chain(&NODE_ROWS), &mut table).await,
        None => measure_own(&options, &mut table).await,
    };
    // What was measured before an error is kept.
    write(&options, &table)?;
    measured
}

/// Measures clusters of its own, and removes them: a control plane without nodes, one with a proxy, one with nodes.
async fn measure_own(options: &Options, table: &mut Vec<Row>) -> Result<()> {
    let is_wanted = |name: &str| options.filter.is_empty() || options.filter.iter().any(|word| name.contains(word));
    let folder = |what: &str| std::env::temp_dir().join(format!("reeve-bench-{}-{what}", std::process::id()));
    let any = |rows: &[Definition], first: &str| is_wanted(first) || rows.iter().any(|(name, ..)| is_wanted(name));
    if any(&ROWS, START_UP.0) {
        let dir = folder("plane");
        let measured = with_own_control_plane(options, &dir, table).await;
        tokio::task::spawn_blocking(move || control_plane::remove(&dir)).await??;
        measured?;
    }
    if options.nodes > 0 && any(&SERVICE_ROWS, "") {
        let dir = folder("proxy");
        let measured = with_own_network(options, &dir, table).await;
        tokio::task::spawn_blocking(move || control_plane::remove(&dir)).await??;
        measured?;
    }
    if options.nodes > 0 && any(&NODE_ROWS, NEWCOMER.0) {
        let dir = folder("nodes");
        let measured = with_own_nodes(options, &dir, table).await;
        tokio::task::spawn_blocking(move || control_plane::remove(&dir)).await??;
        measured?;
    }
    Ok(())
}

async fn with_own_control_plane(options: &Options, dir: &Path, table: &mut Vec<Row>) -> Result<()> {
    let programs = options.programs()?;
    let prepared = dir.to_owned();
    let (instance, pki) = tokio::task::spawn_blocking(move || control_plane::prepare(&prepared, false)).await??;
    let kubeconfig = instance.admin_kubeconfig();
    let started = control_plane::start(instance, pki, programs).await;
    let outcome = match &started {
        Ok((serving, leading)) => Outcome::measured(
            format!("{:.2} s until all lead", leading.as_secs_f64()),
            format!("serving after {:.2} s", serving.as_secs_f64()),
        ),
        Err(error) => Outcome::NotMeasured(format!("{error:#}")),
    };
    let (name, work, target) = START_UP;
    show(table, Row { name, work, target, outcome });
    let with = Options { kubeconfig: Some(kubeconfig), dir: Some(dir.to_owned()), ..options.clone() };
    measure_all(&with, &ROWS, table).await
}

/// An API server that nodes can reach: all that a proxy needs.
async fn with_own_network(options: &Options, dir: &Path, table: &mut Vec<Row>) -> Result<()> {
    let (prepared, programs) = (dir.to_owned(), options.programs()?);
    let kubeconfig = tokio::task::spawn_blocking(move || {
        let (instance, pki) = control_plane::prepare(&prepared, true)?;
        control_plane::start_apiserver(&instance, &pki, &programs)?;
        anyhow::Ok(instance.admin_kubeconfig())
    });
    let with = Options { kubeconfig: Some(kubeconfig.await??), dir: Some(dir.to_owned()), ..options.clone() };
    measure_all(&with, &SERVICE_ROWS, table).await
}

/// Brings a testbed with nodes and the demo up, as a newcomer does.
async fn with_own_nodes(options: &Options, dir: &Path, table: &mut Vec<Row>) -> Result<()> {
    let up = xtask::up::Options {
        dir: dir.to_owned(),
        nodes: options.nodes,
        demo: true,
        controller_manager_flags: Vec::new(),
        // Room for the rows of a full node.
        kubelet_flags: vec!["--max-pods=260".to_owned()],
        profile: Profile::Release,
        build: false,
    };
    let begun = Instant::now();
    let started = tokio::task::spawn_blocking(move || xtask::up::up(&up, &Progress::new())).await?;
    let took = begun.elapsed().as_secs_f64();
    let outcome = match &started {
        Ok(_) => Outcome::measured(
            format!("{took:.1} s"),
            format!("{} nodes; the time of `cargo xtask up --no-build`", options.nodes),
        ),
        Err(error) => Outcome::NotMeasured(format!("{error:#}")),
    };
    let (name, work, target) = NEWCOMER;
    show(table, Row { name, work, target, outcome });
    let with = Options {
        kubeconfig: Some(started?.instance.admin_kubeconfig()),
        dir: Some(dir.to_owned()),
        image: Some(options.image.clone().unwrap_or_else(|| xtask::images::DEMO_1.to_owned())),
        ..options.clone()
    };
    measure_all(&with, &NODE_ROWS, table).await
}

async fn measure_all(
    options: &Options,
    rows: impl IntoIterator<Item = &Definition>,
    table: &mut Vec<Row>,
) -> Result<()> {
    let kubeconfig = options.kubeconfig.as_deref().context("no kubeconfig")?;
    let config = Kubeconfig::load(kubeconfig)?.connection(None)?;
    let mut processes = match &options.dir {
        Some(dir) => control_plane::processes(dir)?,
        None => control_plane::Processes::default(),
    };
    let given = options.process.iter().map(|(name, pid)| Process { name: name.clone(), pid: *pid });
    if !options.process.is_empty() {
        processes.control_plane = given.collect();
    }
    let bench = Bench {
        target: Arc::new(Target::new(config, &options.namespace)?),
        processes: processes.control_plane,
        store: processes.store,
        nodes: processes.nodes,
        options: options.clone(),
    };
    for &(name, work, target, kind) in rows {
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
        Outcome::Measured { figure, beside } => eprintln!("{}: {figure} (target {}; {beside})", row.name, row.target),
        Outcome::NotMeasured(reason) => eprintln!("{}: not measured: {reason}", row.name),
    }
    table.push(row);
}

fn write(options: &Options, table: &[Row]) -> Result<()> {
    let date = options.date.clone().unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y-%m-%d").to_string());
    let command = std::iter::once("cargo xtask bench".to_owned()).chain(std::env::args().skip(1)).collect::<Vec<_>>();
    let circumstances = Circumstances { machine: report::machine(), date, command: command.join(" ") };
    let named = |rows: &[Definition]| rows.iter().map(|(name, ..)| *name).collect::<Vec<_>>();
    let order = [vec![START_UP.0], named(&ROWS), named(&SERVICE_ROWS), vec![NEWCOMER.0], named(&NODE_ROWS)].concat();
    let before = match std::fs::read_to_string(&options.output) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", options.output.display())),
    };
    let text = report::markdown(table, &order, &before, &circumstances);
    if let Some(folder) = options.output.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(&options.output, text).with_context(|| format!("cannot write {}", options.output.display()))
}
