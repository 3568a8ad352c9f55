//! The official Python client, through the script that says what its users see.

use std::process::Command;

use anyhow::{Result, ensure};
use reeve_integration_tests::{bed::bed, python};
use xtask::command;

#[test]
fn clients_official_python_client() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let folder = bed.workspace.file("integration-tests/python");
    let python = python::environment(&bed.workspace, &folder.join("clients.txt"))?.join("python");
    let mut script = Command::new(python);
    script.arg(folder.join("official_client.py")).arg(bed.testbed.instance.admin_kubeconfig());
    let output = command::run(script.arg("reeve.local/demo:1"))?;
    eprint!("{output}");
    let checks = std::fs::read_to_string(folder.join("official_client.py"))?.matches("\n@check\n").count();
    let passed = output.lines().filter(|line| line.starts_with("ok ")).count();
    ensure!(checks > 0 && passed == checks, "{passed} of {checks} checks passed:\n{output}");
    Ok(())
}
