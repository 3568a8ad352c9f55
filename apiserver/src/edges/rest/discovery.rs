//! Classic discovery: what is served, as documents that are made once.
//!
//! `/openapi/v3` tells for now only what kubectl needs to leave field validation to the server: which objects
//! can be patched and that `fieldValidation` is understood.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use reeve_api::resource::api_version;
use reeve_api::{Reason, StatusError};
use serde_json::{Value, json};
use tonic::body::Body;

use super::answer::whole;
use super::negotiation::negotiate;
use super::path::Route;
use crate::registry::{Registry, Row};
use crate::version;

/// All documents by path.
pub struct Documents {
    by_path: BTreeMap<String, Bytes>,
}

impl Documents {
    /// The documents of a registry; `address` is where clients reach this server.
    pub fn new(registry: &Registry, address: &str) -> Self {
        let mut documents = BTreeMap::new();
        let mut put = |path: &str, value: Value| {
            documents.insert(path.to_owned(), Bytes::from(value.to_string()));
        };
        let mut versions: BTreeMap<(String, String), Vec<&Row>> = BTreeMap::new();
        for row in registry.rows() {
            let resource = &row.info.resource;
            versions.entry((resource.group.clone(), resource.version.clone())).or_default().push(row);
        }
        put(
            "api",
            json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
            }),
        );
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version) in versions.keys().filter(|(group, _)| !group.is_empty()) {
            groups.entry(group).or_default().push(version);
        }
        let group_values: Vec<Value> = groups.iter().map(|(group, versions)| group_value(group, versions)).collect();
        put("apis", json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": group_values}));
        for (group, versions) in &groups {
            let mut value = group_value(group, versions);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            put(&format!("apis/{group}"), value);
        }
        let mut schemas = serde_json::Map::new();
        for ((group, version), rows) in &versions {
            let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            put(&path, resource_list(group, version, rows));
            let url = format!("/openapi/v3/{path}");
            schemas.insert(path.clone(), json!({"serverRelativeURL": url}));
            put(url.trim_start_matches('/'), schema(&path, rows));
        }
        put("openapi/v3", json!({"paths": schemas}));
        put(
            "version",
            json!({
                "major": version::MAJOR,
                "minor": version::MINOR,
                "gitVersion": version::git_version(),
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "",
                "goVersion": "",
                "compiler": "rustc",
                "platform": version::platform(),
            }),
        );
        let mut paths: Vec<String> = documents.keys().map(|path| format!("/{path}")).collect();
        paths.extend(["/healthz", "/livez", "/readyz"].map(str::to_owned));
        paths.sort();
        documents.insert(String::new(), Bytes::from(json!({"paths": paths}).to_string()));
        Self { by_path: documents }
    }

    /// The document of a path; `None` for paths of resources.
    pub fn answer(
        &self,
        route: &Route,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Response<Body>>, StatusError> {
        let Some(document) = self.by_path.get(path.trim_matches('/')) else {
            return match route {
                Route::Resource { .. } => Ok(None),
                _ => Err(StatusError::new(Reason::NotFound, "the server could not find the requested resource")),
            };
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(StatusError::new(
                Reason::MethodNotAllowed,
                "the server does not allow this method on the requested resource",
            ));
        }
        // Discovery has one form; clients that ask for a newer one fall back to it.
        let (_, encoding) =
            negotiate(headers).unwrap_or((super::negotiation::Form::Object, super::negotiation::Encoding::Json));
        whole(document.clone(), encoding, 200).map(Some)
    }
}

fn group_value(group: &str, versions: &[&str]) -> Value {
    let entry = |version: &&str| json!({"groupVersion": api_version(group, version), "version": version});
    let all: Vec<Value> = versions.iter().map(entry).collect();
    json!({"name": group, "versions": all, "preferredVersion": versions.first().map(entry)})
}

fn resource_list(group: &str, version: &str, rows: &[&Row]) -> Value {
    let mut resources = Vec::new();
    for row in rows {
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
            if (kind.group.as_str(), kind.version.as_str()) != (group, version) {
                value["group"] = json!(kind.group);
                value["version"] = json!(kind.version);
            }
            resources.push(value);
        }
    }
    resources.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version(group, version), "resources": resources})
}

/// The OpenAPI v3 document of a group version: the operations that take `fieldValidation`.
fn schema(base: &str, rows: &[&Row]) -> Value {
    let mut paths = serde_json::Map::new();
    for row in rows {
        let gvk = row.info.kind();
        let scope = if row.info.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{base}{scope}/{}/{{name}}", row.info.resource.resource);
        let parameter =
            |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
        let operation = json!({
            "parameters": [parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation")],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
        });
        paths.insert(path, json!({"patch": operation}));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": version::git_version()},
        "paths": paths,
        "components": {"schemas": {}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_discovered() {
        let registry = Registry::builtin();
        let documents = Documents::new(&registry, "127.0.0.1:6443");
        for row in registry.rows() {
            let resource = &row.info.resource;
            let path = if resource.group.is_empty() {
                format!("api/{}", resource.version)
            } else {
                format!("apis/{}/{}", resource.group, resource.version)
            };
            let document: Value = serde_json::from_slice(&documents.by_path[&path]).unwrap();
            let names: Vec<&str> =
                document["resources"].as_array().unwrap().iter().filter_map(|row| row["name"].as_str()).collect();
            assert!(names.contains(&resource.resource.as_str()), "{path}: {names:?}");
        }
    }
}
