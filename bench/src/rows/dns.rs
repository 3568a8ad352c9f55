//! How soon a node's DNS answers with what was written.

use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use xtask::cargo::Workspace;
use xtask::instance::CLUSTER_DNS;
use xtask::up::Testbed;

use super::Bench;
use crate::load;
use crate::report::Outcome;
use crate::target::{ENDPOINT_SLICES, SERVICES};

const NAME: &str = "bench-dns";
const CHANGES: u8 = 100;
const PATIENCE: Duration = Duration::from_secs(10);

/// Changes the one address of a headless Service, and has the first node's DNS asked all the time.
pub async fn change(bench: &Bench) -> Result<Outcome> {
    let Some(dir) = bench.options.dir.clone() else {
        return Ok(Outcome::NotMeasured("needs a node: give --dir of a testbed".to_owned()));
    };
    let asker = tokio::task::spawn_blocking(move || -> Result<Vec<String>> {
        let testbed = Testbed::open(&dir, &Workspace::locate()?)?;
        let node = testbed.nodes()?.into_iter().next().context("the testbed has no node")?;
        node.command(&testbed.daemons, &testbed.demo.display().to_string())
    });
    let words = asker.await??;
    let target = &bench.target;
    let namespace = target.namespace.as_str();
    target.ensure_namespace().await?;
    target
        .create(
            SERVICES,
            namespace,
            &json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
                "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]},
            }),
        )
        .await?;
    target
        .create(
            ENDPOINT_SLICES,
            namespace,
            &json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
                "endpoints": [{"addresses": ["198.51.100.0"]}], "ports": [{"name": "http", "port": 80}],
            }),
        )
        .await?;
    let measured = changes(bench, &words).await;
    target.delete(SERVICES.at(namespace, NAME, "")).await?;
    target.delete(ENDPOINT_SLICES.at(namespace, NAME, "")).await?;
    measured
}

async fn changes(bench: &Bench, words: &[String]) -> Result<Outcome> {
    let (target, namespace) = (&bench.target, bench.target.namespace.as_str());
    let (program, rest) = words.split_first().context("a command")?;
    let mut asker = tokio::process::Command::new(program)
        .args(rest)
        .args(["lookup", &format!("{NAME}.{namespace}.svc.cluster.local."), "--follow", &CLUSTER_DNS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the one who asks does not start")?;
    let mut answers = BufReader::new(asker.stdout.take().context("it has an output")?).lines();
    let mut since_sent = load::histogram()?;
    let mut since_stored = load::histogram()?;
    for number in 0..=CHANGES {
        let address = format!("198.51.100.{number}");
        let change = json!({"endpoints": [{"addresses": [address]}]});
        let sent = now();
        if number > 0 {
            target.patch(ENDPOINT_SLICES.at(namespace, NAME, ""), &change).await?;
        }
        let stored = now();
        let answered = async {
            loop {
                let line = answers.next_line().await?.context("the one who asks has ended")?;
                let (time, answer) = line.split_once(' ').context("a time and an answer")?;
                if answer == address {
                    return anyhow::Ok(time.parse::<u64>()?);
                }
            }
        };
        let answered = tokio::time::timeout(PATIENCE, answered)
            .await
            .with_context(|| format!("DNS did not answer with {address} in {PATIENCE:?}"))??;
        // The first one is there before the questions begin.
        if number > 0 {
            since_sent.record(answered.saturating_sub(sent))?;
            since_stored.record(answered.saturating_sub(stored))?;
        }
    }
    Ok(Outcome::measured(
        format!("{} after the write was acknowledged", load::latencies(&since_stored)),
        format!(
            "{} after it was sent; {CHANGES} changes, asked every half a millisecond",
            load::latencies(&since_sent)
        ),
    ))
}

/// Microseconds since 1970: two processes compare their times.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
