//! Builds the workspace's programs, and the static programs of the images.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::command;

/// The packages whose programs make a cluster.
pub const COMPONENTS: [&str; 6] =
    ["reeve-apiserver", "reeve-scheduler", "reeve-controller-manager", "reeve-kubelet", "reeve-proxy", "rctl"];

/// Where the sources are and where built programs go.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The checkout.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// Optimized, as users run it, or quick to build.
    pub profile: Profile,
    /// What the images' programs are built for, such as `x86_64-unknown-linux-gnu`, where rustc need not be asked.
    triple: Option<String>,
}

/// The variable that names the file with the [`Description`] of a workspace on a machine that has neither cargo nor
/// the sources.
pub const MOVED: &str = "REEVE_WORKSPACE";

/// A workspace that was copied, built, to another machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Description {
    root: PathBuf,
    target: PathBuf,
    triple: String,
}

/// How the programs of a cluster are built. The images' programs are always optimized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Profile {
    /// Optimized.
    #[default]
    Release,
    /// Quick to build, larger and slower.
    Dev,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "debug",
        }
    }
}

/// What is read of `cargo metadata`. The crate of that name would turn on features of others, and a build of the
/// programs together with the benchmark would be another than one of the programs alone.
#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Workspace {
    /// Asks cargo, or reads the description that [`MOVED`] names.
    ///
    /// # Errors
    /// cargo cannot read the workspace, or there is no such description.
    pub fn locate() -> Result<Self> {
        if let Some(file) = std::env::var_os(MOVED) {
            let read = || -> Result<Description> { Ok(serde_json::from_slice(&std::fs::read(&file)?)?) };
            let Description { root, target, triple } =
                read().with_context(|| format!("{MOVED} names {}", Path::new(&file).display()))?;
            return Ok(Self { root, target, profile: Profile::default(), triple: Some(triple) });
        }
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let output = command::run(cargo.args(["metadata", "--no-deps", "--format-version", "1"]))
            .context("cargo cannot read the workspace")?;
        let metadata: Metadata = serde_json::from_str(&output).context("cargo tells nothing of the workspace")?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            profile: Profile::default(),
            triple: None,
        })
    }

    /// Where everything lies after a copy to `root` on another machine.
    ///
    /// # Errors
    /// rustc does not say what it builds for.
    pub fn moved(&self, root: &Path) -> Result<Self> {
        let triple = Some(self.triple()?);
        Ok(Self { root: root.to_owned(), target: root.join("target"), profile: self.profile, triple })
    }

    /// What [`Workspace::locate`] reads there.
    ///
    /// # Errors
    /// As for [`Workspace::moved`].
    pub fn description(&self) -> Result<Description> {
        Ok(Description { root: self.root.clone(), target: self.target.clone(), triple: self.triple()? })
    }

    fn triple(&self) -> Result<String> {
        self.triple.clone().map_or_else(host_triple, Ok)
    }

    /// The folder of the programs.
    pub fn programs(&self) -> PathBuf {
        self.target.join(self.profile.folder())
    }

    /// The folder of the images' static programs.
    ///
    /// # Errors
    /// rustc does not say what it builds for.
    pub fn static_programs(&self) -> Result<PathBuf> {
        Ok(self.static_target().join(self.triple()?).join("release"))
    }

    /// Static programs are built with other flags: in a folder of their own, they do not make
    /// cargo build everything else anew.
    fn static_target(&self) -> PathBuf {
        self.target.join("images")
    }

    /// Builds the programs of a cluster and those of the images.
    ///
    /// # Errors
    /// cargo fails; what it said is on the terminal.
    pub fn build(&self, extra: &[&str]) -> Result<()> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--profile", self.profile.name()]);
        for package in COMPONENTS.iter().chain(extra) {
            cargo.args(["--package", package]);
        }
        visible(&mut cargo)?;
        self.build_static()
    }

    /// Builds the static programs of the images.
    ///
    /// # Errors
    /// cargo fails; what it said is on the terminal.
    pub fn build_static(&self) -> Result<()> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--release", "--package", "reeve-demo", "--package", "reeve-pause", "--target"]);
        cargo.arg(self.triple()?).arg("--target-dir").arg(self.static_target());
        cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C target-feature=+crt-static");
        visible(&mut cargo)
    }

    /// cargo, in the workspace.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target).stdin(Stdio::null());
        cargo
    }

    /// A file of the checkout.
    pub fn file(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}

/// A program that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The target's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is an integration test.
    pub is_test: bool,
}

/// The programs among what cargo prints with `--message-format json`.
pub fn built(messages: &str) -> Vec<Built> {
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
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    messages
        .filter_map(|message| {
            let (target, path) = (message.target?, message.executable?);
            Some(Built { is_test: target.kind.iter().any(|kind| kind == "test"), name: target.name, path })
        })
        .collect()
}

/// Runs a command whose output goes to the terminal.
///
/// # Errors
/// The command is missing or fails.
pub fn visible(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", command::line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", command::line(command));
    }
    Ok(())
}

/// What rustc builds for by default, such as `x86_64-unknown-linux-gnu`.
fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = command::run(Command::new(&rustc).arg("-vV"))?;
    let triple = text.lines().find_map(|line| line.strip_prefix("host: "));
    triple.map(str::to_owned).with_context(|| format!("`{} -vV` names no host", Path::new(&rustc).display()))
}
