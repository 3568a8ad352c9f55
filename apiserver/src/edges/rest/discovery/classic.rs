//! The lists of groups, versions and resources.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reeve_api::resource::api_version;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::GroupVersion;
use crate::aggregation::Remote;
use crate::registry::Row;

/// The documents by path, without its first slash.
pub(super) fn documents(versions: &[GroupVersion<'_>], remotes: &[Remote], address: &str) -> BTreeMap<String, Bytes> {
    let mut documents = BTreeMap::new();
    let mut put = |path: String, value: Value| {
        documents.insert(path, Bytes::from(value.to_string()));
    };
    put(
        "api".to_owned(),
        json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }),
    );
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for version in versions.iter().filter(|version| !version.group.is_empty()) {
        match groups.last_mut().filter(|(group, _)| *group == version.group) {
            Some((_, versions)) => versions.push(version.version),
            None => groups.push((version.group, vec![version.version])),
        }
    }
    for remote in remotes {
        match groups.iter_mut().find(|(group, _)| *group == remote.group) {
            Some((_, versions)) if versions.contains(&remote.version.as_str()) => {}
            Some((_, versions)) => versions.push(&remote.version),
            None => groups.push((&remote.group, vec![&remote.version])),
        }
    }
    let values: Vec<Value> = groups.iter().map(|(group, versions)| group_value(group, versions)).collect();
    put("apis".to_owned(), json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": values}));
    for (group, versions) in &groups {
        let mut value = group_value(group, versions);
        value["kind"] = "APIGroup".into();
        value["apiVersion"] = "v1".into();
        put(format!("apis/{group}"), value);
    }
    for version in versions {
        put(version.path(), resource_list(version));
    }
    documents
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": api_version(group, version), "version": version});
    let all: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "versions": all, "preferredVersion": versions.first().map(entry)})
}

fn resource_list(version: &GroupVersion<'_>) -> Value {
    let mut resources = Vec::new();
    for row in &version.rows {
        let info = &row.info;
        let mut value = json!({
            "name": info.resource.resource,
            "singularName": info.singular,
            "namespaced": info.namespaced,
            "kind": info.kind,
            "verbs": info.verbs,
        });
        if !info.short_names.is_empty() {
            value["shortNames"] = json!(info.short_names);
        }
        if !info.categories.is_empty() {
            value["categories"] = json!(info.categories);
        }
        if info.verbs.iter().any(|verb| verb == "watch") {
            value["storageVersionHash"] = storage_version_hash(row).into();
        }
        resources.push(value);
        for subresource in &row.subresources {
            let kind = &subresource.kind;
            let mut value = json!({
                "name": format!("{}/{}", info.resource.resource, subresource.name),
                "singularName": "",
                "namespaced": info.namespaced,
                "kind": kind.kind,
                "verbs": subresource.verbs,
            });
            if !version.owns(kind, info) {
                value["group"] = json!(kind.group);
                value["version"] = json!(kind.version);
            }
            resources.push(value);
        }
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let mut value = json!({
        "kind": "APIResourceList",
        "groupVersion": api_version(version.group, version.version),
        "resources": resources,
    });
    // As old as the core is, its list goes without a version of its own.
    if !version.group.is_empty() {
        value["apiVersion"] = "v1".into();
    }
    value
}

/// Tells clients when the stored form of a kind changes. The rule is that of upstream's
/// `discovery.StorageVersionHash`.
fn storage_version_hash(row: &Row) -> String {
    let info = &row.info;
    let (group, version) = match (info.resource.group.as_str(), info.kind.as_str()) {
        // What upstream stores in another group or version than it prefers.
        ("events.k8s.io", "Event") => ("", "v1"),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy" | "MutatingAdmissionPolicyBinding") => {
            ("admissionregistration.k8s.io", "v1beta1")
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => ("apiextensions.k8s.io", "v1beta1"),
        ("autoscaling", "HorizontalPodAutoscaler") => ("autoscaling", "v2"),
        (group, _) => {
            (group, row.kind.custom().map_or(&info.resource.version, |custom| &custom.storage_version).as_str())
        }
    };
    let digest = Sha256::digest(format!("{group}/{version}/{}", info.kind));
    STANDARD.encode(&digest[..8])
}
