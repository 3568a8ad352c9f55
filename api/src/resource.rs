//! What the server knows of a kind: its names, scope and verbs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Group, version and plural name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupVersionResource {
    /// Empty for the core group.
    pub group: String,
    /// For instance `v1`.
    pub version: String,
    /// The plural, lower-case name.
    pub resource: String,
}

impl GroupVersionResource {
    /// From its three parts.
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), resource: resource.to_owned() }
    }

    /// The resource of a kind of `k8s-openapi`.
    pub fn of<K: k8s_openapi::Resource>() -> Self {
        Self::new(K::GROUP, K::VERSION, K::URL_PATH_SEGMENT)
    }

    /// The value of `apiVersion`: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The name with its group, as error messages say it: `pods`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        qualified(&self.resource, &self.group)
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.qualified())
    }
}

/// Group, version and kind of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupVersionKind {
    /// Empty for the core group.
    pub group: String,
    /// For instance `v1`.
    pub version: String,
    /// For instance `Pod`.
    pub kind: String,
}

impl GroupVersionKind {
    /// From the `apiVersion` and `kind` of an object.
    pub fn from_object(api_version: &str, kind: &str) -> Self {
        let (group, version) = split_api_version(api_version);
        Self { group: group.to_owned(), version: version.to_owned(), kind: kind.to_owned() }
    }

    /// The value of `apiVersion`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.api_version(), self.kind)
    }
}

/// `v1` or `group/version`.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Splits an `apiVersion` into group and version.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// `name` or `name.group`.
pub fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// A row of the resource registry: all that discovery tells of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceInfo {
    /// Group, version and plural name.
    pub resource: GroupVersionResource,
    /// The singular, lower-case name.
    pub singular: String,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// For instance `po`.
    pub short_names: Vec<String>,
    /// For instance `all`.
    pub categories: Vec<String>,
    /// For instance `get`.
    pub verbs: Vec<String>,
}

impl ResourceInfo {
    /// Group, version and kind of the objects.
    pub fn kind(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.resource.group.clone(),
            version: self.resource.version.clone(),
            kind: self.kind.clone(),
        }
    }

    /// Whether a user may mean this resource by a word: plural, singular, short name or kind, with or
    /// without its group (`deployments.apps`, `deployments.v1.apps`).
    pub fn answers_to(&self, word: &str) -> bool {
        let word = word.to_ascii_lowercase();
        let (name, group) = word.split_once('.').unwrap_or((&word, ""));
        let group = group
            .strip_prefix(self.resource.version.as_str())
            .map_or(group, |rest| rest.strip_prefix('.').unwrap_or(rest));
        let named = name == self.resource.resource
            || name == self.singular
            || name == self.kind.to_ascii_lowercase()
            || self.short_names.iter().any(|short| short == name);
        named && (group.is_empty() || group == self.resource.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_a_resource_with_and_without_its_group() {
        let info = ResourceInfo {
            resource: GroupVersionResource::new("apps", "v1", "deployments"),
            singular: "deployment".into(),
            kind: "Deployment".into(),
            namespaced: true,
            short_names: vec!["deploy".into()],
            categories: vec![],
            verbs: vec![],
        };
        for word in ["deployments", "deployment", "deploy", "Deployment", "deployments.apps", "deployments.v1.apps"] {
            assert!(info.answers_to(word), "{word}");
        }
        for word in ["deployments.batch", "pods", ""] {
            assert!(!info.answers_to(word), "{word}");
        }
    }
}
