//! `rctl tree`: an object and all that it owns, directly and through others.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::Value;

use super::common::{self, Found, TargetArgs};
use crate::errors::{Failure, Outcome};
use crate::output::age::since;
use crate::output::table::Table;
use crate::session::{Cluster, Session};
use crate::value::{items, namespace, text};

const EXAMPLES: &str = "  \
  # Show the replica sets and pods of a deployment
  rctl tree deployment/web

  # Show what a cron job has started
  rctl tree cronjob/backup";

/// Show an object and all that it owns.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct TreeArgs {
    #[command(flatten)]
    targets: TargetArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: TreeArgs) -> Outcome {
    let none = "You must say of what: rctl tree TYPE/NAME";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let chosen = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (roots, failures) = common::find(&cluster, chosen, &args.targets.selector, "").await?;
    let namespaces: BTreeSet<&str> = roots.iter().map(|root| namespace(&root.object)).collect();
    let mut all = Vec::new();
    for namespace in namespaces {
        all.extend(everything(&cluster, namespace).await?);
    }
    let now = (session.io.now)();
    let mut table = Table::new(["NAME", "READY", "REASON", "AGE"]);
    for root in &roots {
        let mut lines = Vec::new();
        branch(root, &all, "", "", &mut lines);
        table.rows.extend(lines.into_iter().map(|(name, found)| {
            let (ready, reason) = readiness(&found.object);
            vec![name, ready, reason, since(text(&found.object, "metadata.creationTimestamp"), now)]
        }));
    }
    if !table.rows.is_empty() {
        let text = table.render(true, session.palette());
        session.io.say(text.trim_end())?;
    }
    Failure::collect(failures)
}

/// All objects that may be owned, in a namespace (or cluster-wide without one). Types that may not be read are left out.
async fn everything(cluster: &Cluster, namespace: &str) -> Outcome<Vec<Found>> {
    let kinds = cluster.known().await?.iter().filter(|info| {
        let listed = info.verbs.iter().any(|verb| verb == "list");
        listed && info.kind != "Event" && (info.namespaced || namespace.is_empty())
    });
    let mut all: Vec<Found> = Vec::new();
    for info in kinds {
        match common::list(cluster, info, namespace, "", "").await {
            Ok((objects, _)) => {
                let owned = objects.into_iter().filter(|object| !items(object, "metadata.ownerReferences").is_empty());
                all.extend(owned.map(|object| Found { info: info.clone(), object }));
            }
            Err(Failure::Server { .. } | Failure::Message(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    // One object served in several versions is one object.
    let mut seen = BTreeSet::new();
    all.retain(|found| seen.insert(text(&found.object, "metadata.uid").to_owned()));
    Ok(all)
}

/// The lines of an object and of what it owns.
fn branch<'a>(found: &'a Found, all: &'a [Found], start: &str, below: &str, lines: &mut Vec<(String, &'a Found)>) {
    lines.push((format!("{start}{}", found.display()), found));
    let uid = text(&found.object, "metadata.uid");
    let owned: Vec<&Found> = all
        .iter()
        .filter(|one| items(&one.object, "metadata.ownerReferences").iter().any(|owner| text(owner, "uid") == uid))
        .collect();
    for (index, child) in owned.iter().enumerate() {
        let last = index + 1 == owned.len();
        let (mark, continued) = if last { ("└─", "  ") } else { ("├─", "│ ") };
        branch(child, all, &format!("{below}{mark}"), &format!("{below}{continued}"), lines);
    }
}

/// What the object's condition says.
fn readiness(object: &Value) -> (String, String) {
    let condition = ["Ready", "Available", "Complete"]
        .iter()
        .find_map(|kind| items(object, "status.conditions").iter().find(|condition| text(condition, "type") == *kind));
    match condition {
        Some(condition) => (text(condition, "status").to_owned(), text(condition, "reason").to_owned()),
        None => ("-".to_owned(), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn owners_stand_above_what_they_own() {
        let info = crate::resolve::builtin("pods").expect("built in");
        let found = |name: &str, owner: &str| Found {
            info: info.clone(),
            object: json!({"metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": owner}]}}),
        };
        let all = [found("b", "a"), found("c", "b"), found("d", "a"), found("x", "y")];
        let root = found("a", "");
        let mut lines = Vec::new();
        branch(&root, &all, "", "", &mut lines);
        let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["pod/a", "├─pod/b", "│ └─pod/c", "└─pod/d"]);
    }
}
