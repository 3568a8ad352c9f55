//! ResourceQuota: what a namespace may have in all.
//!
//! Use is counted in the quota's status, and counted before the object is written: each count is one conditional
//! write, so that of two creates at once only as many succeed as there is room for. When the object is refused after
//! that, its count is given back. Deletions are counted by the controller that recounts quotas.
//!
//! Rules and texts from `plugin/pkg/admission/resourcequota` and `pkg/quota/v1/evaluator/core`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use reeve_api::quantity::Quantity;

use super::pod_limits::{self, Amounts, Part, amounts};
use crate::registry::{AnyObject, Row};

/// Why a quota refuses; the words after its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What must be said about each container is not.
    Missing(String),
    /// There is no room.
    Exceeded(String),
}

impl Refusal {
    /// Upstream's words.
    pub fn text(&self, quota: &str) -> String {
        match self {
            Refusal::Missing(what) => format!("failed quota: {quota}: must specify {what}"),
            Refusal::Exceeded(what) => format!("exceeded quota: {quota}, {what}"),
        }
    }
}

/// What an object uses, by the names that quotas have for it.
pub fn usage(row: &Row, object: &dyn AnyObject) -> Amounts {
    let resource = &row.info.resource;
    let one = Quantity::from_units(1);
    let mut used = Amounts::new();
    let counted = if resource.group.is_empty() {
        format!("count/{}", resource.resource)
    } else {
        format!("count/{}.{}", resource.resource, resource.group)
    };
    used.insert(counted, one);
    if let Some(pod) = super::typed::<Pod>(object) {
        of_pod(pod, &mut used);
    } else if let Some(claim) = super::typed::<PersistentVolumeClaim>(object) {
        of_claim(claim, &mut used);
    } else if let Some(service) = super::typed::<Service>(object) {
        of_service(service, &mut used);
    } else if resource.group.is_empty()
        && matches!(resource.resource.as_str(), "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas")
    {
        used.insert(resource.resource.clone(), one);
    }
    used
}

fn of_pod(pod: &Pod, used: &mut Amounts) {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return;
    }
    used.insert("pods".to_owned(), Quantity::from_units(1));
    let Some(spec) = &pod.spec else { return };
    for (name, amount) in pod_limits::of_pod(spec, Part::Requests) {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(name.clone(), amount);
        }
        used.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in pod_limits::of_pod(spec, Part::Limits) {
        used.insert(format!("limits.{name}"), amount);
    }
}

fn of_claim(claim: &PersistentVolumeClaim, used: &mut Amounts) {
    used.insert("persistentvolumeclaims".to_owned(), Quantity::from_units(1));
    let spec = claim.spec.as_ref();
    let class = spec.and_then(|spec| spec.storage_class_name.as_deref()).filter(|class| !class.is_empty());
    if let Some(class) = class {
        used.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), Quantity::from_units(1));
    }
    let requests = spec.and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref());
    if let Some(amount) = amounts(requests).get("storage") {
        used.insert("requests.storage".to_owned(), *amount);
        if let Some(class) = class {
            used.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), *amount);
        }
    }
}

fn of_service(service: &Service, used: &mut Amounts) {
    used.insert("services".to_owned(), Quantity::from_units(1));
    let Some(spec) = &service.spec else { return };
    let ports = i64::try_from(spec.ports.iter().flatten().count()).unwrap_or(0);
    match spec.type_.as_deref() {
        Some("NodePort") => {
            used.insert("services.nodeports".to_owned(), Quantity::from_units(ports));
        }
        Some("LoadBalancer") => {
            let allocated = spec.allocate_load_balancer_node_ports != Some(false);
            let ports = if allocated { ports } else { 0 };
            used.insert("services.nodeports".to_owned(), Quantity::from_units(ports));
            used.insert("services.loadbalancers".to_owned(), Quantity::from_units(1));
        }
        _ => {}
    }
}

/// Whether a quota counts an object: by its scopes only pods of some sort.
pub fn counts(quota: &ResourceQuota, object: &dyn AnyObject) -> bool {
    let Some(spec) = &quota.spec else { return false };
    let selector = spec.scope_selector.as_ref().and_then(|selector| selector.match_expressions.as_deref());
    let plain = spec.scopes.iter().flatten().map(|scope| (scope.as_str(), "Exists", &[][..]));
    let chosen = selector
        .unwrap_or_default()
        .iter()
        .map(|term| (term.scope_name.as_str(), term.operator.as_str(), term.values.as_deref().unwrap_or_default()));
    let mut scopes = plain.chain(chosen).peekable();
    if scopes.peek().is_none() {
        return true;
    }
    let Some(pod) = super::typed::<Pod>(object) else { return false };
    scopes.all(|(scope, operator, values)| in_scope(pod, scope, operator, values))
}

fn in_scope(pod: &Pod, scope: &str, operator: &str, values: &[String]) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let terminating = spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0);
    let best_effort = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) == Some("BestEffort");
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => {
            let class = spec.priority_class_name.as_deref().unwrap_or_default();
            match operator {
                "In" => values.iter().any(|value| value == class),
                "NotIn" => values.iter().all(|value| value != class),
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        "CrossNamespacePodAffinity" => spec.affinity.as_ref().is_some_and(|affinity| {
            let own = affinity.pod_affinity.as_ref();
            let required = own.and_then(|one| one.required_during_scheduling_ignored_during_execution.as_ref());
            required.into_iter().flatten().any(|term| {
                term.namespaces.as_ref().is_some_and(|all| !all.is_empty()) || term.namespace_selector.is_some()
            })
        }),
        _ => false,
    }
}

/// The quota with `more` counted in; `None` when it limits nothing of that.
///
/// # Errors
/// Why there is no room for it.
pub fn charge(quota: &ResourceQuota, object: &dyn AnyObject, more: &Amounts) -> Result<Option<ResourceQuota>, Refusal> {
    let status = quota.status.clone().unwrap_or_default();
    let hard = amounts(status.hard.as_ref());
    // What is 0 in all needs no room, but what is limited must be said.
    if let Some(pod) = super::typed::<Pod>(object) {
        check_said(pod, &hard)?;
    }
    let wanted: Amounts =
        more.iter().filter(|(name, amount)| hard.contains_key(*name) && !amount.is_zero()).map(own).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let used = amounts(status.used.as_ref());
    let mut full: Vec<&String> = Vec::new();
    let mut after: BTreeMap<String, Text> = status.used.clone().unwrap_or_default();
    for (name, amount) in &wanted {
        let sum = used.get(name).copied().unwrap_or(Quantity::ZERO).plus(*amount);
        if sum > hard[name] && !amount.is_negative() {
            full.push(name);
        }
        after.insert(name.clone(), sum.to_text());
    }
    if !full.is_empty() {
        let list = |all: &Amounts| {
            let texts = full.iter().map(|name| format!("{name}={}", all.get(*name).copied().unwrap_or(Quantity::ZERO)));
            texts.collect::<Vec<_>>().join(",")
        };
        return Err(Refusal::Exceeded(format!(
            "requested: {}, used: {}, limited: {}",
            list(&wanted),
            list(&used),
            list(&hard)
        )));
    }
    let mut quota = quota.clone();
    quota.status.get_or_insert_default().used = Some(after);
    Ok(Some(quota))
}

fn own((name, amount): (&String, &Quantity)) -> (String, Quantity) {
    (name.clone(), *amount)
}

/// Where cpu or memory is limited, every container says how much it asks for.
fn check_said(pod: &Pod, hard: &Amounts) -> Result<(), Refusal> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for container in containers {
        let requests = pod_limits::of_container(container, Part::Requests);
        let limits = pod_limits::of_container(container, Part::Limits);
        for name in hard.keys() {
            let said = match name.as_str() {
                "cpu" | "memory" => requests.contains_key(name),
                "requests.cpu" | "requests.memory" => requests.contains_key(&name["requests.".len()..]),
                "limits.cpu" | "limits.memory" => limits.contains_key(&name["limits.".len()..]),
                _ => true,
            };
            if !said {
                missing.entry(name).or_default().push(&container.name);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing.iter().map(|(name, who)| format!("{name} for: {}", who.join(","))).collect();
    Err(Refusal::Missing(texts.join("; ")))
}

/// The quota with `more` taken out again.
pub fn refund(quota: &ResourceQuota, more: &Amounts) -> ResourceQuota {
    let mut quota = quota.clone();
    if let Some(used) = quota.status.as_mut().and_then(|status| status.used.as_mut()) {
        for (name, amount) in more {
            if let Some(present) = used.get(name).and_then(|text| Quantity::parse(text).ok()) {
                let left = present.minus(*amount);
                let left = if left.is_negative() { Quantity::ZERO } else { left };
                used.insert(name.clone(), left.to_text());
            }
        }
    }
    quota
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(hard: serde_json::Value, used: serde_json::Value) -> ResourceQuota {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "q"}, "status": {"hard": hard, "used": used},
        }))
        .unwrap()
    }

    fn amounts_of(pairs: &[(&str, &str)]) -> Amounts {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), text.parse().unwrap())).collect()
    }

    #[test]
    fn what_was_counted_is_given_back() {
        let charged = quota(serde_json::json!({"pods": "2"}), serde_json::json!({"pods": "1"}));
        let back = refund(&charged, &amounts_of(&[("pods", "1")]));
        assert_eq!(back.status.unwrap().used.unwrap()["pods"].0, "0");
    }
}
