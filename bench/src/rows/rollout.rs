//! A Deployment on hollow nodes: everything but containers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use reeve_client::{Change, ListOptions, Scope, Store, reflect};
use serde_json::json;
use tokio::sync::mpsc;

use super::Bench;
use crate::load;
use crate::objects;
use crate::report::Outcome;
use crate::target::{DEPLOYMENTS, LEASES, NODES, PODS, Target};

const NODES_COUNT: usize = 100;
const REPLICAS: usize = 1_000;
/// Status writes in flight, as of several kubelets.
const KUBELETS_AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(120);

/// Registers hollow nodes, creates the Deployment, plays kubelet, and removes everything again.
pub async fn rollout(bench: &Bench) -> Result<Outcome> {
    let target = &bench.target;
    target.ensure_namespace().await?;
    register(target).await?;
    let measured = tokio::time::timeout(PATIENCE, available(bench)).await;
    remove(target).await?;
    match measured {
        Ok(result) => result,
        Err(_) => Ok(Outcome::NotMeasured(format!("not all replicas were available within {PATIENCE:?}"))),
    }
}

async fn register(target: &Arc<Target>) -> Result<()> {
    let target = Arc::clone(target);
    load::run(NODES_COUNT, 8, move |number| {
        let target = Arc::clone(&target);
        async move {
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            target.create(NODES, "", &objects::node(number)).await?;
            target.create(LEASES, "kube-node-lease", &objects::lease(number, &now)).await?;
            let name = objects::node_name(number);
            target.patch(NODES.at("", &name, "status"), &objects::node_status(&now)).await?;
            // Taints that were put on the node before it was Ready.
            target.patch(NODES.at("", &name, ""), &json!({"spec": {"taints": null}})).await
        }
    })
    .await?;
    Ok(())
}

/// From the creation of the Deployment until its status says that all replicas are available.
async fn available(bench: &Bench) -> Result<Outcome> {
    let target = &bench.target;
    let (bound, mut to_run) = mpsc::channel::<String>(REPLICAS * 4);
    let client = target.connect()?;
    let scope = Scope::all().namespace(&target.namespace).labels("app=roll");
    let pods: Store<Pod> = reflect(&client, scope, move |change: Change<Pod>| {
        if let Change::Applied { old, new } = change {
            let is_bound = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            if is_bound(&new)
                && !old.as_deref().is_some_and(is_bound)
                && let Some(name) = &new.metadata.name
                && bound.try_send(name.clone()).is_err()
            {
                eprintln!("rollout: more pods than were asked for; {name} is left pending");
            }
        }
    });
    pods.wait_synced().await;
    let (progress, mut seen) = tokio::sync::watch::channel(0);
    let scope = Scope::all().namespace(&target.namespace).fields("metadata.name=roll");
    let deployments: Store<Deployment> = reflect(&client, scope, move |change: Change<Deployment>| {
        if let Some(status) = change.object().and_then(|deployment| deployment.status.as_ref()) {
            progress.send_replace(status.available_replicas.unwrap_or(0));
        }
    });
    deployments.wait_synced().await;

    let (start, meter) = (Instant::now(), bench.meter());
    target
        .create(DEPLOYMENTS, &target.namespace, &objects::deployment(REPLICAS))
        .await?
        .context("the Deployment exists")?;
    let (mut first_bound, mut last_bound, mut last_running) = (None, start, start);
    let kubelets = async {
        let mut writes = futures::stream::FuturesUnordered::new();
        for number in 0.. {
            if writes.len() >= KUBELETS_AT_ONCE {
                writes.next().await.transpose()?;
            }
            let next = loop {
                tokio::select! {
                    next = to_run.recv() => break next,
                    Some(written) = writes.next(), if !writes.is_empty() => written?,
                }
            };
            let Some(name) = next else { break };
            first_bound.get_or_insert_with(Instant::now);
            last_bound = Instant::now();
            writes.push(async move {
                let status = objects::running(&Timestamp::now().to_string());
                target.patch(PODS.at(&target.namespace, &name, "status"), &status).await
            });
            if number + 1 == REPLICAS {
                while let Some(written) = writes.next().await {
                    written?;
                }
                last_running = Instant::now();
            }
        }
        anyhow::Ok(())
    };
    let done = async {
        let wanted = i32::try_from(REPLICAS).unwrap_or(i32::MAX);
        seen.wait_for(|available| *available == wanted).await.context("the watch ended").map(|_| ())
    };
    tokio::select! {
        result = kubelets => { result?; anyhow::bail!("the watch of pods ended") }
        result = done => result?,
    }
    let (took, cores) = (start.elapsed(), meter.text());
    let at = |when: Instant| (when - start).as_secs_f64();
    let beside = format!(
        "first pod bound after {:.3} s, all after {:.3} s, all running after {:.3} s; {cores}",
        first_bound.map_or(0.0, at),
        at(last_bound),
        at(last_running)
    );
    let rate = REPLICAS as f64 / took.as_secs_f64();
    Ok(Outcome::measured(format!("{:.2} s ({rate:.0} pods/s)", took.as_secs_f64()), beside))
}

/// Removes the Deployment, its pods and the hollow nodes.
async fn remove(target: &Arc<Target>) -> Result<()> {
    target.delete(DEPLOYMENTS.at(&target.namespace, "roll", "")).await?;
    let client = target.connect()?;
    let replica_sets = client.namespaced::<k8s_openapi::api::apps::v1::ReplicaSet>(&target.namespace);
    for set in
        replica_sets.list(&ListOptions { label_selector: "app=roll".to_owned(), ..Default::default() }).await?.items
    {
        let name = set.metadata.name.unwrap_or_default();
        match replica_sets.delete(&name, &Default::default()).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    let pods = client.namespaced::<Pod>(&target.namespace);
    let selected = ListOptions { label_selector: "app=roll".to_owned(), ..Default::default() };
    let names: Vec<String> =
        pods.list(&selected).await?.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
    let (count, owner) = (names.len(), Arc::clone(target));
    let names = Arc::new(names);
    load::run(count, KUBELETS_AT_ONCE, move |number| {
        let (target, names) = (Arc::clone(&owner), Arc::clone(&names));
        async move { target.delete(PODS.at(&target.namespace, &names[number], "")).await }
    })
    .await?;
    for number in 0..NODES_COUNT {
        target.delete(NODES.at("", &objects::node_name(number), "")).await?;
        target.delete(LEASES.at("kube-node-lease", &objects::node_name(number), "")).await?;
    }
    Ok(())
}
