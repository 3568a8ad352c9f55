//! Users' tools: `rctl logs` and `exec`, `kubectl`, clients in Python, one made from the `.proto`
//! files alone, and an operator.

mod kubectl_objects;
mod kubectl_proxies;
mod kubectl_streams;
mod kubectl_workloads;
mod official;
mod operator;

use std::process::Command;

use anyhow::{Context, Result};
use reeve_integration_tests::{
    bed::{bed, is_serving, name},
    python,
};
use xtask::command;

#[test]
fn clients_rctl_reads_logs_and_runs_commands() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let deployed = bed.deploy("looked-at")?;
    let pods = deployed.wait_pods("a pod serves", |pods| pods.iter().any(is_serving))?;
    let pod = name(pods.iter().find(|pod| is_serving(pod)).context("a pod")?).to_owned();
    let logs = bed.rctl(&["logs", &pod])?;
    assert!(logs.contains(&format!("{pod} version=1 listens on port 8080")), "{logs}");
    assert_eq!(bed.rctl(&["exec", &pod, "--", "hostname"])?.trim(), pod);
    assert_eq!(bed.rctl(&["exec", &pod, "--", "sh", "-c", "echo a && echo b"])?, "a\nb\n");
    let status = bed.testbed.rctl.command(&["exec", &pod, "--", "sh", "-c", "exit 7"]).status()?;
    assert_eq!(status.code(), Some(7), "the command's exit code is rctl's");
    let echoed =
        command::run_with_input(&mut bed.testbed.rctl.command(&["exec", "-i", &pod, "--", "cat"]), "in and out")?;
    assert_eq!(echoed, "in and out");
    Ok(())
}

#[test]
fn clients_python_from_the_proto_files_alone() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let example = bed.workspace.file("deploy/examples/python");
    let python = python::environment(&bed.workspace, &example.join("requirements.txt"))?.join("python");
    let output =
        command::run(Command::new(python).arg(example.join("pods.py")).arg(bed.testbed.instance.admin_kubeconfig()))?;
    for expected in ["listed web-", "created from-python-", "watched ADDED from-python-", "deleted from-python-"] {
        assert!(output.contains(expected), "{expected:?} is missing in:\n{output}");
    }
    Ok(())
}

#[test]
fn clients_generic_tools_by_reflection() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let folder = bed.workspace.file("integration-tests/python");
    let python = python::environment(&bed.workspace, &folder.join("requirements.txt"))?.join("python");
    let output =
        command::run(Command::new(python).arg(folder.join("reflect.py")).arg(bed.testbed.instance.admin_kubeconfig()))?;
    for expected in [
        "health '' SERVING",
        "health 'reeve.v1.Api' SERVING",
        "health of no.such.Service NOT_FOUND",
        "service grpc.health.v1.Health",
        "service reeve.v1.Api",
        "service reeve.v1.Discovery",
        "service reeve.v1.Streams",
        "called default",
    ] {
        assert!(output.lines().any(|line| line == expected), "{expected:?} is missing in:\n{output}");
    }
    Ok(())
}
