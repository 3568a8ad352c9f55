//! Creates, patches and deletes, 32 at a time.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Bench;
use crate::load::{self, Load};
use crate::objects::{self, POD_BYTES};
use crate::report::Outcome;
use crate::target::{PODS, Target};

/// How many at a time.
pub const AT_ONCE: usize = 32;
const PATCHES: usize = 5_000;

/// Fills the namespace with pods of [`POD_BYTES`].
pub async fn create(bench: &Bench) -> Result<Outcome> {
    empty(bench).await?;
    let meter = bench.meter();
    let load = fill(bench).await?;
    Ok(Outcome::measured(load.summary(), meter.text()))
}

/// Makes sure that the pods are there.
pub async fn ensure_pods(bench: &Bench) -> Result<()> {
    bench.target.ensure_namespace().await?;
    let (present, ..) = bench.target.list(PODS, 0).await?;
    if present != bench.options.pods {
        empty(bench).await?;
        fill(bench).await?;
    }
    Ok(())
}

async fn fill(bench: &Bench) -> Result<Load> {
    let target = Arc::clone(&bench.target);
    target.ensure_namespace().await?;
    // The first pod tells what the server adds, so that all are of the size that is wanted.
    let stored = target.create(PODS, &target.namespace, &objects::pod(0, 0)).await?.context("the first pod exists")?;
    let padding = POD_BYTES.saturating_sub(stored.len());
    target.delete(PODS.at(&target.namespace, &objects::pod_name(0), "")).await?;
    load::run(bench.options.pods, AT_ONCE, move |number| {
        let target = Arc::clone(&target);
        async move {
            target.create(PODS, &target.namespace, &objects::pod(number, padding)).await?.context("the pod exists")?;
            Ok(())
        }
    })
    .await
}

/// Merges an annotation into pods.
pub async fn patch(bench: &Bench) -> Result<Outcome> {
    ensure_pods(bench).await?;
    let (target, pods) = (Arc::clone(&bench.target), bench.options.pods);
    let meter = bench.meter();
    let load = load::run(PATCHES, AT_ONCE, move |number| {
        let target = Arc::clone(&target);
        async move {
            let reference = PODS.at(&target.namespace, &objects::pod_name(number % pods), "");
            target.patch(reference, &json!({"metadata": {"annotations": {"t": number.to_string()}}})).await
        }
    })
    .await?;
    Ok(Outcome::measured(load.summary(), meter.text()))
}

/// Deletes all pods one by one.
pub async fn delete(bench: &Bench) -> Result<Outcome> {
    ensure_pods(bench).await?;
    let meter = bench.meter();
    let load = delete_all(&bench.target, bench.options.pods).await?;
    Ok(Outcome::measured(load.summary(), meter.text()))
}

async fn empty(bench: &Bench) -> Result<()> {
    let (present, ..) = bench.target.list(PODS, 0).await?;
    if present > 0 {
        delete_all(&bench.target, bench.options.pods).await?;
    }
    Ok(())
}

async fn delete_all(target: &Arc<Target>, pods: usize) -> Result<Load> {
    let target = Arc::clone(target);
    load::run(pods, AT_ONCE, move |number| {
        let target = Arc::clone(&target);
        async move { target.delete(PODS.at(&target.namespace, &objects::pod_name(number), "")).await }
    })
    .await
}
