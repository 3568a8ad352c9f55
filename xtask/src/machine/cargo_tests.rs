//! The program of the end-to-end tests.

use std::path::PathBuf;

use anyhow::{Context, Result};
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
}

/// Builds it and returns where it is.
///
/// # Errors
/// It does not build.
pub fn program(workspace: &Workspace) -> Result<PathBuf> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--locked", "--package", "reeve-integration-tests", "--test", "end_to_end", "--no-run"]);
    let said = command::run(cargo.args(["--message-format", "json"]))?;
    said.lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == "end_to_end"))
        .find_map(|message| message.executable)
        .context("cargo names no program of the end-to-end tests")
}
