//! Discovery: what is served, as documents that are made once.
//!
//! [`classic`] are the lists of groups, versions and resources; [`aggregated`] is all of them in one document.

mod aggregated;
mod classic;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Method, Response, StatusCode};
use reeve_api::{GroupVersionKind, ResourceInfo, StatusError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tonic::body::Body;

use super::answer;
use super::negotiation::{Form, Offer, negotiate};
use super::path::{Query, Route};
use super::{method_not_allowed, unknown_resource};
use crate::aggregation::Remote;
use crate::edges::status::full;
use crate::registry::{Row, version_order};
use crate::version;

/// The groups in upstream's order: by the priority of their API services. Others follow by name.
const GROUPS: [&str; 20] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// Paths beside those of the API.
const OTHER_PATHS: [&str; 13] = [
    "/.well-known/openid-configuration",
    "/api",
    "/apis",
    "/apis/",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

/// A version of a group and what it has.
struct GroupVersion<'a> {
    group: &'a str,
    version: &'a str,
    rows: Vec<&'a Row>,
}

impl GroupVersion<'_> {
    /// Whether a kind goes without group and version here: it is of this version, or the resource's own, which may
    /// be stored in another.
    fn owns(&self, kind: &GroupVersionKind, info: &ResourceInfo) -> bool {
        kind.group == self.group && (kind.version == self.version || kind.kind == info.kind)
    }

    fn path(&self) -> String {
        if self.group.is_empty() {
            format!("api/{}", self.version)
        } else {
            format!("apis/{}/{}", self.group, self.version)
        }
    }
}

/// An aggregated document and its tag.
struct Aggregated {
    bytes: Bytes,
    tag: HeaderValue,
}

/// All documents by path.
pub struct Documents {
    by_path: BTreeMap<String, Bytes>,
    /// `/api` and `/apis`.
    aggregated: BTreeMap<&'static str, Aggregated>,
    groups: Vec<String>,
}

impl Documents {
    /// The documents of these rows, and of what others serve; `address` is where clients reach this server.
    pub fn new(rows: &[Arc<Row>], remotes: &[Remote], address: &str) -> Self {
        let versions = versions(rows);
        let mut documents = classic::documents(&versions, remotes, address);
        let mut put = |path: &str, value: &Value| {
            documents.insert(path.to_owned(), Bytes::from(value.to_string()));
        };
        put("version", &version_document());
        let mut paths: Vec<String> = OTHER_PATHS.map(str::to_owned).to_vec();
        for version in &versions {
            paths.push(format!("/{}", version.path()));
            if !version.group.is_empty() {
                paths.push(format!("/apis/{}", version.group));
            }
        }
        paths.sort();
        paths.dedup();
        put("", &json!({"paths": paths}));
        let (core, named): (Vec<_>, Vec<_>) = versions.iter().partition(|version| version.group.is_empty());
        let aggregated = [("api", aggregated::document(&core, &[])), ("apis", aggregated::document(&named, remotes))]
            .map(|(path, value)| (path, Aggregated::new(&value)))
            .into();
        let groups = named.iter().map(|version| version.group.to_owned()).collect();
        Self { by_path: documents, aggregated, groups }
    }

    /// The document of a path; `None` for paths of resources.
    ///
    /// # Errors
    /// For paths that nothing is at, for methods other than GET, and for forms that there are not.
    pub fn answer(
        &self,
        route: &Route,
        path: &str,
        query: &Query,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<Response<Body>>, StatusError> {
        let path = path.trim_matches('/');
        let Some(document) = self.by_path.get(path) else {
            return match route {
                Route::Resource { .. } => Ok(None),
                Route::GroupVersion { group, .. } if self.has_group(group) => Err(unknown_resource()),
                _ => Ok(Some(page_not_found())),
            };
        };
        if *method != Method::GET {
            return Err(method_not_allowed());
        }
        let aggregated = self.aggregated.get(path);
        let asked = negotiate(headers, query, Offer::Discovery { aggregated: aggregated.is_some() })?;
        if asked.form == Form::AggregatedDiscovery
            && let Some(aggregated) = aggregated
        {
            return aggregated.answer(asked, headers).map(Some);
        }
        let mut response = answer::whole(document.clone(), asked, 200)?;
        if aggregated.is_some() {
            response.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT));
        }
        Ok(Some(response))
    }

    /// Whether a document is at a path.
    pub fn has_path(&self, path: &str) -> bool {
        self.by_path.contains_key(path.trim_matches('/'))
    }

    /// Whether anything of a group is served.
    pub fn has_group(&self, group: &str) -> bool {
        group.is_empty() || self.groups.iter().any(|own| own == group)
    }
}

impl Aggregated {
    fn new(value: &Value) -> Self {
        let bytes = Bytes::from(value.to_string());
        Self { tag: tag(&bytes), bytes }
    }

    fn answer(&self, asked: super::negotiation::Asked, headers: &HeaderMap) -> Result<Response<Body>, StatusError> {
        const MEDIA_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let mut response = if is_known(headers, &self.tag) {
            not_modified()
        } else {
            answer::ready(self.bytes.clone(), MEDIA_TYPE, asked, 200)?
        };
        response.headers_mut().insert(ETAG, self.tag.clone());
        response.headers_mut().append(VARY, HeaderValue::from_name(ACCEPT));
        Ok(response)
    }
}

/// Whether a group is one of upstream's own.
pub fn is_builtin(group: &str) -> bool {
    group.is_empty() || GROUPS.contains(&group)
}

/// The tag of a document: its hash.
pub(super) fn tag(document: &[u8]) -> HeaderValue {
    let text = format!("\"{}\"", hash(document));
    // Hexadecimal digits between quotes always make a header.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// The hash of a document, in hexadecimal digits.
pub(super) fn hash(document: &[u8]) -> String {
    Sha256::digest(document).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Whether the client has the document already.
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let Ok(tag) = tag.to_str() else { return false };
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag))
}

/// `304 Not Modified`.
pub(super) fn not_modified() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// What a path is answered that no part of the API is at.
pub fn page_not_found() -> Response<Body> {
    let mut response = Response::new(full("404 page not found\n"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Groups in upstream's order, the core first; the versions of a group with the newest first.
fn versions(rows: &[Arc<Row>]) -> Vec<GroupVersion<'_>> {
    let mut versions: Vec<GroupVersion<'_>> = Vec::new();
    for row in rows {
        let resource = &row.info.resource;
        let known = versions
            .iter_mut()
            .find(|known| (known.group, known.version) == (resource.group.as_str(), resource.version.as_str()));
        match known {
            Some(known) => known.rows.push(row),
            None => {
                versions.push(GroupVersion { group: &resource.group, version: &resource.version, rows: vec![row] });
            }
        }
    }
    let place = |group: &str| match group {
        "" => 0,
        _ => 1 + GROUPS.iter().position(|known| *known == group).unwrap_or(GROUPS.len()),
    };
    versions.sort_by(|a, b| {
        (place(a.group), a.group)
            .cmp(&(place(b.group), b.group))
            .then_with(|| version_order(b.version).cmp(&version_order(a.version)))
            .then_with(|| a.version.cmp(b.version))
    });
    versions
}

fn version_document() -> Value {
    let minimum = version::MINOR.parse::<u32>().map_or(String::new(), |minor| (minor - 1).to_string());
    json!({
        "major": version::MAJOR,
        "minor": version::MINOR,
        "emulationMajor": version::MAJOR,
        "emulationMinor": version::MINOR,
        "minCompatibilityMajor": version::MAJOR,
        "minCompatibilityMinor": minimum,
        "gitVersion": version::git_version(),
        "gitCommit": version::build(),
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": version::platform(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    #[test]
    fn every_row_is_discovered_in_both_forms() {
        let registry = Registry::builtin();
        let documents = Documents::new(registry.rows(), &[], "127.0.0.1:6443");
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
            let aggregated = &documents.aggregated[path.split('/').next().unwrap()].bytes;
            let needle = format!("\"resource\":\"{}\"", resource.resource);
            assert!(memchr::memmem::find(aggregated, needle.as_bytes()).is_some(), "{needle}");
        }
    }

    #[test]
    fn versions_are_in_order() {
        let mut versions = ["v1alpha1", "v1", "foo", "v1beta2", "v2", "v2beta1", "v1beta10"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_order(version)));
        assert_eq!(versions, ["v2", "v1", "v2beta1", "v1beta10", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        let tag = tag(b"{}");
        let mut headers = HeaderMap::new();
        assert!(!is_known(&headers, &tag));
        headers.insert(IF_NONE_MATCH, tag.clone());
        assert!(is_known(&headers, &tag));
    }
}
