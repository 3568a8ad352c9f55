//! `kubectl` of upstream's release, as its users run it: in a folder of its own, in a namespace of
//! its own, with what it prints and how it ends looked at.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use xtask::command;

use crate::{bed::Bed, python};

/// How much a client that is being waited for may take: `kubectl`'s own flag.
pub const TIMEOUT: &str = "--timeout=120s";

/// `kubectl` in a new namespace, which is removed at the end of the test.
pub struct Kubectl {
    /// The namespace.
    pub namespace: String,
    /// Its working folder.
    pub folder: TempDir,
    program: PathBuf,
}

impl Kubectl {
    /// Makes the namespace.
    ///
    /// # Errors
    /// `kubectl` cannot be installed, or the namespace is there already.
    pub fn new(bed: &Bed, namespace: &str) -> Result<Self> {
        let requirements = bed.workspace.file("integration-tests/python/clients.txt");
        let program = python::environment(&bed.workspace, &requirements)?.join("kubectl");
        let kubectl = Self { namespace: namespace.to_owned(), folder: tempfile::tempdir()?, program };
        let kubeconfig = kubectl.kubeconfig();
        fs::copy(bed.testbed.instance.admin_kubeconfig(), &kubeconfig).context("the testbed has no kubeconfig")?;
        kubectl.run(&["config", "set-context", "--current", "--namespace", namespace])?;
        kubectl.run(&["create", "namespace", namespace])?;
        // What runs in pods waits for it.
        kubectl.run(&["wait", "--for=create", "serviceaccount/default", TIMEOUT])?;
        Ok(kubectl)
    }

    /// The command, to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut kubectl = command::system(&self.program);
        kubectl.current_dir(self.folder.path()).env("HOME", self.folder.path());
        kubectl.env("KUBECONFIG", self.kubeconfig()).args(arguments);
        kubectl
    }

    /// Its kubeconfig, which names the namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// It fails: with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        command::run(&mut self.command(arguments))
    }

    /// Runs it with `input` on its standard input.
    ///
    /// # Errors
    /// As for [`Self::run`].
    pub fn feed(&self, arguments: &[&str], input: &str) -> Result<String> {
        command::run_with_input(&mut self.command(arguments), input)
    }

    /// Runs it to its end, however that is.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut kubectl = self.command(arguments);
        kubectl.output().with_context(|| format!("cannot start `{}`", command::line(&kubectl)))
    }

    /// Runs it, expects that it ends with this code, and returns all that it printed.
    ///
    /// # Errors
    /// It ends otherwise.
    pub fn ends_with(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let line = arguments.join(" ");
        ensure!(
            output.status.code() == Some(code),
            "`kubectl {line}` ended with {}, not {code}: {said}",
            output.status
        );
        Ok(said)
    }

    /// Runs it with `-o json`.
    ///
    /// # Errors
    /// It fails, or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("`kubectl {}` did not print JSON", arguments.join(" ")))
    }

    /// Writes a file in the working folder and returns its name.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn file(&self, name: &'static str, text: &str) -> Result<&'static str> {
        fs::write(self.folder.path().join(name), text).with_context(|| format!("cannot write {name}"))?;
        Ok(name)
    }
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["delete", "namespace", &self.namespace, "--wait=false"]) {
            eprintln!("clean-up of {}: {error:#}", self.namespace);
        }
    }
}

/// Whether all of these are in a text, for messages that show the text.
///
/// # Errors
/// One is missing: with the text.
pub fn contains(text: &str, wanted: &[&str]) -> Result<()> {
    for wanted in wanted {
        ensure!(text.contains(wanted), "{wanted:?} is missing in:\n{text}");
    }
    Ok(())
}
