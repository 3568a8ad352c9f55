//! `describe`: what a person wants to know about an object, as text. Pure functions of objects that were read before.

pub mod access;
pub mod batch;
pub mod data;
pub mod events;
pub mod generic;
pub mod namespace;
pub mod network;
pub mod node;
pub mod pod;
pub mod policy;
pub mod service;
pub mod storage;
pub mod workload;
pub mod writer;

use jiff::Timestamp;
use serde_json::Value;

use crate::output::colour::Palette;
use crate::value::{at, items, text};
use writer::Writer;

/// An object and what else its description shows.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The object.
    pub object: Value,
    /// Its events, or `None` when they could not be read.
    pub events: Option<Vec<Value>>,
    /// What belongs to it: a deployment's replica sets, a service's endpoint slices, a node's or a set's pods.
    pub related: Vec<Value>,
}

/// Kinds whose descriptions show no events, as kubectl has it.
const WITHOUT_EVENTS: [&str; 9] = [
    "Namespace",
    "ResourceQuota",
    "LimitRange",
    "Secret",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "NetworkPolicy",
];

/// The description of an object.
pub fn describe(kind: &str, subject: &Subject, palette: Palette, now: Timestamp) -> String {
    let mut writer = Writer::new(palette);
    match kind {
        "Pod" => pod::describe(&mut writer, &subject.object),
        "Node" => node::describe(&mut writer, &subject.object, &subject.related, now),
        "Deployment" => workload::deployment(&mut writer, subject),
        "ReplicaSet" => workload::replica_set(&mut writer, subject),
        "StatefulSet" => workload::stateful_set(&mut writer, subject),
        "DaemonSet" => workload::daemon_set(&mut writer, subject),
        "ReplicationController" => workload::replica_set(&mut writer, subject),
        "Job" => batch::job(&mut writer, subject),
        "CronJob" => batch::cron_job(&mut writer, subject),
        "PersistentVolumeClaim" => storage::claim(&mut writer, subject),
        "PersistentVolume" => storage::volume(&mut writer, &subject.object),
        "StorageClass" => storage::class(&mut writer, &subject.object),
        "ResourceQuota" => policy::quota(&mut writer, &subject.object),
        "LimitRange" => policy::limit_range(&mut writer, &subject.object),
        "HorizontalPodAutoscaler" => policy::autoscaler(&mut writer, &subject.object),
        "PodDisruptionBudget" => policy::budget(&mut writer, &subject.object),
        "PriorityClass" => policy::priority_class(&mut writer, &subject.object),
        "Role" | "ClusterRole" => access::role(&mut writer, &subject.object),
        "RoleBinding" | "ClusterRoleBinding" => access::binding(&mut writer, &subject.object),
        "ServiceAccount" => access::service_account(&mut writer, &subject.object, &subject.related),
        "CertificateSigningRequest" => access::signing_request(&mut writer, &subject.object),
        "ConfigMap" => data::config_map(&mut writer, &subject.object),
        "Secret" => data::secret(&mut writer, &subject.object),
        "Ingress" => network::ingress(&mut writer, subject),
        "NetworkPolicy" => network::policy(&mut writer, &subject.object),
        "Service" => service::describe(&mut writer, &subject.object, &subject.related),
        "Namespace" => namespace::describe(&mut writer, &subject.object, &subject.related),
        _ => generic::describe(&mut writer, &subject.object),
    }
    if !WITHOUT_EVENTS.contains(&kind) {
        events::describe(&mut writer, subject.events.as_deref(), now);
    }
    writer.finish()
}

/// A time as descriptions write it.
fn time(value: &Value, path: &str) -> String {
    match text(value, path).parse::<Timestamp>() {
        Ok(time) => time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        Err(_) => String::new(),
    }
}

/// Since when an object is going, if it is.
fn terminating(object: &Value) -> Option<String> {
    let since = time(object, "metadata.deletionTimestamp");
    (!since.is_empty()).then_some(since)
}

/// `ReplicaSet/web-1` of the object's controller.
fn controller(object: &Value) -> String {
    items(object, "metadata.ownerReferences")
        .iter()
        .find(|owner| crate::value::flag(owner, "controller"))
        .map(|owner| format!("{}/{}", text(owner, "kind"), text(owner, "name")))
        .unwrap_or_default()
}

/// A scalar at a path as text, or the given default.
fn plain_or(value: &Value, path: &str, default: &str) -> String {
    at(value, path).map_or_else(|| default.to_owned(), crate::value::plain)
}
