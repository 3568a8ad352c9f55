//! Whether a policy rule allows something. Rules from `pkg/apis/rbac/v1/evaluation_helpers.go`.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{Attributes, On};

/// What a rule says with one word: everything.
pub(super) const ALL: &str = "*";

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == ALL || one == wanted)
}

/// Whether a rule allows what is asked.
pub fn allows(rule: &PolicyRule, asked: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, asked.verb) {
        return false;
    }
    match &asked.on {
        On::Path(path) => rule.non_resource_urls.iter().flatten().any(|url| url_matches(url, path)),
        On::Resource(on) => {
            rule.api_groups.as_deref().is_some_and(|groups| has(groups, on.group))
                && rule.resources.iter().flatten().any(|one| resource_matches(one, on.resource, on.subresource))
                && rule
                    .resource_names
                    .as_deref()
                    .is_none_or(|names| names.is_empty() || names.iter().any(|name| name == on.name))
        }
    }
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == ALL {
        return true;
    }
    if subresource.is_empty() {
        return rule == resource;
    }
    rule.split_once('/').is_some_and(|(own, part)| part == subresource && (own == ALL || own == resource))
}

/// A pattern may end in a star.
fn url_matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::ResourceAttributes;
    use crate::request::User;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> PolicyRule {
        let own = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        PolicyRule {
            verbs: own(verbs),
            api_groups: Some(own(groups)),
            resources: Some(own(resources)),
            resource_names: Some(own(names)).filter(|names| !names.is_empty()),
            non_resource_urls: None,
        }
    }

    fn ask(rule: &PolicyRule, verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> bool {
        let user = User::default();
        let on = ResourceAttributes { group, resource, subresource, name, ..ResourceAttributes::default() };
        allows(rule, &Attributes { user: &user, verb, on: On::Resource(on) })
    }

    #[test]
    fn wildcards_subresources_and_names() {
        let any = rule(&["*"], &["*"], &["*"], &[]);
        assert!(ask(&any, "get", "apps", "deployments", "scale", "x"));
        let pods = rule(&["get"], &[""], &["pods"], &[]);
        assert!(ask(&pods, "get", "", "pods", "", "x"));
        assert!(!ask(&pods, "get", "", "pods", "log", "x"));
        assert!(!ask(&pods, "list", "", "pods", "", "x"));
        assert!(!ask(&pods, "get", "apps", "pods", "", "x"));
        let scale = rule(&["get"], &["apps"], &["*/scale"], &[]);
        assert!(ask(&scale, "get", "apps", "deployments", "scale", "x"));
        assert!(!ask(&scale, "get", "apps", "deployments", "", "x"));
        let one = rule(&["get", "list"], &[""], &["configmaps"], &["only"]);
        assert!(ask(&one, "get", "", "configmaps", "", "only"));
        assert!(!ask(&one, "list", "", "configmaps", "", ""));
    }

    #[test]
    fn paths_end_in_stars() {
        let user = User::default();
        let rule = PolicyRule {
            verbs: vec!["get".into()],
            non_resource_urls: Some(vec!["/api/*".into(), "/version".into()]),
            ..PolicyRule::default()
        };
        let ask = |path| allows(&rule, &Attributes { user: &user, verb: "get", on: On::Path(path) });
        assert!(ask("/api/v1") && ask("/version"));
        assert!(!ask("/api") && !ask("/version/x") && !ask("/metrics"));
    }
}
