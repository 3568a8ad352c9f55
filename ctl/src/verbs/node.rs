//! `rctl cordon` and `rctl uncordon`: whether a node takes new pods.

use clap::Args;
use reeve_api::ResourceInfo;
use reeve_client::Patch;
use serde_json::{Value, json};

use super::common::{self, DryRun, Found};
use crate::errors::{Failure, Outcome, usage};
use crate::resolve;
use crate::session::{Cluster, Session};
use crate::value::{flag, name};

const CORDON_EXAMPLES: &str = "  \
  # Mark node \"foo\" as unschedulable
  rctl cordon foo

  # Mark all nodes with a label as unschedulable
  rctl cordon -l zone=a";

const UNCORDON_EXAMPLES: &str = "  \
  # Mark node \"foo\" as schedulable
  rctl uncordon foo

  # Mark all nodes with a label as schedulable
  rctl uncordon -l zone=a";

/// Which nodes.
#[derive(Args, Clone, Debug, Default)]
pub struct NodeArgs {
    /// Names of nodes
    #[arg(value_name = "NODE")]
    pub names: Vec<String>,
    /// Selector (label query) to filter on
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    pub selector: String,
    /// Must be "none", "server", or "client"
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true,
          default_value = "none", default_missing_value = "client")]
    pub dry_run: Option<DryRun>,
}

/// Mark node as unschedulable.
#[derive(Args, Debug)]
#[command(before_help = CORDON_EXAMPLES)]
pub struct CordonArgs {
    #[command(flatten)]
    nodes: NodeArgs,
}

/// Mark node as schedulable.
#[derive(Args, Debug)]
#[command(before_help = UNCORDON_EXAMPLES)]
pub struct UncordonArgs {
    #[command(flatten)]
    nodes: NodeArgs,
}

/// Runs `rctl cordon`.
pub async fn cordon(session: &mut Session, args: CordonArgs) -> Outcome {
    all(session, &args.nodes, true, "rctl cordon").await
}

/// Runs `rctl uncordon`.
pub async fn uncordon(session: &mut Session, args: UncordonArgs) -> Outcome {
    all(session, &args.nodes, false, "rctl uncordon").await
}

async fn all(session: &mut Session, args: &NodeArgs, cordoned: bool, command: &'static str) -> Outcome {
    let cluster = session.cluster()?;
    let (nodes, mut failures) = find(&cluster, args, command).await?;
    for node in nodes {
        match mark(session, &cluster, &node, cordoned, args.dry_run.unwrap_or_default()).await {
            Ok(()) => {}
            Err(failure @ Failure::Server { .. }) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

/// The nodes that are named or selected; those that are missing are failures beside them.
pub async fn find(cluster: &Cluster, args: &NodeArgs, command: &'static str) -> Outcome<(Vec<Found>, Vec<Failure>)> {
    let info: ResourceInfo = resolve::resource(cluster, "nodes").await?;
    if !args.selector.is_empty() {
        if !args.names.is_empty() {
            return usage(command, "error: cannot specify both a node name and a --selector option");
        }
        let (objects, _) = common::list(cluster, &info, "", &args.selector, "").await?;
        return Ok((objects.into_iter().map(|object| Found { info: info.clone(), object }).collect(), vec![]));
    }
    if args.names.is_empty() {
        return usage(command, format!("USAGE: {} NODE [flags]", command.trim_start_matches("rctl ")));
    }
    let targets = args.names.iter().map(|word| {
        let name = word.strip_prefix("node/").or_else(|| word.strip_prefix("nodes/")).unwrap_or(word);
        common::Target::One { info: info.clone(), namespace: String::new(), name: name.to_owned(), manifest: None }
    });
    common::find(cluster, targets.collect(), "", "").await
}

/// Makes a node schedulable or not, and says so.
pub async fn mark(session: &mut Session, cluster: &Cluster, node: &Found, cordoned: bool, dry_run: DryRun) -> Outcome {
    let word = if cordoned { "cordoned" } else { "uncordoned" };
    if flag(&node.object, "spec.unschedulable") == cordoned {
        return Ok(session.io.say(&format!("node/{} already {word}{}", name(&node.object), dry_run.suffix()))?);
    }
    if dry_run != DryRun::Client {
        let value = if cordoned { json!(true) } else { Value::Null };
        let patch = Patch::Merge(json!({"spec": {"unschedulable": value}}));
        cluster.patch(&node.info, "", name(&node.object), &patch, dry_run == DryRun::Server).await?;
    }
    Ok(session.io.say(&format!("node/{} {word}{}", name(&node.object), dry_run.suffix()))?)
}
