//! How soon an endpoint's change is in a node's kernel, among many Services.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use reeve_client::backoff::{Backoff, retry};
use serde_json::json;

use super::{Bench, writes};
use crate::control_plane;
use crate::load::{self, Load};
use crate::objects::{self, ENDPOINTS};
use crate::process::Process;
use crate::report::Outcome;
use crate::rule_events::RuleEvents;
use crate::target::{ENDPOINT_SLICES, SERVICES};

const CHANGES: usize = 100;
/// How long the proxy may take for everything, and for one change.
const PATIENCE: Duration = Duration::from_secs(120);
/// The addresses that endpoints change to (RFC 2544), all of them different.
const NEWCOMERS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);

/// Fills the cluster with Services, starts a proxy in a network namespace of its own, and changes one endpoint at a
/// time.
pub async fn change(bench: &Bench) -> Result<Outcome> {
    let Some(dir) = bench.options.dir.clone() else {
        return Ok(Outcome::NotMeasured("needs a control plane of its own: give no --kubeconfig".to_owned()));
    };
    let written = fill(bench).await?;
    let programs = bench.options.programs()?;
    let (namespace, first, proxy) = tokio::task::spawn_blocking(move || -> Result<_> {
        let namespace = control_plane::node_network(&dir)?;
        let events = RuleEvents::subscribe(&namespace, PATIENCE)?;
        let begun = Instant::now();
        let proxy = control_plane::start_proxy(&dir, &namespace, &programs)?;
        let first = events.any().context("the proxy wrote no rules")?.duration_since(begun);
        Ok((namespace, first, proxy))
    })
    .await??;
    changes(bench, namespace, &proxy, &written, first).await
}

/// Services and their slices, so many at a time as in the other rows.
async fn fill(bench: &Bench) -> Result<Load> {
    let (target, count) = (Arc::clone(&bench.target), usize::try_from(bench.options.services)?);
    // The server has just been started, and may have its own first objects to write.
    let serving = retry(Backoff::RETRY, "the first write", || target.ensure_namespace());
    tokio::time::timeout(PATIENCE, serving).await.context("the API server takes no writes")?;
    load::run(count, writes::AT_ONCE, move |number| {
        let target = Arc::clone(&target);
        async move {
            let namespace = target.namespace.as_str();
            target.create(SERVICES, namespace, &objects::service(number)).await?;
            target.create(ENDPOINT_SLICES, namespace, &objects::endpoint_slice(number, namespace)).await?;
            Ok(())
        }
    })
    .await
}

async fn changes(
    bench: &Bench,
    namespace: PathBuf,
    proxy: &Process,
    written: &Load,
    first: Duration,
) -> Result<Outcome> {
    let (target, count) = (&bench.target, usize::try_from(bench.options.services)?);
    let mut events = tokio::task::spawn_blocking(move || RuleEvents::subscribe(&namespace, PATIENCE)).await??;
    let (mut since_sent, mut since_stored) = (load::histogram()?, load::histogram()?);
    let (meter, used) = (bench.meter(), proxy.fine_cpu_time()?);
    for number in 0..CHANGES {
        // Far from each other, as changes are.
        let service = number * 97 % count;
        let address = Ipv4Addr::from(u32::from(NEWCOMERS) + u32::try_from(number)?);
        let seen = tokio::task::spawn_blocking(move || {
            let seen = events.element_with(address);
            (events, seen)
        });
        let endpoints = objects::endpoints(service, &target.namespace, Some((number % ENDPOINTS, address)));
        let reference = ENDPOINT_SLICES.at(&target.namespace, &objects::service_name(service), "");
        let sent = Instant::now();
        target.patch(reference, &json!({"endpoints": endpoints})).await?;
        let stored = Instant::now();
        let (kept, seen) = seen.await?;
        events = kept;
        let seen = seen?;
        since_sent.record(u64::try_from(seen.saturating_duration_since(sent).as_micros())?)?;
        since_stored.record(u64::try_from(seen.saturating_duration_since(stored).as_micros())?)?;
    }
    let used = proxy.fine_cpu_time()?.saturating_sub(used).as_secs_f64() * 1e3 / CHANGES as f64;
    let cores = meter.text();
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Ok(Outcome::measured(
        format!("{} after the write was acknowledged", load::latencies(&since_stored)),
        format!(
            "{} after it was sent; {CHANGES} changes, {count} Services with {} endpoints; the first rules after \
             {:.2} s of the proxy's life; the proxy's memory {:.1} MB (data {:.1} MB of it), at most {:.1} MB; \
             {used:.2} ms of its CPU a change, without nft's; Services with slices written at {:.0}/s; {cores}",
            load::latencies(&since_sent),
            count * ENDPOINTS,
            first.as_secs_f64(),
            megabytes(proxy.resident()?),
            megabytes(proxy.data()?),
            megabytes(proxy.peak()?),
            written.rate(),
        ),
    ))
}
