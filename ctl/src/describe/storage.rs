//! Claims, volumes and classes of storage.

use serde_json::Value;

use super::writer::Writer;
use super::{Subject, plain_or, terminating, time};
use crate::merge::LAST_APPLIED;
use crate::value::{at, entries, flag, items, name, namespace, plain, text};

/// `RWO,ROX`.
fn modes(object: &Value, path: &str) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO".to_owned(),
        "ReadOnlyMany" => "ROX".to_owned(),
        "ReadWriteMany" => "RWX".to_owned(),
        "ReadWriteOncePod" => "RWOP".to_owned(),
        other => other.to_owned(),
    };
    items(object, path).iter().map(short).collect::<Vec<_>>().join(",")
}

fn finalizers(writer: &mut Writer, object: &Value) {
    let list: Vec<String> = items(object, "metadata.finalizers").iter().map(plain).collect();
    writer.field(0, "Finalizers", &format!("[{}]", list.join(" ")));
}

/// The state, and what it waits for while it goes.
fn phase(writer: &mut Writer, object: &Value) {
    match terminating(object) {
        Some(since) => writer.state(0, "Status", &format!("Terminating (since {since})")),
        None => writer.state(0, "Status", text(object, "status.phase")),
    }
}

/// Describes a claim; the pods of its namespace are related.
pub fn claim(writer: &mut Writer, subject: &Subject) {
    let claim = &subject.object;
    writer.field(0, "Name", name(claim));
    writer.field(0, "Namespace", namespace(claim));
    writer.field(0, "StorageClass", text(claim, "spec.storageClassName"));
    phase(writer, claim);
    writer.field(0, "Volume", text(claim, "spec.volumeName"));
    writer.map(0, "Labels", claim, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", claim, "metadata.annotations", ": ", &[LAST_APPLIED]);
    finalizers(writer, claim);
    let bound = !text(claim, "spec.volumeName").is_empty();
    let capacity = if bound { plain_or(claim, "status.capacity.storage", "") } else { String::new() };
    writer.field(0, "Capacity", &capacity);
    writer.field(0, "Access Modes", &if bound { modes(claim, "status.accessModes") } else { String::new() });
    writer.optional(0, "VolumeMode", text(claim, "spec.volumeMode"));
    if let Some(source) = at(claim, "spec.dataSource") {
        writer.line(0, "DataSource:");
        writer.optional(1, "APIGroup", text(source, "apiGroup"));
        writer.field(1, "Kind", text(source, "kind"));
        writer.field(1, "Name", text(source, "name"));
    }
    let uses = |pod: &&Value| {
        let volumes = items(pod, "spec.volumes");
        volumes.iter().any(|volume| text(volume, "persistentVolumeClaim.claimName") == name(claim))
    };
    let pods: Vec<String> = subject.related.iter().filter(uses).map(|pod| name(pod).to_owned()).collect();
    writer.texts(0, "Used By", &pods);
    let conditions = items(claim, "status.conditions");
    if !conditions.is_empty() {
        writer.line(0, "Conditions:");
        let headers = ["Type", "Status", "LastProbeTime", "LastTransitionTime", "Reason", "Message"];
        let rows: Vec<Vec<String>> = conditions
            .iter()
            .map(|one| {
                let [kind, status, reason, message] =
                    ["type", "status", "reason", "message"].map(|key| text(one, key).to_owned());
                vec![kind, status, time(one, "lastProbeTime"), time(one, "lastTransitionTime"), reason, message]
            })
            .collect();
        writer.table(1, &headers, &rows);
    }
}

/// Describes a volume.
pub fn volume(writer: &mut Writer, volume: &Value) {
    writer.field(0, "Name", name(volume));
    writer.map(0, "Labels", volume, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", volume, "metadata.annotations", ": ", &[LAST_APPLIED]);
    finalizers(writer, volume);
    writer.field(0, "StorageClass", text(volume, "spec.storageClassName"));
    phase(writer, volume);
    let claim = match (text(volume, "spec.claimRef.namespace"), text(volume, "spec.claimRef.name")) {
        (_, "") => String::new(),
        (scope, name) => format!("{scope}/{name}"),
    };
    writer.field(0, "Claim", &claim);
    writer.field(0, "Reclaim Policy", text(volume, "spec.persistentVolumeReclaimPolicy"));
    writer.field(0, "Access Modes", &modes(volume, "spec.accessModes"));
    writer.optional(0, "VolumeMode", text(volume, "spec.volumeMode"));
    writer.field(0, "Capacity", &plain_or(volume, "spec.capacity.storage", ""));
    affinity(writer, volume);
    writer.field(0, "Message", text(volume, "status.message"));
    writer.line(0, "Source:");
    super::pod::volume_source(writer, at(volume, "spec").unwrap_or(&Value::Null), 2);
}

fn affinity(writer: &mut Writer, volume: &Value) {
    let terms = items(volume, "spec.nodeAffinity.required.nodeSelectorTerms");
    if terms.is_empty() {
        writer.field(0, "Node Affinity", "<none>");
        return;
    }
    writer.line(0, "Node Affinity:");
    writer.line(1, "Required Terms:");
    for (index, term) in terms.iter().enumerate() {
        let texts: Vec<String> = items(term, "matchExpressions")
            .iter()
            .map(|one| {
                let values: Vec<String> = items(one, "values").iter().map(plain).collect();
                let operator = text(one, "operator").to_lowercase();
                format!("{} {operator} [{}]", text(one, "key"), values.join(", "))
            })
            .collect();
        writer.texts(2, &format!("Term {index}"), &texts);
    }
}

/// Describes a class.
pub fn class(writer: &mut Writer, class: &Value) {
    const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
    writer.field(0, "Name", name(class));
    let annotations = entries(class, "metadata.annotations");
    let is_default = annotations.iter().any(|(key, value)| *key == DEFAULT && *value == "true");
    writer.field(0, "IsDefaultClass", if is_default { "Yes" } else { "No" });
    writer.field(0, "Annotations", &joined(&annotations));
    writer.field(0, "Provisioner", text(class, "provisioner"));
    writer.field(0, "Parameters", &joined(&entries(class, "parameters")));
    let expansion = at(class, "allowVolumeExpansion").map(|_| flag(class, "allowVolumeExpansion"));
    let expansion = expansion.map_or("<unset>", |allowed| if allowed { "True" } else { "False" });
    writer.field(0, "AllowVolumeExpansion", expansion);
    let options: Vec<String> = items(class, "mountOptions").iter().map(plain).collect();
    if options.is_empty() {
        writer.field(0, "MountOptions", "<none>");
    } else {
        writer.line(0, "MountOptions:");
        options.iter().for_each(|option| writer.line(1, option));
    }
    writer.optional(0, "ReclaimPolicy", text(class, "reclaimPolicy"));
    writer.optional(0, "VolumeBindingMode", text(class, "volumeBindingMode"));
}

/// `a=b,c=d`.
pub fn joined(pairs: &[(&str, &Value)]) -> String {
    let texts: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", plain(value))).collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}
