//! The programs of the tests that run in the machine.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::{cargo::Workspace, command};

/// What is read of a line that cargo prints of what it builds.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// A program that was built.
pub struct Program {
    /// The target's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a test rather than a program that tests start.
    pub is_test: bool,
}

/// Builds integration tests of a package, and the package's own programs, which they start.
///
/// # Errors
/// They do not build, or the package has no such test.
pub fn build(workspace: &Workspace, package: &str, tests: &[&str]) -> Result<Vec<Program>> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--locked", "--no-run", "--message-format", "json", "--package", package]);
    for test in tests {
        cargo.args(["--test", test]);
    }
    let said = command::run(&mut cargo)?;
    let programs: Vec<Program> = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter_map(|message| {
            let (target, path) = (message.target?, message.executable?);
            Some(Program { is_test: target.kind.iter().any(|kind| kind == "test"), name: target.name, path })
        })
        .collect();
    for test in tests {
        ensure!(programs.iter().any(|it| it.is_test && it.name == *test), "{package} has no test {test}");
    }
    Ok(programs)
}
