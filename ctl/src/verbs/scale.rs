//! `rctl scale`.

use clap::Args;
use reeve_client::Patch;
use serde_json::{Value, json};

use super::common::{self, DryRun, Found, TargetArgs, WriteArgs};
use crate::errors::{Failure, Outcome, fail};
use crate::session::{Cluster, Session};
use crate::value::{count, name, namespace, text};

const EXAMPLES: &str = "  \
  # Scale a deployment named 'web' to 3
  rctl scale --replicas=3 deployment/web

  # Scale a resource identified by type and name specified in \"foo.yaml\" to 3
  rctl scale --replicas=3 -f foo.yaml

  # If the deployment's current size is 2, scale it to 3
  rctl scale --current-replicas=2 --replicas=3 deployment/web";

/// Set a new size for a deployment, replica set, replication controller, or stateful set.
///
/// Scale also allows users to specify one or more preconditions for the scale action.
#[derive(Args, Debug)]
#[command(before_help = EXAMPLES)]
pub struct ScaleArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// The new desired number of replicas. Required
    #[arg(long, value_name = "COUNT", required = true)]
    replicas: i32,
    /// Precondition for current size. Requires that the current size of the resource match this value
    #[arg(long, value_name = "COUNT", default_value_t = -1, allow_negative_numbers = true)]
    current_replicas: i32,
    /// Precondition for resource version
    #[arg(long, value_name = "VERSION")]
    resource_version: Option<String>,
    #[command(flatten)]
    write: WriteArgs,
}

/// Runs the command.
pub async fn run(session: &mut Session, args: ScaleArgs) -> Outcome {
    if args.replicas < 0 {
        return fail("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0");
    }
    let none = "one or more resources must be specified as <resource> <name> or <resource>/<name>";
    args.targets.check(none)?;
    let cluster = session.cluster()?;
    let targets = common::targets(&cluster, &mut session.io, &args.targets, none).await?;
    let (found, mut failures) = common::find(&cluster, targets, &args.targets.selector, "").await?;
    if found.is_empty() && failures.is_empty() {
        return fail("no objects passed to scale");
    }
    for found in found {
        match one(&cluster, &args, &found).await {
            Ok(object) => args.write.report(&mut session.io, &found.info, &object, "scaled")?,
            Err(failure @ (Failure::Server { .. } | Failure::Message(_))) => failures.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    Failure::collect(failures)
}

async fn one(cluster: &Cluster, args: &ScaleArgs, found: &Found) -> Outcome<Value> {
    let object = &found.object;
    if !has_scale(&found.info.resource.group, &found.info.kind) {
        return fail(format!("cannot scale a {}: it has no replicas", found.info.singular));
    }
    let size = count(object, "spec.replicas");
    if args.current_replicas >= 0 && size != i64::from(args.current_replicas) {
        return fail(format!("Expected replicas to be {}, was {size}", args.current_replicas));
    }
    let version = text(object, "metadata.resourceVersion");
    if let Some(wanted) = args.resource_version.as_deref().filter(|wanted| *wanted != version) {
        return fail(format!("Expected resource version to be {wanted}, was {version}"));
    }
    let mut patch = json!({"spec": {"replicas": args.replicas}});
    if args.current_replicas >= 0 || args.resource_version.is_some() {
        // The preconditions hold for the version that was read.
        patch["metadata"] = json!({"resourceVersion": version});
    }
    let patch = Patch::Merge(patch);
    if args.write.dry_run() == DryRun::None {
        let api = cluster.api(&found.info, namespace(object));
        cluster.call(api.patch_subresource(name(object), "scale", &patch)).await?;
    }
    let mut scaled = object.clone();
    if let Patch::Merge(patch) = &patch {
        json_patch::merge(&mut scaled, patch);
    }
    Ok(scaled)
}

/// Kinds with a scale; custom ones are left to the server.
fn has_scale(group: &str, kind: &str) -> bool {
    match group {
        "apps" => matches!(kind, "Deployment" | "ReplicaSet" | "StatefulSet"),
        "" => kind == "ReplicationController",
        _ => !crate::builtins::BUILTINS.iter().any(|builtin| builtin.group == group && builtin.kind == kind),
    }
}
