//! Gathers what container images are made from: the programs, and the archive of the images that are in no registry.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{cargo::Workspace, images};

/// The programs of a cluster.
pub const PROGRAMS: [&str; 6] = ["apiserver", "scheduler", "controller-manager", "kubelet", "proxy", "rctl"];

/// Writes the programs, and this one, which makes certificates, to `bin/` and the archive of images to `images/reeve.tar` below `dir`, built first if asked for.
///
/// # Errors
/// cargo fails, a program is missing, or a file cannot be written.
pub fn stage(workspace: &Workspace, dir: &Path, build: bool) -> Result<()> {
    if build {
        workspace.build(&[])?;
    }
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let mut programs: Vec<_> = PROGRAMS.iter().map(|name| (*name, workspace.programs().join(name))).collect();
    programs.push(("xtask", std::env::current_exe()?));
    for (name, program) in programs {
        fs::copy(&program, bin.join(name)).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    let programs = workspace.static_programs()?;
    images::write_archive(&programs.join("reeve-pause"), &programs.join("reeve-demo"), &dir.join("images/reeve.tar"))
}
