//! Roles, bindings, service accounts, certificate signing requests.

use serde_json::Value;

use super::storage::joined;
use super::time;
use super::writer::Writer;
use crate::merge::LAST_APPLIED;
use crate::value::{entries, items, name, namespace, plain, text};

/// Describes a role or cluster role: a line for each group and resource.
pub fn role(writer: &mut Writer, role: &Value) {
    writer.field(0, "Name", name(role));
    writer.map(0, "Labels", role, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", role, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.line(0, "PolicyRule:");
    let texts = |rule: &Value, key: &str| items(rule, key).iter().map(plain).collect::<Vec<String>>();
    // What is said of one resource and names in several rules is one line.
    let mut found: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for rule in items(role, "rules") {
        let list = |key: &str| format!("[{}]", texts(rule, key).join(" "));
        let mut add = |order: String, row: [String; 3]| match found.iter_mut().find(|(known, ..)| *known == order) {
            Some((_, _, verbs)) => {
                for verb in texts(rule, "verbs") {
                    if !verbs.contains(&verb) {
                        verbs.push(verb);
                    }
                }
            }
            None => found.push((order, row.to_vec(), texts(rule, "verbs"))),
        };
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                // The group belongs to the resource, before its subresource.
                let (plain, part) = resource.split_once('/').unwrap_or((&resource, ""));
                let part = if part.is_empty() { String::new() } else { format!("/{part}") };
                let shown = format!("{}{part}", reeve_api::resource::qualified(plain, &group));
                let names = list("resourceNames");
                add(format!("[{group}] [{resource}] {names} []"), [shown, "[]".to_owned(), names]);
            }
        }
        for url in texts(rule, "nonResourceURLs") {
            add(format!("[] [] [] [{url}]"), [String::new(), format!("[{url}]"), "[]".to_owned()]);
        }
    }
    let mut rows: Vec<(String, Vec<String>)> = found
        .into_iter()
        .map(|(order, mut row, verbs)| {
            row.push(format!("[{}]", verbs.join(" ")));
            (format!("[{}] {order}", verbs.join(" ")), row)
        })
        .collect();
    rows.sort_by(|(left, _), (right, _)| left.cmp(right));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(_, row)| row).collect();
    writer.table(1, &["Resources", "Non-Resource URLs", "Resource Names", "Verbs"], &rows);
}

/// Describes a binding.
pub fn binding(writer: &mut Writer, binding: &Value) {
    writer.field(0, "Name", name(binding));
    writer.map(0, "Labels", binding, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", binding, "metadata.annotations", ": ", &[LAST_APPLIED]);
    writer.line(0, "Role:");
    writer.field(1, "Kind", text(binding, "roleRef.kind"));
    writer.field(1, "Name", text(binding, "roleRef.name"));
    writer.line(0, "Subjects:");
    let rows: Vec<Vec<String>> = items(binding, "subjects")
        .iter()
        .map(|subject| ["kind", "name", "namespace"].map(|key| text(subject, key).to_owned()).to_vec())
        .collect();
    writer.table(1, &["Kind", "Name", "Namespace"], &rows);
}

/// Describes a service account; secrets with its tokens are related.
pub fn service_account(writer: &mut Writer, account: &Value, secrets: &[Value]) {
    const OWNER: &str = "kubernetes.io/service-account.name";
    writer.field(0, "Name", name(account));
    writer.field(0, "Namespace", namespace(account));
    writer.map(0, "Labels", account, "metadata.labels", "=", &[]);
    writer.map(0, "Annotations", account, "metadata.annotations", ": ", &[LAST_APPLIED]);
    let names =
        |path: &str| -> Vec<String> { items(account, path).iter().map(|one| text(one, "name").to_owned()).collect() };
    writer.texts(0, "Image pull secrets", &names("imagePullSecrets"));
    writer.texts(0, "Mountable secrets", &names("secrets"));
    let own = |secret: &&Value| {
        text(secret, "type") == "kubernetes.io/service-account-token"
            && entries(secret, "metadata.annotations")
                .iter()
                .any(|(key, value)| *key == OWNER && *value == name(account))
    };
    let tokens: Vec<String> = secrets.iter().filter(own).map(|secret| name(secret).to_owned()).collect();
    writer.texts(0, "Tokens", &tokens);
}

/// Describes a certificate signing request.
pub fn signing_request(writer: &mut Writer, request: &Value) {
    writer.field(0, "Name", name(request));
    writer.map(0, "Labels", request, "metadata.labels", "=", &[]);
    writer.field(0, "Annotations", &joined(&entries(request, "metadata.annotations")));
    writer.field(0, "CreationTimestamp", &time(request, "metadata.creationTimestamp"));
    writer.field(0, "Requesting User", text(request, "spec.username"));
    writer.optional(0, "Signer", text(request, "spec.signerName"));
    if let Some(seconds) = crate::value::int(request, "spec.expirationSeconds") {
        writer.field(0, "Requested Duration", &format!("{seconds}s"));
    }
    let has = |kind: &str| items(request, "status.conditions").iter().any(|one| text(one, "type") == kind);
    let mut state = if has("Denied") {
        "Denied".to_owned()
    } else if has("Approved") {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(request, "status.certificate").is_empty() {
        state.push_str(",Issued");
    }
    writer.field(0, "Status", &state);
    let usages: Vec<String> = items(request, "spec.usages").iter().map(plain).collect();
    writer.optional(0, "Usages", &usages.join(", "));
    let groups: Vec<String> = items(request, "spec.groups").iter().map(plain).collect();
    writer.optional(0, "Groups", &groups.join(", "));
}
