//! The kernel side: one `nft -f -` a transaction.
//!
//! nft reads the script, sends it as one netlink batch, and the kernel swaps it in at once. A change of a few
//! elements costs one short process whatever the table holds, because nft fetches no elements for it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use super::model::Name;
use super::{FakeError, Transaction};

/// Whatever can apply a transaction: the kernel or its twin in memory.
pub trait Kernel: Send {
    /// Apply all commands or none.
    fn commit(&mut self, transaction: &Transaction) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// What a table holds; `None` when there is no such table.
    fn existing(&mut self, table: &str) -> impl Future<Output = Result<Option<Existing>, KernelError>> + Send;
}

/// What a table holds, as far as it can be told cheaply: to list sets or maps, nft reads the elements of all of
/// them, which are many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    /// Its chains.
    pub chains: BTreeSet<Name>,
}

/// What `nft --json list` says (libnftables-json(5)).
#[derive(serde::Deserialize)]
struct Listing {
    nftables: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    table: Option<Named>,
    chain: Option<Named>,
}

#[derive(serde::Deserialize)]
struct Named {
    name: String,
    /// The table it is in; tables themselves have none.
    #[serde(default)]
    table: String,
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
    /// nft's listing could not be read.
    #[error("cannot read what nft lists: {0}")]
    Listing(#[from] serde_json::Error),
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

    /// Runs nft with the arguments and the input; its output, or its complaint.
    async fn run(&self, arguments: &[&str], input: String) -> Result<Vec<u8>, KernelError> {
        let program = self.command.first().cloned().unwrap_or_else(|| "nft".into());
        let error = |source| KernelError::Run { program: program.clone(), source };
        let mut child = tokio::process::Command::new(&program)
            .args(self.command.iter().skip(1))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(error)?;
        // All pipes are served at once, so that neither side waits for the other. A broken pipe only means that
        // nft gave up early; its own complaint says why.
        let stdin = child.stdin.take();
        let feed = async move {
            match stdin {
                Some(mut stdin) => stdin.write_all(input.as_bytes()).await,
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
        fed.map_err(error)?;
        Ok(output.stdout)
    }
}

impl Nft {
    /// Lists the `ip` family's objects of a kind, without elements.
    async fn list(&self, kind: &str) -> Result<Listing, KernelError> {
        let text = self.run(&["--json", "--terse", "list", kind, "ip"], String::new()).await?;
        Ok(serde_json::from_slice(&text)?)
    }
}

impl Kernel for Nft {
    async fn commit(&mut self, transaction: &Transaction) -> Result<(), KernelError> {
        if transaction.is_empty() {
            return Ok(());
        }
        self.run(&["-f", "-"], transaction.to_string()).await.map(drop)
    }

    async fn existing(&mut self, table: &str) -> Result<Option<Existing>, KernelError> {
        let tables = self.list("tables").await?;
        if !tables.nftables.into_iter().filter_map(|entry| entry.table).any(|found| found.name == table) {
            return Ok(None);
        }
        let chains = self.list("chains").await?.nftables.into_iter().filter_map(|entry| entry.chain);
        let ours = chains.filter(|chain| chain.table == table).map(|chain| Name::new(chain.name));
        Ok(Some(Existing { chains: ours.collect() }))
    }
}
