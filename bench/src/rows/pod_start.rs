//! Real pods from create to Ready, and the same pods started in the container runtime alone. All go to one node,
//! however many the cluster has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::Mutex;
use reeve_client::{Client, ListOptions, Scope, Store, reflect};
use tokio::sync::watch;

use super::Bench;
use crate::load::{self, Load};
use crate::objects;
use crate::report::Outcome;
use crate::target::PODS;
use crate::{control_plane, cri};

const ONE_BY_ONE: usize = 20;
const AT_ONCE: usize = 30;
const PATIENCE: Duration = Duration::from_secs(60);

/// Twenty pods, one at a time.
pub async fn one_by_one(bench: &Bench) -> Result<Outcome> {
    start(bench, ONE_BY_ONE, 1, PATIENCE, async |load, _| started(load::latencies(&load.latency))).await
}

/// Thirty pods at once.
pub async fn at_once(bench: &Bench) -> Result<Outcome> {
    start(bench, AT_ONCE, AT_ONCE, PATIENCE, async |load, _| started(format!("{:.2} s", load.took.as_secs_f64()))).await
}

/// The runtime alone: twenty pods, one at a time.
pub async fn runtime_one_by_one(bench: &Bench) -> Result<Outcome> {
    runtime_start(bench, ONE_BY_ONE, 1, |load| load::latencies(&load.latency)).await
}

/// The runtime alone: thirty pods at once, as many in flight as the kubelet allows itself.
pub async fn runtime_at_once(bench: &Bench) -> Result<Outcome> {
    let in_flight = std::thread::available_parallelism().map_or(2, |cpus| cpus.get() * 2);
    runtime_start(bench, AT_ONCE, in_flight, |load| format!("{:.2} s", load.took.as_secs_f64())).await
}

async fn runtime_start(bench: &Bench, count: usize, at_once: usize, figure: fn(&Load) -> String) -> Result<Outcome> {
    let Some(image) = bench.options.image.clone() else {
        return Ok(Outcome::NotMeasured("needs real nodes: give --image, which is on them".to_owned()));
    };
    let socket = match (&bench.options.container_runtime_endpoint, &bench.options.dir) {
        (Some(socket), _) => socket.clone(),
        (None, Some(dir)) => {
            let Some(node) = ready_node(&bench.target.connect()?).await? else {
                return Ok(Outcome::NotMeasured("no node is Ready".to_owned()));
            };
            control_plane::runtime_socket(dir, &node)?
        }
        (None, None) => {
            return Ok(Outcome::NotMeasured(
                "needs a node's runtime: give --dir of a testbed or --container-runtime-endpoint".to_owned(),
            ));
        }
    };
    let runtime = cri::Runtime::connect(&socket).await?;
    let image = runtime.image(&image).await?;
    let started = Arc::new(Mutex::new(Vec::with_capacity(count)));
    let run = Timestamped::now();
    let (pods, starter) = (Arc::clone(&started), runtime.clone());
    let load = load::run(count, at_once, move |number| {
        let (runtime, image, started) = (starter.clone(), image.clone(), Arc::clone(&pods));
        async move {
            let pod = runtime.start(&format!("runtime-{}-{number}", run.0), &image).await?;
            started.lock().push(pod);
            Ok(())
        }
    })
    .await;
    // Also after an error: nothing stays in the runtime.
    let pods = std::mem::take(&mut *started.lock());
    for pod in pods {
        runtime.remove(&pod).await?;
    }
    let load = load?;
    Ok(Outcome::measured(figure(&load), "what the runtime, runc and the CNI plugins take"))
}

/// The first node that is Ready.
async fn ready_node(client: &Client) -> Result<Option<String>> {
    let nodes = client.all::<Node>().list(&ListOptions::default()).await?.items;
    let ready = nodes.into_iter().find(|node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        has_condition(conditions.map(|condition| (condition.type_.clone(), condition.status.clone())))
    });
    Ok(ready.and_then(|node| node.metadata.name))
}

/// Whether a pod is Ready.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    has_condition(conditions.map(|condition| (condition.type_.clone(), condition.status.clone())))
}

fn has_condition(conditions: impl Iterator<Item = (String, String)>) -> bool {
    conditions.into_iter().any(|(kind, status)| kind == "Ready" && status == "True")
}

fn started(figure: String) -> Result<Outcome> {
    Ok(Outcome::measured(figure, "the runtime's own share is the row of the same pod by CRI alone"))
}

/// Starts pods on one node, each of which has to be Ready within `patience`, looks at what came of it while they run,
/// removes them, and waits for their end.
pub(super) async fn start(
    bench: &Bench,
    count: usize,
    at_once: usize,
    patience: Duration,
    look: impl AsyncFnOnce(&Load, &Store<Pod>) -> Result<Outcome>,
) -> Result<Outcome> {
    let Some(image) = bench.options.image.clone() else {
        return Ok(Outcome::NotMeasured(
            "needs real nodes: give --kubeconfig of a cluster with nodes, and --image".to_owned(),
        ));
    };
    let target = Arc::clone(&bench.target);
    let client = target.connect()?;
    let Some(node) = ready_node(&client).await? else {
        return Ok(Outcome::NotMeasured("no node is Ready".to_owned()));
    };
    target.ensure_namespace().await?;
    let (changes, changed) = watch::channel(());
    let scope = Scope::all().namespace(&target.namespace).labels("bench=start");
    let pods: Store<Pod> = reflect(&client, scope, move |_| {
        changes.send_replace(());
    });
    pods.wait_synced().await;
    let run = Timestamped::now();
    let (store, owner, mut ends) = (pods.clone(), Arc::clone(&target), changed.clone());
    let load = load::run(count, at_once, move |number| {
        let (target, pods, mut changed) = (Arc::clone(&owner), store.clone(), changed.clone());
        let (image, node) = (image.clone(), node.clone());
        let name = format!("start-{}-{number}", run.0);
        async move {
            target.create(PODS, &target.namespace, &objects::real_pod(&name, &image, &node)).await?;
            let key = reeve_client::View::key(&named(&target.namespace, &name));
            let ready = async {
                loop {
                    if pods.get(&key).as_deref().is_some_and(is_ready) {
                        return Ok(());
                    }
                    changed.changed().await.context("the watch of pods ended")?;
                }
            };
            tokio::time::timeout(patience, ready)
                .await
                .with_context(|| format!("{name} was not Ready in {patience:?}"))?
        }
    })
    .await;
    let outcome = match load {
        Ok(load) => look(&load, &pods).await,
        Err(error) => Err(error),
    };
    for pod in pods.list() {
        target.delete(PODS.at(&target.namespace, pod.metadata.name.as_deref().unwrap_or_default(), "")).await?;
    }
    // Their ends would be measured with the next row's starts.
    let gone = async {
        while !pods.list().is_empty() {
            ends.changed().await.context("the watch of pods ended")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(patience, gone).await.with_context(|| format!("the pods were not gone in {patience:?}"))??;
    outcome
}

/// Distinguishes the pods of one run from those of another.
#[derive(Clone, Copy)]
struct Timestamped(u128);

impl Timestamped {
    fn now() -> Self {
        static PROCESS_START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        Self(u128::from(std::process::id()) * 1_000_000 + PROCESS_START.elapsed().as_millis())
    }
}

fn named(namespace: &str, name: &str) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.namespace = Some(namespace.to_owned());
    pod.metadata.name = Some(name.to_owned());
    pod
}
