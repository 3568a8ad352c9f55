//! Flags.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// Measures the rows of the table of numbers to hold, with the project's own client over gRPC, and writes them as
/// Markdown. Without --kubeconfig it starts a control plane of its own with an empty etcd and removes it afterwards.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "reeve-bench", version)]
pub struct Options {
    /// Kubeconfig of the cluster to measure
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Folder of the testbed that the kubeconfig belongs to: tells which processes to measure
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A process to measure (may be repeated); otherwise those of the testbed
    #[arg(long, value_name = "NAME=PID", value_parser = process)]
    pub process: Vec<(String, i32)>,
    /// Folder of the programs, for a control plane of its own (default: where this program is)
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// Where to write the table
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    pub output: PathBuf,
    /// Measure only the rows whose name contains one of these words
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub filter: Vec<String>,
    /// Date to write (default: today)
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub date: Option<String>,
    /// Namespace that is filled and emptied
    #[arg(long, value_name = "NAME", default_value = "bench")]
    pub namespace: String,
    /// Pods to create, list and delete
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub pods: usize,
    /// Services, each with ten endpoints, for the row of the proxy
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub services: u32,
    /// Nodes of a testbed of its own for the rows that need some (0: leave those rows out); needs root
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: usize,
    /// Image for pods on real nodes; it must be on them already
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Socket of a node's container runtime, to measure it alone (default: that of the testbed's node)
    #[arg(long, value_name = "PATH")]
    pub container_runtime_endpoint: Option<PathBuf>,
}

impl Options {
    /// Where the programs are that are measured.
    pub fn programs(&self) -> Result<PathBuf> {
        match &self.binaries {
            Some(programs) => Ok(programs.clone()),
            None => std::env::current_exe()?.parent().map(PathBuf::from).context("this program lies nowhere"),
        }
    }
}

fn process(text: &str) -> Result<(String, i32), String> {
    let (name, pid) = text.split_once('=').ok_or("give NAME=PID, such as apiserver=1234")?;
    let pid = pid.parse().map_err(|_| format!("{pid:?} is not a process id"))?;
    Ok((name.to_owned(), pid))
}
