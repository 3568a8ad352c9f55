//! A container engine for the tests: the one that runs, or one of their own in folders of its own, which leaves nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use xtask::command;

/// How long the engine may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The link that an engine makes for containers without a network of their own.
const LINK: &str = "docker0";
/// The tables that an engine makes its rules in.
const TABLES: [&str; 3] = ["ip nat", "ip filter", "ip raw"];

/// An engine.
pub struct Engine {
    /// Where it listens, as `DOCKER_HOST` wants it; `None` for the one that ran already.
    host: Option<String>,
    own: Option<Own>,
}

/// What is to be taken away with an engine of our own.
struct Own {
    daemon: Child,
    folder: PathBuf,
    tables: BTreeSet<String>,
    cgroups: Vec<PathBuf>,
}

impl Engine {
    /// The engine that runs, or a new one below `folder`.
    ///
    /// # Errors
    /// None runs and none can be started.
    pub fn start(folder: &Path) -> Result<Self> {
        let running = Self { host: None, own: None };
        if command::run(&mut running.docker(&["version"])).is_ok() {
            return Ok(running);
        }
        fs::create_dir_all(folder)?;
        let log = folder.join("dockerd.log");
        let socket = format!("unix://{}", folder.join("docker.sock").display());
        let (tables, cgroups) = (tables()?, cgroups());
        let mut dockerd = command::system(command::find("dockerd").context("dockerd is not installed (docker.io)")?);
        dockerd
            .arg("--host")
            .arg(&socket)
            .arg("--data-root")
            .arg(folder.join("data"))
            .arg("--exec-root")
            .arg(folder.join("exec"))
            .arg("--pidfile")
            .arg(folder.join("docker.pid"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        let daemon = dockerd.spawn().with_context(|| format!("cannot start `{}`", command::line(&dockerd)))?;
        let own = Own { daemon, folder: folder.to_owned(), tables, cgroups };
        let engine = Self { host: Some(socket), own: Some(own) };
        until("the engine answers", || command::run(&mut engine.docker(&["version"])))
            .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
        Ok(engine)
    }

    /// `docker` with these arguments.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        self.program(&program("docker"), arguments)
    }

    /// Compose with these arguments: the plugin, or the program of its own that distributions have.
    pub fn compose(&self, arguments: &[&str]) -> Command {
        if command::run(&mut self.docker(&["compose", "version"])).is_ok() {
            let mut words = vec!["compose"];
            words.extend(arguments);
            return self.docker(&words);
        }
        self.program(&program("docker-compose"), arguments)
    }

    fn program(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = command::system(program);
        command.args(arguments).env("DOCKER_BUILDKIT", "1").env("COMPOSE_DOCKER_CLI_BUILD", "1");
        // docker-compose starts docker by its name.
        command.env("PATH", format!("/usr/bin:{}", command::search_path()));
        if let Some(host) = &self.host {
            command.env("DOCKER_HOST", host);
        }
        command
    }

    /// Ends an engine of our own, and takes away what it made on the host.
    ///
    /// # Errors
    /// It does not end, or something stays.
    pub fn stop(mut self) -> Result<()> {
        self.own.take().map_or(Ok(()), Own::stop)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(own) = self.own.take()
            && let Err(error) = own.stop()
        {
            eprintln!("clean-up of the engine: {error:#}");
        }
    }
}

impl Own {
    fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.daemon.id()).ok().and_then(Pid::from_raw)
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            eprintln!("the engine has ended by itself: {error}");
        }
        self.daemon.wait().context("cannot wait for dockerd")?;
        if fs::exists(Path::new("/sys/class/net").join(LINK))? {
            command::run(command::system("ip").args(["link", "delete", LINK]))?;
        }
        for table in tables()?.difference(&self.tables) {
            let mut words = vec!["delete", "table"];
            words.extend(table.split(' '));
            command::run(command::system("nft").args(words))?;
        }
        for cgroup in cgroups() {
            if !self.cgroups.contains(&cgroup) {
                remove_cgroup(&cgroup).with_context(|| format!("cannot remove {}", cgroup.display()))?;
            }
        }
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }
}

/// The distribution's program first: newer ones than its engine may lack the part that builds images.
fn program(name: &str) -> PathBuf {
    let own = Path::new("/usr/bin").join(name);
    if own.exists() { own } else { command::find(name).unwrap_or_else(|| name.into()) }
}

/// Which of an engine's tables exist.
fn tables() -> Result<BTreeSet<String>> {
    let all = command::run(command::system("nft").args(["list", "tables"]))?;
    let names = all.lines().filter_map(|line| line.strip_prefix("table "));
    Ok(names.filter(|name| TABLES.contains(name)).map(str::to_owned).collect())
}

/// The engine's cgroups in each hierarchy.
fn cgroups() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let hierarchies = xtask::cgroup::hierarchies(&mounts).into_iter();
    hierarchies.map(|it| it.mount.join("docker")).filter(|path| path.exists()).collect()
}

fn remove_cgroup(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    Ok(fs::remove_dir(path)?)
}

/// Asks again and again; for programs of others, which tell nobody when they are ready.
///
/// # Errors
/// It does not succeed in time: with the last failure.
#[expect(clippy::disallowed_methods, reason = "no event of an engine or of a container reaches the test")]
pub fn until<T>(what: &str, attempt: impl Fn() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error.context(format!("{what}: not within {} s", PATIENCE.as_secs())));
            }
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}
