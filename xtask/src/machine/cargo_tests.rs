//! The programs of the tests that run in the machine.

use anyhow::{Result, ensure};

use crate::{
    cargo::{Built, Workspace, built},
    command,
};

/// Builds integration tests of a package, and the package's own programs, which they start.
///
/// # Errors
/// They do not build, or the package has no such test.
pub fn build(workspace: &Workspace, package: &str, tests: &[&str]) -> Result<Vec<Built>> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--locked", "--no-run", "--message-format", "json", "--package", package]);
    for test in tests {
        cargo.args(["--test", test]);
    }
    let programs = built(&command::run(&mut cargo)?);
    for test in tests {
        ensure!(programs.iter().any(|it| it.is_test && it.name == *test), "{package} has no test {test}");
    }
    Ok(programs)
}
