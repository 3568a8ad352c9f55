//! What nodes may do: their own node, lease and pods, and what those pods refer to.
//!
//! Upstream keeps a graph from secrets, config maps, claims, volumes and accounts to pods and nodes. Here the edges
//! are read from where they are already kept up to date: the watch cache indexes pods by node, and a node has at most
//! a few hundred. A question is answered by looking through those pods' bytes for the name, decoding only a pod that
//! has it. Rules from `plugin/pkg/auth/authorizer/node`.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, Pod, PodSpec, Volume};
use k8s_openapi::api::rbac::v1::PolicyRule;
use k8s_openapi::api::storage::v1::VolumeAttachment;

use super::{
    ApplyingRules, Attributes, Authorizer, Decision, On, ResourceAttributes, Sources, bootstrap_policy, rule_allows,
    selected,
};
use crate::request::User;
use crate::storage::cache::{Entry, FieldRequirement, Selector};

const USER_PREFIX: &str = "system:node:";
const NODES_GROUP: &str = "system:nodes";
const LEASES_NAMESPACE: &str = "kube-node-lease";

/// The node that a user is, when it is one.
pub fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(USER_PREFIX).filter(|name| !name.is_empty() && user.is_in(NODES_GROUP))
}

/// Something that pods refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Referred {
    Secret,
    ConfigMap,
    Claim,
    Account,
}

/// The authorizer.
pub struct NodeAuthorizer {
    sources: Sources,
    rules: Vec<PolicyRule>,
}

impl NodeAuthorizer {
    /// An authorizer over the cache.
    pub fn new(sources: Sources) -> Self {
        Self { sources, rules: bootstrap_policy::node_rules() }
    }

    /// The node's pods in a namespace; in all namespaces when it is empty.
    fn pods(&self, node: &str, namespace: &str) -> impl Iterator<Item = Arc<Entry>> {
        let selector = Selector {
            namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
            fields: vec![FieldRequirement { path: "spec.nodeName".to_owned(), value: node.to_owned(), equal: true }],
            ..Selector::default()
        };
        self.sources.pods.snapshot().select(selector)
    }

    fn refers(&self, node: &str, what: Referred, namespace: &str, name: &str) -> bool {
        let mut quoted = Vec::with_capacity(name.len() + 2);
        quoted.push(b'"');
        quoted.extend_from_slice(name.as_bytes());
        quoted.push(b'"');
        let finder = memchr::memmem::Finder::new(&quoted);
        self.pods(node, namespace).any(|entry| {
            // The claim of an ephemeral volume is named after the pod and the volume.
            let may =
                finder.find(entry.object()).is_some() || what == Referred::Claim && name.starts_with(entry.name());
            may && serde_json::from_slice::<Pod>(entry.object()).is_ok_and(|pod| {
                let spec = pod.spec.as_ref();
                spec.is_some_and(|spec| references(spec, entry.name(), what).contains(name))
            })
        })
    }

    fn decide(&self, node: &str, verb: &str, on: &ResourceAttributes<'_>, asked: &Attributes<'_>) -> Decision {
        let no = |why: &str| Decision::NoOpinion(why.into());
        let related = |found: bool| {
            if found {
                Decision::Allow(Arc::from(""))
            } else {
                Decision::NoOpinion(format!("no relationship found between node '{node}' and this object").into())
            }
        };
        let single = matches!(verb, "get" | "list" | "watch");
        match (on.group, on.resource) {
            ("", kind @ ("secrets" | "configmaps" | "persistentvolumeclaims")) => {
                if kind == "persistentvolumeclaims" && on.subresource == "status" {
                    if !matches!(verb, "update" | "patch") {
                        return no("can only update, or patch this subresource");
                    }
                    return related(self.refers(node, Referred::Claim, on.namespace, on.name));
                }
                if !on.subresource.is_empty() {
                    return no("cannot read subresource");
                }
                if kind == "persistentvolumeclaims" && verb != "get" || !single {
                    return no("can only read resources of this type");
                }
                if on.name.is_empty() {
                    return no("No Object name found");
                }
                let what = match kind {
                    "secrets" => Referred::Secret,
                    "configmaps" => Referred::ConfigMap,
                    _ => Referred::Claim,
                };
                related(self.refers(node, what, on.namespace, on.name))
            }
            ("", "persistentvolumes") if on.subresource.is_empty() => {
                if verb != "get" {
                    return no("can only read resources of this type");
                }
                related(self.uses_volume(node, on.name))
            }
            ("", "serviceaccounts") => match (verb, on.subresource) {
                ("create", "token") => related(self.refers(node, Referred::Account, on.namespace, on.name)),
                ("get", "") => related(self.refers(node, Referred::Account, on.namespace, on.name)),
                _ => no("can only create tokens for individual service accounts"),
            },
            ("storage.k8s.io", "volumeattachments") => {
                if verb != "get" || !on.subresource.is_empty() {
                    return no("can only read resources of this type");
                }
                related(self.attaches(node, on.name))
            }
            ("coordination.k8s.io", "leases") => {
                if on.namespace != LEASES_NAMESPACE {
                    return no("can only access leases in the \"kube-node-lease\" system namespace");
                }
                match verb {
                    // The name is in the body; admission compares it.
                    "create" => Decision::Allow(Arc::from("")),
                    "get" | "update" | "patch" | "delete" if on.name == node => Decision::Allow(Arc::from("")),
                    "get" | "update" | "patch" | "delete" => {
                        no("can only access node lease with the same name as the requesting node")
                    }
                    _ => no("can only get, create, update, patch, or delete a node lease"),
                }
            }
            ("storage.k8s.io", "csinodes") => match verb {
                "create" => Decision::Allow(Arc::from("")),
                "get" | "update" | "patch" | "delete" if on.name == node => Decision::Allow(Arc::from("")),
                "get" | "update" | "patch" | "delete" => {
                    no("can only access CSINode with the same name as the requesting node")
                }
                _ => no("can only get, create, update, patch, or delete a CSINode"),
            },
            ("", "nodes") if on.subresource.is_empty() => match verb {
                "get" | "list" | "watch" if on.name != node => {
                    no(&format!("node '{node}' cannot read '{}', only its own Node object", on.name))
                }
                _ => self.by_rules(asked),
            },
            ("", "pods") if on.subresource.is_empty() => match verb {
                "list" | "watch" if selected(on.fields, "spec.nodeName") != Some(node) => {
                    no("can only list/watch pods with spec.nodeName field selector")
                }
                "get" => {
                    let pod = self.sources.pods.snapshot().get(on.namespace, on.name);
                    let own = pod.is_some_and(|_| self.pods(node, on.namespace).any(|pod| pod.name() == on.name));
                    related(own)
                }
                _ => self.by_rules(asked),
            },
            _ => self.by_rules(asked),
        }
    }

    fn by_rules(&self, asked: &Attributes<'_>) -> Decision {
        if self.rules.iter().any(|rule| rule_allows(rule, asked)) {
            return Decision::Allow(Arc::from(""));
        }
        Decision::none()
    }

    /// Whether a pod of the node uses the claim that binds a volume.
    fn uses_volume(&self, node: &str, name: &str) -> bool {
        let Some(volumes) = &self.sources.volumes else { return false };
        let Some(entry) = volumes.snapshot().get("", name) else { return false };
        let Ok(volume) = serde_json::from_slice::<PersistentVolume>(entry.object()) else { return false };
        let Some(claim) = volume.spec.and_then(|spec| spec.claim_ref) else { return false };
        let (Some(namespace), Some(name)) = (claim.namespace, claim.name) else { return false };
        self.refers(node, Referred::Claim, &namespace, &name)
    }

    fn attaches(&self, node: &str, name: &str) -> bool {
        let Some(attachments) = &self.sources.attachments else { return false };
        let Some(entry) = attachments.snapshot().get("", name) else { return false };
        serde_json::from_slice::<VolumeAttachment>(entry.object()).is_ok_and(|one| one.spec.node_name == node)
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        if !user.is_in(NODES_GROUP) {
            return Decision::none();
        }
        let Some(node) = node_of(user) else {
            return Decision::NoOpinion(format!("unknown node for user {:?}", user.name).into());
        };
        match &attributes.on {
            On::Path(_) => self.by_rules(attributes),
            On::Resource(on) => self.decide(node, attributes.verb, on, attributes),
        }
    }

    fn rules(&self, user: &User, _namespace: &str) -> ApplyingRules {
        match node_of(user) {
            None => ApplyingRules::default(),
            Some(_) => ApplyingRules {
                rules: Vec::new(),
                errors: vec!["node authorizer does not support user rule resolution".to_owned()],
                incomplete: true,
            },
        }
    }
}

/// The names of what a pod refers to in its namespace.
fn references(spec: &PodSpec, pod: &str, what: Referred) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let (mut environment, mut sources) = (Vec::new(), Vec::new());
    for container in containers {
        environment.extend(container.env.iter().flatten());
        sources.extend(container.env_from.iter().flatten());
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        environment.extend(container.env.iter().flatten());
        sources.extend(container.env_from.iter().flatten());
    }
    let volumes = || spec.volumes.iter().flatten();
    let projections =
        || volumes().filter_map(|volume| volume.projected.as_ref()).flat_map(|one| one.sources.iter().flatten());
    match what {
        Referred::Account => names.extend(spec.service_account_name.clone()),
        Referred::Claim => {
            for volume in volumes() {
                names.extend(volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone()));
                names.extend(volume.ephemeral.as_ref().map(|_| format!("{pod}-{}", volume.name)));
            }
        }
        Referred::ConfigMap => {
            names.extend(volumes().filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone())));
            names.extend(projections().filter_map(|one| Some(one.config_map.as_ref()?.name.clone())));
            names.extend(sources.iter().filter_map(|one| Some(one.config_map_ref.as_ref()?.name.clone())));
            names.extend(
                environment
                    .iter()
                    .filter_map(|one| Some(one.value_from.as_ref()?.config_map_key_ref.as_ref()?.name.clone())),
            );
        }
        Referred::Secret => {
            names.extend(spec.image_pull_secrets.iter().flatten().map(|one| one.name.clone()));
            names.extend(volumes().flat_map(volume_secrets));
            names.extend(projections().filter_map(|one| Some(one.secret.as_ref()?.name.clone())));
            names.extend(sources.iter().filter_map(|one| Some(one.secret_ref.as_ref()?.name.clone())));
            names.extend(
                environment
                    .iter()
                    .filter_map(|one| Some(one.value_from.as_ref()?.secret_key_ref.as_ref()?.name.clone())),
            );
        }
    }
    names
}

fn volume_secrets(volume: &Volume) -> impl Iterator<Item = String> {
    let own = volume.secret.as_ref().and_then(|secret| secret.secret_name.clone());
    let driver = volume.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref());
    own.into_iter().chain(driver.map(|secret| secret.name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_refers_to_what_its_spec_names() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "serviceAccountName": "robot",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "c", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "k"}}},
            ], "envFrom": [{"secretRef": {"name": "from"}}]}],
            "volumes": [
                {"name": "v", "secret": {"secretName": "vol"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "ca"}}, {"secret": {"name": "ps"}}]}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "e", "ephemeral": {}},
            ],
        }))
        .unwrap();
        let names = |what| references(&spec, "pod", what).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(names(Referred::Secret), "from key ps pull vol");
        assert_eq!(names(Referred::ConfigMap), "ca map");
        assert_eq!(names(Referred::Claim), "claim pod-e");
        assert_eq!(names(Referred::Account), "robot");
    }

    #[test]
    fn a_node_is_in_the_group_of_nodes() {
        let user = |group: &str| User { name: "system:node:n1".into(), groups: vec![group.into()], ..User::default() };
        assert_eq!(node_of(&user(NODES_GROUP)), Some("n1"));
        assert_eq!(node_of(&user("other")), None);
    }
}
