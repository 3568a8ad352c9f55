//! Deployments and replica sets.

use serde_json::Value;

use super::pod::pod_template;
use super::writer::Writer;
use super::{Subject, controller, plain_or, time};
use crate::merge::LAST_APPLIED;
use crate::value::{at, count, int, items, name, namespace, text};
use crate::verbs::common::selector_text;

/// Describes a deployment; its replica sets are related.
pub fn deployment(writer: &mut Writer, subject: &Subject) {
    let object = &subject.object;
    writer.field(0, "Name", name(object));
    writer.field(0, "Namespace", namespace(object));
    writer.field(0, "CreationTimestamp", &time(object, "metadata.creationTimestamp"));
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.field(0, "Selector", &selector_text(at(object, "spec.selector").unwrap_or(&Value::Null)));
    let status = |field: &str| count(object, &format!("status.{field}"));
    writer.field(
        0,
        "Replicas",
        &format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            int(object, "spec.replicas").unwrap_or(1),
            status("updatedReplicas"),
            status("replicas"),
            status("availableReplicas"),
            status("unavailableReplicas")
        ),
    );
    writer.field(0, "StrategyType", text(object, "spec.strategy.type"));
    writer.field(0, "MinReadySeconds", &count(object, "spec.minReadySeconds").to_string());
    if at(object, "spec.strategy.rollingUpdate").is_some() {
        let part = |field: &str| plain_or(object, &format!("spec.strategy.rollingUpdate.{field}"), "25%");
        writer.field(
            0,
            "RollingUpdateStrategy",
            &format!("{} max unavailable, {} max surge", part("maxUnavailable"), part("maxSurge")),
        );
    }
    pod_template(writer, at(object, "spec.template").unwrap_or(&Value::Null));
    conditions(writer, object);
    let own: Vec<&Value> = subject
        .related
        .iter()
        .filter(|set| {
            items(set, "metadata.ownerReferences")
                .iter()
                .any(|owner| text(owner, "uid") == text(object, "metadata.uid"))
        })
        .collect();
    let template_of = |set: &Value| {
        let mut template = at(set, "spec.template").cloned().unwrap_or(Value::Null);
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.shift_remove("pod-template-hash");
        }
        template
    };
    let wanted = at(object, "spec.template").cloned().unwrap_or(Value::Null);
    let (new, old): (Vec<&Value>, Vec<&Value>) = own.into_iter().partition(|set| template_of(set) == wanted);
    let list = |sets: &[&Value]| -> String {
        let texts: Vec<String> = sets
            .iter()
            .map(|set| {
                format!(
                    "{} ({}/{} replicas created)",
                    name(set),
                    count(set, "status.replicas"),
                    count(set, "spec.replicas")
                )
            })
            .collect();
        if texts.is_empty() { "<none>".to_owned() } else { texts.join(", ") }
    };
    if !old.is_empty() || !new.is_empty() {
        writer.field(0, "OldReplicaSets", &list(&old));
        writer.field(0, "NewReplicaSet", &list(&new));
    }
}

/// Describes a replica set; its pods are related.
pub fn replica_set(writer: &mut Writer, subject: &Subject) {
    let object = &subject.object;
    writer.field(0, "Name", name(object));
    writer.field(0, "Namespace", namespace(object));
    writer.field(0, "Selector", &selector_text(at(object, "spec.selector").unwrap_or(&Value::Null)));
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.optional(0, "Controlled By", &controller(object));
    writer.field(
        0,
        "Replicas",
        &format!(
            "{} current / {} desired",
            count(object, "status.replicas"),
            int(object, "spec.replicas").unwrap_or(1)
        ),
    );
    pods_status(writer, subject);
    pod_template(writer, at(object, "spec.template").unwrap_or(&Value::Null));
    conditions(writer, object);
}

/// Describes a stateful set; its pods are related.
pub fn stateful_set(writer: &mut Writer, subject: &Subject) {
    let object = &subject.object;
    writer.field(0, "Name", name(object));
    writer.field(0, "Namespace", namespace(object));
    writer.field(0, "CreationTimestamp", &time(object, "metadata.creationTimestamp"));
    writer.field(0, "Selector", &selector_text(at(object, "spec.selector").unwrap_or(&Value::Null)));
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[LAST_APPLIED]);
    let desired = int(object, "spec.replicas").unwrap_or(1);
    writer.field(0, "Replicas", &format!("{desired} desired | {} total", count(object, "status.replicas")));
    writer.field(0, "Update Strategy", text(object, "spec.updateStrategy.type"));
    if let Some(partition) = int(object, "spec.updateStrategy.rollingUpdate.partition") {
        writer.field(1, "Partition", &partition.to_string());
    }
    pods_status(writer, subject);
    pod_template(writer, at(object, "spec.template").unwrap_or(&Value::Null));
    let claims = items(object, "spec.volumeClaimTemplates");
    if claims.is_empty() {
        writer.field(0, "Volume Claims", "<none>");
    } else {
        writer.line(0, "Volume Claims:");
    }
    for claim in claims {
        writer.field(1, "Name", name(claim));
        writer.field(1, "StorageClass", text(claim, "spec.storageClassName"));
        writer.map(1, "Labels", claim, "metadata.labels", "=", &[]);
        writer.map(1, "Annotations", claim, "metadata.annotations", "=", &[]);
        let capacity = at(claim, "spec.resources.requests").and_then(|amounts| amounts.get("storage"));
        writer.field(1, "Capacity", &capacity.map_or_else(|| "<default>".to_owned(), crate::value::plain));
        let modes: Vec<String> = items(claim, "spec.accessModes").iter().map(crate::value::plain).collect();
        writer.field(1, "Access Modes", &format!("[{}]", modes.join(" ")));
    }
}

/// Describes a daemon set; its pods are related.
pub fn daemon_set(writer: &mut Writer, subject: &Subject) {
    let object = &subject.object;
    writer.field(0, "Name", name(object));
    writer.field(0, "Namespace", namespace(object));
    writer.field(0, "Selector", &selector_text(at(object, "spec.selector").unwrap_or(&Value::Null)));
    writer.map(0, "Node-Selector", object, "spec.template.spec.nodeSelector", "=", &[]);
    writer.map(0, "Labels", object, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", object, "metadata.annotations", ": ", &[LAST_APPLIED]);
    for (label, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        writer.line(0, &format!("{label}: {}", count(object, &format!("status.{field}"))));
    }
    pods_status(writer, subject);
    pod_template(writer, at(object, "spec.template").unwrap_or(&Value::Null));
}

/// How many of the object's own pods are in each phase.
fn pods_status(writer: &mut Writer, subject: &Subject) {
    let uid = text(&subject.object, "metadata.uid");
    let owned = |pod: &&Value| items(pod, "metadata.ownerReferences").iter().any(|owner| text(owner, "uid") == uid);
    let phases =
        |phase: &str| subject.related.iter().filter(owned).filter(|pod| text(pod, "status.phase") == phase).count();
    writer.field(
        0,
        "Pods Status",
        &format!(
            "{} Running / {} Waiting / {} Succeeded / {} Failed",
            phases("Running"),
            phases("Pending"),
            phases("Succeeded"),
            phases("Failed")
        ),
    );
}

fn conditions(writer: &mut Writer, object: &Value) {
    let conditions = items(object, "status.conditions");
    if conditions.is_empty() {
        return;
    }
    writer.line(0, "Conditions:");
    let rows: Vec<Vec<String>> = conditions
        .iter()
        .map(|condition| ["type", "status", "reason"].map(|field| text(condition, field).to_owned()).to_vec())
        .collect();
    writer.table(1, &["Type", "Status", "Reason"], &rows);
}
