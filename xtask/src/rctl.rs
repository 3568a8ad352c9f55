//! Talks to the cluster through `rctl`, as a user would.

use std::{
    collections::BTreeSet,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{command, instance::Instance, processes::Daemons};

/// How long nodes may take to become Ready.
const NODES_READY_WITHIN: Duration = Duration::from_secs(90);

/// `rctl` with the administrator's kubeconfig.
#[derive(Debug, Clone)]
pub struct Rctl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Rctl {
    /// For a testbed.
    pub fn new(instance: &Instance, programs: &Path) -> Self {
        Self { program: programs.join("rctl"), kubeconfig: instance.admin_kubeconfig() }
    }

    /// With a kubeconfig of the caller's choice.
    pub fn with_kubeconfig(kubeconfig: PathBuf, programs: &Path) -> Self {
        Self { program: programs.join("rctl"), kubeconfig }
    }

    /// The command with arguments, to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut rctl = command::system(&self.program);
        rctl.env_remove("KUBECONFIG").arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        rctl
    }

    /// Runs it and returns what it printed.
    ///
    /// # Errors
    /// rctl fails: with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        command::run(&mut self.command(arguments))
    }

    /// Runs it with `-o json`.
    ///
    /// # Errors
    /// rctl fails, or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["-o", "json"]);
        let text = self.run(&arguments)?;
        serde_json::from_str(&text).with_context(|| format!("`rctl {}` did not print JSON", arguments.join(" ")))
    }

    /// Watches the nodes until all of these are Ready.
    ///
    /// # Errors
    /// A daemon ends meanwhile, or it takes too long.
    pub fn wait_nodes_ready(&self, names: &[String], daemons: &Daemons) -> Result<()> {
        let mut watch = self.command(&["get", "nodes", "--watch", "-o", "json"]);
        let mut child = watch
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", command::line(&watch)))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout, mut stderr) = (stdout.context("rctl has an output")?, stderr.context("rctl has an output")?);
        let ready = Arc::new(Mutex::new(BTreeSet::new()));
        let enough = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let reader = {
            let (ready, daemons, enough) = (Arc::clone(&ready), daemons.clone(), Arc::clone(&enough));
            thread::spawn(move || {
                for object in serde_json::Deserializer::from_reader(stdout).into_iter::<Value>() {
                    let Ok(object) = object else { break };
                    let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
                    note_nodes(&object, &mut ready);
                    drop(ready);
                    daemons.wake();
                }
                let mut said = String::new();
                let heard = stderr.read_to_string(&mut said);
                if heard.is_err() || !enough.load(std::sync::atomic::Ordering::SeqCst) {
                    daemons.fail(format!("`rctl get nodes --watch` ended: {}", said.trim()));
                }
            })
        };
        let result = daemons.wait_until("nodes Ready", NODES_READY_WITHIN, || {
            let ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
            names.iter().all(|name| ready.contains(name))
        });
        enough.store(true, std::sync::atomic::Ordering::SeqCst);
        child.kill().ok();
        child.wait()?;
        if reader.join().is_err() {
            eprintln!("the reader of `rctl get nodes --watch` panicked");
        }
        result
    }
}

/// Notes which nodes are Ready now, from a node or a list of nodes.
fn note_nodes(object: &Value, ready: &mut BTreeSet<String>) {
    if let Some(items) = object["items"].as_array() {
        items.iter().for_each(|item| note_nodes(item, ready));
        return;
    }
    let Some(name) = object["metadata"]["name"].as_str() else { return };
    if is_ready(object) {
        ready.insert(name.to_owned());
    } else {
        ready.remove(name);
    }
}

/// Whether an object's `Ready` condition holds.
pub fn is_ready(object: &Value) -> bool {
    object["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn readiness_comes_and_goes() {
        let node = |status: &str| json!({"metadata": {"name": "node-1"}, "status": {"conditions": [{"type": "Ready", "status": status}]}});
        let mut ready = BTreeSet::new();
        note_nodes(&json!({"items": [node("True")]}), &mut ready);
        assert!(ready.contains("node-1"));
        note_nodes(&node("Unknown"), &mut ready);
        assert!(ready.is_empty());
    }
}
