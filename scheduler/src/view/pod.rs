//! A pod, narrowed to its template and what changes in its life.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};

use k8s_openapi::api::core::v1::{
    Container, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use parking_lot::Mutex;
use reeve_api::ObjectKey;
use reeve_api::meta::MetaExt as _;
use reeve_client::View;
use serde::Deserialize;

use super::amount;
use crate::model::toleration::Comparison;
use crate::model::{
    HostPort, Labels, Operator, PodTemplate, Requirement, Resources, SpreadConstraint, Term, Toleration, Unsatisfiable,
};

/// What scores take a container for that requests no cpu (upstream's `DefaultMilliCPURequest`).
const SCORED_MILLI_CPU: i64 = 100;
/// What scores take a container for that requests no memory (upstream's `DefaultMemoryRequest`).
const SCORED_MEMORY: i64 = 200 << 20;

/// A pod as the scheduler holds it: some hundred bytes, and a template shared with its like.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Pod")]
pub struct PodView {
    /// Namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// Where it runs, once it is bound.
    pub node: Option<Box<str>>,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// It has ended (`Succeeded`, `Failed`) and uses nothing any more.
    pub finished: bool,
    /// `spec.schedulingGates` keep it from being scheduled.
    pub gated: bool,
    /// `spec.schedulerName`; shared text.
    pub scheduler: Arc<str>,
    /// What decides where it can go.
    pub template: Arc<PodTemplate>,
    /// `metadata.resourceVersion`.
    pub revision: i64,
}

impl From<Pod> for PodView {
    fn from(pod: Pod) -> Self {
        let metadata = pod.metadata;
        let spec = pod.spec.unwrap_or_default();
        let phase = pod.status.and_then(|status| status.phase);
        let scheduler = spec.scheduler_name.as_deref().unwrap_or("default-scheduler");
        Self {
            key: ObjectKey::of(&metadata),
            uid: metadata.uid().into(),
            node: spec.node_name.as_deref().filter(|name| !name.is_empty()).map(Into::into),
            deleting: metadata.is_deleting(),
            finished: matches!(phase.as_deref(), Some("Succeeded" | "Failed")),
            gated: spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty()),
            revision: metadata.revision(),
            scheduler: shared(&SCHEDULERS, Arc::from(scheduler)),
            template: shared(
                &TEMPLATES,
                Arc::new(template(
                    metadata.namespace(),
                    metadata.controller().map(|owner| owner.uid.as_str()).unwrap_or_default(),
                    metadata.labels.clone().unwrap_or_default(),
                    spec,
                )),
            ),
        }
    }
}

impl View for PodView {
    type Kind = Pod;
    const FIELDS: &'static [&'static str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "metadata.resourceVersion",
        "metadata.labels",
        "metadata.deletionTimestamp",
        "metadata.ownerReferences",
        "spec.nodeName",
        "spec.schedulerName",
        "spec.schedulingGates",
        "spec.priority",
        "spec.tolerations",
        "spec.nodeSelector",
        "spec.affinity.nodeAffinity",
        "spec.topologySpreadConstraints",
        "spec.overhead",
        "spec.resources",
        "spec.containers.resources",
        "spec.containers.ports",
        "spec.initContainers.resources",
        "spec.initContainers.restartPolicy",
        "spec.initContainers.ports",
        "status.phase",
    ];

    fn key(&self) -> ObjectKey {
        self.key.clone()
    }

    fn revision(&self) -> i64 {
        self.revision
    }
}

/// Copies that views share. Unused ones are dropped when the set has doubled.
struct Shared<T: ?Sized> {
    known: HashSet<Arc<T>>,
    sweep_at: usize,
}

type SharedSet<T> = LazyLock<Mutex<Shared<T>>>;

static TEMPLATES: SharedSet<PodTemplate> = LazyLock::new(Default::default);
static SCHEDULERS: SharedSet<str> = LazyLock::new(Default::default);

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { known: HashSet::new(), sweep_at: 64 }
    }
}

fn shared<T: ?Sized + Eq + std::hash::Hash>(set: &Mutex<Shared<T>>, value: Arc<T>) -> Arc<T> {
    let mut set = set.lock();
    if let Some(known) = set.known.get(&value) {
        return Arc::clone(known);
    }
    if set.known.len() >= set.sweep_at {
        set.known.retain(|known| Arc::strong_count(known) > 1);
        set.sweep_at = 64.max(set.known.len() * 2);
    }
    set.known.insert(Arc::clone(&value));
    value
}

fn template(namespace: &str, controller: &str, labels: BTreeMap<String, String>, spec: PodSpec) -> PodTemplate {
    let (requests, score_milli_cpu, score_memory) = requests(&spec);
    let labels = Labels::from_iter(labels);
    let constraints = spec.topology_spread_constraints.unwrap_or_default();
    let node_affinity = spec.affinity.and_then(|affinity| affinity.node_affinity).unwrap_or_default();
    let selector = spec.node_selector.unwrap_or_default();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)));
    PodTemplate {
        namespace: namespace.into(),
        controller: controller.into(),
        requests,
        score_milli_cpu,
        score_memory,
        // A pod that names its node is bound already and is never scheduled.
        node_name: "".into(),
        tolerations: spec
            .tolerations
            .unwrap_or_default()
            .into_iter()
            .map(|toleration| Toleration {
                comparison: match toleration.operator.as_deref().unwrap_or_default() {
                    "" | "Equal" => Comparison::Equal,
                    "Exists" => Comparison::Exists,
                    "Lt" => Comparison::Lt,
                    "Gt" => Comparison::Gt,
                    _ => Comparison::Unknown,
                },
                key: toleration.key.unwrap_or_default().into(),
                value: toleration.value.unwrap_or_default().into(),
                effect: toleration.effect.filter(|effect| !effect.is_empty()).map(|effect| effect.as_str().into()),
            })
            .collect(),
        node_selector: selector.iter().map(|(key, value)| Requirement::equals(key, value)).collect(),
        required_terms: node_affinity
            .required_during_scheduling_ignored_during_execution
            .map(|required| required.node_selector_terms.into_iter().map(term).collect()),
        preferred_terms: node_affinity
            .preferred_during_scheduling_ignored_during_execution
            .unwrap_or_default()
            .into_iter()
            .map(|preferred| (i64::from(preferred.weight), term(preferred.preference)))
            .collect(),
        host_ports: containers.flat_map(host_ports).collect(),
        spread: constraints.into_iter().map(|constraint| spread(constraint, &labels)).collect(),
        priority: spec.priority.unwrap_or_default(),
        labels,
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// What a container requests, and what scores take it for.
fn of_container(container: &Container) -> (Resources, i64, i64) {
    let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let requests = amount::resources(list, i64::MAX);
    let asks = |name: &str| list.is_some_and(|list| list.contains_key(name));
    let cpu = if asks("cpu") { requests.milli_cpu } else { SCORED_MILLI_CPU };
    let memory = if asks("memory") { requests.memory } else { SCORED_MEMORY };
    (requests, cpu, memory)
}

/// What a pod requests: all containers and sidecars together, or an init container with the sidecars started before
/// it, whichever is more; what is set for the whole pod replaces that; the overhead comes on top.
fn requests(spec: &PodSpec) -> (Resources, i64, i64) {
    type Sum = (Resources, i64, i64);
    let add = |sum: &mut Sum, one: &Sum| {
        sum.0.add(&one.0);
        sum.1 = sum.1.saturating_add(one.1);
        sum.2 = sum.2.saturating_add(one.2);
    };
    let mut running = Sum::default();
    for container in &spec.containers {
        add(&mut running, &of_container(container));
    }
    let (mut sidecars, mut starting) = (Sum::default(), Sum::default());
    for container in spec.init_containers.iter().flatten() {
        let mut one = of_container(container);
        if is_sidecar(container) {
            add(&mut running, &one);
            add(&mut sidecars, &one);
            one = sidecars.clone();
        } else {
            add(&mut one, &sidecars);
        }
        starting.0.raise_to(&one.0);
        starting.1 = starting.1.max(one.1);
        starting.2 = starting.2.max(one.2);
    }
    running.0.raise_to(&starting.0);
    let (mut requests, mut cpu, mut memory) = (running.0, running.1.max(starting.1), running.2.max(starting.2));
    if let Some(of_pod) = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()) {
        replace(&mut requests, of_pod);
        cpu = if of_pod.contains_key("cpu") { requests.milli_cpu } else { cpu };
        memory = if of_pod.contains_key("memory") { requests.memory } else { memory };
    }
    let overhead = amount::resources(spec.overhead.as_ref(), i64::MAX);
    requests.add(&overhead);
    (requests, cpu.saturating_add(overhead.milli_cpu), memory.saturating_add(overhead.memory))
}

fn replace(requests: &mut Resources, list: &BTreeMap<String, Quantity>) {
    let given = amount::resources(Some(list), i64::MAX);
    for name in list.keys() {
        let amount = match name.as_str() {
            "cpu" => given.milli_cpu,
            "memory" => given.memory,
            "ephemeral-storage" => given.ephemeral_storage,
            name => given.named(name),
        };
        requests.change(name, |_| amount);
    }
}

fn host_ports(container: &Container) -> impl Iterator<Item = HostPort> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.as_deref().filter(|address| !address.is_empty()).unwrap_or("0.0.0.0");
        let protocol = port.protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or("TCP");
        Some(HostPort { address: address.into(), protocol: protocol.into(), port: number })
    })
}

fn requirement(requirement: NodeSelectorRequirement) -> Requirement {
    let values = requirement.values.unwrap_or_default();
    Requirement {
        key: requirement.key.into(),
        operator: requirement.operator.as_str().into(),
        values: values.into_iter().map(Into::into).collect(),
    }
}

fn term(term: NodeSelectorTerm) -> Term {
    let all = |requirements: Option<Vec<NodeSelectorRequirement>>| {
        requirements.unwrap_or_default().into_iter().map(requirement).collect()
    };
    Term { expressions: all(term.match_expressions), fields: all(term.match_fields) }
}

fn spread(constraint: TopologySpreadConstraint, labels: &Labels) -> SpreadConstraint {
    let of_pod = constraint.match_label_keys.unwrap_or_default();
    let of_pod = of_pod.iter().filter_map(|key| labels.get(key).map(|value| Requirement::equals(key, value)));
    SpreadConstraint {
        topology_key: constraint.topology_key.into(),
        max_skew: i64::from(constraint.max_skew),
        min_domains: constraint.min_domains.and_then(|domains| usize::try_from(domains).ok()).unwrap_or(1),
        unsatisfiable: match constraint.when_unsatisfiable.as_str() {
            "ScheduleAnyway" => Unsatisfiable::ScheduleAnyway,
            _ => Unsatisfiable::DoNotSchedule,
        },
        selector: constraint.label_selector.map(|selector| label_requirements(selector).chain(of_pod).collect()),
        honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn label_requirements(selector: LabelSelector) -> impl Iterator<Item = Requirement> {
    let labels = selector.match_labels.unwrap_or_default().into_iter();
    let expressions = selector.match_expressions.unwrap_or_default().into_iter();
    labels.map(|(key, value)| Requirement::equals(&key, &value)).chain(expressions.map(|expression| Requirement {
        key: expression.key.into(),
        operator: match expression.operator.as_str() {
            // Numbers are compared in node affinity only.
            "Gt" | "Lt" => Operator::Unknown,
            operator => operator.into(),
        },
        values: expression.values.unwrap_or_default().into_iter().map(Into::into).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn view(name: &str, spec: Value) -> PodView {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "5",
                "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "o", "controller": true}],
            },
            "spec": spec,
        }))
        .unwrap()
    }

    fn asks(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": cpu, "memory": memory}})
    }

    #[test]
    fn pods_of_one_template_share_it() {
        let spec = || json!({"containers": [{"resources": asks("100m", "1Mi")}]});
        let (one, other) = (view("a", spec()), view("b", spec()));
        assert!(Arc::ptr_eq(&one.template, &other.template));
        assert_ne!(one.key, other.key);
        assert_eq!((one.revision(), &*one.template.controller), (5, "o"));
    }

    #[test]
    fn requests_cover_containers_sidecars_init_containers_and_overhead() {
        let spec = json!({
            "containers": [{"resources": asks("100m", "10")}, {"resources": asks("200m", "20")}],
            "initContainers": [
                {"resources": asks("50m", "5"), "restartPolicy": "Always"},
                {"resources": asks("900m", "1")},
            ],
            "overhead": {"cpu": "10m"},
        });
        let template = view("a", spec).template;
        assert_eq!((template.requests.milli_cpu, template.requests.memory), (960, 35));
    }

    #[test]
    fn requests_of_the_pod_replace_those_of_its_containers() {
        let spec = json!({"containers": [{"resources": asks("100m", "10")}], "resources": {"requests": {"cpu": "1"}}});
        let template = view("a", spec).template;
        assert_eq!((template.requests.milli_cpu, template.requests.memory), (1000, 10));
    }

    #[test]
    fn scores_take_containers_that_ask_for_nothing_for_something() {
        let template = view("a", json!({"containers": [{}, {}]})).template;
        assert_eq!((template.requests.milli_cpu, template.score_milli_cpu), (0, 200));
        assert_eq!((template.requests.memory, template.score_memory), (0, 400 << 20));
    }

    #[test]
    fn constraints_carry_the_labels_that_the_pod_adds() {
        let spec = json!({"containers": [], "topologySpreadConstraints": [{
            "topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, "matchLabelKeys": ["app", "none"],
        }]});
        let template = view("a", spec).template;
        let constraint = &template.spread[0];
        assert_eq!((constraint.max_skew, constraint.unsatisfiable), (2, Unsatisfiable::DoNotSchedule));
        let keys: Vec<&str> = constraint.selector.iter().flatten().map(|requirement| &*requirement.key).collect();
        assert_eq!(keys, ["tier", "app"]);
        assert!(constraint.honor_affinity && !constraint.honor_taints);
    }

    #[test]
    fn what_changes_in_a_life_is_beside_the_template() {
        let bound = view("a", json!({"containers": [], "nodeName": "n1", "schedulerName": "mine"}));
        assert_eq!((bound.node.as_deref(), &*bound.scheduler), (Some("n1"), "mine"));
        let gated = view("a", json!({"containers": [], "schedulingGates": [{"name": "quota"}]}));
        assert!(gated.gated && gated.node.is_none());
        assert_eq!(&*gated.scheduler, "default-scheduler");
    }
}
