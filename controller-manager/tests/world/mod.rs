//! A cluster in memory: objects by resource and key, the controllers' turns, and commands that play user and kubelet.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use reeve_api::meta::MetaExt as _;
use reeve_controller_manager::action::Action;
use reeve_controller_manager::view::PodView;
use reeve_controller_manager::{deployment, replicaset};
use serde_json::{Value, json};

/// A turn that changes nothing ends the run; more turns than this mean that the controllers never come to rest.
const TURNS_MAX: usize = 500;

/// The cluster.
pub struct World {
    objects: BTreeMap<(String, String), Value>,
    pub now: Timestamp,
    revision: i64,
    names: u32,
}

impl World {
    /// An empty cluster.
    pub fn new() -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { objects: BTreeMap::new(), now, revision: 0, names: 0 }
    }

    /// Performs a command and lets the controllers come to rest; returns what they did.
    pub fn command(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["apply", "deployment", name, fields @ ..] => self.apply(name, fields),
            ["apply", "replicaset", name, fields @ ..] => self.apply_replica_set(name, fields),
            ["annotate", "deployment", name, pair] => {
                let (key, value) = pair.split_once('=').unwrap();
                self.patch(("deployments", name), &json!({"metadata": {"annotations": {key: value}}}));
            }
            ["orphan", resource, name] => {
                let name = self.resolve(resource, name);
                self.patch((resource, &name), &json!({"metadata": {"ownerReferences": null}}));
            }
            ["label", resource, name, pair] => {
                let (key, value) = pair.split_once('=').unwrap();
                let value = if value.is_empty() { Value::Null } else { json!(value) };
                let name = self.resolve(resource, name);
                self.patch((resource, &name), &json!({"metadata": {"labels": {key: value}}}));
            }
            ["tick", seconds] => {
                let seconds = seconds.trim_end_matches('s').parse().unwrap();
                self.now += SignedDuration::from_secs(seconds);
            }
            ["pod", "ready", which] => self.pods_ready(which, true),
            ["pod", "unready", which] => self.pods_ready(which, false),
            ["pod", "gone"] => self.remove_deleted_pods(),
            ["pod", "delete", name] => {
                let name = self.resolve("pods", name);
                self.delete("pods", &name);
            }
            ["show"] => return self.show(),
            ["status", name] => return self.status(name),
            _ => panic!("unknown command: {line}"),
        }
        self.settle()
    }

    fn stamp(&mut self, resource: &str, name: &str, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.insert((resource.to_owned(), name.to_owned()), object);
    }

    fn create(&mut self, resource: &str, mut object: Value) -> String {
        self.names += 1;
        let meta = &mut object["metadata"];
        if meta["name"].is_null() {
            meta["name"] = json!(format!("{}{}", meta["generateName"].as_str().unwrap(), self.names));
        }
        let name = meta["name"].as_str().unwrap().to_owned();
        meta["namespace"] = json!("shop");
        meta["uid"] = json!(format!("uid-{:04}", self.names));
        meta["creationTimestamp"] = json!(self.now.to_string());
        meta["generation"] = json!(1);
        assert!(!self.objects.contains_key(&(resource.to_owned(), name.clone())), "{resource} {name} exists");
        self.stamp(resource, &name, object);
        name
    }

    fn patch(&mut self, (resource, name): (&str, &str), patch: &Value) {
        let mut object = self.objects[&(resource.to_owned(), name.to_owned())].clone();
        if let Some(version) = patch["metadata"]["resourceVersion"].as_str() {
            assert_eq!(object["metadata"]["resourceVersion"], version, "decided on an old version: {patch}");
        }
        let before = object["spec"].clone();
        merge(&mut object, patch);
        if object["spec"] != before {
            object["metadata"]["generation"] = json!(object["metadata"]["generation"].as_i64().unwrap() + 1);
        }
        self.stamp(resource, name, object);
    }

    /// Applies a Deployment with fields like `replicas=3`.
    pub fn apply(&mut self, name: &str, fields: &[&str]) {
        let mut spec = json!({
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}},
        });
        for field in fields {
            let (key, value) = field.split_once('=').unwrap();
            let number: Value = value.parse::<i64>().map_or_else(|_| json!(value), |number| json!(number));
            match key {
                "image" => spec["template"]["spec"]["containers"][0]["image"] = json!(value),
                "maxSurge" | "maxUnavailable" => spec["strategy"]["rollingUpdate"][key] = number,
                "strategy" => spec["strategy"]["type"] = json!(value),
                "paused" => spec["paused"] = json!(value == "true"),
                _ => spec[key] = number,
            }
        }
        let key = ("deployments".to_owned(), name.to_owned());
        if self.objects.contains_key(&key) {
            self.patch(("deployments", name), &json!({"spec": spec}));
        } else {
            self.create("deployments", json!({"metadata": {"name": name}, "spec": spec}));
        }
    }

    fn apply_replica_set(&mut self, name: &str, fields: &[&str]) {
        let replicas: i64 = fields[0].split_once('=').unwrap().1.parse().unwrap();
        let app = fields[1].split_once('=').unwrap().1;
        let labels = json!({"app": app, "by": "hand"});
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "hand"}]}});
        let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
        self.create("replicasets", json!({"metadata": {"name": name, "labels": labels}, "spec": spec}));
    }

    /// A name, or `first` for the oldest pod.
    fn resolve(&self, resource: &str, name: &str) -> String {
        if name != "first" {
            return name.to_owned();
        }
        let of = self.objects.iter().filter(|((present, _), _)| present == resource);
        let oldest = of.min_by_key(|(_, object)| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned());
        oldest.map(|((_, name), _)| name.clone()).unwrap()
    }

    /// Makes pods ready or not: `all`, or `N` of those that are not.
    pub fn pods_ready(&mut self, which: &str, ready: bool) {
        let wanted = if ready { "True" } else { "False" };
        let mut names: Vec<String> = Vec::new();
        for ((resource, name), object) in &self.objects {
            let meta = &object["metadata"];
            let is = object["status"]["conditions"][0]["status"] == wanted;
            if resource == "pods" && !is && meta["deletionTimestamp"].is_null() {
                names.push(name.clone());
            }
        }
        names.sort_by_key(|name| self.objects[&("pods".to_owned(), name.clone())]["metadata"]["uid"].to_string());
        if which != "all" {
            names.truncate(which.parse().unwrap());
        }
        for name in names {
            let condition = json!({"type": "Ready", "status": wanted, "lastTransitionTime": self.now.to_string()});
            self.patch(("pods", &name), &json!({"status": {"phase": "Running", "conditions": [condition]}}));
        }
    }

    /// The kubelet has ended the pods that were told to go.
    pub fn remove_deleted_pods(&mut self) {
        self.objects
            .retain(|(resource, _), object| resource != "pods" || object["metadata"]["deletionTimestamp"].is_null());
    }

    fn delete(&mut self, resource: &str, name: &str) {
        if resource == "pods" {
            self.patch((resource, name), &json!({"metadata": {"deletionTimestamp": self.now.to_string()}}));
        } else {
            self.objects.remove(&(resource.to_owned(), name.to_owned()));
        }
    }

    fn all<K: serde::de::DeserializeOwned>(&self, resource: &str) -> Vec<Arc<K>> {
        let of = self.objects.iter().filter(|((present, _), _)| present == resource);
        of.map(|(_, object)| Arc::new(serde_json::from_value(object.clone()).unwrap())).collect()
    }

    /// The active pods.
    pub fn pods(&self) -> Vec<Arc<PodView>> {
        self.all::<PodView>("pods").into_iter().filter(|pod| pod.is_active()).collect()
    }

    /// Lets each controller take turns until none has anything to write.
    pub fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..TURNS_MAX {
            if !self.turn(&mut told) {
                return told;
            }
        }
        panic!("the controllers do not come to rest:\n{}", told[told.len() - 20..].join("\n"));
    }

    /// One turn of each key; tells whether anything was written.
    pub fn turn(&mut self, told: &mut Vec<String>) -> bool {
        let mut wrote = false;
        for deployment in self.all::<Deployment>("deployments") {
            let replica_sets = self.all::<ReplicaSet>("replicasets");
            let pods = self.all::<PodView>("pods");
            let pods_of = |uid: &str| {
                let of = |pod: &&Arc<PodView>| pod.metadata.controller().is_some_and(|owner| owner.uid == uid);
                pods.iter().filter(of).cloned().collect()
            };
            let observed =
                deployment::Observed { deployment: &deployment, replica_sets: &replica_sets, pods_of: &pods_of };
            let actions = deployment::reconcile(&observed, self.now);
            wrote |= self.perform(actions, told);
        }
        for replica_set in self.all::<ReplicaSet>("replicasets") {
            let pods = self.all::<PodView>("pods");
            let observed = replicaset::Observed { replica_set: &replica_set, pods: &pods, related_on_node: &|_| 1 };
            let mut actions = replicaset::reconcile(&observed, self.now);
            if actions.is_empty() {
                actions = replicaset::reconcile_status(&replica_set, &pods, None, self.now);
            }
            wrote |= self.perform(actions, told);
        }
        wrote
    }

    fn perform(&mut self, actions: Vec<Action>, told: &mut Vec<String>) -> bool {
        let mut wrote = false;
        for action in actions {
            wrote |= action.is_write();
            // Status writes are many and say what `status` shows; the others tell the story.
            let quiet = match &action {
                Action::Patch { subresource: "status", patch, .. } => patch.get("status").is_some(),
                other => matches!(other, Action::Again(_)),
            };
            if !quiet {
                told.push(action.to_string());
            }
            match action {
                Action::Create { resource, object, copies, .. } => {
                    for _ in 0..copies {
                        self.create(&resource.resource, (*object).clone());
                    }
                }
                Action::Patch { resource, key, patch, .. } => self.patch((&resource.resource, &key.name), &patch),
                Action::Delete { resource, key, .. } => self.delete(&resource.resource, &key.name),
                Action::Event { .. } | Action::Again(_) => {}
                other => panic!("not a write of these controllers: {other}"),
            }
        }
        wrote
    }

    fn show(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for replica_set in self.all::<ReplicaSet>("replicasets") {
            let meta = &replica_set.metadata;
            let spec = replica_set.spec.as_ref().unwrap();
            let image = spec.template.as_ref().and_then(|one| one.spec.as_ref()?.containers[0].image.clone());
            let status = replica_set.status.clone().unwrap_or_default();
            lines.push(format!(
                "replicaset {} image={} revision={} wants={} has={} ready={} available={}{}",
                meta.name(),
                image.unwrap_or_default(),
                meta.annotation("deployment.kubernetes.io/revision").unwrap_or("-"),
                spec.replicas.unwrap_or(1),
                status.replicas,
                status.ready_replicas.unwrap_or(0),
                status.available_replicas.unwrap_or(0),
                meta.controller().map_or_else(|| " (nobody's)".to_owned(), |_| String::new()),
            ));
        }
        lines
    }

    fn status(&self, name: &str) -> Vec<String> {
        let key = ("deployments".to_owned(), name.to_owned());
        let deployment: Deployment = serde_json::from_value(self.objects[&key].clone()).unwrap();
        let status = deployment.status.unwrap_or_default();
        let count = |count: Option<i32>| count.unwrap_or(0);
        let mut lines = vec![format!(
            "replicas={} updated={} ready={} available={} unavailable={} terminating={}",
            count(status.replicas),
            count(status.updated_replicas),
            count(status.ready_replicas),
            count(status.available_replicas),
            count(status.unavailable_replicas),
            count(status.terminating_replicas),
        )];
        for condition in status.conditions.unwrap_or_default() {
            lines.push(format!(
                "{}={} {}: {}",
                condition.type_,
                condition.status,
                condition.reason.unwrap_or_default(),
                condition.message.unwrap_or_default()
            ));
        }
        lines
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().shift_remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}
