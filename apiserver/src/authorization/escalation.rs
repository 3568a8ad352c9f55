//! Nobody grants more than he has: the checks of writes to roles and bindings.
//!
//! Rules and texts from `pkg/registry/rbac` and `component-helpers/auth/rbac/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef};
use reeve_api::StatusError;

use super::{Attributes, Authorizer, Decision, MASTERS, On, ResourceAttributes};
use crate::request::User;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether a user may do something to a role beyond its own rights: `escalate` or `bind`.
fn may(authorizer: &dyn Authorizer, user: &User, verb: &str, resource: &str, namespace: &str, name: &str) -> bool {
    let on = ResourceAttributes { group: GROUP, resource, namespace, name, ..ResourceAttributes::default() };
    matches!(authorizer.authorize(&Attributes { user, verb, on: On::Resource(on) }), Decision::Allow(_))
}

/// Why a user may not write a role with these rules; `None` when it may. `resource` is `roles` or `clusterroles`.
pub fn of_role(
    authorizer: &dyn Authorizer,
    user: &User,
    resource: &str,
    namespace: &str,
    name: &str,
    rules: &[PolicyRule],
) -> Option<String> {
    if user.is_in(MASTERS) || may(authorizer, user, "escalate", resource, namespace, name) {
        return None;
    }
    missing(authorizer, user, namespace, rules)
}

/// Why a user may not write a ClusterRole that gathers the rules of others; `None` when it may.
pub fn of_aggregation(authorizer: &dyn Authorizer, user: &User, name: &str) -> Option<String> {
    if user.is_in(MASTERS) || may(authorizer, user, "escalate", "clusterroles", "", name) {
        return None;
    }
    missing(authorizer, user, "", &super::everything())
        .map(|_| "must have cluster-admin privileges to use an aggregationRule".to_owned())
}

/// Why a user may not bind a role; `None` when it may. `rules` are those of the role.
///
/// # Errors
/// What finding the role's rules fails with, when they are needed.
pub fn of_binding(
    authorizer: &dyn Authorizer,
    user: &User,
    namespace: &str,
    role: &RoleRef,
    rules: impl FnOnce() -> Result<Vec<PolicyRule>, StatusError>,
) -> Result<Option<String>, StatusError> {
    let resource = if role.kind == "ClusterRole" { "clusterroles" } else { "roles" };
    if user.is_in(MASTERS) || may(authorizer, user, "bind", resource, namespace, &role.name) {
        return Ok(None);
    }
    Ok(missing(authorizer, user, namespace, &rules()?))
}

/// What of the rules a user does not have, as upstream says it.
fn missing(authorizer: &dyn Authorizer, user: &User, namespace: &str, rules: &[PolicyRule]) -> Option<String> {
    let own = authorizer.rules(user, namespace);
    let lacking: Vec<PolicyRule> =
        rules.iter().flat_map(parts).filter(|part| !own.rules.iter().any(|rule| covers(rule, part))).collect();
    if lacking.is_empty() {
        return None;
    }
    let lines: BTreeSet<String> = compact(lacking).iter().map(shown).collect();
    let lines: Vec<String> = lines.into_iter().collect();
    let mut text = format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    );
    if !own.errors.is_empty() {
        text.push_str(&format!("; resolution errors: [{}]", own.errors.join(", ")));
    }
    Some(text)
}

fn own(text: &str) -> Option<Vec<String>> {
    Some(vec![text.to_owned()])
}

/// A rule as rules of one verb on one thing.
fn parts(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut all = Vec::new();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                let part = PolicyRule {
                    verbs: vec![verb.clone()],
                    api_groups: own(group),
                    resources: own(resource),
                    ..PolicyRule::default()
                };
                match rule.resource_names.as_deref() {
                    None | Some([]) => all.push(part),
                    Some(names) => {
                        all.extend(names.iter().map(|name| PolicyRule { resource_names: own(name), ..part.clone() }));
                    }
                }
            }
        }
    }
    for url in rule.non_resource_urls.iter().flatten() {
        all.extend(rule.verbs.iter().map(|verb| PolicyRule {
            verbs: vec![verb.clone()],
            non_resource_urls: own(url),
            ..PolicyRule::default()
        }));
    }
    all
}

/// Whether a rule includes one of [`parts`].
fn covers(rule: &PolicyRule, part: &PolicyRule) -> bool {
    let all = |list: &[String], wanted: &[String]| {
        list.iter().any(|one| one == "*") || wanted.iter().all(|one| list.contains(one))
    };
    if !all(&rule.verbs, &part.verbs) {
        return false;
    }
    if let Some(urls) = &part.non_resource_urls {
        return urls.iter().all(|url| {
            rule.non_resource_urls.iter().flatten().any(|own| match own.strip_suffix('*') {
                Some(prefix) => url.starts_with(prefix),
                None => own == url,
            })
        });
    }
    let none = Vec::new();
    let resources = rule.resources.as_ref().unwrap_or(&none);
    let resources_cover = part.resources.iter().flatten().all(|wanted| {
        resources.iter().any(|own| {
            own == "*"
                || own == wanted
                || own
                    .strip_prefix("*/")
                    .is_some_and(|sub| wanted.split_once('/').is_some_and(|(_, wanted)| wanted == sub))
        })
    });
    let names_cover = match (rule.resource_names.as_deref(), part.resource_names.as_deref()) {
        (None | Some([]), _) => true,
        (Some(_), None | Some([])) => false,
        (Some(own), Some(wanted)) => wanted.iter().all(|name| own.contains(name)),
    };
    all(rule.api_groups.as_ref().unwrap_or(&none), part.api_groups.as_ref().unwrap_or(&none))
        && resources_cover
        && names_cover
}

/// Joins the verbs of rules about the same thing.
fn compact(parts: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut joined: Vec<PolicyRule> = Vec::new();
    for part in parts {
        let same = joined.iter_mut().find(|rule| {
            part.non_resource_urls.is_none()
                && rule.api_groups == part.api_groups
                && rule.resources == part.resources
                && rule.resource_names == part.resource_names
                && rule.non_resource_urls.is_none()
        });
        match same {
            Some(rule) => {
                for verb in part.verbs {
                    if !rule.verbs.contains(&verb) {
                        rule.verbs.push(verb);
                    }
                }
            }
            None => joined.push(part),
        }
    }
    joined
}

fn quoted(list: &[String]) -> String {
    let words: Vec<String> = list.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

fn shown(rule: &PolicyRule) -> String {
    let mut fields = Vec::new();
    let mut add = |name: &str, list: &[String]| {
        if !list.is_empty() {
            fields.push(format!("{name}:{}", quoted(list)));
        }
    };
    let none = Vec::new();
    add("APIGroups", rule.api_groups.as_ref().unwrap_or(&none));
    add("Resources", rule.resources.as_ref().unwrap_or(&none));
    add("NonResourceURLs", rule.non_resource_urls.as_ref().unwrap_or(&none));
    add("ResourceNames", rule.resource_names.as_ref().unwrap_or(&none));
    add("Verbs", &rule.verbs);
    format!("{{{}}}", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::ApplyingRules;

    /// An authorizer of one user who may read pods, and anything below `/api`.
    struct Limited(Vec<PolicyRule>);

    impl Authorizer for Limited {
        fn authorize(&self, _: &Attributes<'_>) -> Decision {
            Decision::none()
        }

        fn rules(&self, _: &User, _: &str) -> ApplyingRules {
            ApplyingRules { rules: self.0.clone(), ..ApplyingRules::default() }
        }
    }

    fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> PolicyRule {
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            api_groups: Some(own(groups)),
            resources: Some(own(resources)),
            verbs: own(verbs),
            ..PolicyRule::default()
        }
    }

    #[test]
    fn what_is_missing_is_said_in_upstreams_words() {
        let limited = Limited(vec![rule(&[""], &["pods"], &["get"])]);
        let user = User { name: "jane".into(), groups: vec!["system:authenticated".into()], ..User::default() };
        let wanted = rule(&[""], &["pods", "secrets"], &["get", "list"]);
        assert_eq!(
            of_role(&limited, &user, "roles", "a", "more", &[wanted]).unwrap(),
            "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently \
             held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}\n{APIGroups:[\"\"], \
             Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}"
        );
        assert_eq!(of_role(&limited, &user, "roles", "a", "ok", &[rule(&[""], &["pods"], &["get"])]), None);
        let all = of_role(&limited, &user, "clusterroles", "", "x", &super::super::everything()).unwrap();
        assert!(all.ends_with(
            "held:\n{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"
        ));
        let master = User { groups: vec![MASTERS.into()], ..user };
        assert_eq!(of_role(&limited, &master, "roles", "a", "x", &super::super::everything()), None);
    }
}
