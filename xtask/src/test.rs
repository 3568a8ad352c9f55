//! `cargo xtask test`: everything that must hold before a change lands, in one run: format, lints,
//! unit, contract and integration tests, fuzz targets, a release build, and the end-to-end tests on
//! three nodes.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    cargo::{Profile, Workspace},
    command, down, fuzz, instance, machine, packages,
    progress::Progress,
    up,
};

/// The variable that lets the end-to-end tests run; without it they pass at once.
pub const E2E: &str = "REEVE_E2E";
/// The variable that names the folder of the testbed which the end-to-end tests share.
pub const E2E_DIR: &str = "REEVE_E2E_DIR";

/// What was counted, tests and the other checks together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// How many failed.
    pub fn failed(self) -> u64 {
        self.failed
    }

    /// Adds other results to these.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    fn check(&mut self, succeeded: bool) {
        self.add(Self { passed: u64::from(succeeded), failed: u64::from(!succeeded) });
    }

    /// The counts of a line such as `test result: ok. 12 passed; 0 failed; ...`.
    pub fn parse(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let count =
            |what: &str| counts.split("; ").find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok());
        Some(Self { passed: count("passed")?, failed: count("failed")? })
    }
}

/// Runs every check, also after one failed, and prints the sum as the last line.
///
/// # Errors
/// At least one check failed.
pub fn test() -> Result<()> {
    let progress = Progress::new();
    let workspace = Workspace::locate()?;
    progress.step("packages of the distribution", packages::ensure_for_tests)?;
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut note = |name: &str, result: Result<Tally>, tally: &mut Tally| match result {
        Ok(counted) => {
            tally.add(counted);
            if counted.failed > 0 {
                failures.push(name.to_owned());
            }
        }
        Err(error) => {
            eprintln!("{name}: {error:#}");
            tally.check(false);
            failures.push(name.to_owned());
        }
    };

    let check = |arguments: &[&str]| check_command(workspace.cargo().args(arguments));
    note("format", check(&["fmt", "--all", "--check"]), &mut tally);
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    note("lints", check(&clippy), &mut tally);
    let mut tests = workspace.cargo();
    tests.args(["test", "--workspace", "--locked", "--no-fail-fast"]).env_remove(E2E);
    note("unit, contract and integration tests", run_tests(&mut tests), &mut tally);
    let found = packages::ensure_for_fuzz().and_then(|()| fuzz::fuzz(&workspace, &[], fuzz::SECONDS_IN_TEST));
    note("fuzz targets", found.map(|passed| Tally { passed, failed: 0 }), &mut tally);
    match workspace.build(&[]) {
        Ok(()) => {
            note("end-to-end tests", end_to_end(&workspace, &progress), &mut tally);
            note("the cluster in containers", in_containers(&workspace), &mut tally);
            note("end-to-end tests on another kernel", machine::run(&workspace, &[], &progress), &mut tally);
        }
        Err(error) => note("release build", Err(error), &mut tally),
    }

    println!();
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 || !failures.is_empty() {
        bail!("not everything passed");
    }
    Ok(())
}

fn check_command(command: &mut Command) -> Result<Tally> {
    eprintln!("\n$ {}", command::line(command));
    let status = command.status().with_context(|| format!("cannot start `{}`", command::line(command)))?;
    let mut tally = Tally::default();
    tally.check(status.success());
    Ok(tally)
}

/// Runs `cargo test`, shows its output, and adds up its results.
fn run_tests(command: &mut Command) -> Result<Tally> {
    eprintln!("\n$ {}", command::line(command));
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{}`", command::line(command)))?;
    let stdout = child.stdout.take().context("cargo has an output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        tally.add(Tally::parse(&line).unwrap_or_default());
    }
    let status = child.wait()?;
    if !status.success() && tally.failed == 0 {
        bail!(
            "`{}` failed ({status}) without a failed test: it did not build, or a test program died",
            command::line(command)
        );
    }
    Ok(tally)
}

/// The folder of the shared testbed: another one for each checkout, so that runs do not meet.
fn testbed_dir(workspace: &Workspace) -> PathBuf {
    PathBuf::from("/var/lib").join(format!("reeve-e2e-{}", instance::id_of(&workspace.root)))
}

fn end_to_end(workspace: &Workspace, progress: &Progress) -> Result<Tally> {
    let dir = testbed_dir(workspace);
    down::down(&dir, progress).context("cannot remove what an earlier run left")?;
    // A lost node is noticed after two of its lease's renewals instead of after the default.
    let controller_manager_flags = vec!["--node-monitor-grace-period=20s".to_owned()];
    let options = up::Options {
        dir: dir.clone(),
        nodes: 3,
        demo: true,
        controller_manager_flags,
        kubelet_flags: Vec::new(),
        profile: Profile::Release,
        build: false,
    };
    let mut tests = workspace.cargo();
    tests.args(["test", "--locked", "--no-fail-fast", "--package", "reeve-integration-tests", "--test", "end_to_end"]);
    // They share one cluster, and some of them kill parts of it: one after the other.
    tests.args(["--", "--test-threads=1", "--nocapture"]).env(E2E, "1").env(E2E_DIR, &dir);
    let started = up::up(&options, progress);
    let result = match &started {
        Ok(_) => run_tests(&mut tests),
        Err(error) => Err(anyhow::anyhow!("the testbed did not come up: {error:#}")),
    };
    if !matches!(result, Ok(Tally { failed: 0, .. })) {
        keep_logs(workspace, &dir);
    }
    down::down(&dir, progress).context("the testbed was not removed whole")?;
    result
}

/// The cluster by docker compose, from the release build.
fn in_containers(workspace: &Workspace) -> Result<Tally> {
    let mut tests = workspace.cargo();
    tests.args(["test", "--locked", "--package", "reeve-integration-tests", "--test", "compose", "--", "--nocapture"]);
    run_tests(tests.env(E2E, "1"))
}

/// Copies the logs to where they survive the testbed.
fn keep_logs(workspace: &Workspace, dir: &std::path::Path) {
    let kept = workspace.target.join("e2e-logs");
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(dir.join("logs"))? {
            let entry = entry?;
            fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        Ok(())
    };
    match copy() {
        Ok(()) => eprintln!("the logs of the testbed are kept in {}", kept.display()),
        Err(error) => eprintln!("the logs of the testbed could not be kept: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_the_test_runner_are_added_up() {
        let line = "test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(Tally::parse(line), Some(Tally { passed: 12, failed: 2 }));
        assert_eq!(Tally::parse("running 3 tests"), None);
    }
}
