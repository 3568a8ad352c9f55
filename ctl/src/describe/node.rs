//! Nodes: what they are, how they are, and what they have given away.

use jiff::Timestamp;
use reeve_api::quantity::Quantity;
use serde_json::Value;

use super::writer::Writer;
use super::{plain_or, time};
use crate::merge::LAST_APPLIED;
use crate::output::age::since;
use crate::value::{entries, flag, items, name, namespace, plain, text};

/// The resources whose sums every node shows.
const ALWAYS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// Describes a node; its pods are related.
pub fn describe(writer: &mut Writer, node: &Value, pods: &[Value], now: Timestamp) {
    writer.field(0, "Name", name(node));
    let roles: Vec<&str> = entries(node, "metadata.labels")
        .into_iter()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    writer.field(0, "Roles", &if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") });
    writer.map(0, "Labels", node, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", node, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.field(0, "CreationTimestamp", &time(node, "metadata.creationTimestamp"));
    let taints: Vec<String> = items(node, "spec.taints")
        .iter()
        .map(|taint| match text(taint, "value") {
            "" => format!("{}:{}", text(taint, "key"), text(taint, "effect")),
            value => format!("{}={value}:{}", text(taint, "key"), text(taint, "effect")),
        })
        .collect();
    writer.texts(0, "Taints", &taints);
    writer.field(0, "Unschedulable", &flag(node, "spec.unschedulable").to_string());
    writer.line(0, "Conditions:");
    let rows: Vec<Vec<String>> = items(node, "status.conditions")
        .iter()
        .map(|condition| {
            vec![
                text(condition, "type").to_owned(),
                text(condition, "status").to_owned(),
                time(condition, "lastHeartbeatTime"),
                time(condition, "lastTransitionTime"),
                text(condition, "reason").to_owned(),
                text(condition, "message").to_owned(),
            ]
        })
        .collect();
    writer.table(1, &["Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"], &rows);
    writer.line(0, "Addresses:");
    for address in items(node, "status.addresses") {
        writer.field(1, text(address, "type"), text(address, "address"));
    }
    for (title, path) in [("Capacity", "status.capacity"), ("Allocatable", "status.allocatable")] {
        writer.line(0, &format!("{title}:"));
        entries(node, path).into_iter().for_each(|(resource, amount)| writer.field(1, resource, &plain(amount)));
    }
    writer.line(0, "System Info:");
    for (label, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        writer.field(1, label, text(node, &format!("status.nodeInfo.{field}")));
    }
    writer.optional(0, "PodCIDR", text(node, "spec.podCIDR"));
    let cidrs: Vec<String> = items(node, "spec.podCIDRs").iter().map(plain).collect();
    writer.optional(0, "PodCIDRs", &cidrs.join(","));
    writer.optional(0, "ProviderID", text(node, "spec.providerID"));
    allocated(writer, node, pods, now);
}

fn allocated(writer: &mut Writer, node: &Value, pods: &[Value], now: Timestamp) {
    let mut pods: Vec<&Value> =
        pods.iter().filter(|pod| !matches!(text(pod, "status.phase"), "Succeeded" | "Failed")).collect();
    pods.sort_by_key(|pod| (namespace(pod).to_owned(), name(pod).to_owned()));
    writer.field(0, "Non-terminated Pods", &format!("({} in total)", pods.len()));
    let capacity = |resource: &str| {
        let allocatable = plain_or(node, "status.allocatable", "");
        let path = if allocatable.is_empty() { "status.capacity" } else { "status.allocatable" };
        quantity(entries(node, path).into_iter().find(|(key, _)| *key == resource).map(|(_, amount)| amount))
    };
    let rows: Vec<Vec<String>> = pods
        .iter()
        .map(|pod| {
            let cell = |kind: &str, resource: &str| share(pod_sum(pod, kind, resource), capacity(resource));
            vec![
                namespace(pod).to_owned(),
                name(pod).to_owned(),
                cell("requests", "cpu"),
                cell("limits", "cpu"),
                cell("requests", "memory"),
                cell("limits", "memory"),
                since(text(pod, "metadata.creationTimestamp"), now),
            ]
        })
        .collect();
    let headers = ["Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age"];
    writer.table(1, &headers, &rows);
    writer.line(0, "Allocated resources:");
    writer.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    let mut resources: Vec<&str> = ALWAYS.to_vec();
    resources.extend(
        entries(node, "status.allocatable")
            .into_iter()
            .map(|(resource, _)| resource)
            .filter(|resource| !ALWAYS.contains(resource) && *resource != "pods"),
    );
    let rows: Vec<Vec<String>> = resources
        .into_iter()
        .map(|resource| {
            let sum = |kind: &str| {
                let total = pods.iter().fold(quantity(None), |sum, pod| sum.plus(pod_sum(pod, kind, resource)));
                share(total, capacity(resource))
            };
            vec![resource.to_owned(), sum("requests"), sum("limits")]
        })
        .collect();
    writer.table(1, &["Resource", "Requests", "Limits"], &rows);
}

/// A quantity; what is absent or not a quantity is none.
fn quantity(value: Option<&Value>) -> Quantity {
    value.map(plain).and_then(|text| text.parse().ok()).unwrap_or_else(|| Quantity::from_units(0))
}

/// What a pod asks for: the sum of its containers or its greatest init container, whichever is more.
fn pod_sum(pod: &Value, kind: &str, resource: &str) -> Quantity {
    let of = |container: &Value| {
        let amounts = entries(container, &format!("resources.{kind}"));
        quantity(amounts.into_iter().find(|(key, _)| *key == resource).map(|(_, amount)| amount))
    };
    let always = |container: &&Value| text(container, "restartPolicy") == "Always";
    let mut sum = items(pod, "spec.containers").iter().fold(quantity(None), |sum, container| sum.plus(of(container)));
    // Sidecars run beside all that follows them.
    let mut sidecars = quantity(None);
    let mut greatest = quantity(None);
    for container in items(pod, "spec.initContainers") {
        let own = of(container);
        if always(&container) {
            sidecars = sidecars.plus(own);
            if sidecars > greatest {
                greatest = sidecars;
            }
        } else if sidecars.plus(own) > greatest {
            greatest = sidecars.plus(own);
        }
    }
    sum = sum.plus(sidecars);
    let asked = if greatest > sum { greatest } else { sum };
    let overhead =
        entries(pod, "spec.overhead").into_iter().find(|(key, _)| *key == resource).map(|(_, amount)| amount);
    if asked.is_zero() { asked } else { asked.plus(quantity(overhead)) }
}

/// `100m (5%)`.
fn share(amount: Quantity, of: Quantity) -> String {
    let percent = match of.millis() {
        0 => 0,
        whole => i128::from(amount.millis()) * 100 / i128::from(whole),
    };
    format!("{amount} ({percent}%)")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_asks_for_the_sum_or_its_greatest_init_container() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let pod =
            json!({"spec": {"containers": [container("100m"), container("200m")], "initContainers": [container("1")]}});
        assert_eq!(pod_sum(&pod, "requests", "cpu").to_string(), "1");
        let pod = json!({"spec": {"containers": [container("100m"), container("200m")]}});
        assert_eq!(share(pod_sum(&pod, "requests", "cpu"), Quantity::from_units(2)), "300m (15%)");
    }
}
