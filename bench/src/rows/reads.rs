//! Gets and lists.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use reeve_proto::v1;

use super::{Bench, writes};
use crate::load;
use crate::objects;
use crate::report::Outcome;
use crate::target::PODS;

const GETS: usize = 40_000;
const LISTS: usize = 20;
const LISTS_AT_ONCE: usize = 2;

/// Gets one pod again and again.
pub async fn get(bench: &Bench) -> Result<Outcome> {
    writes::ensure_pods(bench).await?;
    let target = Arc::clone(&bench.target);
    let meter = bench.meter();
    let load = load::run(GETS, writes::AT_ONCE, move |_| {
        let target = Arc::clone(&target);
        async move {
            let resource = PODS.at(&target.namespace, &objects::pod_name(0), "");
            let request = v1::GetRequest { resource, resource_version: String::new() };
            target.client().grpc().get(request).await.context("cannot get")?;
            Ok(())
        }
    })
    .await?;
    Ok(Outcome::measured(load.summary(), meter.text()))
}

/// Lists all pods.
pub async fn list(bench: &Bench) -> Result<Outcome> {
    writes::ensure_pods(bench).await?;
    let (target, expected) = (Arc::clone(&bench.target), bench.options.pods);
    let resident = |bench: &Bench| bench.processes.iter().find(|process| process.name == "apiserver")?.resident().ok();
    let before = resident(bench);
    let total = Arc::new(AtomicUsize::new(0));
    let sum = Arc::clone(&total);
    let meter = bench.meter();
    let load = load::run(LISTS, LISTS_AT_ONCE, move |_| {
        let (target, sum) = (Arc::clone(&target), Arc::clone(&sum));
        async move {
            let (count, bytes, _) = target.list(PODS, 0).await?;
            ensure!(count == expected, "{count} pods were listed instead of {expected}");
            sum.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        }
    })
    .await?;
    let cores = meter.text();
    let megabytes = total.load(Ordering::Relaxed) as f64 / 1e6;
    let figure = format!("{:.0} MB/s ({:.1} MB a list)", megabytes / load.took.as_secs_f64(), megabytes / LISTS as f64);
    let grown = match (before, resident(bench)) {
        (Some(before), Some(after)) => {
            format!("apiserver's memory {:.1} MB before and {:.1} MB after; ", before as f64 / 1e6, after as f64 / 1e6)
        }
        _ => String::new(),
    };
    Ok(Outcome::measured(figure, format!("{grown}{cores}")))
}
