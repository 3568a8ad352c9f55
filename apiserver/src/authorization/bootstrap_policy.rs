//! The roles and bindings that every cluster has, read from `bootstrap_policy.txt`.

use k8s_openapi::api::rbac::v1::{
    AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

const TEXT: &str = include_str!("bootstrap_policy.txt");
const GROUP: &str = "rbac.authorization.k8s.io";
const AGGREGATE_PREFIX: &str = "rbac.authorization.k8s.io/aggregate-to-";
/// Objects with this annotation set to `true` get back what they lack at every start.
pub const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// For the cluster.
    pub cluster_roles: Vec<ClusterRole>,
    /// For namespaces.
    pub roles: Vec<Role>,
    /// For the cluster.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// For namespaces.
    pub role_bindings: Vec<RoleBinding>,
}

/// The user that the controllers of this cluster act as.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The names of the roles of upstream's controllers begin so.
const CONTROLLER_PREFIX: &str = "system:controller:";
/// The role of all controllers together.
const CONTROLLERS: &str = "system:reeve:controllers";

impl Policy {
    /// Upstream's roles and bindings, and what this cluster adds.
    ///
    /// The controllers share one process and one identity, where upstream gives each controller an account of its
    /// own. So one role holds what upstream's controllers have together, and that identity has it.
    pub fn of_cluster() -> Self {
        let mut policy = Self::of_upstream();
        let mut rules: Vec<PolicyRule> = Vec::new();
        let controllers = policy
            .cluster_roles
            .iter()
            .filter(|role| role.metadata.name.as_deref().is_some_and(|name| name.starts_with(CONTROLLER_PREFIX)));
        for rule in controllers.flat_map(|role| role.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
        let (_, metadata) = described(CONTROLLERS, &[]);
        policy.cluster_roles.push(ClusterRole {
            metadata: metadata.clone(),
            aggregation_rule: None,
            rules: Some(rules),
        });
        policy.cluster_role_bindings.push(ClusterRoleBinding {
            metadata,
            role_ref: role_ref("ClusterRole", CONTROLLERS),
            subjects: Some(vec![subject("User", CONTROLLER_MANAGER)]),
        });
        policy
    }

    /// Upstream's roles and bindings.
    pub fn of_upstream() -> Self {
        let mut policy = Self::default();
        for line in TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["clusterrole", name, rest @ ..] => {
                    let (gathers, metadata) = described(name, rest);
                    let aggregation_rule = gathers.map(|word| AggregationRule {
                        cluster_role_selectors: Some(vec![LabelSelector {
                            match_labels: Some([(format!("{AGGREGATE_PREFIX}{word}"), "true".to_owned())].into()),
                            ..LabelSelector::default()
                        }]),
                    });
                    policy.cluster_roles.push(ClusterRole { metadata, aggregation_rule, rules: None });
                }
                ["role", name, rest @ ..] => {
                    let (_, metadata) = described(name, rest);
                    policy.roles.push(Role { metadata, rules: None });
                }
                ["clusterrolebinding", name, role, subjects @ ..] => {
                    policy.cluster_role_bindings.push(ClusterRoleBinding {
                        metadata: described(name, &[]).1,
                        role_ref: role_ref("ClusterRole", role),
                        subjects: read_subjects(subjects),
                    });
                }
                ["rolebinding", name, role, subjects @ ..] => {
                    policy.role_bindings.push(RoleBinding {
                        metadata: described(name, &[]).1,
                        role_ref: role_ref("Role", role),
                        subjects: read_subjects(subjects),
                    });
                }
                [verbs, what, on, names @ ..] => {
                    let rule = rule(verbs, what, on, names.first().copied());
                    policy.add_rule(rule);
                }
                _ => {}
            }
        }
        policy
    }

    /// Adds a rule to the role that was read last: roles come after all ClusterRoles.
    fn add_rule(&mut self, rule: PolicyRule) {
        let rules = match self.roles.last_mut() {
            Some(role) => Some(&mut role.rules),
            None => self.cluster_roles.last_mut().map(|role| &mut role.rules),
        };
        if let Some(rules) = rules {
            rules.get_or_insert_default().push(rule);
        }
    }
}

/// The rules of nodes beyond what they are related to.
pub fn node_rules() -> Vec<PolicyRule> {
    let policy = Policy::of_upstream();
    let role = policy.cluster_roles.into_iter().find(|role| role.metadata.name.as_deref() == Some("system:node"));
    role.and_then(|role| role.rules).unwrap_or_default()
}

/// The word that it gathers, and its metadata.
fn described<'a>(name: &str, rest: &[&'a str]) -> (Option<&'a str>, ObjectMeta) {
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, name),
    };
    let mut metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace,
        labels: Some([("kubernetes.io/bootstrapping".to_owned(), "rbac-defaults".to_owned())].into()),
        annotations: Some([(AUTOUPDATE.to_owned(), "true".to_owned())].into()),
        ..ObjectMeta::default()
    };
    let mut gathers = None;
    for pair in rest.chunks_exact(2) {
        if pair[0] == "gathers" {
            gathers = Some(pair[1]);
        } else {
            let label = format!("{AGGREGATE_PREFIX}{}", pair[1]);
            metadata.labels.get_or_insert_default().insert(label, "true".to_owned());
        }
    }
    (gathers, metadata)
}

fn list(words: &str) -> Vec<String> {
    words.split(',').map(|word| if word == "-" { String::new() } else { word.to_owned() }).collect()
}

fn rule(verbs: &str, what: &str, on: &str, names: Option<&str>) -> PolicyRule {
    if what == "url" {
        return PolicyRule { verbs: list(verbs), non_resource_urls: Some(list(on)), ..PolicyRule::default() };
    }
    PolicyRule {
        verbs: list(verbs),
        api_groups: Some(list(what)),
        resources: Some(list(on)),
        resource_names: names.map(list),
        non_resource_urls: None,
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef { api_group: Some(GROUP.to_owned()), kind: kind.to_owned(), name: name.to_owned() }
}

fn subject(kind: &str, name: &str) -> Subject {
    Subject { api_group: Some(GROUP.to_owned()), kind: kind.to_owned(), name: name.to_owned(), namespace: None }
}

fn read_subjects(words: &[&str]) -> Option<Vec<Subject>> {
    let subjects: Vec<Subject> = words
        .iter()
        .filter_map(|word| {
            let (kind, name) = word.split_once('=')?;
            Some(match name.split_once('/') {
                Some((namespace, name)) if kind == "ServiceAccount" => Subject {
                    api_group: None,
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    namespace: Some(namespace.to_owned()),
                },
                _ => subject(kind, name),
            })
        })
        .collect();
    Some(subjects).filter(|subjects| !subjects.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_whole() {
        let policy = Policy::of_upstream();
        assert_eq!(policy.cluster_roles.len(), 69);
        assert_eq!(policy.cluster_role_bindings.len(), 50);
        assert_eq!((policy.roles.len(), policy.role_bindings.len()), (7, 7));
        let without_rules: Vec<_> = policy
            .cluster_roles
            .iter()
            .filter(|role| role.rules.is_none() && role.aggregation_rule.is_none())
            .map(|role| role.metadata.name.as_deref())
            .collect();
        assert!(without_rules.is_empty(), "{without_rules:?}");
        assert!(policy.roles.iter().all(|role| role.rules.is_some() && role.metadata.namespace.is_some()));
        let admin = policy.cluster_roles.iter().find(|role| role.metadata.name.as_deref() == Some("cluster-admin"));
        assert_eq!(admin.unwrap().rules.as_deref(), Some(&super::super::everything()[..]));
        assert!(node_rules().len() > 10);
    }

    #[test]
    fn controllers_share_one_identity() {
        let policy = Policy::of_cluster();
        let role = policy.cluster_roles.iter().find(|role| role.metadata.name.as_deref() == Some(CONTROLLERS)).unwrap();
        assert!(role.rules.iter().flatten().count() > 50);
    }
}
