//! Pods, and the pod templates of workloads.

use serde_json::Value;

use super::writer::Writer;
use super::{controller, plain_or, time};
use crate::merge::LAST_APPLIED;
use crate::value::{at, count, entries, flag, int, items, name, namespace, plain, text};

/// Describes a pod.
pub fn describe(writer: &mut Writer, pod: &Value) {
    writer.field(0, "Name", name(pod));
    writer.field(0, "Namespace", namespace(pod));
    writer.field(0, "Priority", &count(pod, "spec.priority").to_string());
    writer.optional(0, "Priority Class Name", text(pod, "spec.priorityClassName"));
    writer.field(0, "Service Account", &plain_or(pod, "spec.serviceAccountName", "default"));
    let node = match (text(pod, "spec.nodeName"), text(pod, "status.hostIP")) {
        ("", _) => "<none>".to_owned(),
        (node, "") => node.to_owned(),
        (node, address) => format!("{node}/{address}"),
    };
    writer.field(0, "Node", &node);
    writer.optional(0, "Start Time", &time(pod, "status.startTime"));
    writer.map(0, "Labels", pod, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", pod, "metadata.annotations", ": ", &[LAST_APPLIED]);
    if text(pod, "metadata.deletionTimestamp").is_empty() {
        writer.state(0, "Status", text(pod, "status.phase"));
    } else {
        writer.state(0, "Status", "Terminating");
        writer.field(0, "Termination Grace Period", &format!("{}s", count(pod, "metadata.deletionGracePeriodSeconds")));
    }
    writer.optional(0, "Reason", text(pod, "status.reason"));
    writer.optional(0, "Message", text(pod, "status.message"));
    writer.field(0, "IP", text(pod, "status.podIP"));
    let addresses = items(pod, "status.podIPs");
    if addresses.is_empty() {
        writer.field(0, "IPs", "<none>");
    } else {
        writer.line(0, "IPs:");
        addresses.iter().for_each(|address| writer.field(1, "IP", text(address, "ip")));
    }
    writer.optional(0, "Controlled By", &controller(pod));
    containers(writer, "Init Containers", pod, "spec.initContainers", "status.initContainerStatuses", 0);
    containers(writer, "Containers", pod, "spec.containers", "status.containerStatuses", 0);
    containers(writer, "Ephemeral Containers", pod, "spec.ephemeralContainers", "status.ephemeralContainerStatuses", 0);
    let conditions = items(pod, "status.conditions");
    if !conditions.is_empty() {
        writer.line(0, "Conditions:");
        writer.line(1, "Type\tStatus");
        for condition in conditions {
            let reason = match text(condition, "status") {
                "True" => String::new(),
                // Why something is not so is what the reader came for.
                _ => [text(condition, "reason"), text(condition, "message")]
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join(": "),
            };
            let reason = if reason.is_empty() { String::new() } else { format!("\t{reason}") };
            writer.line(1, &format!("{}\t{}{reason}", text(condition, "type"), text(condition, "status")));
        }
    }
    volumes(writer, pod, "spec.volumes", 0);
    writer.optional(0, "QoS Class", text(pod, "status.qosClass"));
    writer.map(0, "Node-Selectors", pod, "spec.nodeSelector", "=", &[]);
    let tolerations: Vec<String> = items(pod, "spec.tolerations").iter().map(toleration).collect();
    writer.texts(0, "Tolerations", &tolerations);
}

/// The pod template of a workload.
pub fn pod_template(writer: &mut Writer, template: &Value) {
    writer.line(0, "Pod Template:");
    writer.map(1, "Labels", template, "metadata.labels", "=", &[]);
    if !entries(template, "metadata.annotations").is_empty() {
        writer.map(1, "Annotations", template, "metadata.annotations", ": ", &[]);
    }
    writer.optional(1, "Service Account", text(template, "spec.serviceAccountName"));
    containers(writer, "Init Containers", template, "spec.initContainers", "", 1);
    containers(writer, "Containers", template, "spec.containers", "", 1);
    volumes(writer, template, "spec.volumes", 1);
    writer.optional(1, "Priority Class Name", text(template, "spec.priorityClassName"));
    writer.map(1, "Node-Selectors", template, "spec.nodeSelector", "=", &[]);
    let tolerations: Vec<String> = items(template, "spec.tolerations").iter().map(toleration).collect();
    writer.texts(1, "Tolerations", &tolerations);
}

fn containers(writer: &mut Writer, title: &str, pod: &Value, specs: &str, statuses: &str, level: usize) {
    let specs = items(pod, specs);
    if specs.is_empty() {
        return;
    }
    writer.line(level, &format!("{title}:"));
    for spec in specs {
        let status = items(pod, statuses).iter().find(|status| text(status, "name") == text(spec, "name"));
        // In a pod template names stand one column further in, and all else where it stands in a pod.
        writer.line(1, &format!("{}{}:", " ".repeat(level), text(spec, "name")));
        container(writer, spec, status, 2);
    }
}

fn container(writer: &mut Writer, spec: &Value, status: Option<&Value>, below: usize) {
    if let Some(status) = status {
        writer.field(below, "Container ID", text(status, "containerID"));
    }
    writer.field(below, "Image", text(spec, "image"));
    if let Some(status) = status {
        writer.field(below, "Image ID", text(status, "imageID"));
    }
    let ports = |field: &str| -> Vec<String> {
        items(spec, "ports")
            .iter()
            .map(|port| {
                let protocol = plain_or(port, "protocol", "TCP");
                match text(port, "name") {
                    port_name if !port_name.is_empty() && field == "containerPort" => {
                        format!("{}/{protocol} ({port_name})", count(port, field))
                    }
                    _ => format!("{}/{protocol}", count(port, field)),
                }
            })
            .collect()
    };
    let plural = if items(spec, "ports").len() > 1 { "s" } else { "" };
    for (label, field) in [("Port", "containerPort"), ("Host Port", "hostPort")] {
        let ports = ports(field);
        writer.field(
            below,
            &format!("{label}{plural}"),
            &if ports.is_empty() { "<none>".to_owned() } else { ports.join(", ") },
        );
    }
    for (label, field) in [("Command", "command"), ("Args", "args")] {
        let words = items(spec, field);
        if !words.is_empty() {
            writer.line(below, &format!("{label}:"));
            words.iter().for_each(|word| writer.line(below + 1, &plain(word)));
        }
    }
    if let Some(status) = status {
        state(writer, below, "State", at(status, "state").unwrap_or(&Value::Null));
        if at(status, "lastState.terminated").is_some() {
            state(writer, below, "Last State", at(status, "lastState").unwrap_or(&Value::Null));
        }
        writer.state(below, "Ready", if flag(status, "ready") { "True" } else { "False" });
        writer.field(below, "Restart Count", &count(status, "restartCount").to_string());
    }
    for (label, path) in [("Limits", "resources.limits"), ("Requests", "resources.requests")] {
        let amounts = entries(spec, path);
        if !amounts.is_empty() {
            writer.line(below, &format!("{label}:"));
            amounts.iter().for_each(|(resource, amount)| writer.field(below + 1, resource, &plain(amount)));
        }
    }
    for (label, path) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")] {
        if let Some(found) = at(spec, path) {
            writer.field(below, label, &probe(found));
        }
    }
    environment(writer, spec, below);
    let mounts: Vec<String> = items(spec, "volumeMounts")
        .iter()
        .map(|mount| {
            let access = if flag(mount, "readOnly") { "ro" } else { "rw" };
            let sub = match text(mount, "subPath") {
                "" => String::new(),
                sub => format!(",path={sub:?}"),
            };
            format!("{} from {} ({access}{sub})", text(mount, "mountPath"), text(mount, "name"))
        })
        .collect();
    list(writer, below, "Mounts", &mounts);
}

fn list(writer: &mut Writer, level: usize, name: &str, lines: &[String]) {
    if lines.is_empty() {
        writer.field(level, name, "<none>");
    } else {
        writer.line(level, &format!("{name}:"));
        lines.iter().for_each(|line| writer.line(level + 1, line));
    }
}

fn state(writer: &mut Writer, level: usize, label: &str, state: &Value) {
    if let Some(running) = at(state, "running") {
        writer.state(level, label, "Running");
        writer.field(level + 1, "Started", &time(running, "startedAt"));
    } else if let Some(ended) = at(state, "terminated") {
        writer.field(level, label, "Terminated");
        writer.state(level + 1, "Reason", text(ended, "reason"));
        writer.optional(level + 1, "Message", text(ended, "message").trim_end());
        writer.field(level + 1, "Exit Code", &count(ended, "exitCode").to_string());
        if count(ended, "signal") > 0 {
            writer.field(level + 1, "Signal", &count(ended, "signal").to_string());
        }
        writer.field(level + 1, "Started", &time(ended, "startedAt"));
        writer.field(level + 1, "Finished", &time(ended, "finishedAt"));
    } else {
        writer.field(level, label, "Waiting");
        if let Some(waiting) = at(state, "waiting") {
            writer.state(level + 1, "Reason", text(waiting, "reason"));
            writer.optional(level + 1, "Message", text(waiting, "message"));
        }
    }
}

fn probe(probe: &Value) -> String {
    let number = |field: &str, default: i64| int(probe, field).unwrap_or(default);
    let timing = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3)
    );
    let action = if let Some(exec) = at(probe, "exec") {
        let words: Vec<String> = items(exec, "command").iter().map(plain).collect();
        format!("exec [{}]", words.join(" "))
    } else if let Some(get) = at(probe, "httpGet") {
        let scheme = plain_or(get, "scheme", "HTTP").to_ascii_lowercase();
        format!("http-get {scheme}://{}:{}{}", text(get, "host"), plain_or(get, "port", ""), text(get, "path"))
    } else if let Some(socket) = at(probe, "tcpSocket") {
        format!("tcp-socket {}:{}", text(socket, "host"), plain_or(socket, "port", ""))
    } else if let Some(grpc) = at(probe, "grpc") {
        format!("grpc <pod>:{} {}", count(grpc, "port"), text(grpc, "service"))
    } else {
        "unknown".to_owned()
    };
    format!("{action} {timing}")
}

fn environment(writer: &mut Writer, spec: &Value, level: usize) {
    let sources: Vec<String> = items(spec, "envFrom")
        .iter()
        .map(|source| {
            let (kind, from) = if at(source, "configMapRef").is_some() {
                ("ConfigMap", text(source, "configMapRef.name"))
            } else {
                ("Secret", text(source, "secretRef.name"))
            };
            format!("{from}\t{kind}")
        })
        .collect();
    if !sources.is_empty() {
        writer.line(level, "Environment Variables from:");
        sources.iter().for_each(|source| writer.line(level + 1, source));
    }
    let variables: Vec<String> = items(spec, "env")
        .iter()
        .map(|variable| {
            let value = match at(variable, "valueFrom") {
                None => text(variable, "value").to_owned(),
                Some(from) => value_from(from),
            };
            format!("{}:\t{value}", text(variable, "name"))
        })
        .collect();
    list(writer, level, "Environment", &variables);
}

fn value_from(from: &Value) -> String {
    let optional = |reference: &Value| flag(reference, "optional");
    if let Some(field) = at(from, "fieldRef") {
        format!(" ({}:{})", plain_or(field, "apiVersion", "v1"), text(field, "fieldPath"))
    } else if let Some(resource) = at(from, "resourceFieldRef") {
        format!(" ({})", text(resource, "resource"))
    } else if let Some(secret) = at(from, "secretKeyRef") {
        let (key, name) = (text(secret, "key"), text(secret, "name"));
        format!("<set to the key '{key}' in secret '{name}'>  Optional: {}", optional(secret))
    } else if let Some(map) = at(from, "configMapKeyRef") {
        let (key, name) = (text(map, "key"), text(map, "name"));
        format!("<set to the key '{key}' of config map '{name}'>  Optional: {}", optional(map))
    } else {
        "<unknown>".to_owned()
    }
}

fn volumes(writer: &mut Writer, pod: &Value, path: &str, level: usize) {
    let volumes = items(pod, path);
    if volumes.is_empty() {
        writer.field(level, "Volumes", "<none>");
        return;
    }
    writer.line(level, "Volumes:");
    for volume in volumes {
        writer.line(1, &format!("{}{}:", " ".repeat(level), text(volume, "name")));
        volume_source(writer, volume, 2);
    }
}

/// Where a volume comes from.
pub fn volume_source(writer: &mut Writer, volume: &Value, level: usize) {
    for (kind, source) in volume.as_object().into_iter().flatten() {
        let mut fields = |title: &str, rows: &[(&str, String)]| {
            writer.field(level, "Type", title);
            rows.iter().for_each(|(label, value)| writer.field(level, label, value));
        };
        match kind.as_str() {
            "emptyDir" => fields(
                "EmptyDir (a temporary directory that shares a pod's lifetime)",
                &[
                    ("Medium", text(source, "medium").to_owned()),
                    ("SizeLimit", plain_or(source, "sizeLimit", "<unset>")),
                ],
            ),
            "hostPath" => fields(
                "HostPath (bare host directory volume)",
                &[("Path", text(source, "path").to_owned()), ("HostPathType", text(source, "type").to_owned())],
            ),
            "configMap" => fields(
                "ConfigMap (a volume populated by a ConfigMap)",
                &[("Name", text(source, "name").to_owned()), ("Optional", flag(source, "optional").to_string())],
            ),
            "secret" => fields(
                "Secret (a volume populated by a Secret)",
                &[
                    ("SecretName", text(source, "secretName").to_owned()),
                    ("Optional", flag(source, "optional").to_string()),
                ],
            ),
            "persistentVolumeClaim" => fields(
                "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
                &[
                    ("ClaimName", text(source, "claimName").to_owned()),
                    ("ReadOnly", flag(source, "readOnly").to_string()),
                ],
            ),
            "projected" => {
                fields("Projected (a volume that contains injected data from multiple sources)", &[]);
                projected(writer, source, level);
            }
            "downwardAPI" => {
                fields("DownwardAPI (a volume populated by information about the pod)", &[]);
                writer.line(level, "Items:");
                for item in items(source, "items") {
                    let from = [text(item, "fieldRef.fieldPath"), text(item, "resourceFieldRef.resource")].concat();
                    writer.line(level + 1, &format!("{from} -> {}", text(item, "path")));
                }
            }
            "nfs" => fields(
                "NFS (an NFS mount that lasts the lifetime of a pod)",
                &[
                    ("Server", text(source, "server").to_owned()),
                    ("Path", text(source, "path").to_owned()),
                    ("ReadOnly", flag(source, "readOnly").to_string()),
                ],
            ),
            "local" => fields(
                "LocalVolume (a persistent volume backed by local storage on a node)",
                &[("Path", text(source, "path").to_owned())],
            ),
            "csi" => fields(
                "CSI (a Container Storage Interface (CSI) volume source)",
                &[
                    ("Driver", text(source, "driver").to_owned()),
                    ("VolumeHandle", text(source, "volumeHandle").to_owned()),
                    ("ReadOnly", flag(source, "readOnly").to_string()),
                ],
            ),
            "ephemeral" => fields(
                "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
                &[],
            ),
            "image" => fields(
                "Image (a container image or OCI artifact)",
                &[("Reference", text(source, "reference").to_owned())],
            ),
            _ => {}
        }
    }
}

/// The parts of a projected volume.
fn projected(writer: &mut Writer, source: &Value, level: usize) {
    for part in items(source, "sources") {
        for (key, label) in [("configMap", "ConfigMapName"), ("secret", "SecretName")] {
            if let Some(part) = at(part, key) {
                writer.field(level, label, text(part, "name"));
                writer.field(level, "Optional", &flag(part, "optional").to_string());
            }
        }
        if at(part, "downwardAPI").is_some() {
            writer.field(level, "DownwardAPI", "true");
        }
        if let Some(token) = at(part, "serviceAccountToken") {
            let seconds = int(token, "expirationSeconds").unwrap_or(3600);
            writer.field(level, "TokenExpirationSeconds", &seconds.to_string());
        }
    }
}

fn toleration(toleration: &Value) -> String {
    let key = text(toleration, "key");
    let value = text(toleration, "value");
    let effect = text(toleration, "effect");
    let mut out = key.to_owned();
    if !value.is_empty() {
        out.push_str(&format!("={value}"));
    }
    if !effect.is_empty() {
        out.push_str(&format!(":{effect}"));
    }
    if text(toleration, "operator") == "Exists" && value.is_empty() {
        out.push_str(if key.is_empty() && effect.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = int(toleration, "tolerationSeconds") {
        out.push_str(&format!(" for {seconds}s"));
    }
    out
}
