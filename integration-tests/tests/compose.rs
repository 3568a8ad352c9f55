//! The cluster as containers: `deploy/docker-compose.yml` on a real engine, from images to nothing left.
//!
//! Needs root, the engine's programs and a release build; runs in `cargo xtask test`.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use reeve_integration_tests::{
    bed::{is_serving, name},
    engine::{Engine, until},
    wait::wait_for,
};
use serde_json::Value;
use xtask::{cargo::Workspace, command, network, rctl::Rctl, stage, test};

/// The base image where no registry can be reached.
const LOCAL_BASE: &str = "reeve/base:test";
/// The image that carries the programs that were built already.
const PROGRAMS: &str = "reeve/programs:test";
const PROJECT: &str = "reeve-test";
const SUITE: &str = "bookworm";
const ARCHIVE: &str = "http://deb.debian.org/debian";

#[test]
fn the_cluster_runs_in_containers_and_leaves_nothing() -> Result<()> {
    if std::env::var_os(test::E2E).is_none() {
        eprintln!("skipped: runs in `cargo xtask test`, which builds the programs and sets {}", test::E2E);
        return Ok(());
    }
    let workspace = Workspace::locate()?;
    let before = traces()?;
    let folder = tempfile::tempdir()?;
    let engine = Engine::start(&folder.path().join("engine"))?;
    let base = base(&engine, &workspace)?;
    let stage = folder.path().join("stage");
    stage::stage(&workspace, &stage, false)?;
    // The program that runs now is this test; the one that makes certificates is the workspace's.
    fs::copy(xtask_program(&workspace)?, stage.join("bin/xtask"))?;
    import(&engine, &stage, PROGRAMS)?;

    let [a, b, c] = network::free_network("c0")?;
    let prefix = format!("{a}.{b}.{c}");
    let compose = Compose { engine: &engine, file: workspace.file("deploy/docker-compose.yml"), prefix, base };
    compose.run(&["up", "-d", "--build"])?;
    let shown = cluster(&compose, &workspace, folder.path());
    if shown.is_err() {
        eprintln!("{}", compose.run(&["logs", "--no-color", "--tail=40"])?);
    }
    compose.run(&["down", "--volumes", "--rmi", "all"])?;
    shown?;

    let label = format!("label=com.docker.compose.project={PROJECT}");
    for what in ["container", "volume", "network"] {
        let all: &[&str] = if what == "container" { &["--all"] } else { &[] };
        let mut words = vec![what, "ls", "--quiet", "--filter", label.as_str()];
        words.extend(all);
        let left = command::run(&mut engine.docker(&words))?;
        ensure!(left.is_empty(), "a {what} is left: {left}");
    }
    engine.stop()?;
    let left: Vec<String> = traces()?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left on the host: {left:?}");
    Ok(())
}

/// The demo on the nodes, from the host; a node is lost and comes back.
fn cluster(compose: &Compose<'_>, workspace: &Workspace, folder: &Path) -> Result<()> {
    let kubeconfig = folder.join("admin.kubeconfig");
    let setup =
        compose.run(&["ps", "--all", "--quiet", "setup"]).or_else(|_| compose.run(&["ps", "--quiet", "setup"]))?;
    let from = format!("{}:/copies/admin/admin.kubeconfig", setup.trim());
    command::run(compose.engine.docker(&["cp", &from]).arg(&kubeconfig))?;
    let rctl = Rctl::with_kubeconfig(kubeconfig, &workspace.programs());
    until("the API server answers", || rctl.run(&["get", "namespace", "default"]))?;
    let ready = |names: &'static [&'static str]| {
        move |list: &Value| {
            let nodes = list["items"].as_array().map_or(&[][..], Vec::as_slice);
            names.iter().all(|wanted| nodes.iter().any(|node| name(node) == *wanted && xtask::rctl::is_ready(node)))
        }
    };
    wait_for(&rctl, &["nodes"], "three nodes are Ready", ready(&["node-1", "node-2", "node-3"]))?;

    rctl.run(&["apply", "-f", &workspace.file("deploy/examples/web.yaml").display().to_string()])?;
    rctl.run(&["rollout", "status", "deployment/web", "--timeout=120s"])?;
    let service = rctl.json(&["get", "service", "web-nodeport"])?;
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().context("no nodePort")?;
    let demo = workspace.static_programs()?.join("reeve-demo");
    let ask = |node: u8| {
        let url = format!("http://{}.{node}:{port}/", compose.prefix);
        command::run(command::system(&demo).args(["get", &url, "--retry", "30"]))
    };
    for node in 11..=13 {
        let answer = ask(node)?;
        ensure!(answer.contains("version=1"), "{answer}");
    }

    let node = compose.run(&["ps", "--quiet", "node-3"])?;
    command::run(&mut compose.engine.docker(&["kill", node.trim()]))?;
    wait_for(&rctl, &["pods", "-l", "app=web"], "the lost node's pods run elsewhere", |list| {
        let pods = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        pods.iter().filter(|pod| is_serving(pod) && pod["spec"]["nodeName"] != "node-3").count() == 3
    })?;
    for node in 11..=12 {
        ask(node)?;
    }
    command::run(&mut compose.engine.docker(&["start", node.trim()]))?;
    wait_for(&rctl, &["nodes"], "the node is back", ready(&["node-3"]))?;
    wait_for(&rctl, &["pods", "-l", "app=web"], "the lost pods are gone", |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 3 && pods.iter().all(is_serving))
    })?;
    Ok(())
}

struct Compose<'a> {
    engine: &'a Engine,
    file: std::path::PathBuf,
    /// The first three bytes of the containers' network.
    prefix: String,
    base: Option<&'static str>,
}

impl Compose<'_> {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        command::run(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let file = self.file.display().to_string();
        let mut words = vec!["--file", file.as_str(), "--project-name", PROJECT];
        words.extend(arguments);
        let mut compose = self.engine.compose(&words);
        compose.env("REEVE_NETWORK", &self.prefix).env("REEVE_TAG", "test").env("REEVE_PROGRAMS", PROGRAMS);
        compose.env("REEVE_API_PORT", "16443");
        if let Some(base) = self.base {
            compose.env("REEVE_BASE", base);
        }
        compose
    }
}

/// The base of the images: the usual one, or one made from the distribution's archive where no registry answers.
fn base(engine: &Engine, workspace: &Workspace) -> Result<Option<&'static str>> {
    if command::run(&mut engine.docker(&["pull", "--quiet", "debian:bookworm-slim"])).is_ok() {
        return Ok(None);
    }
    // Kept beside the builds: it takes longer to make than all images.
    let archive = workspace.target.join("images").join(format!("base-{SUITE}.tar"));
    if !archive.exists() {
        let root = archive.with_extension("root");
        fs::create_dir_all(&root)?;
        let made =
            command::run(command::system("debootstrap").args(["--variant=minbase", SUITE]).arg(&root).arg(ARCHIVE))
                .and_then(|_| {
                    let partial = archive.with_extension("new");
                    command::run(command::system("tar").arg("-C").arg(&root).arg("-cf").arg(&partial).arg("."))?;
                    Ok(fs::rename(&partial, &archive)?)
                });
        fs::remove_dir_all(&root)?;
        made?;
    }
    command::run(engine.docker(&["import"]).arg(&archive).arg(LOCAL_BASE))?;
    Ok(Some(LOCAL_BASE))
}

/// Makes a folder an image.
fn import(engine: &Engine, folder: &Path, image: &str) -> Result<()> {
    let archive = folder.with_extension("tar");
    command::run(command::system("tar").arg("-C").arg(folder).arg("-cf").arg(&archive).arg("."))?;
    command::run(engine.docker(&["import"]).arg(&archive).arg(image))?;
    Ok(fs::remove_file(&archive)?)
}

fn xtask_program(workspace: &Workspace) -> Result<std::path::PathBuf> {
    command::run(workspace.cargo().args(["build", "--locked", "--package", "xtask"]))?;
    Ok(workspace.target.join("debug/xtask"))
}

/// What a cluster could leave on the host: links, rules, mounts of pods and containers, processes of the runtime.
fn traces() -> Result<BTreeSet<String>> {
    let mut traces = BTreeSet::new();
    for entry in fs::read_dir("/sys/class/net")? {
        traces.insert(format!("link {}", entry?.file_name().to_string_lossy()));
    }
    let tables = command::run(command::system("nft").args(["list", "tables"]))?;
    traces.extend(tables.lines().map(str::to_owned));
    for line in fs::read_to_string("/proc/self/mounts")?.lines() {
        traces.extend(line.split(' ').nth(1).map(|point| format!("mount {point}")));
    }
    for entry in fs::read_dir("/proc")? {
        let comm = entry?.path().join("comm");
        let Ok(program) = fs::read_to_string(comm) else { continue };
        let program = program.trim();
        if program.starts_with("containerd") || program == "dockerd" || program == "docker-proxy" {
            traces.insert(format!("a process {program}"));
        }
    }
    for hierarchy in xtask::cgroup::hierarchies(&fs::read_to_string("/proc/self/mounts")?) {
        for folder in ["docker", "kubepods"] {
            let path = hierarchy.mount.join(folder);
            if path.exists() {
                traces.insert(format!("cgroup {}", path.display()));
            }
        }
    }
    Ok(traces)
}
