//! URL paths and queries: which resource, object and verb a request means.
//!
//! The grammar is upstream's `k8s.io/apiserver/pkg/endpoints/request.RequestInfo`.

use std::collections::HashMap;

use http::Method;
use reeve_api::{GroupVersionResource, StatusError};

use crate::request::{Target, Verb};

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    GroupVersion {
        /// Empty for core.
        group: String,
        /// For instance `v1`.
        version: String,
    },
    /// An object or a collection.
    Resource {
        /// Which.
        target: Target,
        /// Whether the path is a legacy `/watch/` one.
        watch: bool,
    },
    /// Any other path, such as `/version`.
    Other,
}

/// Splits a path.
pub fn route(path: &str) -> Route {
    let path = path.strip_prefix('/').unwrap_or(path);
    let parts: Vec<String> = path
        .strip_suffix('/')
        .unwrap_or(path)
        .split('/')
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api"] => Route::CoreVersions,
        ["api", version] => Route::GroupVersion { group: String::new(), version: (*version).to_owned() },
        ["api", version, rest @ ..] => resource("", version, rest),
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["apis", group, version] => Route::GroupVersion { group: (*group).to_owned(), version: (*version).to_owned() },
        ["apis", group, version, rest @ ..] => resource(group, version, rest),
        _ => Route::Other,
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Route {
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        _ => (false, rest),
    };
    let target = |resource: &str, namespace: &str, name: &str, subresource: &[&str]| Route::Resource {
        target: Target {
            resource: GroupVersionResource::new(group, version, resource),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            // What follows a proxy is the other side's path.
            subresource: match subresource {
                ["proxy", ..] if is_proxied(group, resource) => "proxy".to_owned(),
                parts => parts.join("/"),
            },
        },
        watch,
    };
    match rest {
        // A namespace's own parts; everything else below a namespace is a resource in it.
        ["namespaces", name, part @ ("status" | "finalize")] => target("namespaces", name, name, &[part]),
        ["namespaces", name] => target("namespaces", name, name, &[]),
        ["namespaces", namespace, resource] => target(resource, namespace, "", &[]),
        ["namespaces", namespace, resource, name, sub @ ..] => target(resource, namespace, name, sub),
        [resource] => target(resource, "", "", &[]),
        [resource, name, sub @ ..] => target(resource, "", name, sub),
        [] => Route::Other,
    }
}

/// Whether requests can be handed on to objects of a resource.
pub fn is_proxied(group: &str, resource: &str) -> bool {
    group.is_empty() && matches!(resource, "pods" | "services" | "nodes")
}

/// Whether a request is a watch: by its path, or by its query, which belongs to the other side in a proxied one.
pub fn watches(target: &Target, watch: bool, query: &Query) -> bool {
    target.subresource != "proxy" && (watch || query.flag("watch"))
}

/// The verb that a method means for a target; `None` for methods that the API does not have.
pub fn verb(method: &Method, target: &Target, watch: bool) -> Option<Verb> {
    let collection = target.name.is_empty();
    Some(match *method {
        Method::GET | Method::HEAD if watch => Verb::Watch,
        Method::GET | Method::HEAD if collection => Verb::List,
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if collection => Verb::DeleteCollection,
        Method::DELETE => Verb::Delete,
        // The other side's to answer; whoever may read there may ask what else there is.
        Method::OPTIONS if target.subresource == "proxy" => Verb::Get,
        _ => return None,
    })
}

/// The parameters of a query.
#[derive(Clone, Debug, Default)]
pub struct Query {
    values: HashMap<String, Vec<String>>,
}

impl Query {
    /// Splits a query; of a repeated parameter the first counts, where not all are asked for.
    pub fn parse(query: Option<&str>) -> Self {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            values.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self { values }
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.first().map(String::as_str)
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values.get(name).into_iter().flatten().map(String::as_str)
    }

    /// The text of a parameter; empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.first(name).unwrap_or_default()
    }

    /// Whether a parameter is there at all.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// A truth value. As upstream, anything but `false` and `0` is true, also an empty text.
    pub fn flag(&self, name: &str) -> bool {
        self.first(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, StatusError> {
        match self.first(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| StatusError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> String {
        match route(path) {
            Route::Resource { target, watch } => format!(
                "{}|{}|{}|{}{}",
                target.resource.qualified(),
                target.namespace,
                target.name,
                target.subresource,
                if watch { "|watch" } else { "" }
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_name_resources() {
        assert_eq!(named("/api/v1/pods"), "pods|||");
        assert_eq!(named("/api/v1/namespaces/a/pods/b/log"), "pods|a|b|log");
        assert_eq!(named("/api/v1/namespaces/a"), "namespaces|a|a|");
        assert_eq!(named("/api/v1/namespaces/a/status"), "namespaces|a|a|status");
        assert_eq!(named("/api/v1/namespaces"), "namespaces|||");
        assert_eq!(named("/apis/apps/v1/namespaces/a/deployments/b/scale"), "deployments.apps|a|b|scale");
        assert_eq!(named("/api/v1/nodes/n1/proxy/stats/summary"), "nodes||n1|proxy");
        assert_eq!(named("/api/v1/watch/namespaces/a/pods"), "pods|a|||watch");
        assert_eq!(route("/apis/apps/v1"), Route::GroupVersion { group: "apps".into(), version: "v1".into() });
        assert_eq!(route("/version"), Route::Other);
        assert_eq!(route("/"), Route::Other);
    }

    #[test]
    fn what_is_handed_on_has_every_method() {
        let verb = |method, path| match route(path) {
            Route::Resource { target, watch } => verb(&method, &target, watch),
            other => panic!("{other:?}"),
        };
        assert_eq!(verb(Method::OPTIONS, "/api/v1/namespaces/a/services/b/proxy/x"), Some(Verb::Get));
        assert_eq!(verb(Method::OPTIONS, "/api/v1/namespaces/a/services/b"), None);
        assert_eq!(verb(Method::TRACE, "/api/v1/namespaces/a/services/b/proxy/x"), None);
    }

    #[test]
    fn flags_are_upstreams() {
        let query = Query::parse(Some("watch=1&limit=5&labelSelector=a%3Db&pretty="));
        assert!(query.flag("watch") && query.flag("pretty") && !query.flag("absent"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert_eq!(query.text("labelSelector"), "a=b");
        assert!(Query::parse(Some("limit=x")).number("limit").is_err());
    }
}
