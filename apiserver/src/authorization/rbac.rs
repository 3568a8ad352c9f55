//! Roles and bindings, compiled from the watch cache into an index by subject.
//!
//! Nothing is decoded while a request is decided: the index is compiled again by the first request after a role or
//! binding changed, from what is in the cache then, and objects that did not change keep their compiled form. Rules
//! from `k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac`.
//!
//! One thing differs from upstream: there each controller has an account of its own, here all of them share one
//! process and one identity. So what is bound to the account of one of the cluster's own controllers is bound to that
//! identity too. It has what upstream's controllers have together, and no more.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::{ApplyingRules, Attributes, Authorizer, Decision, On, rule_allows};
use crate::request::User;
use crate::storage::cache::{Entry, Resource};

/// Where roles and bindings are cached.
#[derive(Clone)]
pub struct Sources {
    /// Roles.
    pub roles: Resource,
    /// ClusterRoles.
    pub cluster_roles: Resource,
    /// RoleBindings.
    pub role_bindings: Resource,
    /// ClusterRoleBindings.
    pub cluster_role_bindings: Resource,
}

/// The user that the controllers act as.
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The names of the roles of the cluster's own controllers begin so.
const CONTROLLER_ROLES: &str = "system:controller:";

type Rules = Arc<[PolicyRule]>;

/// A role that a subject has.
#[derive(Clone, Debug)]
struct Grant {
    /// `None` when the role is absent.
    rules: Option<Rules>,
    /// Upstream's words for an allowed request.
    reason: Arc<str>,
    /// What cannot be resolved.
    missing: Option<Arc<str>>,
}

/// What one subject has been given.
#[derive(Clone, Debug, Default)]
struct Grants {
    everywhere: Vec<Grant>,
    by_namespace: HashMap<String, Vec<Grant>>,
}

/// All grants, by subject.
#[derive(Debug, Default)]
struct Index {
    revisions: [i64; 4],
    users: HashMap<String, Grants>,
    groups: HashMap<String, Grants>,
}

/// A binding without what decisions do not need.
#[derive(Debug)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// The decoded forms of objects, by key, valid for a revision.
type Memo<T> = HashMap<Arc<str>, (i64, Arc<T>)>;

/// What outlives one compilation.
#[derive(Default)]
struct Decoded {
    roles: Memo<[PolicyRule]>,
    cluster_roles: Memo<[PolicyRule]>,
    role_bindings: Memo<Binding>,
    cluster_role_bindings: Memo<Binding>,
}

/// The authorizer.
pub struct Rbac {
    sources: Sources,
    index: ArcSwap<Index>,
    decoded: Mutex<Decoded>,
}

impl Rbac {
    /// An authorizer over the cache.
    pub fn new(sources: Sources) -> Self {
        Self { sources, index: ArcSwap::default(), decoded: Mutex::default() }
    }

    fn revisions(&self) -> [i64; 4] {
        let Sources { roles, cluster_roles, role_bindings, cluster_role_bindings } = &self.sources;
        [roles, cluster_roles, role_bindings, cluster_role_bindings].map(Resource::changed)
    }

    /// The index of what is in the cache now.
    fn index(&self) -> Arc<Index> {
        let index = self.index.load_full();
        if index.revisions == self.revisions() {
            return index;
        }
        let mut decoded = self.decoded.lock();
        // Another request may have compiled it meanwhile.
        let revisions = self.revisions();
        let index = self.index.load_full();
        if index.revisions == revisions {
            return index;
        }
        let index = Arc::new(compile(&self.sources, &mut decoded, revisions));
        self.index.store(index.clone());
        index
    }
}

/// The rules of a role that a binding in `namespace` refers to; `None` when it is absent.
pub fn role_rules(sources: &Sources, reference: &RoleRef, namespace: &str) -> Option<Vec<PolicyRule>> {
    if reference.kind == "ClusterRole" {
        let entry = sources.cluster_roles.snapshot().get("", &reference.name)?;
        return decode::<ClusterRole>(&entry).map(|role| role.rules.unwrap_or_default());
    }
    let entry = sources.roles.snapshot().get(namespace, &reference.name)?;
    decode::<Role>(&entry).map(|role| role.rules.unwrap_or_default())
}

fn decode<T: DeserializeOwned>(entry: &Entry) -> Option<T> {
    match serde_json::from_slice(entry.object()) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(key = %entry.key(), %error, "a stored role or binding cannot be read and grants nothing");
            None
        }
    }
}

/// Decodes what changed and forgets what is gone.
fn refresh<T: ?Sized>(source: &Resource, memo: &mut Memo<T>, read: impl Fn(&Entry) -> Option<Arc<T>>) {
    let mut fresh = Memo::with_capacity(memo.len());
    for entry in source.snapshot().entries() {
        let known = memo.remove(entry.key()).filter(|(revision, _)| *revision == entry.revision());
        let object = known.map(|(_, object)| object).or_else(|| read(&entry));
        if let Some(object) = object {
            fresh.insert(entry.key().clone(), (entry.revision(), object));
        }
    }
    *memo = fresh;
}

fn compile(sources: &Sources, decoded: &mut Decoded, revisions: [i64; 4]) -> Index {
    refresh(&sources.roles, &mut decoded.roles, |entry| {
        decode::<Role>(entry).map(|role| role.rules.unwrap_or_default().into())
    });
    refresh(&sources.cluster_roles, &mut decoded.cluster_roles, |entry| {
        decode::<ClusterRole>(entry).map(|role| role.rules.unwrap_or_default().into())
    });
    refresh(&sources.role_bindings, &mut decoded.role_bindings, |entry| {
        let binding: RoleBinding = decode(entry)?;
        Some(Arc::new(Binding { role: binding.role_ref, subjects: binding.subjects.unwrap_or_default() }))
    });
    refresh(&sources.cluster_role_bindings, &mut decoded.cluster_role_bindings, |entry| {
        let binding: ClusterRoleBinding = decode(entry)?;
        Some(Arc::new(Binding { role: binding.role_ref, subjects: binding.subjects.unwrap_or_default() }))
    });

    let mut index = Index { revisions, ..Index::default() };
    // Upstream's order is that of a hash map; ours is fixed, from the last name to the first.
    for (name, binding) in sorted(&decoded.cluster_role_bindings) {
        let rules = decoded.cluster_roles.get(binding.role.name.as_str()).map(|(_, rules)| rules.clone());
        for subject in &binding.subjects {
            let grant = grant("ClusterRoleBinding", name, &binding.role, subject, rules.clone());
            if is_controller(subject, &binding.role) {
                index.users.entry(CONTROLLER_MANAGER.to_owned()).or_default().everywhere.push(grant.clone());
            }
            if let Some(grants) = index.of(subject, "") {
                grants.everywhere.push(grant);
            }
        }
    }
    for (key, binding) in sorted(&decoded.role_bindings) {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let rules = if binding.role.kind == "ClusterRole" {
            decoded.cluster_roles.get(binding.role.name.as_str())
        } else {
            decoded.roles.get(format!("{namespace}/{}", binding.role.name).as_str())
        };
        let rules = rules.map(|(_, rules)| rules.clone());
        for subject in &binding.subjects {
            let grant = grant("RoleBinding", &format!("{name}/{namespace}"), &binding.role, subject, rules.clone());
            if let Some(grants) = index.of(subject, namespace) {
                grants.by_namespace.entry(namespace.to_owned()).or_default().push(grant);
            }
        }
    }
    index
}

/// Whether a subject is the account of one of the cluster's own controllers.
fn is_controller(subject: &Subject, role: &RoleRef) -> bool {
    subject.kind == "ServiceAccount"
        && subject.namespace.as_deref() == Some("kube-system")
        && role.name.starts_with(CONTROLLER_ROLES)
}

fn sorted(memo: &Memo<Binding>) -> Vec<(&str, &Binding)> {
    let mut all: Vec<(&str, &Binding)> = memo.iter().map(|(key, (_, binding))| (&**key, &**binding)).collect();
    all.sort_unstable_by(|one, other| other.0.cmp(one.0));
    all
}

fn grant(kind: &str, binding: &str, role: &RoleRef, subject: &Subject, rules: Option<Rules>) -> Grant {
    let who = match (subject.kind.as_str(), subject.namespace.as_deref()) {
        ("ServiceAccount", Some(namespace)) => format!("{}/{namespace}", subject.name),
        _ => subject.name.clone(),
    };
    let reason =
        format!("RBAC: allowed by {kind} {binding:?} of {} {:?} to {} {who:?}", role.kind, role.name, subject.kind);
    let missing = rules.is_none().then(|| {
        let group = if role.kind == "ClusterRole" { "clusterrole" } else { "role" };
        Arc::from(format!("{group}.rbac.authorization.k8s.io {:?} not found", role.name))
    });
    Grant { rules, reason: reason.into(), missing }
}

impl Index {
    /// The grants of a subject; `None` for one that cannot be anybody.
    fn of(&mut self, subject: &Subject, namespace: &str) -> Option<&mut Grants> {
        Some(match subject.kind.as_str() {
            "User" => self.users.entry(subject.name.clone()).or_default(),
            "Group" => self.groups.entry(subject.name.clone()).or_default(),
            "ServiceAccount" => {
                let namespace = subject.namespace.as_deref().filter(|own| !own.is_empty()).unwrap_or(namespace);
                if namespace.is_empty() {
                    return None;
                }
                self.users.entry(format!("system:serviceaccount:{namespace}:{}", subject.name)).or_default()
            }
            _ => return None,
        })
    }

    /// What a user has, everywhere first.
    fn grants<'a>(&'a self, user: &'a User, namespace: &'a str) -> impl Iterator<Item = &'a Grant> {
        let own = move || {
            let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
            self.users.get(&user.name).into_iter().chain(groups)
        };
        let everywhere = own().flat_map(|grants| &grants.everywhere);
        let here = own().filter(move |_| !namespace.is_empty());
        everywhere.chain(here.filter_map(move |grants| grants.by_namespace.get(namespace)).flatten())
    }
}

impl Authorizer for Rbac {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let index = self.index();
        let namespace = match &attributes.on {
            On::Resource(on) => on.namespace,
            On::Path(_) => "",
        };
        let mut missing: Vec<Arc<str>> = Vec::new();
        for grant in index.grants(attributes.user, namespace) {
            if grant.rules.iter().flat_map(|rules| rules.iter()).any(|rule| rule_allows(rule, attributes)) {
                return Decision::Allow(grant.reason.clone());
            }
            missing.extend(grant.missing.clone());
        }
        match missing.as_slice() {
            [] => Decision::none(),
            [one] => Decision::NoOpinion(format!("RBAC: {one}").into()),
            many => Decision::NoOpinion(format!("RBAC: [{}]", many.join(", ")).into()),
        }
    }

    fn rules(&self, user: &User, namespace: &str) -> ApplyingRules {
        let index = self.index();
        let mut all = ApplyingRules::default();
        for grant in index.grants(user, namespace) {
            all.rules.extend(grant.rules.iter().flat_map(|rules| rules.iter().cloned()));
            all.errors.extend(grant.missing.iter().map(|text| text.to_string()));
        }
        all
    }
}
