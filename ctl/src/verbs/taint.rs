//! `rctl taint`: what keeps pods away from a node.

use clap::Args;
use reeve_client::Patch;
use serde_json::{Value, json};

use super::common::{self, DryRun, Found, WriteArgs};
use crate::errors::{Failure, Outcome, fail, usage};
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{items, name, text};

const EXAMPLES: &str = "  \
  # Update node 'foo' with a taint with key 'dedicated' and value 'special-user' and effect 'NoSchedule'
  rctl taint nodes foo dedicated=special-user:NoSchedule

  # Remove from node 'foo' the taint with key 'dedicated' and effect 'NoSchedule' if one exists
  rctl taint nodes foo dedicated:NoSchedule-

  # Remove from node 'foo' all the taints with key 'dedicated'
  rctl taint nodes foo dedicated-";

/// Update the taints on one or more nodes.
///
/// A taint consists of a key, value, and effect: key=value:effect. The effect must be NoSchedule, PreferNoSchedule or
/// NoExecute.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct TaintArgs {
    /// NODE NAME, then KEY=VALUE:EFFECT or KEY-
    #[arg(value_name = "NODE NAME | KEY=VALUE:EFFECT | KEY-")]
    words: Vec<String>,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Select all nodes in the cluster
    #[arg(long)]
    all: bool,
    /// If true, allow taints to be overwritten, otherwise reject taint updates that overwrite existing taints
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    write: WriteArgs,
}

/// A change of a node's taints.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Set {
        key: String,
        value: String,
        effect: String,
    },
    /// An empty effect means all.
    Remove {
        key: String,
        effect: String,
    },
}

impl Change {
    fn parse(word: &str) -> Outcome<Change> {
        let (text, removes) = word.strip_suffix('-').map_or((word, false), |text| (text, true));
        let (pair, effect) = text.split_once(':').unwrap_or((text, ""));
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute");
        if key.is_empty() || (!removes && effect.is_empty()) {
            return fail(format!(
                "invalid taint spec: {word}, a taint is written KEY=VALUE:EFFECT, or KEY- to remove it"
            ));
        }
        if !known && !effect.is_empty() {
            return fail(format!("invalid taint effect: {effect}, unsupported taint effect"));
        }
        let (key, effect) = (key.to_owned(), effect.to_owned());
        Ok(if removes { Change::Remove { key, effect } } else { Change::Set { key, value: value.to_owned(), effect } })
    }
}

fn is_change(word: &str) -> bool {
    word.ends_with('-') || word.contains([':', '='])
}

/// Runs the command.
pub async fn run(session: &mut Session, args: TaintArgs) -> Outcome {
    let first = args.words.iter().position(|word| is_change(word)).unwrap_or(args.words.len());
    let (words, changes) = args.words.split_at(first);
    let changes = changes.iter().map(|word| Change::parse(word)).collect::<Outcome<Vec<_>>>()?;
    let names = match words {
        [kind, names @ ..] if matches!(kind.as_str(), "node" | "nodes" | "no") => names.to_vec(),
        [word, ..] if word.starts_with("node/") || word.starts_with("nodes/") => {
            words.iter().map(|word| word.split_once('/').map_or(word.as_str(), |(_, name)| name).to_owned()).collect()
        }
        [kind, ..] => return fail(format!("invalid resource type {kind}, only [\"node\" \"nodes\"] are supported")),
        [] => {
            return usage(
                "rctl taint",
                "one or more resources must be specified as <resource> <name> or <resource>/<name>",
            );
        }
    };
    if changes.is_empty() {
        return usage("rctl taint", "at least one taint update is required");
    }
    if names.is_empty() && args.selector.is_empty() && !args.all {
        return usage(
            "rctl taint",
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        );
    }
    if args.all && !args.selector.is_empty() {
        return fail("setting 'all' parameter with a non empty selector is prohibited");
    }
    let cluster = session.cluster()?;
    let info = resolve::resource(&cluster, "nodes").await?;
    let targets = if names.is_empty() {
        vec![common::Target::Some { info, namespace: String::new() }]
    } else {
        let one = |name| common::Target::One { info: info.clone(), namespace: String::new(), name, manifest: None };
        names.into_iter().map(one).collect()
    };
    let (nodes, mut failures) = common::find(&cluster, targets, &args.selector, "").await?;
    for node in nodes {
        match one(session, &cluster, &node, &changes, &args).await {
            Ok(()) => {}
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(session: &mut Session, cluster: &Cluster, node: &Found, changes: &[Change], args: &TaintArgs) -> Outcome {
    let before = items(&node.object, "spec.taints");
    let (taints, done) = changed(name(&node.object), before, changes, args.overwrite)?;
    let dry_run = args.write.dry_run();
    let mut object = node.object.clone();
    object["spec"]["taints"] = json!(taints);
    if dry_run != DryRun::Client {
        // The list is replaced whole: nobody else's change of it may be lost.
        let version = text(&node.object, "metadata.resourceVersion");
        let patch = Patch::Merge(json!({"metadata": {"resourceVersion": version}, "spec": {"taints": taints}}));
        object = cluster.patch(&node.info, "", name(&node.object), &patch, dry_run == DryRun::Server).await?;
    }
    args.write.report(&mut session.io, &node.info, &object, done)
}

/// The taints after changes, and what was done.
fn changed(node: &str, before: &[Value], changes: &[Change], overwrite: bool) -> Outcome<(Vec<Value>, &'static str)> {
    let mut taints = before.to_vec();
    let (mut set, mut removed) = (false, false);
    for change in changes {
        match change {
            Change::Set { key, value, effect } => {
                let same = |taint: &Value| text(taint, "key") == key && text(taint, "effect") == effect;
                if taints.iter().any(same) && !overwrite {
                    return fail(format!(
                        "node {node} already has {key} taint(s) with same effect(s) and --overwrite is false"
                    ));
                }
                taints.retain(|taint| !same(taint));
                let mut taint = json!({"effect": effect, "key": key});
                if !value.is_empty() {
                    taint["value"] = json!(value);
                }
                taints.push(taint);
                set = true;
            }
            Change::Remove { key, effect } => {
                let count = taints.len();
                taints.retain(|taint| {
                    text(taint, "key") != key || !(effect.is_empty() || text(taint, "effect") == effect)
                });
                if taints.len() == count {
                    let what = if effect.is_empty() { key.clone() } else { format!("{key}:{effect}") };
                    return fail(format!("taint {what:?} not found"));
                }
                removed = true;
            }
        }
    }
    Ok((
        taints,
        match (set, removed) {
            (true, true) => "modified",
            (false, true) => "untainted",
            _ => "tainted",
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_set_and_removed() {
        let parse = |word| Change::parse(word).expect(word);
        let (one, done) = changed("n", &[], &[parse("a=b:NoSchedule")], false).expect("fine");
        assert_eq!(
            (one.as_slice(), done),
            ([json!({"effect": "NoSchedule", "key": "a", "value": "b"})].as_slice(), "tainted")
        );
        assert!(changed("n", &one, &[parse("a=c:NoSchedule")], false).is_err());
        assert!(changed("n", &one, &[parse("a=c:NoSchedule")], true).is_ok());
        assert_eq!(changed("n", &one, &[parse("a-")], false).expect("fine"), (vec![], "untainted"));
        assert_eq!(changed("n", &one, &[parse("a:NoSchedule-")], false).expect("fine"), (vec![], "untainted"));
        assert!(changed("n", &one, &[parse("a:NoExecute-")], false).is_err());
        for word in ["a=b", "=b:NoSchedule", "a=b:Never"] {
            assert!(Change::parse(word).is_err(), "{word}");
        }
    }
}
