//! `metrics.k8s.io`: what nodes and pods use. The kubelets are asked when somebody asks, and an answer serves those who
//! ask soon after. Which objects there are, and their labels, is what the watch cache says of nodes and pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use reeve_api::{GroupVersionResource, ObjectMeta, StatusError};
use serde::Deserialize;
use tokio::time::Instant;

use super::pods::kubelet_address;
use super::read::{Listed, Listing};
use super::{Handlers, ListOptions, ObjectAnswer};
use crate::pod_streams::{PodLocation, PodStreams};
use crate::registry::Row;
use crate::registry::kinds::metrics::{ContainerMetrics, NodeMetrics, PodMetrics, Usage};
use crate::request::Target;
use crate::storage::cache::Entry;

/// How long an answer of a kubelet serves: kubelets tell a new rate after ten seconds.
const FRESH: Duration = Duration::from_secs(5);
/// How long a kubelet may take. Others' figures do not wait longer for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many kubelets are asked at a time.
const ASKED_AT_ONCE: usize = 64;
/// The least time that a kubelet's rate is of.
const WINDOW: &str = "10s";
const SUMMARY: &str = "/stats/summary?only_cpu_and_memory=true";

/// What is read of a kubelet's summary.
#[derive(Debug, Deserialize)]
struct Summary {
    node: Figures,
    #[serde(default)]
    pods: Vec<PodFigures>,
}

#[derive(Debug, Deserialize)]
struct PodFigures {
    #[serde(rename = "podRef")]
    pod: Reference,
    #[serde(default)]
    containers: Vec<Figures>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Figures {
    name: String,
    cpu: Cpu,
    memory: Memory,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Cpu {
    time: String,
    usage_nano_cores: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Memory {
    working_set_bytes: Option<u64>,
}

impl Figures {
    /// In metrics-server's units; `None` while something is not known.
    fn usage(&self) -> Option<Usage> {
        let (cpu, memory) = (self.cpu.usage_nano_cores?, self.memory.working_set_bytes?);
        let cpu = if cpu == 0 { "0".to_owned() } else { format!("{cpu}n") };
        Some(BTreeMap::from([("cpu".to_owned(), cpu), ("memory".to_owned(), format!("{}Ki", memory / 1024))]))
    }
}

/// Asks kubelets what is used.
pub struct Meters {
    kubelets: Arc<PodStreams>,
    recent: Mutex<HashMap<String, (Instant, Arc<Summary>)>>,
}

impl Meters {
    /// Over these connections.
    pub fn new(kubelets: Arc<PodStreams>) -> Self {
        Self { kubelets, recent: Mutex::default() }
    }

    async fn read(&self, node: &Node) -> Option<Arc<Summary>> {
        let name = node.metadata.name.clone()?;
        if let Some((at, summary)) = self.recent.lock().get(&name)
            && at.elapsed() < FRESH
        {
            return Some(summary.clone());
        }
        let location = PodLocation { node: name.clone(), kubelet: kubelet_address(node)?, container: String::new() };
        let answer = match tokio::time::timeout(PATIENCE, self.kubelets.page(&location, SUMMARY)).await {
            Ok(answer) => answer.and_then(|bytes| serde_json::from_slice(&bytes).map_err(StatusError::internal)),
            Err(_) => Err(StatusError::internal("no answer in time")),
        };
        match answer {
            Ok(summary) => {
                let summary: Arc<Summary> = Arc::new(summary);
                let mut recent = self.recent.lock();
                recent.retain(|_, (at, _)| at.elapsed() < FRESH);
                recent.insert(name, (Instant::now(), summary.clone()));
                Some(summary)
            }
            Err(error) => {
                tracing::warn!(node = name, %error, "a kubelet does not tell what its pods use");
                None
            }
        }
    }
}

/// An object that is measured.
struct Subject {
    metadata: ObjectMeta,
    node: Arc<Node>,
}

impl Handlers {
    /// The way to kubelets, where there is one.
    pub(super) fn kubelets(&self) -> Option<Arc<PodStreams>> {
        self.meters.get().map(|meters| meters.kubelets.clone())
    }

    /// Serves `metrics.k8s.io` from these meters.
    pub fn measure_with(&self, meters: Meters) {
        if self.meters.set(meters).is_err() {
            tracing::error!("the meters are set already");
        }
    }

    pub(super) async fn measured(&self, row: &Arc<Row>, target: &Target) -> Result<ObjectAnswer, StatusError> {
        let of_pod = row.info.namespaced;
        let name = if of_pod { format!("{}/{}", target.namespace, target.name) } else { target.name.clone() };
        let kind = if of_pod { "podmetrics" } else { "nodemetrics" };
        let absent =
            || StatusError::not_found(&GroupVersionResource::new(&row.info.resource.group, "v1beta1", kind), &name);
        let mut listing = self.list_measured(row, target, ListOptions::default()).await?;
        let listed = listing.entries.next().ok_or_else(absent)?;
        Ok(ObjectAnswer { bytes: listed.object(), revision: 0, warnings: vec![], created: false })
    }

    pub(super) async fn list_measured(
        &self,
        row: &Arc<Row>,
        target: &Target,
        options: ListOptions,
    ) -> Result<Listing, StatusError> {
        let meters = self.meters.get().ok_or_else(|| StatusError::unavailable("kubelets cannot be asked", 10))?;
        let revision;
        let subjects: Vec<Subject> = if row.info.namespaced {
            let pods = self.of_core::<Pod>(target, options).await?;
            let all = Target { namespace: String::new(), name: String::new(), ..target.clone() };
            let nodes = self.of_core::<Node>(&all, ListOptions::default()).await?;
            let nodes: HashMap<String, Arc<Node>> = nodes
                .objects
                .into_iter()
                .filter_map(|node| Some((node.metadata.name.clone()?, Arc::new(node))))
                .collect();
            revision = pods.revision;
            let subject = |pod: Pod| {
                let node = nodes.get(pod.spec?.node_name.as_deref()?)?.clone();
                let running = pod.status?.phase.as_deref() == Some("Running");
                running.then_some(Subject { metadata: pod.metadata, node })
            };
            pods.objects.into_iter().filter_map(subject).collect()
        } else {
            let nodes = self.of_core::<Node>(target, options).await?;
            revision = nodes.revision;
            let subject = |node: Node| Subject { metadata: node.metadata.clone(), node: Arc::new(node) };
            nodes.objects.into_iter().map(subject).collect()
        };
        let summaries = read_all(meters, &subjects).await;
        let now = self.now();
        let mut entries = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let node = subject.node.metadata.name.as_deref().unwrap_or_default();
            let Some(summary) = summaries.get(node) else { continue };
            let metadata = ObjectMeta {
                name: subject.metadata.name,
                namespace: subject.metadata.namespace,
                labels: subject.metadata.labels,
                creation_timestamp: Some(Time(now)),
                ..ObjectMeta::default()
            };
            let object = if row.info.namespaced { of_pod(metadata, summary) } else { of_node(metadata, summary) };
            let Some(object) = object else { continue };
            let bytes = object.map_err(StatusError::internal)?;
            entries.push(listed(&bytes));
        }
        Ok(Listing {
            revision,
            continue_token: String::new(),
            remaining_item_count: None,
            entries: Box::new(entries.into_iter()),
            row: row.clone(),
        })
    }

    /// The stored objects of a kind of the core group that a target and options select.
    async fn of_core<K>(&self, target: &Target, options: ListOptions) -> Result<Selected<K>, StatusError>
    where
        K: k8s_openapi::Resource + serde::de::DeserializeOwned,
    {
        let resource = GroupVersionResource::of::<K>();
        let registry = self.registry();
        let row =
            registry.get(&resource).ok_or_else(|| StatusError::internal("a kind of the core group is missing"))?;
        let target = Target { resource, subresource: String::new(), ..target.clone() };
        // What is measured is measured now: there is nothing to page through.
        let options = ListOptions { limit: 0, continue_token: String::new(), ..options };
        let listing = self.list_row(row, &target, options).await?;
        let objects = listing.entries.map(|listed| serde_json::from_slice(&listed.object()));
        let objects = objects.collect::<Result<_, _>>().map_err(StatusError::internal)?;
        Ok(Selected { revision: listing.revision, objects })
    }
}

struct Selected<K> {
    revision: i64,
    objects: Vec<K>,
}

/// The summaries of the subjects' nodes.
async fn read_all(meters: &Meters, subjects: &[Subject]) -> HashMap<String, Arc<Summary>> {
    let mut known = BTreeSet::new();
    let nodes: Vec<Arc<Node>> = subjects
        .iter()
        .filter(|subject| known.insert(subject.node.metadata.name.clone()))
        .map(|subject| subject.node.clone())
        .collect();
    futures::stream::iter(nodes)
        .map(|node| async move { Some((node.metadata.name.clone()?, meters.read(&node).await?)) })
        .buffer_unordered(ASKED_AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

type Encoded = Result<Vec<u8>, serde_json::Error>;

fn of_node(metadata: ObjectMeta, summary: &Summary) -> Option<Encoded> {
    let usage = summary.node.usage()?;
    let timestamp = summary.node.cpu.time.clone();
    Some(encoded("NodeMetrics", &NodeMetrics { metadata, timestamp, window: WINDOW.into(), usage }))
}

fn of_pod(metadata: ObjectMeta, summary: &Summary) -> Option<Encoded> {
    let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
    let figures = summary.pods.iter().find(|it| it.pod.namespace == namespace && it.pod.name == name)?;
    let timestamp = figures.containers.first()?.cpu.time.clone();
    // All containers or nothing: half of a pod would mislead an autoscaler.
    let containers = figures
        .containers
        .iter()
        .map(|it| Some(ContainerMetrics { name: it.name.clone(), usage: it.usage()? }))
        .collect::<Option<_>>()?;
    Some(encoded("PodMetrics", &PodMetrics { metadata, timestamp, window: WINDOW.into(), containers }))
}

/// With group and kind at the front, as all objects are kept.
fn encoded(kind: &str, object: &impl serde::Serialize) -> Encoded {
    let rest = serde_json::to_vec(object)?;
    let mut bytes = format!("{{\"apiVersion\":\"metrics.k8s.io/v1beta1\",\"kind\":\"{kind}\",").into_bytes();
    bytes.extend_from_slice(rest.strip_prefix(b"{").unwrap_or(&rest));
    Ok(bytes)
}

fn listed(bytes: &[u8]) -> Listed {
    Listed::made(Entry::unstored(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let text = r#"{"node":{"nodeName":"n1","cpu":{"time":"2026-01-01T00:00:00Z","usageNanoCores":1500},
            "memory":{"workingSetBytes":2048}},"pods":[{"podRef":{"name":"web","namespace":"shop","uid":"u"},
            "containers":[{"name":"app","cpu":{"time":"2026-01-01T00:00:00Z","usageNanoCores":0},
            "memory":{"workingSetBytes":1024}}]},{"podRef":{"name":"new","namespace":"shop","uid":"v"},
            "containers":[{"name":"app","cpu":{},"memory":{}}]}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn figures_become_quantities() {
        let named = |name: &str, namespace: Option<&str>| ObjectMeta {
            name: Some(name.into()),
            namespace: namespace.map(str::to_owned),
            ..ObjectMeta::default()
        };
        let node = of_node(named("n1", None), &summary()).unwrap().unwrap();
        let node: NodeMetrics = serde_json::from_slice(&node).unwrap();
        assert_eq!((node.usage["cpu"].as_str(), node.usage["memory"].as_str()), ("1500n", "2Ki"));
        let pod = of_pod(named("web", Some("shop")), &summary()).unwrap().unwrap();
        assert!(pod.starts_with(b"{\"apiVersion\":\"metrics.k8s.io/v1beta1\",\"kind\":\"PodMetrics\",\"metadata\""));
        let pod: PodMetrics = serde_json::from_slice(&pod).unwrap();
        assert_eq!(pod.containers[0].usage["cpu"], "0");
        assert!(of_pod(named("new", Some("shop")), &summary()).is_none(), "nothing is known yet");
        assert!(of_pod(named("web", Some("other")), &summary()).is_none());
    }
}
