//! Clients from PyPI: packages in pinned versions, in an environment of their own, which is made
//! once and kept in the target folder.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use xtask::{
    cargo::Workspace,
    command::{self, run},
};

/// The folder of the programs of an environment with these requirements.
///
/// # Errors
/// There is no Python with `venv`, or a package cannot be installed.
pub fn environment(workspace: &Workspace, requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements).with_context(|| format!("no {}", requirements.display()))?;
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    let folder = workspace.target.join("python").join(format!("{:016x}", hasher.finish()));
    let programs = folder.join("bin");
    // Written last: it says what is installed whole.
    let installed = folder.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) && programs.join("python").exists() {
        return Ok(programs);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    run(command::system("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut pip = command::system(programs.join("python"));
    run(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))?;
    Ok(programs)
}
