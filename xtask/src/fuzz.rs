//! `cargo xtask fuzz`: lets libFuzzer look for findings in each target, for a bounded time, from the seeds in the tree.
//!
//! Stable Rust has the instrumentation, as an option of LLVM. Only the workspace's own packages are built with it, by
//! a wrapper of the compiler that cargo uses for them alone: what they depend on is shared with the other builds.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::{Workspace, built},
    command,
};

/// How long each target runs in `cargo xtask test`.
pub const SECONDS_IN_TEST: u64 = 7;
/// The target with a defect on purpose, which must be found.
const PLANTED: &str = "planted";
/// The longest input.
const INPUT_BYTES_MAX: u64 = 4096;
/// An input that needs more is a finding.
const MEMORY_MIB_MAX: u64 = 1024;
/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u64 = 10;
/// Two runs begin alike.
const SEED: u64 = 1;

/// What counts branches and shows comparisons to the engine.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds the targets and runs those that are named, or all, two at a time. Returns how many passed.
///
/// # Errors
/// It does not build, a target has a finding (its input is kept), or the planted defect is not found.
pub fn fuzz(workspace: &Workspace, only: &[String], seconds: u64) -> Result<u64> {
    let program = build(workspace)?;
    let mut targets: Vec<String> = Vec::new();
    for entry in fs::read_dir(workspace.file("fuzz/seeds")).context("the targets have no seeds")? {
        targets.push(entry?.file_name().to_string_lossy().into_owned());
    }
    targets.sort();
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        bail!("there is no fuzz target {unknown}; there are {}", targets.join(", "));
    }
    if !only.is_empty() {
        targets.retain(|name| only.contains(name));
    }
    let waiting = Mutex::new(targets.clone());
    let next = || waiting.lock().map_or(None, |mut waiting| waiting.pop());
    let work = || -> Vec<anyhow::Error> {
        std::iter::from_fn(next).filter_map(|target| look(workspace, &program, &target, seconds).err()).collect()
    };
    let findings: Vec<anyhow::Error> = thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|_| vec![anyhow::anyhow!("a panic")]))
            .collect()
    });
    for finding in &findings {
        eprintln!("{finding:#}");
    }
    if !findings.is_empty() {
        bail!("{} of {} fuzz targets failed", findings.len(), targets.len());
    }
    Ok(targets.len() as u64)
}

/// Builds the program with all targets.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("fuzz");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let wrapper = folder.join("rustc");
    // cargo calls it with the compiler and its arguments. What runs while it builds is not linked with the engine.
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" build_script_build \"*|*\" proc-macro \"*) exec \"$@\" ;; esac\n\
         exec \"$@\" {INSTRUMENTATION}\n"
    );
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--locked", "--package", "reeve-fuzz", "--features", "engine"]);
    cargo.arg("--message-format=json-render-diagnostics").env("RUSTC_WORKSPACE_WRAPPER", &wrapper);
    eprintln!("\n$ {}", command::line(&cargo));
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the fuzz targets do not build ({})", output.status);
    }
    let programs = built(&String::from_utf8_lossy(&output.stdout));
    let built = programs.into_iter().rfind(|it| it.name == "reeve-fuzz").context("cargo built no fuzz program")?.path;
    // The next build of the workspace may put another one there.
    let program = folder.join("reeve-fuzz");
    fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(program)
}

/// Runs one target.
fn look(workspace: &Workspace, program: &Path, target: &str, seconds: u64) -> Result<()> {
    let found = workspace.target.join("fuzz/found").join(target);
    if found.exists() {
        fs::remove_dir_all(&found)?;
    }
    // What the engine finds worth keeping goes into the first folder, findings are files beside it.
    let grown = found.join("grown");
    fs::create_dir_all(&grown)?;
    let mut engine = Command::new(program);
    engine.env("REEVE_FUZZ_TARGET", target).env("RUST_BACKTRACE", "1").current_dir(&found);
    engine.arg(&grown).arg(workspace.file("fuzz/seeds").join(target));
    engine.args([
        format!("-max_total_time={seconds}"),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-seed={SEED}"),
        format!("-dict={}", workspace.file("fuzz/words.dict").display()),
        format!("-artifact_prefix={}/", found.display()),
        "-print_final_stats=1".to_owned(),
        "-verbosity=0".to_owned(),
    ]);
    let output = engine.output().with_context(|| format!("cannot start `{}`", command::line(&engine)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let number = |what: &str| said.lines().find_map(|line| line.strip_prefix(what)).map_or("?", str::trim);
    println!(
        "fuzz {target}: {} inputs tried, {} new ones kept",
        number("stat::number_of_executed_units:"),
        number("stat::new_units_added:")
    );
    if target == PLANTED {
        if output.status.success() || !said.contains("the planted defect") {
            bail!("fuzz {target}: the defect on purpose was not found; nothing is proven by the others:\n{said}");
        }
        return Ok(());
    }
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "fuzz {target}: a finding, kept in {}; once it is mended, put it into fuzz/seeds/{target}:\n{said}",
        found.display()
    )
}
