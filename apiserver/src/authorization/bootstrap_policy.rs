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

impl Policy {
    /// Upstream's roles and bindings, the aggregated ones with the rules of those that feed them.
    pub fn of_cluster() -> Self {
        let mut policy = Self::of_upstream();
        for at in 0..policy.cluster_roles.len() {
            let mut gathered = Vec::new();
            policy.gather(at, &mut gathered);
            if !gathered.is_empty() {
                policy.cluster_roles[at].rules = Some(gathered);
            }
        }
        policy
    }

    /// The rules that a role takes from those that feed it. They are there from the first second, without the
    /// controller that follows later changes.
    fn gather(&self, at: usize, gathered: &mut Vec<PolicyRule>) {
        let selectors = self.cluster_roles[at].aggregation_rule.as_ref();
        let wanted = selectors.and_then(|rule| rule.cluster_role_selectors.as_ref()).into_iter().flatten();
        for labels in wanted.filter_map(|selector| selector.match_labels.as_ref()) {
            for (other, role) in self.cluster_roles.iter().enumerate() {
                let own = role.metadata.labels.as_ref();
                if other == at || !labels.iter().all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value)) {
                    continue;
                }
                for rule in role.rules.iter().flatten() {
                    if !gathered.contains(rule) {
                        gathered.push(rule.clone());
                    }
                }
                self.gather(other, gathered);
            }
        }
    }

    /// Upstream's roles and bindings, and those of Reeve's own, whose names begin with `reeve:`.
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
        assert_eq!(policy.cluster_roles.len(), 70);
        assert_eq!(policy.cluster_role_bindings.len(), 51);
        assert_eq!((policy.roles.len(), policy.role_bindings.len()), (8, 8));
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
    fn aggregated_roles_have_what_feeds_them() {
        let policy = Policy::of_cluster();
        let reads_pods = |name: &str| {
            let role = policy.cluster_roles.iter().find(|role| role.metadata.name.as_deref() == Some(name)).unwrap();
            role.rules.iter().flatten().any(|rule| {
                rule.resources.iter().flatten().any(|resource| resource == "pods")
                    && rule.verbs.iter().any(|verb| verb == "get")
            })
        };
        assert!(reads_pods("view") && reads_pods("edit") && reads_pods("admin"));
    }
}
