//! The developer commands of Reeve; `cargo xtask help` lists them.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{
    bench,
    cargo::{Profile, Workspace},
    certificates, down, fuzz, machine, packages,
    progress::Progress,
    stage, test, up,
};

const DEFAULT_DIR: &str = "/var/lib/reeve";

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands of Reeve")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the programs of a cluster and of its images.
    Build,
    /// Brings up a cluster on this machine: etcd, the control plane, nodes, and a demo on it.
    Up {
        /// How many nodes.
        #[arg(long, default_value_t = 3)]
        nodes: usize,
        /// The folder that holds everything the cluster writes.
        #[arg(long, default_value = DEFAULT_DIR)]
        dir: PathBuf,
        /// Starts no nodes.
        #[arg(long)]
        control_plane_only: bool,
        /// Does not apply the demo.
        #[arg(long)]
        no_demo: bool,
        /// How the cluster's programs are built.
        #[arg(long, value_enum, default_value_t)]
        profile: Profile,
        /// Takes the programs as they were built before.
        #[arg(long)]
        no_build: bool,
    },
    /// Removes everything that `up` made.
    Down {
        /// The folder that `up` was given.
        #[arg(long, default_value = DEFAULT_DIR)]
        dir: PathBuf,
    },
    /// Runs all tests: format, lints, unit, contract, integration, end-to-end.
    Test,
    /// Builds the programs and gathers what container images are made from: programs in bin/, images in images/.
    Stage {
        /// The folder to write to.
        #[arg(long)]
        dir: PathBuf,
        /// Takes the programs as they were built before.
        #[arg(long)]
        no_build: bool,
    },
    /// Makes the certificates, keys and kubeconfigs of a cluster whose parts run anywhere. What exists is kept.
    Certificates(certificates::Options),
    /// Looks for inputs that parsers do not stand.
    Fuzz {
        /// The targets; all, if none is named.
        targets: Vec<String>,
        /// How long each runs.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Runs end-to-end tests in an emulated machine with another kernel: cgroups of version 2, NFS and SCTP. Takes the
    /// release build as it is.
    Machine {
        /// Parts of the tests' names; those that depend on the kernel, if none is given.
        tests: Vec<String>,
    },
    /// Measures, and writes docs/benchmarks.md.
    Bench {
        /// Arguments of reeve-bench.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Build => Workspace::locate()?.build(&[]),
        Command::Up { nodes, dir, control_plane_only, no_demo, profile, no_build } => {
            let nodes = if control_plane_only { 0 } else { nodes };
            let dir = std::path::absolute(dir)?;
            let progress = Progress::new();
            let testbed = up::up(
                &up::Options {
                    dir,
                    nodes,
                    demo: !no_demo,
                    controller_manager_flags: Vec::new(),
                    kubelet_flags: Vec::new(),
                    profile,
                    build: !no_build,
                },
                &progress,
            )?;
            print_next_steps(&testbed, progress.elapsed().as_secs_f64());
            Ok(())
        }
        Command::Down { dir } => down::down(&std::path::absolute(dir)?, &Progress::new()),
        Command::Test => test::test(),
        Command::Stage { dir, no_build } => stage::stage(&Workspace::locate()?, &std::path::absolute(dir)?, !no_build),
        Command::Certificates(options) => certificates::issue(&options),
        Command::Fuzz { targets, seconds } => {
            packages::ensure_for_fuzz()?;
            fuzz::fuzz(&Workspace::locate()?, &targets, seconds).map(drop)
        }
        Command::Machine { tests } => {
            let tally = machine::run(&Workspace::locate()?, &tests, &Progress::new())?;
            anyhow::ensure!(tally.failed() == 0, "{} tests failed in the machine", tally.failed());
            Ok(())
        }
        Command::Bench { arguments } => bench::bench(&arguments),
    }
}

fn print_next_steps(testbed: &up::Testbed, seconds: f64) {
    let kubeconfig = testbed.instance.admin_kubeconfig();
    let rctl = testbed.programs.join("rctl");
    println!("\nThe cluster is up after {seconds:.1} s. Its kubeconfig is {}", kubeconfig.display());
    println!("\nTry:");
    println!("  export KUBECONFIG={} PATH=$PATH:{}", kubeconfig.display(), testbed.programs.display());
    for arguments in ["get nodes -o wide", "get pods -A -o wide", "logs deployment/web"] {
        println!("  {} {arguments}", rctl.file_name().unwrap_or_default().display());
    }
    println!("\n`cargo xtask down --dir {}` removes it.", testbed.instance.dir.display());
}
