//! One pod patched, many watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use reeve_proto::v1;
use serde_json::json;
use tokio::sync::Notify;

use super::{Bench, writes};
use crate::load;
use crate::objects;
use crate::report::Outcome;
use crate::target::PODS;

/// Watchers that share a connection: servers allow a few hundred streams on each.
const WATCHERS_PER_CONNECTION: usize = 50;
const PATCHES_AT_ONCE: usize = 8;
/// How long to wait for the last event.
const PATIENCE: Duration = Duration::from_secs(60);
const STAMP: &[u8] = b"\"bench-sent\":\"";

fn microseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time, later than all times given before: two patches of one microsecond would be the same, and the second none.
fn stamp(given: &AtomicU64) -> u64 {
    let now = microseconds();
    let later = |before: u64| now.max(before + 1);
    match given.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(later(before))) {
        Ok(before) | Err(before) => later(before),
    }
}

/// When the patch in an object was sent.
fn sent(object: &[u8]) -> Option<u64> {
    let rest = &object[memchr::memmem::find(object, STAMP)? + STAMP.len()..];
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()?.parse().ok()
}

/// Patches one pod while `watchers` watch the namespace.
pub async fn fan_out(bench: &Bench, watchers: usize, patches: usize) -> Result<Outcome> {
    writes::ensure_pods(bench).await?;
    let target = &bench.target;
    let (_, _, version) = target.list(PODS, 1).await?;
    let run = microseconds();
    let (received, last, changed) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let wanted = watchers * patches;
    let mut tasks = tokio::task::JoinSet::new();
    let mut client = target.connect()?;
    for watcher in 0..watchers {
        if watcher % WATCHERS_PER_CONNECTION == 0 {
            client = target.connect()?;
        }
        let request = v1::WatchRequest {
            resource: PODS.at(&target.namespace, "", ""),
            resource_version: version.to_string(),
            ..v1::WatchRequest::default()
        };
        let mut stream = client.grpc().watch(request).await.context("cannot watch")?.into_inner();
        let (received, last, changed) = (Arc::clone(&received), Arc::clone(&last), Arc::clone(&changed));
        tasks.spawn(async move {
            let mut latency = load::histogram()?;
            let mut own = 0;
            while own < patches {
                let Some(batch) = stream.message().await.context("a watch broke off")? else { break };
                let now = microseconds();
                let mut seen = 0;
                for stamp in batch.events.iter().filter_map(|event| sent(&event.object)).filter(|stamp| *stamp >= run) {
                    latency.saturating_record(now.saturating_sub(stamp));
                    seen += 1;
                }
                own += seen;
                last.fetch_max(now, Ordering::Relaxed);
                if received.fetch_add(seen, Ordering::Relaxed) + seen >= wanted {
                    changed.notify_one();
                }
            }
            anyhow::Ok(latency)
        });
    }
    let begun = Instant::now();
    let writer = Arc::clone(target);
    let given = Arc::new(AtomicU64::new(run));
    let meter = bench.meter();
    let load = load::run(patches, PATCHES_AT_ONCE, move |_| {
        let (writer, given) = (Arc::clone(&writer), Arc::clone(&given));
        async move {
            let reference = PODS.at(&writer.namespace, &objects::pod_name(0), "");
            let patch = json!({"metadata": {"annotations": {"bench-sent": stamp(&given).to_string()}}});
            writer.patch(reference, &patch).await
        }
    })
    .await?;
    let all = async {
        while received.load(Ordering::Relaxed) < wanted {
            changed.notified().await;
        }
    };
    let complete = tokio::time::timeout(PATIENCE, all).await.is_ok();
    let cores = meter.text();
    let took = Duration::from_micros(last.load(Ordering::Relaxed).saturating_sub(run)).min(begun.elapsed());
    let count = received.load(Ordering::Relaxed);
    if !complete {
        tasks.abort_all();
        return Ok(Outcome::NotMeasured(format!("only {count} of {wanted} events came within {PATIENCE:?}")));
    }
    let mut latency = load::histogram()?;
    while let Some(task) = tasks.join_next().await {
        latency.add(task??)?;
    }
    let rate = count as f64 / took.as_secs_f64().max(1e-9);
    let beside = format!("{:.0} patches/s, {count} events; {cores}", load.rate());
    Ok(Outcome::measured(format!("{rate:.0} events/s, delivery {}", load::latencies(&latency)), beside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_stamps_are_the_same() {
        let given = AtomicU64::new(microseconds() + 1_000_000);
        let stamps: Vec<u64> = (0..100).map(|_| stamp(&given)).collect();
        assert!(stamps.is_sorted_by(|one, other| one < other), "{stamps:?}");
    }

    #[test]
    fn the_stamp_is_found_in_an_object() {
        assert_eq!(sent(br#"{"metadata":{"annotations":{"bench-sent":"123","t":"1"}}}"#), Some(123));
        assert_eq!(sent(br#"{"metadata":{}}"#), None);
    }
}
