//! Who may do what: a chain of authorizers behind one small trait, asked in one place for both edges.
//!
//! Rules, words and the order of the chain are those of `k8s.io/apiserver/pkg/authorization`: the first authorizer
//! that has an opinion decides, and what nobody allows is forbidden.

pub mod bootstrap_policy;
pub mod escalation;
pub mod node;
pub mod rbac;
mod rules;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::PolicyRule;
use reeve_api::{GroupVersionResource, Reason, StatusError};

use crate::request::{Target, User, Verb};
use crate::storage::cache::Resource;

pub use rules::allows as rule_allows;

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Who.
    pub user: &'a User,
    /// What: `get`, `list`, or a verb that only a check knows (`bind`, `impersonate`).
    pub verb: &'a str,
    /// On what.
    pub on: On<'a>,
}

/// On what something is to be done.
#[derive(Clone, Copy, Debug)]
pub enum On<'a> {
    /// Objects.
    Resource(ResourceAttributes<'a>),
    /// A path that is not an object's, such as `/metrics`.
    Path(&'a str),
}

/// Which objects. Texts are empty where they do not apply.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceAttributes<'a> {
    /// The API group.
    pub group: &'a str,
    /// For instance `pods`.
    pub resource: &'a str,
    /// For instance `log`.
    pub subresource: &'a str,
    /// Empty: the cluster, or all namespaces.
    pub namespace: &'a str,
    /// Empty: any.
    pub name: &'a str,
    /// The field selector of a list or watch, as it was written.
    pub fields: &'a str,
}

impl<'a> Attributes<'a> {
    /// What a request for a target is.
    pub fn of_target(user: &'a User, verb: Verb, target: &'a Target, fields: &'a str) -> Self {
        let namespaces = target.resource.group.is_empty() && target.resource.resource == "namespaces";
        let mut name = target.name.as_str();
        if name.is_empty() && matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
            // A collection that is narrowed to one name is that object.
            name = selected(fields, "metadata.name").unwrap_or_default();
        }
        let resource = ResourceAttributes {
            group: &target.resource.group,
            resource: &target.resource.resource,
            subresource: &target.subresource,
            namespace: if namespaces { &target.name } else { &target.namespace },
            name,
            fields,
        };
        Self { user, verb: verb.as_str(), on: On::Resource(resource) }
    }
}

/// The value that a field selector asks a field to have.
pub fn selected<'a>(fields: &'a str, field: &str) -> Option<&'a str> {
    fields.split(',').find_map(|term| {
        let (name, value) = term.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (name == field && !value.is_empty()).then_some(value)
    })
}

/// What an authorizer thinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Allow(Arc<str>),
    /// It may not be done, whatever others think.
    Deny(Arc<str>),
    /// Others decide.
    NoOpinion(Arc<str>),
}

impl Decision {
    /// No opinion, and nothing to say about it.
    pub fn none() -> Self {
        Decision::NoOpinion(Arc::from(""))
    }
}

/// The rules that apply to somebody.
#[derive(Clone, Debug, Default)]
pub struct ApplyingRules {
    /// The rules, in the order in which they were found.
    pub rules: Vec<PolicyRule>,
    /// What could not be resolved.
    pub errors: Vec<String>,
    /// Whether the list cannot be complete.
    pub incomplete: bool,
}

/// One way to decide.
pub trait Authorizer: Send + Sync {
    /// Decides. Never waits: it runs for every request.
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// The rules that apply to a user in a namespace.
    fn rules(&self, user: &User, namespace: &str) -> ApplyingRules;
}

/// Authorizers that are asked one after the other.
pub struct Chain(Vec<Box<dyn Authorizer>>);

impl Authorizer for Chain {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::Allow(Arc::from(""));
        }
        let mut texts: Vec<Arc<str>> = Vec::new();
        for authorizer in &self.0 {
            match authorizer.authorize(attributes) {
                Decision::NoOpinion(text) if text.is_empty() => {}
                Decision::NoOpinion(text) => texts.push(text),
                decided => return decided,
            }
        }
        Decision::NoOpinion(texts.join(", ").into())
    }

    fn rules(&self, user: &User, namespace: &str) -> ApplyingRules {
        let mut all = ApplyingRules::default();
        if user.is_in(MASTERS) {
            all.rules.extend(everything());
        }
        for authorizer in &self.0 {
            let mut rules = authorizer.rules(user, namespace);
            all.rules.append(&mut rules.rules);
            all.errors.append(&mut rules.errors);
            all.incomplete |= rules.incomplete;
        }
        all
    }
}

/// The rules that allow everything.
pub fn everything() -> [PolicyRule; 2] {
    let all = || Some(vec!["*".to_owned()]);
    [
        PolicyRule { verbs: vec!["*".into()], api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: vec!["*".into()], non_resource_urls: all(), ..PolicyRule::default() },
    ]
}

/// Lets everybody do everything.
struct AlwaysAllow;

impl Authorizer for AlwaysAllow {
    fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::Allow(Arc::from(""))
    }

    fn rules(&self, _: &User, _: &str) -> ApplyingRules {
        ApplyingRules { rules: everything().into(), ..ApplyingRules::default() }
    }
}

/// Lets nobody do anything.
struct AlwaysDeny;

impl Authorizer for AlwaysDeny {
    fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::NoOpinion(Arc::from("Everything is forbidden."))
    }

    fn rules(&self, _: &User, _: &str) -> ApplyingRules {
        ApplyingRules::default()
    }
}

/// A value of `--authorization-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What nodes may do.
    Node,
    /// Roles and bindings.
    Rbac,
    /// For tests.
    AlwaysAllow,
    /// For tests.
    AlwaysDeny,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "Node" => Ok(Mode::Node),
            "RBAC" => Ok(Mode::Rbac),
            "AlwaysAllow" => Ok(Mode::AlwaysAllow),
            "AlwaysDeny" => Ok(Mode::AlwaysDeny),
            other => {
                Err(format!("{other:?} is not an authorization mode; choose from Node, RBAC, AlwaysAllow, AlwaysDeny"))
            }
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Node => "Node",
            Mode::Rbac => "RBAC",
            Mode::AlwaysAllow => "AlwaysAllow",
            Mode::AlwaysDeny => "AlwaysDeny",
        })
    }
}

/// The cached resources that authorizers read.
#[derive(Clone)]
pub struct Sources {
    /// Roles and bindings.
    pub policy: rbac::Sources,
    /// What pods refer to.
    pub pods: Resource,
    /// Which claims bind volumes.
    pub volumes: Option<Resource>,
    /// Which nodes attach volumes.
    pub attachments: Option<Resource>,
}

/// The chain that the modes ask for.
pub fn chain(modes: &[Mode], sources: &Sources) -> Chain {
    Chain(
        modes
            .iter()
            .map(|mode| -> Box<dyn Authorizer> {
                match mode {
                    Mode::Node => Box::new(node::NodeAuthorizer::new(sources.clone())),
                    Mode::Rbac => Box::new(rbac::Rbac::new(sources.policy.clone())),
                    Mode::AlwaysAllow => Box::new(AlwaysAllow),
                    Mode::AlwaysDeny => Box::new(AlwaysDeny),
                }
            })
            .collect(),
    )
}

/// Refuses what is not allowed, with upstream's text.
///
/// # Errors
/// `Forbidden` when no authorizer allows it.
pub fn check(authorizer: &dyn Authorizer, attributes: &Attributes<'_>) -> Result<(), StatusError> {
    match authorizer.authorize(attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(refusal(attributes, &why)),
    }
}

/// The error that tells what is not allowed.
pub fn refusal(attributes: &Attributes<'_>, why: &str) -> StatusError {
    let user = &attributes.user.name;
    let verb = attributes.verb;
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    match &attributes.on {
        On::Path(path) => {
            let mut error = StatusError::new(
                Reason::Forbidden,
                format!("forbidden: User {user:?} cannot {verb} path {path:?}{why}"),
            );
            error.details = Some(Box::default());
            error
        }
        On::Resource(on) => {
            let scope = if on.namespace.is_empty() {
                " at the cluster scope".to_owned()
            } else {
                format!(" in the namespace {:?}", on.namespace)
            };
            let resource = GroupVersionResource::new(on.group, "", on.resource);
            let described = if on.subresource.is_empty() {
                on.resource.to_owned()
            } else {
                format!("{}/{}", on.resource, on.subresource)
            };
            let text =
                format!("User {user:?} cannot {verb} resource {described:?} in API group {:?}{scope}{why}", on.group);
            StatusError::forbidden(&resource, on.name, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_refused_with_upstreams_text() {
        let user = User { name: "jane".into(), groups: vec!["dev".into()], ..User::default() };
        let target = Target {
            resource: GroupVersionResource::new("", "v1", "pods"),
            namespace: "a".into(),
            name: String::new(),
            subresource: String::new(),
        };
        let nobody = Chain(vec![]);
        let error = check(&nobody, &Attributes::of_target(&user, Verb::List, &target, "")).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "a""#
        );
        assert_eq!(error.code(), 403);
        let path = Attributes { user: &user, verb: "get", on: On::Path("/metrics") };
        let error = check(&nobody, &path).unwrap_err();
        assert_eq!(error.to_string(), r#"forbidden: User "jane" cannot get path "/metrics""#);
        let master = User { groups: vec![MASTERS.into()], ..user };
        assert!(check(&nobody, &Attributes { user: &master, verb: "get", on: On::Path("/metrics") }).is_ok());
    }

    #[test]
    fn a_selector_may_name_one_object() {
        assert_eq!(selected("metadata.name=a", "metadata.name"), Some("a"));
        assert_eq!(selected("spec.x!=b,metadata.name==a", "metadata.name"), Some("a"));
        assert_eq!(selected("metadata.name!=a", "metadata.name"), None);
        assert_eq!(selected("", "metadata.name"), None);
    }
}
