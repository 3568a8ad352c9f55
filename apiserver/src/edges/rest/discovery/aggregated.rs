//! `apidiscovery.k8s.io/v2`: everything in one document.

use serde_json::{Value, json};

use super::GroupVersion;
use crate::aggregation::Remote;

/// The `APIGroupDiscoveryList` of these versions, which are in order.
pub(super) fn document(versions: &[&GroupVersion<'_>], remotes: &[Remote]) -> Value {
    let mut items: Vec<Value> = Vec::new();
    for version in versions {
        let value = version_value(version);
        let same_group =
            items.last_mut().filter(|item| item["metadata"]["name"].as_str().unwrap_or_default() == version.group);
        match same_group.and_then(|item| item["versions"].as_array_mut()) {
            Some(versions) => versions.push(value),
            None => {
                let metadata = if version.group.is_empty() { json!({}) } else { json!({"name": version.group}) };
                items.push(json!({"metadata": metadata, "versions": [value]}));
            }
        }
    }
    for remote in remotes {
        let value = remote_value(remote);
        let same_group = items.iter_mut().find(|item| item["metadata"]["name"] == remote.group.as_str());
        match same_group.and_then(|item| item["versions"].as_array_mut()) {
            Some(versions) if versions.iter().any(|known| known["version"] == remote.version.as_str()) => {}
            Some(versions) => versions.push(value),
            None => items.push(json!({"metadata": {"name": remote.group}, "versions": [value]})),
        }
    }
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

/// What another server told of a version in the classic form. One that does not answer is stale.
fn remote_value(remote: &Remote) -> Value {
    let Some(list) = &remote.resources else {
        return json!({"version": remote.version, "freshness": "Stale"});
    };
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let kind = |value: &Value| {
        json!({
            "group": text(value, "group"), "version": text(value, "version"), "kind": text(value, "kind"),
        })
    };
    let mut resources: Vec<Value> = Vec::new();
    for value in list["resources"].as_array().into_iter().flatten() {
        let name = text(value, "name");
        if let Some((resource, part)) = name.split_once('/') {
            let part = json!({"subresource": part, "responseKind": kind(value), "verbs": value["verbs"]});
            let above = resources.iter_mut().find(|known| known["resource"] == resource);
            match above.map(|above| &mut above["subresources"]) {
                Some(Value::Array(parts)) => parts.push(part),
                Some(parts) => *parts = json!([part]),
                None => {}
            }
            continue;
        }
        let namespaced = value["namespaced"].as_bool().unwrap_or_default();
        let mut made = json!({
            "resource": name,
            "responseKind": kind(value),
            "scope": if namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": text(value, "singularName"),
            "verbs": value["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if value[field].is_array() {
                made[field] = value[field].clone();
            }
        }
        resources.push(made);
    }
    json!({"version": remote.version, "resources": resources, "freshness": "Current"})
}

fn version_value(version: &GroupVersion<'_>) -> Value {
    let mut rows = version.rows.clone();
    rows.sort_by(|a, b| a.info.resource.resource.cmp(&b.info.resource.resource));
    let resources: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            let info = &row.info;
            let mut value = json!({
                "resource": info.resource.resource,
                // A kind of the same group and version goes without them.
                "responseKind": {"group": "", "version": "", "kind": info.kind},
                "scope": if info.namespaced { "Namespaced" } else { "Cluster" },
                "singularResource": info.singular,
                "verbs": info.verbs,
            });
            if !info.short_names.is_empty() {
                value["shortNames"] = json!(info.short_names);
            }
            if !info.categories.is_empty() {
                value["categories"] = json!(info.categories);
            }
            let mut subresources: Vec<_> = row.subresources.iter().collect();
            subresources.sort_by_key(|subresource| subresource.name);
            let subresources: Vec<Value> = subresources
                .into_iter()
                .map(|subresource| {
                    let kind = &subresource.kind;
                    let own = version.owns(kind, info);
                    let (group, version) = if own { ("", "") } else { (kind.group.as_str(), kind.version.as_str()) };
                    json!({
                        "subresource": subresource.name,
                        "responseKind": {"group": group, "version": version, "kind": kind.kind},
                        "verbs": subresource.verbs,
                    })
                })
                .collect();
            if !subresources.is_empty() {
                value["subresources"] = subresources.into();
            }
            value
        })
        .collect();
    json!({"version": version.version, "resources": resources, "freshness": "Current"})
}
