//! Candidates that the cluster and the kubeconfig know: types, names, namespaces, contexts, containers.

use std::collections::BTreeSet;

use reeve_api::ResourceInfo;
use reeve_client::ListOptions;
use serde_json::Value;

use super::{NO_FILES, NO_SPACE, Offer, Typed};
use crate::errors::Outcome;
use crate::kubeconfig::{CLUSTERS, CONTEXTS, Files, Paths, USERS};
use crate::resolve;
use crate::session::{Cluster, Session, block_on};
use crate::value::{items, name, text};
use crate::verbs::common;

/// Names that are offered at once; more help nobody.
const NAMES_MAX: i64 = 500;

/// The types that a rollout knows.
const ROLLED_OUT: [&str; 3] = ["deployment", "daemonset", "statefulset"];
/// The types that have a scale.
const SCALED: [&str; 4] = ["deployment", "replicaset", "replicationcontroller", "statefulset"];
/// The types that a pod is found by.
const WITH_PODS: [&str; 8] =
    ["daemonsets", "deployments", "pods", "jobs", "replicasets", "replicationcontrollers", "services", "statefulsets"];

/// What may stand for a word that is neither a flag nor a sub-command.
pub fn positional(session: &Session, typed: &Typed, last: &str) -> Outcome<Offer> {
    let path: Vec<&str> = typed.path.iter().map(String::as_str).collect();
    match path.as_slice() {
        [
            "get" | "describe" | "delete" | "edit" | "label" | "annotate" | "patch" | "wait" | "tree" | "why"
            | "expose",
            ..,
        ] => types_and_names(session, typed, last, None),
        ["explain"] => types(session, last),
        ["set", ..] => types_and_names(session, typed, last, None),
        ["rollout", ..] => types_and_names(session, typed, last, Some(&ROLLED_OUT)),
        ["scale" | "autoscale"] => types_and_names(session, typed, last, Some(&SCALED)),
        ["logs" | "exec" | "attach" | "port-forward" | "debug"] if typed.words.is_empty() => pods(session, last),
        ["logs"] if typed.words.len() == 1 => containers(session, typed, last),
        ["cordon" | "uncordon" | "drain"] | ["top", "node"] => named(session, "nodes", typed, last),
        ["taint"] if typed.words.is_empty() => Ok(Offer::words(["nodes".to_owned()], last)),
        ["taint"] => named(session, "nodes", typed, last),
        ["top", "pod"] => named(session, "pods", typed, last),
        ["certificate", ..] => named(session, "certificatesigningrequests", typed, last),
        ["create", "token"] => named(session, "serviceaccounts", typed, last),
        ["config", "use-context" | "delete-context" | "rename-context" | "set-context"] => {
            known(session, CONTEXTS, last)
        }
        ["config", "delete-cluster" | "set-cluster"] => known(session, CLUSTERS, last),
        ["config", "delete-user" | "set-credentials"] => known(session, USERS, last),
        ["completion"] => Ok(Offer::words(["bash", "zsh", "fish", "powershell"].map(str::to_owned), last)),
        ["cp"] => Ok(Offer::files()),
        _ => Ok(Offer { candidates: Vec::new(), directive: NO_FILES }),
    }
}

/// The values of a flag that only the cluster or the kubeconfig knows.
pub fn flag_value(session: &Session, typed: &Typed, flag: &str, last: &str) -> Outcome<Offer> {
    match flag {
        "namespace" => named(session, "namespaces", &Typed::default(), last),
        "context" => known(session, CONTEXTS, last),
        "cluster" => known(session, CLUSTERS, last),
        "user" => known(session, USERS, last),
        "container" => containers(session, typed, last),
        "serviceaccount" => named(session, "serviceaccounts", &Typed::default(), last),
        "clusterrole" => named(session, "clusterroles", &Typed::default(), last),
        _ => Ok(Offer { candidates: Vec::new(), directive: NO_FILES }),
    }
}

/// Contexts, clusters or users of the kubeconfig.
fn known(session: &Session, list: (&str, &str), last: &str) -> Outcome<Offer> {
    let files = Files::load(&Paths::choose(&session.globals, &session.io))?;
    Ok(Offer::words(files.names(list), last))
}

/// `TYPE NAME...` and `TYPE/NAME`.
fn types_and_names(session: &Session, typed: &Typed, last: &str, only: Option<&[&str]>) -> Outcome<Offer> {
    if let Some((word, start)) = last.split_once('/') {
        let names = names(session, word, &BTreeSet::new(), start)?;
        let candidates = names.into_iter().map(|name| format!("{word}/{name}")).collect();
        return Ok(Offer { candidates, directive: NO_FILES });
    }
    match (typed.words.split_first(), only) {
        (None, Some(only)) => Ok(Offer::words(only.iter().map(|word| (*word).to_owned()), last)),
        (None, None) => types(session, last),
        (Some((first, given)), _) if !first.contains('/') => {
            let given: BTreeSet<&str> = given.iter().map(String::as_str).collect();
            let mut found = Vec::new();
            for word in first.split(',') {
                found.extend(names(session, word, &given, last)?);
            }
            Ok(Offer { candidates: found, directive: NO_FILES })
        }
        _ => Ok(Offer { candidates: Vec::new(), directive: NO_FILES }),
    }
}

/// The types that the server serves, after those that a comma separates from the last one.
fn types(session: &Session, last: &str) -> Outcome<Offer> {
    let (before, start) = match last.rsplit_once(',') {
        Some((before, start)) => (format!("{before},"), start),
        None => (String::new(), last),
    };
    let found = asked(session, async |cluster| {
        let rows = cluster.known().await?;
        Ok(rows
            .iter()
            .filter(|row| row.verbs.iter().any(|verb| verb == "list"))
            .map(|row| row.resource.qualified())
            .collect())
    });
    let mut words: Vec<String> = match found {
        Ok(words) => words,
        Err(_) => resolve::builtins().iter().map(|row| row.resource.qualified()).collect(),
    };
    words.sort();
    words.dedup();
    let words = words.into_iter().filter(|word| word.starts_with(start));
    Ok(Offer { candidates: words.map(|word| format!("{before}{word}")).collect(), directive: NO_FILES })
}

/// Names of pods, and types by which pods are found.
fn pods(session: &Session, last: &str) -> Outcome<Offer> {
    if last.contains('/') {
        return types_and_names(session, &Typed::default(), last, None);
    }
    let mut candidates: Vec<String> =
        WITH_PODS.iter().map(|word| format!("{word}/")).filter(|word| word.starts_with(last)).collect();
    let found = names(session, "pods", &BTreeSet::new(), last)?;
    let directive = if found.is_empty() { NO_FILES | NO_SPACE } else { NO_FILES };
    candidates.extend(found);
    Ok(Offer { candidates, directive })
}

fn named(session: &Session, word: &str, typed: &Typed, last: &str) -> Outcome<Offer> {
    let given: BTreeSet<&str> = typed.words.iter().map(String::as_str).collect();
    let candidates = names(session, word, &given, last)?;
    Ok(Offer { candidates, directive: NO_FILES })
}

/// The containers of the pod that was named.
fn containers(session: &Session, typed: &Typed, last: &str) -> Outcome<Offer> {
    let Some(pod) = typed.words.first() else { return Ok(Offer { candidates: Vec::new(), directive: NO_FILES }) };
    let pod = pod.rsplit('/').next().unwrap_or(pod).to_owned();
    let names = asked(session, async |cluster| {
        let info = resolve::resource(&cluster, "pods").await?;
        let object = common::get(&cluster, &info, &cluster.namespace, &pod).await?;
        let lists = ["spec.containers", "spec.initContainers", "spec.ephemeralContainers"];
        let all = lists.iter().flat_map(|path| items(&object, path)).map(|one| text(one, "name").to_owned());
        Ok(all.collect())
    })?;
    Ok(Offer::words(names, last))
}

/// The names of a type's objects that begin so and are not given yet.
fn names(session: &Session, word: &str, given: &BTreeSet<&str>, start: &str) -> Outcome<Vec<String>> {
    asked(session, async |cluster| {
        let info: ResourceInfo = resolve::resource(&cluster, word).await?;
        let options =
            ListOptions { fields: vec!["metadata.name".to_owned()], limit: NAMES_MAX, ..ListOptions::default() };
        let api = cluster.api(&info, &cluster.namespace);
        let page = cluster.call(api.list(&options)).await?;
        let names = page.items.iter().map(|object: &Value| name(object));
        Ok(names.filter(|name| name.starts_with(start) && !given.contains(name)).map(str::to_owned).collect())
    })
}

fn asked(session: &Session, ask: impl AsyncFnOnce(Cluster) -> Outcome<Vec<String>>) -> Outcome<Vec<String>> {
    block_on(async { ask(session.cluster()?).await })
}
