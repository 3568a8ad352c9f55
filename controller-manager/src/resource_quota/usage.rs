//! How much of one named thing is used.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use reeve_api::ObjectKey;
use reeve_api::quantity::Quantity;
use serde::Deserialize;

use super::Observed;
use crate::view::{Amounts, Interned, PodUsage, PodView, ServiceView, amounts, intern};

const CLASS: &str = ".storageclass.storage.k8s.io/";

/// What is counted for a name in a quota.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Amounts of pods.
    Pods,
    /// Sorts of Services.
    Services,
    /// Amounts of claims for volumes.
    Claims,
    /// Objects of a resource, as `jobs.batch`.
    Count(String),
}

impl Source {
    /// The source of a name; `None` for names that nobody counts.
    pub fn of(name: &str) -> Option<Source> {
        if let Some(resource) = name.strip_prefix("count/") {
            return Some(Source::Count(resource.to_owned()));
        }
        match name {
            "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => {
                return Some(Source::Count(name.to_owned()));
            }
            "services" | "services.nodeports" | "services.loadbalancers" => return Some(Source::Services),
            "persistentvolumeclaims" | "requests.storage" => return Some(Source::Claims),
            "pods" | "cpu" | "memory" | "ephemeral-storage" => return Some(Source::Pods),
            _ => {}
        }
        if name.contains(CLASS) {
            return Some(Source::Claims);
        }
        let is_of_pods = ["requests.", "limits.", "hugepages-"].iter().any(|prefix| name.starts_with(prefix));
        is_of_pods.then_some(Source::Pods)
    }

    /// The resource whose objects are looked at, with its group.
    pub fn resource(&self) -> &str {
        match self {
            Source::Pods => "pods",
            Source::Services => "services",
            Source::Claims => "persistentvolumeclaims",
            Source::Count(resource) => resource,
        }
    }
}

/// An object of a kind that is only held while a quota counts it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Wire")]
pub struct Counted {
    /// Which object.
    pub key: ObjectKey,
    /// The resource version.
    pub revision: i64,
    /// What a claim for a volume uses; empty for all other kinds.
    pub amounts: Interned<Vec<(String, String)>>,
}

#[derive(Deserialize)]
struct Wire {
    metadata: ObjectMeta,
    // Only travels for claims.
    #[serde(default)]
    spec: Option<ClaimSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec {
    storage_class_name: Option<String>,
    #[serde(default)]
    resources: Option<Resources>,
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    requests: Option<BTreeMap<String, Text>>,
}

impl From<Wire> for Counted {
    fn from(wire: Wire) -> Self {
        let mut used = Vec::new();
        if let Some(spec) = wire.spec {
            let class = spec.storage_class_name.filter(|class| !class.is_empty());
            let requests = spec.resources.and_then(|resources| resources.requests);
            let storage = amounts(requests.as_ref()).get("storage").copied();
            let mut note = |name: &str, amount: Quantity| {
                used.push((name.to_owned(), amount.to_text().0));
                if let Some(class) = &class {
                    used.push((format!("{class}{CLASS}{name}"), amount.to_text().0));
                }
            };
            note("persistentvolumeclaims", Quantity::from_units(1));
            if let Some(storage) = storage {
                note("requests.storage", storage);
            }
        }
        Counted {
            key: ObjectKey::of(&wire.metadata),
            revision: wire.metadata.resource_version.and_then(|text| text.parse().ok()).unwrap_or(0),
            amounts: intern(used),
        }
    }
}

/// How much is used of a name; `None` when nobody knows.
pub(super) fn used(observed: &Observed<'_>, name: &str) -> Option<Quantity> {
    let source = Source::of(name)?;
    let scopes = Scopes::of(observed.quota);
    if !scopes.is_empty() && source.resource() != "pods" {
        // Scopes choose among pods; nothing else is in any of them.
        return Some(Quantity::ZERO);
    }
    match &source {
        Source::Count(resource) if resource == "pods" => {
            Some(units(observed.pods.iter().filter(|pod| scopes.include(&pod.usage)).count()))
        }
        Source::Pods => {
            let pods = observed.pods.iter().filter(|pod| !pod.has_ended() && scopes.include(&pod.usage));
            Some(sum(pods.map(|pod| of_pod(pod, name))))
        }
        Source::Services => Some(sum(observed.services.iter().map(|service| of_service(service, name)))),
        Source::Claims => {
            let of = |claim: &Counted| {
                let found = claim.amounts.iter().find(|(present, _)| present == name);
                found.and_then(|(_, text)| text.parse().ok()).unwrap_or(Quantity::ZERO)
            };
            (observed.count)(source.resource())?;
            Some(sum(observed.claims.iter().map(|claim| of(claim))))
        }
        Source::Count(resource) => (observed.count)(resource).map(units),
    }
}

fn units(count: usize) -> Quantity {
    Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX))
}

fn sum(all: impl Iterator<Item = Quantity>) -> Quantity {
    all.fold(Quantity::ZERO, |sum, amount| if sum.is_zero() { amount } else { sum.plus(amount) })
}

fn of_pod(pod: &PodView, name: &str) -> Quantity {
    let amounts: &Amounts = &pod.usage.amounts;
    if name == "pods" { units(1) } else { amounts.get(name).copied().unwrap_or(Quantity::ZERO) }
}

fn of_service(service: &ServiceView, name: &str) -> Quantity {
    let spec = &service.spec;
    let type_ = spec.type_.as_deref();
    let ports = match type_ {
        Some("LoadBalancer") if spec.allocate_load_balancer_node_ports == Some(false) => {
            spec.ports.iter().filter(|port| port.node_port != 0).count()
        }
        Some("NodePort" | "LoadBalancer") => spec.ports.len(),
        _ => 0,
    };
    match name {
        "services.nodeports" => units(ports),
        "services.loadbalancers" => units(usize::from(type_ == Some("LoadBalancer"))),
        _ => units(1),
    }
}

/// The terms that a pod must meet to be counted.
struct Scopes<'a>(Vec<(&'a str, &'a str, &'a [String])>);

impl<'a> Scopes<'a> {
    fn of(quota: &'a ResourceQuota) -> Self {
        let Some(spec) = &quota.spec else { return Scopes(vec![]) };
        let plain = spec.scopes.iter().flatten().map(|scope| (scope.as_str(), "Exists", &[][..]));
        let chosen = spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter().flatten());
        let chosen = chosen
            .map(|term| (term.scope_name.as_str(), term.operator.as_str(), term.values.as_deref().unwrap_or_default()));
        Scopes(plain.chain(chosen).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn include(&self, pod: &PodUsage) -> bool {
        self.0.iter().all(|(scope, operator, values)| match *scope {
            "Terminating" => pod.terminating,
            "NotTerminating" => !pod.terminating,
            "BestEffort" => pod.best_effort,
            "NotBestEffort" => !pod.best_effort,
            "CrossNamespacePodAffinity" => pod.crosses_namespaces,
            "PriorityClass" => {
                let class = &pod.priority_class;
                match *operator {
                    "In" => values.contains(class),
                    "NotIn" => !values.contains(class),
                    "DoesNotExist" => class.is_empty(),
                    _ => !class.is_empty(),
                }
            }
            _ => false,
        })
    }
}
