//! `apidiscovery.k8s.io/v2`: everything in one document.

use serde_json::{Value, json};

use super::GroupVersion;

/// The `APIGroupDiscoveryList` of these versions, which are in order.
pub(super) fn document(versions: &[&GroupVersion<'_>]) -> Value {
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
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
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
