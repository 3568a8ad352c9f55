//! `rctl apply --prune`: objects that were applied once and are in no file any more are deleted.

use std::collections::BTreeSet;

use clap::Args;
use reeve_api::{GroupVersionKind, ResourceInfo};
use reeve_client::DeleteOptions;
use serde_json::Value;

use super::common::{self, DryRun};
use crate::errors::{Failure, Outcome, fail};
use crate::merge;
use crate::resolve::{self, display};
use crate::session::{Cluster, Session, is_not_found};
use crate::value::{name, namespace, text};

/// What is pruned without an allow list, as upstream.
const PRUNED: [(&str, &str); 16] = [
    ("", "ConfigMap"),
    ("", "Endpoints"),
    ("", "Namespace"),
    ("", "PersistentVolumeClaim"),
    ("", "PersistentVolume"),
    ("", "Pod"),
    ("", "ReplicationController"),
    ("", "Secret"),
    ("", "Service"),
    ("batch", "Job"),
    ("batch", "CronJob"),
    ("networking.k8s.io", "Ingress"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
];

/// The flags of pruning.
#[derive(Args, Clone, Debug, Default)]
pub struct PruneArgs {
    /// Delete objects that were created by apply or create --save-config, match the selector, and are in no file
    #[arg(long)]
    pub prune: bool,
    /// Select all resources in the namespace of the specified resource types
    #[arg(long)]
    pub all: bool,
    /// Kinds to prune instead of the default ones: group/version/kind, core for the group without a name
    #[arg(long, value_name = "GROUP/VERSION/KIND")]
    pub prune_allowlist: Vec<String>,
}

impl PruneArgs {
    /// Finds mistakes that need no cluster.
    pub fn check(&self, selector: &str) -> Outcome {
        if self.prune && !self.all && selector.is_empty() {
            return fail(
                "all resources selected for prune without explicitly passing --all. To prune all resources, pass the \
                 --all flag. If you did not mean to prune all resources, specify a label selector",
            );
        }
        if self.all && !selector.is_empty() {
            return fail("cannot set --all and --selector at the same time");
        }
        self.kinds().map(|_| ())
    }

    fn kinds(&self) -> Outcome<Vec<GroupVersionKind>> {
        if self.prune_allowlist.is_empty() {
            return Ok(PRUNED.iter().map(|(group, kind)| kind_of(group, "v1", kind)).collect());
        }
        self.prune_allowlist
            .iter()
            .map(|word| match word.split('/').collect::<Vec<_>>().as_slice() {
                [group, version, kind] => Ok(kind_of(if *group == "core" { "" } else { group }, version, kind)),
                _ => fail(format!("invalid GroupVersionKind format: {word}, please follow <group/version/kind>")),
            })
            .collect()
    }
}

fn kind_of(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    GroupVersionKind::from_object(&api_version, kind)
}

/// Deletes what was applied before and is not among `applied` (by uid). Only the namespaces of applied objects are
/// looked at.
pub async fn run(
    session: &mut Session,
    cluster: &Cluster,
    args: &PruneArgs,
    selector: &str,
    applied: &[Value],
    dry_run: DryRun,
) -> Outcome {
    let kept: BTreeSet<&str> = applied.iter().map(|object| text(object, "metadata.uid")).collect();
    let mut namespaces: BTreeSet<&str> = applied.iter().map(namespace).filter(|name| !name.is_empty()).collect();
    if cluster.namespace_is_explicit {
        namespaces = BTreeSet::from([cluster.namespace.as_str()]);
    }
    let mut failures = Vec::new();
    for kind in args.kinds()? {
        let Some(info) = resolve::kind(cluster, &kind).await? else { continue };
        let scopes: Vec<&str> = if info.namespaced { namespaces.iter().copied().collect() } else { vec![""] };
        for scope in scopes {
            let found = match common::list(cluster, &info, scope, selector, "").await {
                Ok((found, _)) => found,
                // A kind that this server does not serve has nothing to prune.
                Err(Failure::Message(_)) => continue,
                Err(failure) => return Err(failure),
            };
            let gone =
                |object: &&Value| merge::last_applied(object).is_some() && !kept.contains(text(object, "metadata.uid"));
            for object in found.iter().filter(gone) {
                match delete(cluster, &info, object, dry_run).await {
                    Ok(()) => {
                        let line = format!("{} pruned{}", display(&info, name(object)), dry_run.suffix());
                        session.io.say(&line)?;
                    }
                    Err(failure) if is_not_found(&failure) => {}
                    Err(failure @ Failure::Server { .. }) => failures.push(failure),
                    Err(failure) => return Err(failure),
                }
            }
        }
    }
    Failure::collect(failures)
}

async fn delete(cluster: &Cluster, info: &ResourceInfo, object: &Value, dry_run: DryRun) -> Outcome {
    if dry_run == DryRun::Client {
        return Ok(());
    }
    let options = DeleteOptions {
        propagation_policy: "Background".to_owned(),
        uid: text(object, "metadata.uid").to_owned(),
        dry_run: dry_run == DryRun::Server,
        ..DeleteOptions::default()
    };
    cluster.call(cluster.api(info, namespace(object)).delete(name(object), &options)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_pruned_only_when_asked_for() {
        let args = PruneArgs { prune: true, ..PruneArgs::default() };
        assert!(args.check("").is_err());
        assert!(args.check("app=web").is_ok());
        let args = PruneArgs { prune: true, all: true, ..PruneArgs::default() };
        assert!(args.check("").is_ok());
    }

    #[test]
    fn the_allow_list_names_kinds() {
        let args = |word: &str| PruneArgs { prune_allowlist: vec![word.into()], ..PruneArgs::default() };
        assert_eq!(args("core/v1/Pod").kinds().expect("fine"), [kind_of("", "v1", "Pod")]);
        assert!(args("Pod").kinds().is_err());
    }
}
