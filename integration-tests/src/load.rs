//! A load loop that runs beside what a test does, and then says what failed.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use xtask::command;

use crate::bed::{Bed, said};

/// A running load loop.
pub struct Load {
    child: Child,
    what: String,
}

impl Load {
    /// Asks `url` from the host, a hundred times a second, until [`Load::finish`].
    ///
    /// # Errors
    /// The client does not start.
    pub fn from_host(bed: &Bed, url: &str) -> Result<Self> {
        Self::start(&[bed.testbed.demo.display().to_string()], url)
    }

    /// Asks `url` from inside the node with this number.
    ///
    /// # Errors
    /// The client does not start.
    pub fn from_node(bed: &Bed, node: usize, url: &str) -> Result<Self> {
        let client = bed.node(node)?.command(&bed.testbed.daemons, &bed.testbed.demo.display().to_string())?;
        Self::start(&client, url)
    }

    /// Asks `url` from inside a pod.
    ///
    /// # Errors
    /// The client does not start.
    pub fn from_pod(bed: &Bed, pod: &str, url: &str) -> Result<Self> {
        let exec = bed.testbed.rctl.command(&["exec", "-i", pod, "--", "demo"]);
        let words = std::iter::once(exec.get_program()).chain(exec.get_args());
        Self::start(&words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>(), url)
    }

    /// Asks `url` from the host so many times, now.
    ///
    /// # Errors
    /// A request failed: how many and why.
    pub fn burst(bed: &Bed, url: &str, requests: usize) -> Result<String> {
        let mut command = command_of(&[bed.testbed.demo.display().to_string()], url)?;
        command::run(command.args(["--requests", &requests.to_string()]))
    }

    fn start(client: &[String], url: &str) -> Result<Self> {
        let mut command = command_of(client, url)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot start `{}`", command::line(&command)))?;
        Ok(Self { child, what: url.to_owned() })
    }

    /// Stops the loop and returns its summary.
    ///
    /// # Errors
    /// A request failed: how many and why.
    pub fn finish(mut self) -> Result<String> {
        drop(self.child.stdin.take());
        let output = said(self.child.stdout.take());
        let errors = said(self.child.stderr.take());
        let status = self.child.wait()?;
        if !status.success() {
            bail!("requests to {} failed: {}\n{errors}", self.what, output.trim());
        }
        Ok(output.trim().to_owned())
    }
}

/// The load loop as a command.
fn command_of(client: &[String], url: &str) -> Result<Command> {
    let (program, words) = client.split_first().context("a client")?;
    let mut command = command::system(program);
    command.args(words).args(["load", url, "--workers", "4", "--rate", "100"]);
    Ok(command)
}

impl Drop for Load {
    fn drop(&mut self) {
        // Ended already by `finish`; otherwise the test failed and it must not stay behind.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
