//! The kernel side: one `nft -f -` a transaction.
//!
//! nft reads the script, sends it as one netlink batch, and the kernel swaps it in at once. A change of a few
//! elements costs one short process whatever the table holds, because nft fetches no elements for it.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use super::{FakeError, Transaction};

/// Whatever can apply a transaction: the kernel or its twin in memory.
pub trait Kernel: Send {
    /// Apply all commands or none.
    fn commit(&mut self, transaction: &Transaction) -> impl Future<Output = Result<(), KernelError>> + Send;
}

/// Why a transaction was not applied.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The program could not be started or spoken to.
    #[error("cannot run {program:?}: {source} (is the package nftables installed?)")]
    Run {
        /// The program that was to run.
        program: OsString,
        /// What the system said.
        source: std::io::Error,
    },
    /// nft or the kernel refused it; nothing was changed.
    #[error("nft refused the transaction, nothing was changed: {0}")]
    Refused(String),
    /// The twin refused it.
    #[error(transparent)]
    Fake(#[from] FakeError),
}

/// The `nft` program.
#[derive(Clone, Debug)]
pub struct Nft {
    command: Vec<OsString>,
}

/// Of nft's complaints, how much is kept: the first names the cause, and it echoes the offending lines.
const COMPLAINT_MAX: usize = 2_000;

impl Default for Nft {
    fn default() -> Nft {
        Nft::with_command(["nft"])
    }
}

impl Nft {
    /// nft by another name or behind a wrapper such as `ip netns exec NAME nft`. The first word is the program.
    pub fn with_command(command: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Nft {
        Nft { command: command.into_iter().map(|word| word.as_ref().to_owned()).collect() }
    }

    async fn run(&self, script: String) -> Result<(), KernelError> {
        let program = self.command.first().cloned().unwrap_or_else(|| "nft".into());
        let error = |source| KernelError::Run { program: program.clone(), source };
        let mut child = tokio::process::Command::new(&program)
            .args(self.command.iter().skip(1))
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(error)?;
        // Both pipes are served at once, so that neither side waits for the other. A broken pipe only means that
        // nft gave up early; its own complaint says why.
        let stdin = child.stdin.take();
        let feed = async move {
            match stdin {
                Some(mut stdin) => stdin.write_all(script.as_bytes()).await,
                None => Ok(()),
            }
        };
        let (fed, output) = tokio::join!(feed, child.wait_with_output());
        let output = output.map_err(error)?;
        if !output.status.success() {
            let mut text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if let Some((end, _)) = text.char_indices().nth(COMPLAINT_MAX) {
                text.truncate(end);
            }
            return Err(KernelError::Refused(text));
        }
        fed.map_err(error)
    }
}

impl Kernel for Nft {
    async fn commit(&mut self, transaction: &Transaction) -> Result<(), KernelError> {
        if transaction.is_empty() {
            return Ok(());
        }
        self.run(transaction.to_string()).await
    }
}
