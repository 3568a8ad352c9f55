//! `cargo xtask bench`: builds the programs and hands over to `reeve-bench`, which measures and
//! writes `docs/benchmarks.md`.

use anyhow::{Context, Result, bail};

use crate::{cargo::Workspace, command, packages, progress::Progress};

/// Runs the measurements; `arguments` go to `reeve-bench`.
///
/// # Errors
/// The build or a measurement fails.
pub fn bench(arguments: &[String]) -> Result<()> {
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    progress.step("packages of the distribution", || packages::ensure(true))?;
    progress.step("build", || workspace.build(&["reeve-bench"]))?;
    let mut bench = std::process::Command::new(workspace.programs().join("reeve-bench"));
    bench.current_dir(&workspace.root).args(arguments);
    let status = bench.status().with_context(|| format!("cannot start `{}`", command::line(&bench)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", command::line(&bench));
    }
    Ok(())
}
