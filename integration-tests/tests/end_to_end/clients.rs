//! Users' tools: `rctl logs` and `exec`, `kubectl`, a client made from the `.proto` files.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use reeve_integration_tests::bed::{bed, is_serving, name};
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
fn clients_kubectl_gets_creates_reads_logs_and_deletes() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let Some(kubectl) = command::find("kubectl") else {
        eprintln!("skipped: kubectl is not installed");
        return Ok(());
    };
    let kubectl = |arguments: &[&str]| {
        let mut kubectl = command::system(&kubectl);
        command::run(kubectl.arg("--kubeconfig").arg(bed.testbed.instance.admin_kubeconfig()).args(arguments))
    };
    let nodes = kubectl(&["get", "nodes"])?;
    assert!(nodes.lines().filter(|line| line.contains(" Ready ")).count() >= 3, "{nodes}");
    // `create configmap --from-literal` would send protobuf, which is not spoken yet. Validation is the server's: an
    // old kubectl would do it itself, with the schema of another version of OpenAPI.
    let manifest = bed.testbed.instance.path("from-kubectl.yaml");
    std::fs::write(&manifest, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-kubectl}\ndata: {a: b}\n")?;
    kubectl(&["create", "--validate=false", "-f", &manifest.display().to_string()])?;
    assert_eq!(kubectl(&["get", "configmap", "from-kubectl", "-o", "jsonpath={.data.a}"])?, "b");
    kubectl(&["delete", "configmap", "from-kubectl"])?;
    let deployed = bed.deploy("by-kubectl")?;
    let pods = deployed.wait_pods("a pod serves", |pods| pods.iter().any(is_serving))?;
    let pod = name(pods.iter().find(|pod| is_serving(pod)).context("a pod")?).to_owned();
    let table = kubectl(&["get", "pods", "-l", "app=by-kubectl"])?;
    assert!(table.contains("READY") && table.contains("1/1") && table.contains("Running"), "{table}");
    assert!(kubectl(&["logs", &pod])?.contains("listens on port 8080"));
    kubectl(&["delete", "pod", &pod, "--wait=false"]).map(drop)
}

#[test]
fn clients_python_from_the_proto_files_alone() -> Result<()> {
    let Some(bed) = bed()? else { return Ok(()) };
    let example = bed.workspace.file("deploy/examples/python");
    let environment = tempfile::tempdir()?;
    let python = python_from_pypi(environment.path(), &example.join("requirements.txt"))?;
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
    let environment = tempfile::tempdir()?;
    let python = python_from_pypi(environment.path(), &folder.join("requirements.txt"))?;
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

/// A Python with packages from PyPI, in an environment of its own.
fn python_from_pypi(environment: &Path, requirements: &Path) -> Result<PathBuf> {
    command::run(command::system("python3").args(["-m", "venv"]).arg(environment))?;
    let python = environment.join("bin/python");
    command::run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    Ok(python)
}
